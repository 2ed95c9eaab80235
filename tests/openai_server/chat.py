"""POST /v1/chat/completions: reading the question, and putting the answer into OpenAI's shape."""

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import Any

import orjson

from tests.openai_server.answers import tokens_of
from tests.openai_server.config import Config
from tests.openai_server.errors import ApiError
from tests.openai_server.faults import share_of
from tests.openai_server.questions import (
    Question,
    Said,
    check_length,
    check_model,
    digest_of,
    parsed,
    positive,
    stops,
)

_TIERS = ("auto", "default", "flex", "priority", "scale")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SAMPLING = ("temperature", "top_p", "seed", "stop", "reasoning_effort", "frequency_penalty", "presence_penalty", "n")
_OTHERS = (
    "messages model max_tokens max_completion_tokens response_format service_tier logprobs top_logprobs logit_bias "
    "stream stream_options user metadata store tools tool_choice parallel_tool_calls modalities audio prediction "
    "verbosity web_search_options functions function_call prompt_cache_key prompt_cache_retention "
    "safety_identifier"
)
_KNOWN = frozenset(_SAMPLING) | frozenset(_OTHERS.split())
_RANGES = {"temperature": (0, 2), "top_p": (0, 1), "frequency_penalty": (-2, 2), "presence_penalty": (-2, 2)}


def read(raw: bytes, config: Config) -> Question:
    """The question in this body. Raises ApiError."""
    body = parsed(raw)
    model = check_model(body.get("model"), config)
    _check_parameters(body, config)
    messages: Any = body.get("messages")
    text = _text(messages)
    check_length(text, config, "messages")
    max_tokens = positive(body, "max_completion_tokens") or positive(body, "max_tokens")
    schema = _schema(body.get("response_format"), config)
    return Question(
        digest=digest_of(model, messages, schema, max_tokens, [body.get(name) for name in _SAMPLING]),
        model=model,
        text=text,
        prompt_tokens=len(text) // 4 + 3 * len(messages),
        max_tokens=max_tokens,
        schema=schema,
        stop=stops(body),
        body=body,
        raw=raw,
    )


def completion(question: Question, said: Said, serial: int) -> dict[str, Any]:
    """The chat completion that answers it."""
    body, draft = question.body, said.draft
    tier = body.get("service_tier")
    message: dict[str, Any] = {
        "role": "assistant",
        "content": draft.content,
        "refusal": draft.refusal,
        "annotations": [],
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": _logprobs(draft.content or "", question.digest) if body.get("logprobs") else None,
        "finish_reason": draft.finish_reason,
    }
    answer = {
        "id": f"chatcmpl-{serial:012x}{question.digest[:12]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": question.model,
        "choices": [choice],
        "usage": _usage(question, said),
        "service_tier": "default" if tier in (None, "auto") else tier,
        "system_fingerprint": "fp_44709d6fcb",
    }
    kind = said.fault.kind if said.fault else None
    if kind == "no_choices":
        answer["choices"] = []
    elif kind == "missing_usage":
        del answer["usage"]
    return answer


def events(answer: dict[str, Any], question: Question) -> bytes:
    """The same answer as server-sent events, for `stream: true`."""
    head = {name: answer[name] for name in ("id", "created", "model", "service_tier", "system_fingerprint")}
    head["object"] = "chat.completion.chunk"
    chunks: list[dict[str, Any]] = []
    for choice in answer["choices"]:
        content = choice["message"]["content"] or ""
        deltas = [{"role": "assistant", "content": "", "refusal": None}]
        deltas += [{"content": content[start : start + 4]} for start in range(0, len(content), 4)]
        chunks += [{**head, "choices": [{"index": 0, "delta": each, "finish_reason": None}]} for each in deltas]
        chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    if (question.body.get("stream_options") or {}).get("include_usage") and "usage" in answer:
        chunks.append({**head, "choices": [], "usage": answer["usage"]})
    return b"".join(b"data: %s\n\n" % orjson.dumps(each) for each in chunks) + b"data: [DONE]\n\n"


