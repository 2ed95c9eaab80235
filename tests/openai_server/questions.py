"""What every question to a model has in common, whichever protocol asks it, and what the model says to it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from tests.openai_server.answers import drawn, text_of, tokens_of
from tests.openai_server.config import Config
from tests.openai_server.errors import ApiError, no_such_model
from tests.openai_server.faults import Draft, Fault, spoiled


@dataclass(slots=True)
class Question:
    """A request to a model as it was read. `digest` is what makes it the same question as another one."""

    digest: str
    model: str
    text: str
    prompt_tokens: int
    max_tokens: int | None
    schema: Any
    stop: tuple[str, ...]
    body: dict[str, Any]
    raw: bytes

    @property
    def seed(self) -> int:
        return int(self.digest[:15], 16)

    @property
    def reserved_tokens(self) -> int:
        """What a rate limit counts before the answer is there."""
        return self.prompt_tokens + (self.max_tokens or 0)


@dataclass(slots=True)
class Said:
    """The model's answer with its tokens, and the fault that changed it, None where none did."""

    draft: Draft
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    fault: Fault | None


def parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(
            400, f"We could not parse the JSON body of your request. (The API expects a JSON payload: {error})"
        ) from None
    if not isinstance(body, dict):
        raise ApiError(400, "The JSON body of your request is not an object.")
    return body


def digest_of(*parts: Any) -> str:
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def check_model(model: Any, config: Config) -> str:
    if not isinstance(model, str) or not model:
        raise ApiError(400, "you must provide a model parameter")
    if config.models is not None and model not in config.models:
        raise no_such_model(model)
    return model


def check_length(text: str, config: Config, param: str) -> None:
    limit = config.max_prompt_characters
    if limit is not None and len(text) > limit:
        message = (
            f"This model's maximum context length is {limit // 4} tokens. However, your {param} resulted in "
            f"{tokens_of(text)} tokens. Please reduce the length of the {param}."
        )
        raise ApiError(400, message, param=param, code="context_length_exceeded")


def positive(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise ApiError(400, f"Invalid '{name}': expected an integer >= 1.", param=name, code="invalid_value")
    return value


def stops(body: dict[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop") or ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def said_to(question: Question, fault: Fault | None, config: Config) -> Said:
    """What the model says to it, after what a fault of the content does."""
    draft = _draft(question)
    reasoning = config.reasoning_tokens
    if question.max_tokens is not None:
        reasoning = min(reasoning, question.max_tokens)
        _cut(draft, question.max_tokens - reasoning)
    if fault is not None and not spoiled(draft, fault.kind, question.seed):
        fault = None
    completion = tokens_of(draft.content or draft.refusal or "") + reasoning
    if draft.finish_reason == "length" and question.max_tokens is not None:
        completion = question.max_tokens
    return Said(draft, completion, reasoning, _cached(question.prompt_tokens, config), fault)


def _draft(question: Question) -> Draft:
    rng = Random(question.seed)
    if question.schema is None:
        content = text_of(rng, rng.randint(4, 12)).capitalize() + "."
    else:
        try:
            content = orjson.dumps(drawn(question.schema, rng)).decode()
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ApiError(400, f"Invalid schema: {error!r}", param="response_format") from None
    for stop in question.stop:
        content = content.partition(stop)[0]
    return Draft(content)


def _cut(draft: Draft, tokens: int) -> None:
    if tokens_of(draft.content or "") > tokens:
        draft.content, draft.finish_reason = (draft.content or "")[: tokens * 4], "length"


def _cached(prompt_tokens: int, config: Config) -> int:
    """The cache holds prompts from 1 024 tokens on, in blocks of 128."""
    return int(prompt_tokens * config.cached_share) // 128 * 128 if prompt_tokens >= 1024 else 0
