"""A model run by SGLang: on a server, over its native /generate, or in this process where a GPU is at hand.

Both ways give the same answers in the same shape, so they are read by the same code. Prompts go as tokens, made here by
the model's own tokenizer. Known by SGLang's documentation and source of version 0.5; the way in this process has not
been run.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import msgspec

from actors.engines.chat import Chat
from actors.engines.contract import (
    Capability,
    Category,
    Completion,
    Engine,
    EngineUnusable,
    Request,
    RequestFailed,
    Usage,
)
from actors.engines.json_service import JsonService, Service, Unreadable
from actors.engines.model_files import generation_defaults, model_directory, model_identity, shown_name
from actors.engines.openai_api import encoded
from actors.engines.option_values import option_values
from actors.gate import Gate

INSTALL = 'pip install "sglang[all]" in an environment of its own'
NEW_TOKENS = 512  # where a request names no limit; SGLang's own is 128
# The options that change answers; others only change how fast they come.
_DECIDING = ("dtype", "quantization", "context_length", "json_model_override_args", "revision", "kv_cache_dtype")
_DRAWING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
# Log-probability (none for the first token asked for), token, its text where that was asked for.
_Scored = tuple[float | None, int, str | None]


class _Finish(msgspec.Struct):
    type: str
    message: str | None = None
    status_code: int | None = None


class _Meta(msgspec.Struct):
    finish_reason: _Finish | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = 0
    input_token_logprobs: list[_Scored] | None = None
    output_token_logprobs: list[_Scored] | None = None


class _Answer(msgspec.Struct):
    meta_info: _Meta
    text: str = ""


_ANSWER = msgspec.json.Decoder(_Answer)


class SglangEngine(Engine):
    """A model of a directory or of the Hugging Face hub.

    With `service` and its started `gate` a server is asked, which has to run this model: its tokenizer is read here.
    Without, the model is loaded in this process; `options` are those of SGLang's ServerArgs.
    """

    name = "sglang"
    capabilities: frozenset[Capability] = frozenset(("generate", "score", "schema", "token_ids"))

    def __init__(
        self,
        model: str,
        options: Mapping[str, Any] | None = None,
        service: Service | None = None,
        gate: Gate | None = None,
        chat_template: str | None = None,
    ) -> None:
        self._name, self._template = model, chat_template
        self._options = option_values(options or {})
        self._service: JsonService | None = None
        self._gate = None if service is None else gate
        if service is not None:
            if gate is None:
                raise ValueError("a server is asked through a gate")
            # The address may be given as for --engine openai.
            root = service.base_url.rstrip("/").removesuffix("/v1")
            self._service = JsonService(replace(service, base_url=root), gate)
        self._engine: Any = None
        self._tokenizing: ThreadPoolExecutor | None = None

    def identity(self) -> dict[str, Any]:
        deciding = {name: self._options.get(name) for name in _DECIDING}
        return model_identity(self.name, self._name, self._template, **deciding)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        # Tokenizers are not for several threads at once, and long texts would hold the loop up.
        self._tokenizing = ThreadPoolExecutor(1, "tokenizing")
        self._chat = await loop.run_in_executor(self._tokenizing, Chat, self._name, self._template)
        self._shown = shown_name(self._name)
        own = generation_defaults(self._name)
        self._defaults = {name: own[name] for name in _DRAWING if own.get(name) is not None}
        if self._service is not None:
            await self._service.start()
        else:
            self._engine = await loop.run_in_executor(None, _started, self._name, self._options)

    async def close(self) -> None:
        if self._service is not None:
            await self._service.close()
        elif self._engine is not None:
            engine, self._engine = self._engine, None
            await asyncio.get_running_loop().run_in_executor(None, engine.shutdown)
        if self._tokenizing is not None:
            self._tokenizing.shutdown(wait=False)

    def hold_places(self) -> None:
        if self._gate is not None:
            self._gate.is_holding = True

    def kept(self) -> None:
        if self._gate is not None:
            self._gate.kept()

    async def generate(self, request: Request) -> Completion:
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(self._tokenizing, self._prompt_ids, request)
        body = {"input_ids": ids, "sampling_params": self._params(request), "return_logprob": True}
        answer, latency = await self._ask(body)
        meta = answer.meta_info
        rows = meta.output_token_logprobs or []
        reason = meta.finish_reason or _Finish("abort", "no reason is given")
        if reason.type == "abort":
            self.kept()  # it came as an answer, and is none
            category = Category.REJECTED if reason.status_code == 400 else Category.SERVER_ERROR
            raise RequestFailed(category, f"SGLang gave the request up: {reason.message}")
        return Completion(
            text=answer.text,
            finish_reason=reason.type,
            usage=Usage(meta.prompt_tokens, meta.completion_tokens, meta.cached_tokens or 0),
            latency=round(latency, 4),
            model=self._shown,
            token_ids=tuple(token for _, token, _ in rows),
            logprobs=tuple(value if value is not None else 0.0 for value, _, _ in rows),
        )

    async def score(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[float]:
        if not prompt_ids or not response_ids:
            raise ValueError("score needs at least one token of a prompt and one of a response")
        body = {
            "input_ids": [*prompt_ids, *response_ids],
            "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
            "return_logprob": True,
            # The first token asked for has no value: ask from the one in front of the response.
            "logprob_start_len": len(prompt_ids) - 1,
        }
        answer, _ = await self._ask(body)
        try:
            return _scores(answer, response_ids)
        except RequestFailed:
            self.kept()
            raise

    def _prompt_ids(self, request: Request) -> list[int]:
        return self._chat.prompt_ids(request.messages, request.sampling.chat_template_kwargs)

    def _params(self, request: Request) -> dict[str, Any]:
        """What a request leaves open is the model's own generation config's to say, as behind its OpenAI paths."""
        sampling = request.sampling
        asked = {
            "max_new_tokens": sampling.max_new_tokens or NEW_TOKENS,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            # Draws of one question differ by their seed, where one is set at all.
            "sampling_seed": None if sampling.seed is None else sampling.seed + request.sample,
            "stop": list(sampling.stop) or None,
            "json_schema": None if request.schema is None else encoded(request.schema).decode(),
        }
        return self._defaults | {name: value for name, value in asked.items() if value is not None}

    async def _ask(self, body: dict[str, Any]) -> tuple[_Answer, float]:
        if self._service is not None:
            tokens = len(body["input_ids"]) + body["sampling_params"]["max_new_tokens"]
            return await self._service.post("/generate", encoded(body), _read, lambda answer: 0, 0, tokens)
        if self._engine is None:
            raise EngineUnusable(f"the model {self._name} is not started, or closed already")
        began = time.monotonic()
        try:
            found = await self._engine.async_generate(**body)
            return msgspec.convert(found, _Answer, strict=False), time.monotonic() - began
        except msgspec.ValidationError as error:
            raise RequestFailed(Category.SERVER_ERROR, f"an answer that is not of the protocol: {error}") from error
        except ValueError as error:
            raise RequestFailed(Category.REJECTED, " ".join(str(error).split())[:300]) from error


def _read(content: bytes) -> _Answer:
    try:
        return _ANSWER.decode(content)
    except msgspec.DecodeError as error:
        raise Unreadable(f"an answer that is not of the protocol: {error}") from error


def _scores(answer: _Answer, response_ids: Sequence[int]) -> list[float]:
    rows = (answer.meta_info.input_token_logprobs or [])[-len(response_ids) :]
    if [token for _, token, _ in rows] != list(response_ids):
        raise RequestFailed(Category.SERVER_ERROR, "SGLang's log-probabilities are of other tokens")
    return [_known(value, token) for value, token, _ in rows]


def _known(value: float | None, token: int) -> float:
    if value is None:
        raise RequestFailed(Category.SERVER_ERROR, f"no log-probability of token {token} in the answer")
    return value


# In this process


def _started(model: str, options: Mapping[str, Any]) -> Any:
    """SGLang's engine with the model loaded. Raises EngineUnusable."""
    if find_spec("sglang") is None:
        raise EngineUnusable(
            f"--engine sglang needs SGLang: {INSTALL}; or ask an SGLang server: --base-url http://HOST:30000"
        )
    import torch

    if not torch.cuda.is_available():
        raise EngineUnusable(
            "--engine sglang needs a GPU in the worker, and torch sees none on this node; ask a server with --base-url "
            "http://HOST:30000, or take --engine vllm or transformers, which have builds for CPUs"
        )
    try:
        from sglang import Engine as InProcess

        with _signals_left_alone():
            return InProcess(model_path=str(model_directory(model) or model), **options)
    except TypeError as error:
        raise EngineUnusable(f"--engine-option: SGLang does not take it: {error}") from error
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        raise EngineUnusable(f"SGLang cannot run the model {model}: {' '.join(str(error).split())[:300]}") from error


@contextmanager
def _signals_left_alone() -> Iterator[None]:
    """SGLang sets signal handlers while it starts, which only a main thread may; Ray's own engine does the same."""
    if threading.current_thread() is threading.main_thread():
        yield
        return
    before = signal.signal
    signal.signal = lambda *args: signal.SIG_DFL
    try:
        yield
    finally:
        signal.signal = before