def _usage(question: Question, said: Said) -> dict[str, Any]:
    return {
        "prompt_tokens": question.prompt_tokens,
        "completion_tokens": said.completion_tokens,
        "total_tokens": question.prompt_tokens + said.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": said.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": said.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _logprobs(content: str, digest: str) -> dict[str, Any]:
    tokens = [content[start : start + 4] for start in range(0, tokens_of(content) * 4, 4)]
    described = [
        {
            "token": token,
            "logprob": -3 * share_of(digest, place) ** 2,
            "bytes": list(token.encode()),
            "top_logprobs": [],
        }
        for place, token in enumerate(tokens)
    ]
    return {"content": described, "refusal": None}


def _text(messages: Any) -> str:
    """All that the messages say. Raises ApiError where they are no messages."""
    if messages is None:
        raise ApiError(
            400, "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "Invalid 'messages': expected an array with items.", param="messages", code="invalid_type")
    return "\n".join([_message_text(each, place) for place, each in enumerate(messages)])


def _message_text(message: Any, place: int) -> str:
    if not isinstance(message, dict) or message.get("role") not in (
        "system", "user", "assistant", "developer", "tool", "function",
    ):  # fmt: skip
        raise ApiError(
            400, f"Invalid value for 'messages[{place}].role'.", param=f"messages[{place}].role", code="invalid_value"
        )
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    if content is None and message["role"] == "assistant":
        return ""
    where = f"messages[{place}].content"
    raise ApiError(400, f"Invalid type for '{where}'.", param=where, code="invalid_type")


def _check_parameters(body: dict[str, Any], config: Config) -> None:
    for name in config.unsupported_parameters:
        if name in body:
            hint = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            message = f"Unsupported parameter: '{name}' is not supported with this model.{hint}"
            raise ApiError(400, message, param=name, code="unsupported_parameter")
    if config.strict_parameters and (unknown := body.keys() - _KNOWN):
        name = min(unknown)
        raise ApiError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    if "max_tokens" in body and "max_completion_tokens" in body:
        raise ApiError(400, "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
    for name, (low, high) in _RANGES.items():
        value = body.get(name)
        if value is not None and (type(value) not in (int, float) or not low <= value <= high):
            message = f"Invalid '{name}': expected a number from {low} to {high}."
            raise ApiError(400, message, param=name, code="invalid_value")
    for name, known in (("service_tier", _TIERS), ("reasoning_effort", _EFFORTS), ("n", (1,))):
        if body.get(name) is not None and body[name] not in known:
            raise ApiError(400, f"Invalid value for '{name}': {body[name]!r}.", param=name, code="invalid_value")


def _schema(form: Any, config: Config) -> Any:
    """The JSON schema that the answer has to meet, None for free text."""
    kind = form.get("type") if isinstance(form, dict) else None
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    described = form.get("json_schema") if kind == "json_schema" else None
    if not isinstance(described, dict):
        raise ApiError(400, "Invalid value for 'response_format'.", param="response_format", code="invalid_value")
    name = described.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        param = "response_format.json_schema.name"
        raise ApiError(400, f"Invalid or missing '{param}'.", param=param, code="invalid_value")
    schema = described.get("schema", {})
    if described.get("strict") and config.strict_schemas and (fault := _strict_fault(orjson.dumps(schema))):
        raise ApiError(400, f"Invalid schema for response_format '{name}': {fault}", param="response_format")
    return schema


@lru_cache(1024)
def _strict_fault(schema: bytes) -> str | None:
    """What strict mode does not take about a schema, None where all is well."""
    root = orjson.loads(schema)
    if not isinstance(root, dict) or root.get("type") != "object" or "anyOf" in root:
        return "schema must be a JSON Schema of 'type: \"object\"'"
    return _strict_walk(root, ())


def _strict_walk(part: Any, path: tuple[str, ...]) -> str | None:
    if isinstance(part, list):
        return next((said for each in part if (said := _strict_walk(each, path))), None)
    if not isinstance(part, dict):
        return None
    properties = part.get("properties")
    if part.get("type") == "object" or isinstance(properties, dict):
        if part.get("additionalProperties") is not False:
            return f"In context={path}, 'additionalProperties' is required to be supplied and to be false."
        if missing := sorted(set(properties or ()) - set(part.get("required", ()))):
            return (
                f"In context={path}, 'required' is required to be supplied and to be an array including every key in "
                f"properties. Missing '{missing[0]}'."
            )
    inner = {name: part[name] for name in ("items", "anyOf", "allOf", "oneOf", "prefixItems") if name in part}
    for name in ("properties", "$defs", "definitions"):
        inner |= {f"{name}/{key}": each for key, each in (part.get(name) or {}).items()}
    return next((said for key, each in inner.items() if (said := _strict_walk(each, (*path, key)))), None)
