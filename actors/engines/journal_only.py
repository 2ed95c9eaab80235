"""The engine of answers that somebody else has fetched: under the journal, it knows only why a request has none.

It stands under `JournaledEngine`, which finds the answers. What is not found is a failed request, with the category
and the words that the provider's batch left for it. It asks nobody.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from actors.engines.contract import Capability, Category, Completion, Engine, Request, RequestFailed
from actors.journal import request_key
from cluster.storage import Storage

Failure = tuple[Category, str]

_UNKNOWN: Failure = (
    Category.SERVER_ERROR,
    "neither the journal nor a batch has an answer: it was there when the batches were made, and is gone",
)


class JournalOnlyEngine(Engine):
    """`failures` holds objects of lines as `actors.batch_format.failure_line` makes them; of two with a key, the last counts.

    It has the name and the identity of the live engine, whose answers these are.
    """

    name = "openai"
    capabilities: frozenset[Capability] = frozenset(("generate", "schema"))

    def __init__(self, model: str, failures: Storage) -> None:
        self._model, self._place = model, failures
        self._failures: dict[bytes, Failure] = {}

    def identity(self) -> dict[str, Any]:
        return {"engine": self.name, "model": self._model}

    async def start(self) -> None:
        self._failures = await asyncio.get_running_loop().run_in_executor(None, _read, self._place)

    async def generate(self, request: Request) -> Completion:
        raise RequestFailed(*self._failures.get(request_key(self.identity(), request), _UNKNOWN))


def _read(place: Storage) -> dict[bytes, Failure]:
    """All failures by key. Those that say the same are one object: many requests fail for few reasons."""
    failures: dict[bytes, Failure] = {}
    reasons: dict[Failure, Failure] = {}
    for entry in place.list():
        for line in place.read(entry.name).splitlines():
            found = orjson.loads(line)
            reason = (Category(found["category"]), str(found["detail"]))
            failures[bytes.fromhex(found["key"])] = reasons.setdefault(reason, reason)
    return failures
