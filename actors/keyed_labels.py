"""A row's key and label, as an agreement between datasets needs them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
import zstandard

from actors.expressions import Expression
from cluster.rows import Failure, Rows
from cluster.stage import Stage, Summarizer

# As it stands in `_meta` of a grade that no model gave.
STATIC = "static-analysis"
_MEASURED = re.compile(rb'"engine"\s*:\s*"static-analysis"')
SNIPPET = 300  # characters of a key, which often is the whole text, that a report shows


@dataclass(slots=True)
class KeyedLabels:
    """The rows of a part of a dataset: 128-bit hashes of the keys (16 bytes each), labels, and what to show.

    `measured` is how many of the labels the static-analysis engine gave; `beside` how many rows hold a grade of it while
    nothing beside the label tells who gave that.
    """

    hashes: bytes
    labels: list[str | int | float | bool | None]
    shown: list[str]
    measured: int
    beside: int


class KeyRows(Stage):
    """Replaces each row by the JSON array [hash of the key (hexadecimal), label, snippet of the key, line, measured].

    A key is text as it is, anything else its JSON; a row without a key is quarantined. A label is a scalar; null
    means that the grader gave none.
    """

    def __init__(self, key_expression: str, label_expression: str) -> None:
        self.key, self.label = Expression(key_expression), Expression(label_expression)

    def process(self, rows: Rows) -> Rows:
        measured = [self._is_measured(line) for line in rows.lines]
        found = zip(rows.numbers, self.key.values(rows.lines), self.label.values(rows.lines), measured, strict=True)
        return rows.settle([self._row(*each) for each in found])

    def _is_measured(self, line: bytes) -> bool | None:
        """Whether no model gave the label; None where such a grade is in the row and it cannot be told."""
        if _MEASURED.search(line) is None:
            return False
        engine = None if self.label.path is None else _engine_beside(line, self.label.path)
        return None if engine is None else engine == STATIC

    def _row(self, number: int, key: object, label: object, is_measured: bool | None) -> bytes | Failure:
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
        return msgspec.json.encode([digest, label, snippet, number, is_measured if label is not None else False])


def _engine_beside(line: bytes, path: tuple[str, ...]) -> str | None:
    """The engine in the `_meta` that is nearest to the field at `path`, in an object around it."""
    try:
        place = msgspec.json.decode(line)
    except (msgspec.DecodeError, ValueError):
        return None  # what is wrong with the row is said of its key
    found = None
    for key in path:
        if not isinstance(place, dict):
            break
        meta = place.get("_meta")
        if isinstance(meta, dict) and isinstance(meta.get("engine"), str):
            found = meta["engine"]
        place = place.get(key)
    return found


class KeyedRows(Summarizer):
    """Keeps the keyed rows of a chunk."""

    def encode(self, rows: Rows) -> bytes:
        return zstandard.ZstdCompressor(level=1).compress(b"[" + b",".join(rows.lines) + b"]")


def keyed_labels(record: bytes, shard: str) -> KeyedLabels:
    """What `KeyedRows` kept of a chunk of `shard`."""
    rows = msgspec.json.decode(zstandard.ZstdDecompressor().decompress(record))
    hashes = b"".join(bytes.fromhex(digest) for digest, *_ in rows)
    shown = [f"{shard}:{line}: {snippet}" for _, _, snippet, line, _ in rows]
    measured = [is_measured for *_, is_measured in rows]
    labels = [label for _, label, *_ in rows]
    return KeyedLabels(hashes, labels, shown, measured.count(True), measured.count(None))
