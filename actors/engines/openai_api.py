"""Any server that speaks the OpenAI protocol: hosted models, and vLLM and SGLang servers of one's own.

Chat completions, with structured output where a schema is given; log-probabilities by vLLM's `prompt_logprobs`. Many
requests at once over one pool of connections; pace, places and money are the gate's, retries are the service's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import orjson

from actors.engines.contract import (
    Capability,
    Category,
    Completion,
    Engine,
    EngineUnusable,
    Message,
    Request,
    RequestFailed,
    Usage,
)
from actors.engines.json_service import Foreign, JsonService, Service, Unreadable
from actors.gate import Gate
from actors.prices import Prices
from actors.token_bound import most_tokens

Decoded = TypeVar("Decoded")

DEFAULT_URL = "https://api.openai.com/v1"
# OpenAI's own addresses, those of its regions too, and Azure's.
_HOSTED = re.compile(r"(.+\.)?openai\.(com|azure\.com)")
# Names of an answer's length. Reasoning models of the hosted service refuse the old one; many servers know only that.
OLD_LENGTH, NEW_LENGTH = "max_tokens", "max_completion_tokens"
_WANTS_NEW_LENGTH = re.compile(rf"\buse\W+{NEW_LENGTH}\b", re.IGNORECASE)
TOKENS_PER_MESSAGE = 8
TOKENS_PER_IMAGE = 1600  # more than most models count for a picture of up to a million pixels
UNBOUNDED_ANSWER = 4096  # tokens; what an answer without --max-new-tokens is taken to use at most


class _Details(msgspec.Struct):
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None

    def plain(self) -> Usage:
        prompt, answer = self.prompt_tokens_details, self.completion_tokens_details
        asked = max(0, self.prompt_tokens or 0)
        return Usage(
            asked,
            max(0, self.completion_tokens or 0),
            max(0, min((prompt and prompt.cached_tokens) or 0, asked)),
            (answer and answer.reasoning_tokens) or 0,
        )


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    model: str | None = None
    usage: _Usage | None = None
    service_tier: str | None = None


class _Scored(msgspec.Struct):
    prompt_logprobs: list[dict[str, Any] | None] | None = None


class _ScoredAnswer(msgspec.Struct):
    choices: list[_Scored]
    usage: _Usage | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_SCORED = msgspec.json.Decoder(_ScoredAnswer)


def service_at(base_url: str | None, name: str | None = None, **options: Any) -> Service:
    """The service at an address, the hosted one without. A key is asked for where there is no doubt that it is needed."""
    url = base_url or DEFAULT_URL
    host = urlsplit(url).hostname or url
    return Service(name or f"the model server {host}", url, needs_key=is_hosted(url), **options)


def is_hosted(url: str) -> bool:
    """Whether OpenAI or Azure answers there, and not a server that speaks the same protocol."""
    return _HOSTED.fullmatch(urlsplit(url).hostname or "") is not None


class OpenAIEngine(Engine):
    """One model of an OpenAI-compatible server. `gate` has to be started by who made it, on the same event loop.

    `prices` are needed for costs; without them a completion's cost is None.
    """

    name = "openai"
    capabilities: frozenset[Capability] = frozenset(("generate", "schema", "score"))

    def __init__(self, service: Service, model: str, gate: Gate, prices: Prices | None = None) -> None:
        self._model, self._prices, self._gate = model, prices, gate
        self._service = JsonService(service, gate)
        self._length_field = NEW_LENGTH if is_hosted(service.base_url) else OLD_LENGTH
        self._most_answered = 0

    def identity(self) -> dict[str, Any]:
        return {"engine": self.name, "model": self._model}

    async def start(self) -> None:
        await self._service.start()

    async def close(self) -> None:
        await self._service.close()

    def hold_places(self) -> None:
        self._gate.is_holding = True

    def kept(self) -> None:
        self._gate.kept()

    async def generate(self, request: Request) -> Completion:
        body = self.body(request)
        tier = request.sampling.service_tier
        bound, tokens = self.bound(request)

        def cost(answer: _Answer) -> int:
            if self._prices is None or answer.usage is None:
                return bound  # nobody knows what it cost
            # The tier that answered, which may be another than was asked for.
            return self._prices.of(answer.service_tier or tier).cost(answer.usage.plain())

        put_with = self._length_field

        def amended(refusal: bytes) -> bytes | None:
            nonlocal put_with
            if put_with == NEW_LENGTH or not _wants_new_length(refusal):
                return None
            put_with = self._length_field = NEW_LENGTH
            return self.body(request)

        answer, latency = await self._service.post("/chat/completions", body, _read, cost, bound, tokens, amended)
        return self._completion(answer, latency, cost(answer) if self._prices and answer.usage else None)

    def _completion(self, answer: _Answer, latency: float, cost: int | None) -> Completion:
        choice = answer.choices[0]
        usage = answer.usage.plain() if answer.usage else Usage()
        self._most_answered = max(self._most_answered, usage.completion_tokens)
        return Completion(
            text=choice.message.content or "",
            finish_reason=choice.finish_reason or "stop",
            usage=usage,
            cost=cost,
            latency=round(latency, 4),
            model=answer.model or "",
            refusal=choice.message.refusal or None,
        )

    def body(self, request: Request) -> bytes:
        """The request as the protocol has it; batches send the same."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [_as_sent(message) for message in request.messages],
            self._length_field: sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # Draws of one question differ by their seed, where one is set at all.
            "seed": None if sampling.seed is None else sampling.seed + request.sample,
            "stop": list(sampling.stop) or None,
            "reasoning_effort": sampling.reasoning_effort,
            "service_tier": sampling.service_tier,
            # Known to the servers of vLLM and SGLang; another one says that it is not.
            "min_p": sampling.min_p,
            "chat_template_kwargs": sampling.chat_template_kwargs,
        }
        if request.schema is not None:
            schema = {"name": request.schema_name, "schema": request.schema, "strict": request.is_strict}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return encoded({name: value for name, value in body.items() if value is not None})

    def bound(self, request: Request) -> tuple[int, int]:
        """The most that a request can cost (nano-dollars) and use (tokens).

        As providers count it: the prompt and all tokens that the answer may have. Of a picture an approximation; without
        `max_new_tokens` the longest answer so far stands for the longest.
        """
        sampling = request.sampling
        prompt = most_prompt_tokens(request)
        answer = sampling.max_new_tokens or self._most_answered or UNBOUNDED_ANSWER
        if self._prices is None:
            return 0, prompt + answer
        usage = Usage(prompt_tokens=prompt, completion_tokens=answer)
        return self._prices.dearest(sampling.service_tier).cost(usage), prompt + answer

    async def score(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[float]:
        if not prompt_ids or not response_ids:
            raise ValueError("score needs at least one token of a prompt and one of a response")
        ids = [*prompt_ids, *response_ids]
        body = encoded({"model": self._model, "prompt": ids, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0})

        def cost(answer: _ScoredAnswer) -> int:
            return self._prices.of(None).cost(answer.usage.plain()) if self._prices and answer.usage else bound

        bound = self._prices.of(None).cost(Usage(len(ids), 1)) if self._prices else 0
        answer, _ = await self._service.post("/completions", body, _read_scored, cost, bound, len(ids) + 1)
        try:
            return self._scores(answer, prompt_ids, response_ids)
        except (RequestFailed, EngineUnusable):
            self.kept()  # nobody will write it down
            raise

    def _scores(self, answer: _ScoredAnswer, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[float]:
        found = answer.choices[0].prompt_logprobs
        if found is None or len(found) != len(prompt_ids) + len(response_ids):
            raise EngineUnusable(
                f"{self._service.service.name} gives no prompt_logprobs, by which answers are scored: use a vLLM server"
            )
        return [_logprob(at, token) for at, token in zip(found[len(prompt_ids) :], response_ids, strict=True)]


def _as_sent(message: Message) -> dict[str, Any]:
    """The message as the protocol has it: its text, or its text and its pictures as parts."""
    if not message.images:
        return {"role": message.role, "content": message.content}
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in message.images]
    return {"role": message.role, "content": [{"type": "text", "text": message.content}, *pictures]}


def most_prompt_tokens(request: Request) -> int:
    """The most tokens that the messages, their pictures and the schema can have."""
    found = sum(_most_tokens(each) + TOKENS_PER_IMAGE * len(each.images) for each in request.messages)
    if request.schema is not None:  # which the provider puts in front of the messages
        found += _repeated(encoded(request.schema).decode()) + TOKENS_PER_MESSAGE
    return found


def _most_tokens(message: Message) -> int:
    count = _repeated if message.role == "system" else most_tokens
    return count(message.content) + TOKENS_PER_MESSAGE


# What comes with every request is counted once.
_repeated = lru_cache(maxsize=64)(most_tokens)


def encoded(body: Any) -> bytes:
    """JSON; half of a surrogate pair, which UTF-8 cannot hold, becomes the replacement character."""
    try:
        return orjson.dumps(body)
    except TypeError:
        import json

        text = json.dumps(body, ensure_ascii=False)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _read(content: bytes) -> _Answer:
    answer = _decoded(_ANSWER, content)
    if not answer.choices:
        raise Unreadable("an answer without choices")
    return answer


def _read_scored(content: bytes) -> _ScoredAnswer:
    answer = _decoded(_SCORED, content)
    if not answer.choices:
        raise Unreadable("an answer without choices")
    return answer


def _decoded(decoder: msgspec.json.Decoder[Decoded], content: bytes) -> Decoded:
    try:
        try:
            return decoder.decode(content)
        except msgspec.DecodeError:
            if rb"\ud" not in content.lower():
                raise
            import json  # which reads half of a surrogate pair, as a model may well write it

            return decoder.decode(encoded(json.loads(content)))
    except ValueError as error:
        if _is_foreign(content):
            raise Foreign("JSON that is not of the protocol") from error
        raise Unreadable(f"an answer that is not of the protocol: {error}") from error


def _is_foreign(content: bytes) -> bool:
    """Whether it is whole, and neither an answer of this protocol nor an error that some servers send as one."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return not isinstance(found, dict) or found.keys().isdisjoint(("choices", "error"))


def _wants_new_length(content: bytes) -> bool:
    """Whether an error says that an answer's length has to be given by its new name."""
    try:
        error = orjson.loads(content)["error"]
        if (error.get("code"), error.get("param")) == ("unsupported_parameter", OLD_LENGTH):
            return True
        return _WANTS_NEW_LENGTH.search(str(error.get("message"))) is not None
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return False


def _logprob(at: dict[str, Any] | None, token: int) -> float:
    try:
        return float((at or {})[str(token)]["logprob"])
    except (KeyError, TypeError) as error:
        raise RequestFailed(Category.SERVER_ERROR, f"no log-probability of token {token} in the answer") from error
