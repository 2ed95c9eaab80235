"""POST /v1/completions as vLLM takes it, and POST /generate as SGLang does: texts, and log-probabilities of tokens.

Log-probabilities are drawn from a hash of the tokens up to each one, so both protocols give the same ones. There is no
tokenizer: tokens of a text are pieces of four characters, and the text of an id is made up.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Sequence
from typing import Any

import orjson

from tests.openai_server.config import Config
from tests.openai_server.errors import ApiError
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

END_OF_TEXT = 2
_VOCABULARY = 50_000
_SAMPLING = ("temperature", "top_p", "seed", "stop", "n", "echo", "logprobs", "prompt_logprobs")


def ids_of(text: str) -> list[int]:
    """The tokens of a text."""
    return [3 + zlib.crc32(text[at : at + 4].encode()) % (_VOCABULARY - 3) for at in range(0, len(text), 4)]


def logprobs(ids: Sequence[int]) -> list[float]:
    """The log-probability of each token after those in front of it. A first token has none; its place holds 0."""
    running, values = hashlib.blake2b(digest_size=8), []
    for token in ids:
        running.update(token.to_bytes(4))
        share = int.from_bytes(running.digest()) / 2**64
        values.append(-0.01 - 8 * share**3)
    return [0.0, *values[1:]]


def text_of_id(token: int) -> str:
    return f"t{token} "


# vLLM


def read_completion(raw: bytes, config: Config) -> Question:
    """The question of a /v1/completions body. Raises ApiError."""
    body = parsed(raw)
    model = check_model(body.get("model"), config)
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    ids = _ids(prompt, "prompt")
    text = prompt if isinstance(prompt, str) else " ".join(map(str, ids))
    check_length(text, config, "prompt")
    max_tokens = 0 if body.get("max_tokens") == 0 and body.get("echo") else positive(body, "max_tokens") or 16
    body["ids"] = ids
    return Question(
        digest=digest_of(model, ids, max_tokens, [body.get(name) for name in _SAMPLING]),
        model=model,
        text=text,
        prompt_tokens=len(ids),
        max_tokens=max_tokens,
        schema=(body.get("structured_outputs") or {}).get("json") or body.get("guided_json"),
        stop=stops(body),
        body=body,
        raw=raw,
    )


def completion(question: Question, said: Said, serial: int) -> dict[str, Any]:
    """The text completion that answers it."""
    body, draft, ids = question.body, said.draft, question.body["ids"]
    content = draft.content or ""
    new = ids_of(content)
    shown, text = new, content
    if body.get("echo"):
        shown = ids + new
        text = (body["prompt"] if isinstance(body["prompt"], str) else "".join(map(text_of_id, ids))) + content
    choice = {
        "index": 0,
        "text": text,
        "logprobs": None if body.get("logprobs") is None else _shown(ids, new, shown),
        "finish_reason": draft.finish_reason,
        "stop_reason": None,
        "token_ids": None,
        "prompt_logprobs": None
        if body.get("prompt_logprobs") is None
        else _prompt_logprobs(ids, body["prompt_logprobs"]),
        "prompt_token_ids": None,
    }
    answer: dict[str, Any] = {
        "id": f"cmpl-{serial:016x}{question.digest[:16]}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": question.model,
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {
            "prompt_tokens": len(ids),
            "total_tokens": len(ids) + said.completion_tokens,
            "completion_tokens": said.completion_tokens,
            "prompt_tokens_details": None,
        },
        "kv_transfer_params": None,
    }
    kind = said.fault.kind if said.fault else None
    if kind == "no_choices":
        answer["choices"] = []
    elif kind == "missing_usage":
        del answer["usage"]
    return answer


def _shown(ids: list[int], new: list[int], shown: list[int]) -> dict[str, Any]:
    values: list[float | None] = list(logprobs(ids + new))
    values[0] = None
    values = values[-len(shown) :] if shown else []
    tokens = [text_of_id(token) for token in shown]
    offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]
    tops = [None if value is None else {token: value} for token, value in zip(tokens, values, strict=True)]
    return {"text_offset": offsets, "token_logprobs": values, "tokens": tokens, "top_logprobs": tops}


def _prompt_logprobs(ids: list[int], most: int) -> list[Any]:
    """vLLM's list: nothing for the first token, then by id the token itself and, of likelier ones, the first `most`."""
    places: list[Any] = [None]
    for token, value in list(zip(ids, logprobs(ids), strict=True))[1:]:
        rank = 1 + int(-value * 3)
        likelier = {
            str((token + 7 * place) % _VOCABULARY): _described(value + 0.005, place, (token + 7 * place) % _VOCABULARY)
            for place in range(1, min(most, rank - 1) + 1)
        }
        places.append({**likelier, str(token): _described(value, rank, token)})
    return places


