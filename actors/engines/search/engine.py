"""An engine without a model: it answers tasks with programs that it finds by search, some right and most wrong.

It reads the task from the prompt as a model would, and knows nothing that is not in it. It is there to try a whole run
on any machine, with answers that are as mixed as a weak model's; it is no language model and says so by its name. The
same request has the same answer everywhere.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import msgspec
import numpy as np

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
from actors.engines.search.answers import write_answer
from actors.engines.search.program_writer import PREAMBLE, write_program
from actors.engines.search.search import Candidate, Search
from actors.engines.search.task_reader import ShownTask, read_task
from actors.journal import request_key

# Raise it with every change that can move an answer: answers of different versions are not those of one model.
VERSION = 1
DEEPEST = 3
CHARACTERS_PER_TOKEN = 4  # its tokens are counted by this alone: it has none
REMEMBERED = 256  # tasks


class SearchEngine(Engine):
    """`depth` is how many steps its programs have at most, 1 to 3: the fewer, the weaker it is.

    Of the sampling, `temperature`, `max_new_tokens` and `seed` mean something to it. A program that stands in the
    conversation already is not given again. Usage is an approximation by characters.
    """

    name = "search"
    capabilities: frozenset[Capability] = frozenset(("generate",))

    def __init__(self, model: str = "search", depth: int = DEEPEST) -> None:
        if type(depth) is not int or not 1 <= depth <= DEEPEST:
            raise EngineUnusable(f"--engine-option depth={depth}: give 1, 2 or {DEEPEST}")
        self._model, self._depth = model, depth
        self._found: OrderedDict[bytes, list[Candidate]] = OrderedDict()
        self._searching: ThreadPoolExecutor | None = None

    def identity(self) -> dict[str, Any]:
        return {"engine": self.name, "model": self._model, "version": VERSION, "depth": self._depth}

    async def start(self) -> None:
        self._searching = ThreadPoolExecutor(1, "searching")

    async def close(self) -> None:
        if self._searching is not None:
            self._searching.shutdown(wait=False, cancel_futures=True)
            self._searching = None

    async def generate(self, request: Request) -> Completion:
        if self._searching is None:
            raise EngineUnusable("the engine search is not started, or closed already")
        # One thread: who asks for a task that is being searched waits for it, and finds it remembered.
        return await asyncio.get_running_loop().run_in_executor(self._searching, self._completion, request)

    def _completion(self, request: Request) -> Completion:
        began = time.monotonic()
        text = self._answer(request)
        limit = request.sampling.max_new_tokens
        tokens = -(-len(text) // CHARACTERS_PER_TOKEN)
        is_cut = limit is not None and tokens > limit
        if limit is not None and is_cut:
            text, tokens = text[: limit * CHARACTERS_PER_TOKEN], limit
        asked = sum(len(message.content) for message in request.messages)
        return Completion(
            text=text,
            finish_reason="length" if is_cut else "stop",
            usage=Usage(-(-asked // CHARACTERS_PER_TOKEN), tokens),
            latency=round(time.monotonic() - began, 4),
            model=self._model,
        )

    def _answer(self, request: Request) -> str:
        if any(message.images for message in request.messages):
            raise EngineUnusable(
                "the engine search reads text alone, and the conversation has pictures: leave out --images"
            )
        task = read_task(request.messages)
        if task is None:
            raise RequestFailed(
                Category.REJECTED, "the engine search answers tasks of grids, and finds none in the prompt"
            )
        candidates = _untried(self._candidates(task), request.messages)
        temperature = 1.0 if request.sampling.temperature is None else request.sampling.temperature
        # The draw depends on all that was asked, the seed and the sample's number among it, and on nothing else.
        random = Random(request_key(self.identity(), request))
        return write_answer(candidates, len(task.train), temperature, random)

    def _candidates(self, task: ShownTask) -> list[Candidate]:
        key = msgspec.json.encode(task)
        found = self._found.get(key)
        if found is None:
            inputs, outputs = ([np.array(grid) for grid in side] for side in zip(*task.train, strict=True))
            tests = [np.array(grid) for grid in task.tests]
            every = Search(inputs, outputs, self._depth).run()
            found = self._found[key] = [candidate for candidate in every if candidate.runs_on(tests)]
        self._found.move_to_end(key)
        while len(self._found) > REMEMBERED:
            self._found.popitem(last=False)
        return found


def _untried(candidates: list[Candidate], messages: Sequence[Message]) -> list[Candidate]:
    said = [message.content for message in messages if PREAMBLE in message.content]
    return (
        [each for each in candidates if not any(write_program(each.steps) in text for text in said)]
        if said
        else candidates
    )
