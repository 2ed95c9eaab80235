"""A row's key and label, as an agreement between datasets needs them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
import zstandard

from actors.expressions import Expression
from cluster.rows import Failure, Rows
from cluster.stage import Stage, Summarizer

# As it stands in `_meta` of a row that no model graded.
_MEASURED = re.compile(rb'"engine"\s*:\s*"static-analysis"')
SNIPPET = 300  # characters of a key, which often is the whole text, that a report shows


@dataclass(slots=True)
class KeyedLabels:
    """The rows of a part of a dataset: 128-bit hashes of the keys (16 bytes each), labels, and what to show.

    `measured` is how many of them hold a grade of the static-analysis engine.
    """

    hashes: bytes
    labels: list[str | int | float | bool | None]
    shown: list[str]
    measured: int


class KeyRows(Stage):
    """Replaces each row by the JSON array [hash of the key (hexadecimal), label, snippet of the key, line, measured].

    A key is text as it is, anything else its JSON; a row without a key is quarantined. A label is a scalar; null
    means that the grader gave none.
    """

    def __init__(self, key_expression: str, label_expression: str) -> None:
        self.key, self.label = Expression(key_expression), Expression(label_expression)

    def process(self, rows: Rows) -> Rows:
        measured = [_MEASURED.search(line) is not None for line in rows.lines]
        found = zip(rows.numbers, self.key.values(rows.lines), self.label.values(rows.lines), measured, strict=True)
        return rows.settle([self._row(*each) for each in found])

    def _row(self, number: int, key: object, label: object, is_measured: bool) -> bytes | Failure:
        import xxhash

        if isinstance(key, Failure):
            return key
        if isinstance(label, Failure):
            return label
        if key is None:
            return Failure(f"no key: {self.key.program} gives null")
        if isinstance(label, dict | list):
            return Failure(f"{self.label.program} gives {type(label).__name__}, not a label")
        text = key if isinstance(key, str) else msgspec.json.encode(key, order="sorted").decode()
        digest = xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
        snippet = text[:SNIPPET].encode("utf-8", "replace").decode()
        return msgspec.json.encode([digest, label, snippet, number, is_measured])


class KeyedRows(Summarizer):
    """Keeps the keyed rows of a chunk."""

    def encode(self, rows: Rows) -> bytes:
        return zstandard.ZstdCompressor(level=1).compress(b"[" + b",".join(rows.lines) + b"]")


def keyed_labels(record: bytes, shard: str) -> KeyedLabels:
    """What `KeyedRows` kept of a chunk of `shard`."""
    rows = msgspec.json.decode(zstandard.ZstdDecompressor().decompress(record))
    hashes = b"".join(bytes.fromhex(digest) for digest, *_ in rows)
    shown = [f"{shard}:{line}: {snippet}" for _, _, snippet, line, _ in rows]
    measured = sum(is_measured for *_, is_measured in rows)
    return KeyedLabels(hashes, [label for _, label, *_ in rows], shown, measured)
