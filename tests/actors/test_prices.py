"""Prices: whole nano-dollars, the user's own file first, and errors that name the file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from actors import prices
from actors.engines.contract import Usage
from actors.prices import Price, PriceError, Prices, dollars, prices_of

SHIPPED = yaml.safe_load(Path(prices.__file__).with_name("prices.yaml").read_text())


def test_a_cost_is_the_sum_of_fresh_cached_and_answered_tokens() -> None:
    price = Price(input=2.0, cached=0.5, output=8.0)
    usage = Usage(prompt_tokens=1000, completion_tokens=100, cached_tokens=400, reasoning_tokens=60)
    assert price.cost(usage) == (600 * 2000) + (400 * 500) + (100 * 8000)
    assert price.cost(Usage()) == 0


@given(st.integers(0, 10**7), st.integers(0, 10**6), st.floats(0, 1), st.sampled_from(sorted(SHIPPED["models"])))
def test_a_cost_is_exact_for_all_shipped_prices(prompt: int, answer: int, share: float, model: str) -> None:
    for tier, amounts in SHIPPED["models"][model].items():
        cached = int(share * prompt)
        fresh_price, cached_price, output_price = (Fraction(str(each)) * 1000 for each in amounts)
        exact = (prompt - cached) * fresh_price + cached * cached_price + answer * output_price
        found = prices_of(model)
        assert found is not None
        cost = found.of(tier).cost(Usage(prompt, answer, cached))
        assert exact <= cost < exact + 1


def test_the_tier_that_is_not_in_the_table_costs_what_the_default_does() -> None:
    found = Prices("m", "v", {"default": Price(1, 1, 1), "flex": Price(0.5, 0.5, 0.5), "batch": Price(9, 9, 9)})
    assert found.of(None) == found.of("default") == found.of("scale") == Price(1, 1, 1)
    assert found.of("flex") == found.dearest("flex") == Price(0.5, 0.5, 0.5)
    assert found.dearest("auto") == Price(1, 1, 1)  # a live request is in no batch


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ("gpt-5", "gpt-5"),
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("gpt-4.1-20250414", "gpt-4.1"),
        ("openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai/o3", "o3"),
        ("gpt-5-turbo", None),
        ("gpt", None),
        ("default", None),
    ],
)
def test_names_with_dates_and_providers_are_found(asked: str, model: str | None) -> None:
    found = prices_of(asked)
    assert (found and found.model) == model
    assert found is None or found.version == SHIPPED["version"]


def test_the_shipped_table_is_sound() -> None:
    for model, tiers in SHIPPED["models"].items():
        found = prices_of(model)
        assert found is not None and set(found.tiers) == set(tiers)
        for tier, price in found.tiers.items():
            assert price.cached <= price.input < price.output, (model, tier)
            if tier in ("flex", "batch"):
                assert price.output <= found.tiers["default"].output


def test_a_file_of_the_users_own_goes_first(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("models: {gpt-5: {default: [1, 1, 1]}, 'Qwen/Qwen3-8B': {default: [0, 0, 0]}}")
    mine = prices_of("gpt-5", str(own))
    assert mine is not None and mine.tiers == {"default": Price(1, 1, 1)} and mine.version == "own.yaml"
    free = prices_of("Qwen/Qwen3-8B", str(own))
    assert free is not None and free.of("flex").cost(Usage(10**6, 10**6)) == 0
    other = prices_of("o3", str(own))
    assert other is not None and other.version == SHIPPED["version"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("models: [", "no YAML"),
        (b"\xff\xfe\x00", "no YAML"),
        ("- 1", "have no 'models:'"),
        ("models: 7", "have no 'models:'"),
        ("models: {m: [1, 2, 3]}", "give each tier three numbers"),
        ("models: {m: {default: [1, 2]}}", "give each tier three numbers"),
        ("models: {m: {default: [1, 2, 3, 4]}}", "give each tier three numbers"),
        ("models: {m: {default: [a, 2, 3]}}", "give each tier three numbers"),
        ("models: {m: {default: 1}}", "give each tier three numbers"),
        ("models: {m: {flex: [1, 2, 3]}}", "'default' is needed"),
        ("models: {m: {default: [1, 2, -3]}}", "none is below 0"),
        ("models: {m: {default: [1, 2, .nan]}}", "none is below 0"),
        ("models: {m: {default: [1, 2, .inf]}}", "none is below 0"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | bytes | None, words: str) -> None:
    file = tmp_path / "prices.yaml"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(PriceError, match=words) as raised:
        prices_of("m", str(file))
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (1, "$0.0000000"),
        (123_000, "$0.0001230"),
        (1_500_000, "$0.0015"),
        (12_340_000_000, "$12.34"),
        (1_234_567_000_000_000, "$1,234,567.00"),
    ],
)
def test_sums_are_told_with_the_digits_they_need(nano: int, text: str) -> None:
    assert dollars(nano) == text
