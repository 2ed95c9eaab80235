from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from serve import bodies
from serve.bodies import Decompressor, Disconnected, lines_of, whole_body
from serve.problems import Problem
from tests.serve.conftest import run

COMPRESS = {"": lambda data: data, "gzip": gzip.compress, "zstd": zstandard.compress}


def receiving(*chunks: bytes, then: str = "http.request") -> Any:
    """An ASGI receive that gives these chunks."""

    def messages() -> Iterator[dict[str, Any]]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        yield {"type": then}

    waiting = messages()

    async def receive() -> dict[str, Any]:
        return next(waiting)

    return receive


def cut(data: bytes, seed: int) -> list[bytes]:
    dice = random.Random(seed)
    places = sorted(dice.sample(range(len(data) + 1), min(5, len(data))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


async def all_lines(receive: Any, encoding: str = "", limit: int = 1 << 20) -> list[bytes | None]:
    return [line async for lines in lines_of(receive, encoding, limit) for line in lines]


@given(data=st.binary(max_size=3000), seed=st.integers(0, 99), encoding=st.sampled_from(sorted(COMPRESS)))
def test_a_body_comes_out_as_it_was_however_it_is_cut(data: bytes, seed: int, encoding: str):
    receive = receiving(*cut(COMPRESS[encoding](data), seed))
    assert run(whole_body(receive, encoding, 1 << 20, lambda size: None)) == data


@given(data=st.binary(max_size=300).map(lambda b: b.replace(b"a", b"\n")), seed=st.integers(0, 99))
def test_lines_are_those_of_the_bytes_however_they_are_cut(data: bytes, seed: int):
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert run(all_lines(receiving(*cut(data, seed)))) == expected


def test_a_line_that_is_too_long_leaves_a_gap():
    lines = [b"short", b"x" * 200, b"", b"y" * 100, b"z" * 101]
    found = run(all_lines(receiving(*cut(b"\n".join(lines), 3)), limit=100))
    assert found == [b"short", None, b"", b"y" * 100, None]


def test_what_is_held_is_told_and_stays_below_the_limit():
    sizes: list[int] = []
    bomb = zstandard.compress(bytes(1 << 30))
    with pytest.raises(Problem) as caught:
        run(whole_body(receiving(bomb), "zstd", 1 << 20, sizes.append))
    assert caught.value.status == 413
    assert sum(sizes) <= 1 << 20


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_one_piece_never_makes_more_than_a_few_mebibytes(encoding: str):
    bomb = COMPRESS[encoding](bytes(1 << 28))
    assert max(map(len, Decompressor(encoding).feed(bomb))) <= 16 << 20


def test_a_client_that_goes_away_or_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Disconnected):
        run(whole_body(receiving(b"a", then="http.disconnect"), "", 10, lambda size: None))
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.05)

    async def never() -> Any:
        import asyncio

        await asyncio.sleep(60)

    with pytest.raises(Problem) as caught:
        run(all_lines(never))
    assert caught.value.status == 408


def test_a_body_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(bodies, "LEAST_BYTES_PER_SECOND", 1e9)
    with pytest.raises(Problem) as caught:
        run(whole_body(receiving(*[b"a"] * 10_000), "", 1 << 20, lambda size: None))
    assert caught.value.status == 408
