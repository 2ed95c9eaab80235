"""Rows as the requests that a provider's batch asks for them: what the journal does not answer, as lines of an input file.

The lines are kept compressed, chunk by chunk; into which file each goes is decided over all of them (see
pipelines.annotation.batch_parts). A row without a question is left out here; who annotates quarantines it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import zstandard

from actors.batch_format import BatchFormat
from actors.engines.json_service import Service
from actors.journal import Journal
from actors.questions import Question, Questions
from cluster.rows import Failure, Rows
from cluster.shards import ChunkSize, RawChunk, Source, encode
from cluster.stage import Stage, Summarizer
from cluster.storage import Storage

ROWS_AT_ONCE = 1000  # a row of ten bytes may become a request of ten thousand
_FRAME = "requests.jsonl.zst"


@dataclass(frozen=True, slots=True)
class FewRows:
    """A source in chunks of no more than ROWS_AT_ONCE rows."""

    source: Source

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def size(self) -> int:
        return self.source.size

    @property
    def divisible(self) -> bool:
        return self.source.divisible

    def chunks(self, size: ChunkSize) -> Iterator[RawChunk]:
        return self.source.chunks(ChunkSize(size.bytes, ROWS_AT_ONCE))


class RenderRequests(Stage):
    """Replaces each row by its request's line, which `service` and `model` decide; `journal` is what is answered already.

    Counts `questions`, those `in the journal`, and rows with `no question`.
    """

    def __init__(self, questions: Questions, service: Service, model: str, journal: Storage) -> None:
        self.questions, self.service, self.model, self.journal = questions, service, model, journal

    def setup(self) -> None:
        self._format = BatchFormat(self.service, self.model)
        self._journal = Journal.open(self.journal, "batches")

    def process(self, rows: Rows) -> Rows:
        return rows.settle([self._line(question, rows) for question in self.questions.of(rows.lines)])

    def _line(self, question: Question | Failure, rows: Rows) -> bytes | None:
        if isinstance(question, Failure):
            rows.count("no question")
            return None
        rows.count("questions")
        key = self._format.key(question.request)
        if key in self._journal:
            rows.count("in the journal")
            return None
        return self._format.line(question.request, key)


class KeepRequests(Summarizer):
    """Keeps the lines, compressed."""

    def encode(self, rows: Rows) -> bytes:
        return encode(b"\n".join((*rows.lines, b"")), _FRAME) if rows.lines else b""


def requests_in(payload: bytes) -> Iterator[bytes]:
    """The lines that `KeepRequests` kept of a chunk, without their LF."""
    if payload:
        yield from zstandard.ZstdDecompressor().decompress(payload)[:-1].split(b"\n")
