"""What asking would cost at most and how long it would take at least, from the number and length of the prompts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actors.estimator import CHARACTERS_PER_TOKEN, CountTokens
from actors.prices import NANO, Prices


def token_counting(model: str, characters_per_token: float = CHARACTERS_PER_TOKEN) -> tuple[CountTokens, str]:
    """The nearest there is to the model's own tokenizer, and what that is in words."""
    own = Path(model).expanduser() / "tokenizer.json"
    if own.is_file():
        return CountTokens(own.read_text()), f"with {own}"
    if find_spec("tiktoken") is not None:
        import tiktoken

        try:
            name = tiktoken.encoding_for_model(model).name
        except Exception:  # unknown model, or its file cannot be had: requests' errors and its own
            pass
        else:
            return CountTokens(tiktoken_model=model), f"with tiktoken's {name}"
        way = f"tiktoken is installed and has no encoding of {model} here"
    else:
        way = "exactly with tiktoken installed, where it knows the model"
    share = {2.0: "half", 4.0: "a quarter"}.get(characters_per_token, f"1/{characters_per_token:g}")
    return CountTokens(characters_per_token=characters_per_token), f"roughly, as {share} of the characters; {way}"


def money(arguments: Mapping[str, Any], found: Mapping[str, Any], prices: Prices | None) -> dict[str, Any]:
    """Between no answer at all and every answer as long as it may be.

    `found` has `to_be_asked`, `prompt_tokens`, by which the prompts cost about so much, and `prompt_tokens_at_most`.
    """
    if prices is None:
        return {"cost": f"unknown: no price of {arguments['model_name']!r}; give --prices FILE"}
    price = prices.dearest(arguments["service_tier"])
    about, at_most = (1000 * price.input * found[name] / NANO for name in ("prompt_tokens", "prompt_tokens_at_most"))
    told: dict[str, Any] = {
        "prices": f"{prices.model}, table {prices.version}",
        "cost_of_the_prompts_about_usd": about,
    }
    most = arguments["max_new_tokens"]
    if most is None:
        return told | {"cost_at_most_usd": None, "why": "give --max-new-tokens, which bounds the answers"}
    answers = found["to_be_asked"] * most
    return told | {
        "answered_tokens_at_most": answers,
        "cost_at_most_usd": at_most + 1000 * price.output * answers / NANO,
    }


def least_time(arguments: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The limits' share of the time, which nobody can beat: they hold for the most that a request can use."""
    minutes = []
    if arguments["max_requests_per_minute"]:
        minutes.append(found["to_be_asked"] / arguments["max_requests_per_minute"])
    if arguments["max_tokens_per_minute"]:
        tokens = found["prompt_tokens_at_most"] + found["to_be_asked"] * (arguments["max_new_tokens"] or 0)
        minutes.append(tokens / arguments["max_tokens_per_minute"])
    return {"minutes_at_least": round(max(minutes), 1)} if minutes else {}