def _described(value: float, rank: int, token: int) -> dict[str, Any]:
    return {"logprob": value, "rank": rank, "decoded_token": text_of_id(token)}


# SGLang


def read_generate(raw: bytes, config: Config) -> Question:
    """The question of a /generate body. Raises ApiError."""
    body = parsed(raw)
    sampling = body.get("sampling_params") or {}
    if (body.get("text") is None) == (body.get("input_ids") is None):
        raise ApiError(400, "Either text or input_ids should be provided.")
    if not isinstance(sampling, dict):
        raise ApiError(400, "sampling_params: one request takes one object.")
    ids = _ids(body.get("text") if body.get("input_ids") is None else body["input_ids"], "input_ids")
    text = body.get("text") or " ".join(map(str, ids))
    check_length(text, config, "input")
    max_tokens = sampling.get("max_new_tokens", 128)
    if type(max_tokens) is not int or max_tokens < 0:
        raise ApiError(400, f"max_new_tokens must be at least 0, got {max_tokens}.")
    schema = sampling.get("json_schema")
    if schema is not None and not isinstance(schema, str):
        raise ApiError(400, "sampling_params.json_schema is a JSON schema as a string.")
    try:
        schema = None if schema is None else orjson.loads(schema)
    except orjson.JSONDecodeError:
        raise ApiError(400, "sampling_params.json_schema is no JSON.") from None
    body["ids"] = ids
    return Question(
        digest=digest_of(ids, body.get("text"), sampling, body.get("return_logprob"), body.get("logprob_start_len")),
        model=config.model_path,
        text=text,
        prompt_tokens=len(ids),
        max_tokens=max_tokens,
        schema=schema,
        stop=stops(sampling),
        body=body,
        raw=raw,
    )


def generated(question: Question, said: Said, latency: float) -> dict[str, Any]:
    """SGLang's answer to it."""
    body, draft, ids = question.body, said.draft, question.body["ids"]
    output = ids_of(draft.content or "")
    if draft.finish_reason == "length":
        reason: dict[str, Any] = {"type": "length", "length": question.max_tokens}
    else:
        # The end of text is a token like others; where a limit leaves no room for it, the limit ends the answer.
        has_room = question.max_tokens is None or len(output) < question.max_tokens
        output = [*output, END_OF_TEXT] if has_room else output
        reason = {"type": "stop", "matched": END_OF_TEXT} if has_room else {"type": "length", "length": len(output)}
    meta: dict[str, Any] = {
        "id": body.get("rid") or question.digest[:32],
        "finish_reason": reason,
        "prompt_tokens": len(ids),
        "weight_version": "default",
        "completion_tokens": len(output),
        "cached_tokens": said.cached_tokens,
        "e2e_latency": latency,
    }
    if body.get("return_logprob"):
        meta |= _meta_logprobs(ids, output, body)
    return {"text": draft.content or "", "output_ids": output, "meta_info": meta}


def _meta_logprobs(ids: list[int], output: list[int], body: dict[str, Any]) -> dict[str, Any]:
    """By token [log-probability, id, its text or null]. Of the input, the first one asked for never has a value."""
    start = body.get("logprob_start_len", -1)
    start = len(ids) - 1 if start in (None, -1) else start
    if not 0 <= start <= len(ids):
        raise ApiError(400, f"logprob_start_len is from -1 to the prompt's length, got {start}.")
    values: list[float | None] = list(logprobs(ids + output))
    if start < len(ids):
        values[start] = None
    has_text = bool(body.get("return_text_in_logprobs"))
    rows = [
        [value, token, text_of_id(token) if has_text else None]
        for value, token in zip(values, ids + output, strict=True)
    ]
    meta: dict[str, Any] = {
        "input_token_logprobs": rows[start : len(ids)],
        "output_token_logprobs": rows[len(ids) :],
    }
    if body.get("top_logprobs_num"):
        for side in ("input", "output"):
            tops = [None if row[0] is None else [row] for row in meta[f"{side}_token_logprobs"]]
            meta[f"{side}_top_logprobs"] = tops
    return meta


def model_info(config: Config) -> dict[str, Any]:
    """What /get_model_info and /model_info say."""
    return {
        "model_path": config.model_path,
        "tokenizer_path": config.model_path,
        "is_generation": True,
        "preferred_sampling_params": None,
        "weight_version": "default",
        "has_image_understanding": False,
        "has_audio_understanding": False,
    }


def _ids(prompt: Any, param: str) -> list[int]:
    if isinstance(prompt, str) and prompt:
        return ids_of(prompt)
    if isinstance(prompt, list) and prompt and all(type(each) is int and each >= 0 for each in prompt):
        return prompt
    raise ApiError(
        400, f"Invalid '{param}': expected a text or token ids, not empty.", param=param, code="invalid_type"
    )
