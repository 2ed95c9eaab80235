"""What a run knows of its batches, in its own folder: rounds of parts, what became of each, and failures by request.

Every object is small or made in one reading, published whole, and goes with the run's other temporary things when the
run is complete. It asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from actors.journal.key import KEY_BYTES
from cluster.errors import GristmillError
from cluster.ledger import IDENTITY, PASSES
from cluster.lock import locked
from cluster.storage import Storage
from pipelines.annotation.batch_parts import Part

Step = Literal["new", "uploading", "uploaded", "creating", "created", "taken"]


class BatchError(GristmillError):
    """Batches that cannot be gone on with as things are."""


class Account(msgspec.Struct):
    """What the answers of a batch used, and cost in nano-dollars."""

    answers: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0
    unpriced: int = 0


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a part is. `uploading` and `creating` are intents, written before the provider is asked, at `at`.

    `status`, `problems` and `account` are those of a batch whose answers are taken; `at` is then its creation.
    """

    step: Step = "new"
    at: float = 0.0
    file: str | None = None
    batch: str | None = None
    status: str | None = None
    problems: tuple[str, ...] = ()
    account: Account | None = None


class Round(msgspec.Struct, frozen=True):
    """Parts that were cut together. `counts` are those of the questions; `oversized` requests fit into no part."""

    parts: list[Part]
    oversized: int = 0
    counts: dict[str, int] = {}


NEW = State()


@dataclass(frozen=True, slots=True)
class BatchFolder:
    """The batches of the run with the identity `run` in `output`."""

    output: Storage
    run: str

    @classmethod
    def found(cls, output: Storage) -> BatchFolder | None:
        """That of the run in `output`, None where there is none at work."""
        try:
            return cls(output, output.read(IDENTITY).decode())
        except FileNotFoundError:
            return None

    @property
    def folder(self) -> str:
        return f"{PASSES}/{self.run}/batches"

    @property
    def failures(self) -> Storage:
        """Objects of failures, those of later parts behind those of earlier ones."""
        return self.output.child(f"{self.folder}/failures")

    # Rounds and parts

    def rounds(self) -> list[Round]:
        entries = self.output.list(f"{self.folder}/rounds")
        return [msgspec.json.decode(self.output.read(entry.name), type=Round) for entry in entries]

    def save_round(self, number: int, found: Round) -> None:
        """From now on the parts of this round stand."""
        self.output.publish(f"{self.folder}/rounds/{number:04d}.json", msgspec.json.encode(found))

    def parts(self) -> list[Part]:
        return [part for each in self.rounds() for part in each.parts]

    def publish_part(self, name: str, pieces: Iterable[bytes]) -> None:
        self.output.publish(f"{self.folder}/parts/{name}", pieces)

    def part_file(self, part: Part) -> str:
        return f"{self.folder}/parts/{part.name}.jsonl"

    def keys(self, part: Part) -> list[bytes]:
        data = self.output.read(f"{self.folder}/parts/{part.name}.keys")
        return [data[start : start + KEY_BYTES] for start in range(0, len(data), KEY_BYTES)]

    # What became of a part

    def state(self, part: Part) -> State:
        try:
            return msgspec.json.decode(self.output.read(self._state(part)), type=State)
        except FileNotFoundError:
            return NEW

    def save(self, part: Part, state: State) -> State:
        self.output.publish(self._state(part), msgspec.json.encode(state))
        return state

    def save_failures(self, name: str, lines: Iterable[bytes]) -> None:
        self.failures.publish(f"{name}.jsonl", lines)

    def _state(self, part: Part) -> str:
        return f"{self.folder}/state/{part.name}.json"

    # What the run was asked

    def save_order(self, order: dict[str, Any]) -> None:
        self.output.publish(f"{self.folder}/order.json", msgspec.json.encode(order))

    def order(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = msgspec.json.decode(self.output.read(f"{self.folder}/order.json"))
        except FileNotFoundError:
            return None
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands on this run out, on a file system; the lock goes with the process. Raises BatchError.

        An object store has no such lock.
        """
        with locked(self.output, f"{self.folder}/lock") as is_ours:
            if not is_ours:
                raise BatchError(f"{self.output.url}: another command is at work on these batches; wait for its end")
            yield
