"""Rows of one chunk: JSON lines kept as bytes, with the account of what became of each.

A row enters as the exact bytes of its line (without the LF). A stage replaces the lines it changes, and says
of a row that it cannot process why (`Failure`), or that it does not want it (`None`). The account always adds
up: rows in = rows out + filtered + quarantined. Nothing here parses JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why one row could not be processed; the row goes to quarantine, its neighbours go on.

    `evidence` is what is kept beside the reason for whoever looks into it (a model's raw answer, say): JSON values.
    """

    reason: str
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A quarantined row: where it stood, its bytes as they were read, and why it was taken out."""

    line: int
    raw: bytes
    reason: str
    evidence: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Rows:
    """The rows of one chunk, in the order of their shard.

    `shard` is the shard's name relative to its dataset (unique within a run), `numbers` the 1-based line number
    of each row in that shard, `originals` the lines as they were read, aligned with `lines`. `counters` are sums
    that a stage wants in the run's summary.
    """

    shard: str
    lines: list[bytes]
    numbers: list[int]
    originals: list[bytes] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    filtered: int = 0
    counters: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.originals:
            self.originals = self.lines

    def __len__(self) -> int:
        return len(self.lines)

    def settle(self, results: Sequence[bytes | Failure | None]) -> Rows:
        """Replace every line by its result: bytes stay, a `Failure` is quarantined, `None` is filtered out.

        `results` is aligned with `lines`; the same object is returned, changed in place.
        """
        if len(results) != len(self.lines):
            raise ValueError(f"{len(results)} results for {len(self.lines)} rows of {self.shard}")
        if all(type(result) is bytes for result in results):
            self.lines = list(results)  # type: ignore[arg-type]
            return self
        kept: list[int] = []
        lines: list[bytes] = []
        for position, result in enumerate(results):
            if isinstance(result, bytes):
                kept.append(position)
                lines.append(result)
            elif result is None:
                self.filtered += 1
            else:
                number, raw = self.numbers[position], self.originals[position]
                self.rejected.append(Rejected(number, raw, result.reason, result.evidence))
        self.numbers = [self.numbers[position] for position in kept]
        self.originals = [self.originals[position] for position in kept]
        self.lines = lines
        return self

    def count(self, name: str, amount: float = 1) -> None:
        """Add to a counter that is summed over all chunks of the run."""
        self.counters[name] = self.counters.get(name, 0) + amount
