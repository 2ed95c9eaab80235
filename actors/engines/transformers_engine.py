"""A model in this process, run by transformers: for small models, for CPUs, and where vLLM does not know the model.

Requests gather in a line; a thread of its own takes them in batches, so the event loop is never held up. A batch is
drawn to its end before the next begins, which leaves a GPU idle far more than vLLM does. Answers are not bound to a
JSON schema: that is left to whoever checks them.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors.engines.contract import (
    Capability,
    Category,
    Completion,
    Engine,
    EngineUnusable,
    Message,
    Request,
    RequestFailed,
    Sampling,
)
from actors.engines.model_files import model_identity
from actors.engines.transformers_model import OutOfMemory, Pair, Prompt, TransformersModel

GATHER = 0.005  # s that an idle thread waits for more to come


@dataclass(eq=False, slots=True)
class _Job:
    """A request in line. Those with the same key may share a batch; `work` is what the model takes."""

    key: Hashable
    prepare: Callable[[], Prompt | Pair]
    future: asyncio.Future[Any]
    work: Prompt | Pair | None = field(default=None)

    def settle(self, result: Any) -> None:
        """From the worker's thread: hand the result, or the error, to the loop."""
        # A loop that is closed has nobody waiting any more.
        with suppress(RuntimeError):
            self.future.get_loop().call_soon_threadsafe(self._set, result)

    def _set(self, result: Any) -> None:
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class TransformersEngine(Engine):
    """A model of a directory or of the Hugging Face hub.

    `device` is auto (a GPU where there is one), cpu, cuda or cuda:N; `dtype` is auto (float32 on a CPU, elsewhere the
    model's own), float32, bfloat16 or float16.
    """

    name = "transformers"
    capabilities: frozenset[Capability] = frozenset(("generate", "score", "token_ids"))

    def __init__(
        self,
        model: str,
        batch_size: int = 16,
        device: str = "auto",
        dtype: str = "auto",
        chat_template: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise EngineUnusable(f"--engine-option batch_size={batch_size}: give 1 or more")
        self._name, self._batch_size = model, batch_size
        self._device, self._dtype, self._template = device, dtype, chat_template
        self._line: queue.SimpleQueue[_Job | None] | None = None

    def identity(self) -> dict[str, Any]:
        dtype = None if self._dtype == "auto" else self._dtype
        return model_identity(self.name, self._name, self._template, dtype=dtype)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._model = await loop.run_in_executor(
            None, TransformersModel, self._name, self._device, self._dtype, self._template
        )
        self._line = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=(self._line,), name="transformers", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        if self._line is not None:
            self._line.put(None)
            self._line = None
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
            del self._model

    async def generate(self, request: Request) -> Completion:
        # What differs in the seed alone may share a batch: every row has random numbers of its own.
        key = msgspec.structs.replace(request.sampling, seed=None)
        future = self._future()

        def prepare() -> Prompt:
            return self._prompt(request.messages, request.sampling, request.sample, lambda: not future.cancelled())

        completion: Completion = await self._put(_Job(key, prepare, future))
        return completion

    async def score(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[float]:
        if not prompt_ids or not response_ids:
            raise ValueError("score needs at least one token of a prompt and one of a response")

        def prepare() -> Pair:
            pair = Pair(list(prompt_ids), list(response_ids))
            self._model.check(pair.ids)
            return pair

        found: list[float] = await self._put(_Job("score", prepare, self._future()))
        return found

    def _future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    async def _put(self, job: _Job) -> Any:
        if self._line is None:
            raise EngineUnusable(f"the model {self._name} is not started, or closed already")
        self._line.put(job)
        return await job.future

    # In the thread

    def _prompt(
        self, messages: Sequence[Message], sampling: Sampling, sample: int, is_wanted: Callable[[], bool]
    ) -> Prompt:
        ids = self._model.chat.prompt_ids(messages, sampling.chat_template_kwargs)
        self._model.check(ids, more=1)
        # Draws of one question differ by their seed, where one is set at all.
        return Prompt(ids, sampling, None if sampling.seed is None else sampling.seed + sample, is_wanted)

    def _work(self, line: queue.SimpleQueue[_Job | None]) -> None:
        waiting: list[_Job] = []
        is_open = True
        while is_open or waiting:
            is_open = self._gather(line, waiting) and is_open
            batch = self._next(waiting)
            if batch:
                self._settle(batch)

    def _gather(self, line: queue.SimpleQueue[_Job | None], waiting: list[_Job]) -> bool:
        """Take what is in line, ready for the model; false when the line is closed."""
        job: _Job | None
        if not waiting:
            job = line.get()
            if job is None:
                return False
            self._admit(job, waiting)
            time.sleep(GATHER)
        with suppress(queue.Empty):
            while True:
                job = line.get_nowait()
                if job is None:
                    return False
                self._admit(job, waiting)
        return True

    def _admit(self, job: _Job, waiting: list[_Job]) -> None:
        if job.future.cancelled():
            return
        try:
            job.work = job.prepare()
        except Exception as error:  # one request's error, of whatever kind, is that request's
            job.settle(error)
        else:
            waiting.append(job)

    def _next(self, waiting: list[_Job]) -> list[_Job]:
        """The first in line and those of its kind, taken out."""
        waiting[:] = [job for job in waiting if not job.future.cancelled()]
        batch = [job for job in waiting if job.key == waiting[0].key][: self._batch_size]
        taken = set(map(id, batch))
        waiting[:] = [job for job in waiting if id(job) not in taken]
        return batch

    def _settle(self, batch: list[_Job]) -> None:
        began = time.monotonic()
        try:
            results = self._results(batch)
        except OutOfMemory as error:
            self._settle_halves(batch, str(error))
            return
        except Exception as error:
            results = [self._failure(error)] * len(batch)
        latency = round(time.monotonic() - began, 4)
        for job, result in zip(batch, results, strict=True):
            timed = isinstance(result, Completion)
            job.settle(msgspec.structs.replace(result, latency=latency) if timed else result)

    def _results(self, batch: list[_Job]) -> Sequence[Any]:
        prompts = [job.work for job in batch if isinstance(job.work, Prompt)]
        if prompts:
            return self._model.generate(prompts)
        return self._model.score([job.work for job in batch if isinstance(job.work, Pair)])

    def _settle_halves(self, batch: list[_Job], reason: str) -> None:
        """Go on with smaller batches, from now on; what does not fit alone never will."""
        _give_memory_back()
        if len(batch) == 1:
            batch[0].settle(RequestFailed(Category.REJECTED, f"no memory for it on the device, alone: {reason}"))
            return
        half = len(batch) // 2
        self._batch_size = min(self._batch_size, max(1, half))
        self._settle(batch[:half])
        self._settle(batch[half:])

    def _failure(self, error: Exception) -> Exception:
        # After an error of the device nothing works any more in this process.
        if isinstance(error, RuntimeError) and "CUDA error" in str(error):
            return EngineUnusable(f"the GPU failed under the model {self._name}: {' '.join(str(error).split())[:200]}")
        return error


def _give_memory_back() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
