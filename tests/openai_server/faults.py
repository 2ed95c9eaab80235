"""Which fault a request meets, and what faults do to an answer.

A fault is drawn by a hash of the seed, the question and the number of its attempt: runs repeat, and retries can
succeed. A script says it exactly for questions that contain a text. What faults do to the connection is the wire's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from tests.openai_server.answers import verdicts_of

STATUS_KINDS = (
    "rate_limit",  # 429 with Retry-After in whole seconds
    "rate_limit_ms",  # 429 with retry-after-ms, and Retry-After beside it
    "rate_limit_date",  # 429 with Retry-After as a date
    "rate_limit_no_header",  # 429 without a word on when
    "quota",  # 429 insufficient_quota
    "error_500",
    "error_502_html",  # the body is a proxy's page
    "error_503",
)
WIRE_KINDS = (
    "reset_before",  # the connection ends without a byte
    "reset_mid_body",  # half of the body, then a reset
    "hang",  # nothing, ever
    "hang_mid_body",  # half of the body, then nothing, ever
    "truncated_json",  # a whole response whose JSON is cut
    "not_json",  # a whole response that is a line of text
    "slow_tokens",  # the body comes in small pieces over seconds
)
CONTENT_KINDS = (
    "wrong_schema",
    "prose",
    "score_out_of_range",
    "inconsistent_score",
    "empty_content",
    "length",
    "refusal",
    "content_filter",
    "no_choices",
    "missing_usage",
)
KINDS = STATUS_KINDS + WIRE_KINDS + CONTENT_KINDS
BROKEN = frozenset({"reset_before", "reset_mid_body", "hang", "hang_mid_body"})  # never answered whole


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind, and where a script says so, its seconds (to wait before a retry, or of slow tokens)."""

    kind: str
    seconds: float | None = None


@dataclass(slots=True)
class Draft:
    """What the model says, before it is put into a protocol's shape."""

    content: str | None
    finish_reason: str = "stop"
    refusal: str | None = None


def script_steps(steps: list[Any]) -> tuple[list[Fault | None], bool]:
    """A script's faults by attempt, and whether the last one repeats. Raises ValueError."""
    repeats = bool(steps) and steps[-1] == "*"
    found = [_step(each) for each in (steps[:-1] if repeats else steps)]
    if not found:
        raise ValueError("a script has at least one step in front of '*'")
    return found, repeats


def scripted(steps: list[Any], number: int) -> Fault | None:
    """The fault of this attempt, the first is 1."""
    found, repeats = script_steps(steps)
    return found[number - 1] if number <= len(found) else found[-1] if repeats else None


def _step(step: Any) -> Fault | None:
    fault = Fault(**step) if isinstance(step, dict) else Fault(step or "ok")
    if fault.kind == "ok":
        return None
    if fault.kind not in KINDS:
        raise ValueError(f"unknown fault {fault.kind!r}; there are {sorted(KINDS)} and 'ok'")
    return fault


def fault_of(config: Any, digest: str, attempt: int, text: str) -> Fault | None:
    """What this attempt, the first is 1, meets. A script, where one matches, decides alone."""
    for part, steps in config.fault_script.items():
        if part in text:
            return scripted(steps, attempt)
    if not config.faults:
        return None
    point = share_of(config.seed, digest, attempt)
    for kind in KINDS:  # not the order of the configuration, so that merging into it changes nothing
        point -= config.faults.get(kind, 0.0)
        if point < 0:
            return Fault(kind)
    return None


def share_of(*parts: object) -> float:
    """A number from 0 up to 1 that these parts decide."""
    words = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(words, digest_size=7).digest()) / 2**56


def spoiled(draft: Draft, kind: str, seed: int) -> bool:
    """Do to the draft what a fault of this kind does; false where it does nothing, for nothing in it fits."""
    if kind == "wrong_schema":
        draft.content = '{"unexpected": [1, 2, 3], "note": "an answer of another shape"}'
    elif kind == "prose":
        fenced = f"```json\n{draft.content}\n```"
        draft.content = f"Here is my evaluation of the text:\n\n{fenced}\n\nLet me know if you need anything else."
    elif kind == "empty_content":
        draft.content = "" if seed % 2 else None
    elif kind == "length":
        draft.content, draft.finish_reason = (draft.content or "")[: len(draft.content or "") // 2], "length"
    elif kind == "refusal":
        draft.content, draft.refusal = None, "I'm sorry, but I cannot help with that request."
    elif kind == "content_filter":
        draft.content, draft.finish_reason = (draft.content or "")[: len(draft.content or "") // 3], "content_filter"
    elif kind in ("score_out_of_range", "inconsistent_score"):
        return _score_spoiled(draft, kind, seed)
    return True


def _score_spoiled(draft: Draft, kind: str, seed: int) -> bool:
    value = _parsed(draft.content)
    if not isinstance(value, dict) or type(value.get("score")) not in (int, float):
        return False
    if kind == "score_out_of_range":
        value["score"] = 1_000 + seed % 7 if seed % 2 else -1 - seed % 7
    else:
        verdicts = verdicts_of(value, "criteria") or verdicts_of(value, "levels")
        if verdicts is None:
            return False
        value["score"] += 1 if value["score"] < len(verdicts) else -1
    draft.content = orjson.dumps(value).decode()
    return True


def _parsed(content: str | None) -> Any:
    try:
        return orjson.loads(content or "")
    except orjson.JSONDecodeError:
        return None
