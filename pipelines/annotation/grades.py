"""What one grader said of the rows of a dataset: a key and a label for each, and the scale that the labels lie on.

Labels are compared by name (see `actors.labels`): the number 3, 3.0 and the string "3" are one label, and null is
none. Keys are compared by a 128-bit hash, so that ten million of them take 160 MB.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash

from actors.labels import label_name
from cluster.rows import Failure

KeyHashes: TypeAlias = npt.NDArray[np.uint64]
Codes: TypeAlias = npt.NDArray[np.int32]

NO_LABEL = -1
SHOWN_CHARACTERS = 80  # of a row that stands for its key
# Agreement is about categories; with more of them than this, two graders hardly ever agree and a table cannot be read.
MOST_LABELS = 200


@dataclass(frozen=True, slots=True)
class Grades:
    """One grader's labels.

    `measured` is how many of the rows were graded by measurement and not by a model, `beside` how many hold such a grade
    of which nothing tells whether it is the label. `keys` are texts, or hashes of shape (rows, 2) made by `hash_keys`;
    `labels` scalars (None: the row has no label), or an array of numbers. `rows`, if given, is what to show of each row
    that graders disagree on. All are aligned. Raises `ValueError` if they are not.
    """

    name: str
    keys: Sequence[str] | KeyHashes
    labels: Sequence[Any] | npt.NDArray[Any]
    rows: Sequence[Any] | None = None
    measured: int = 0
    beside: int = 0

    def __post_init__(self) -> None:
        lengths = [len(self.keys), len(self.labels), *([] if self.rows is None else [len(self.rows)])]
        if len(set(lengths)) != 1:
            raise ValueError(f"grades {self.name!r}: {lengths} keys, labels (and rows); give one of each per row")

    def __len__(self) -> int:
        return len(self.labels)

    def hashes(self) -> KeyHashes:
        """The hashes of the keys, of shape (rows, 2)."""
        return self.keys if isinstance(self.keys, np.ndarray) else hash_keys(self.keys)

    def key_text(self, position: int) -> str:
        """The key of a row as it is shown, or the row where only a hash is known of the key, or that in hexadecimal."""
        key = self.keys[position]
        if isinstance(key, str):
            return key
        if self.rows is None:
            return f"{int(key[0]):016x}{int(key[1]):016x}"
        row = str(self.rows[position])
        return row if len(row) <= SHOWN_CHARACTERS else f"{row[:SHOWN_CHARACTERS]}…"


def hash_keys(keys: Iterable[str]) -> KeyHashes:
    """128-bit hashes (XXH3) of keys, of shape (rows, 2); they depend on the text alone."""
    digests = b"".join(xxhash.xxh3_128_digest(key.encode("utf-8", "surrogatepass")) for key in keys)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class LabelScale:
    """The labels that occur, in their order: by number where all are numbers, by name otherwise.

    `values` are those numbers, None where a label is none.
    """

    labels: tuple[str, ...]
    values: tuple[float, ...] | None

    def __len__(self) -> int:
        return len(self.labels)


def encode_labels(grades: Sequence[Grades], is_ordinal: bool) -> tuple[LabelScale, list[Codes]]:
    """The scale of all labels together, and each grader's labels as places on it, `NO_LABEL` for none.

    Raises `ValueError` for a label that cannot be one: a list or object, more labels than `MOST_LABELS`, or, of an
    ordinal scale, a label that is no number.
    """
    named = [_named(each) for each in grades]
    names = sorted(set().union(*(names for names, _ in named)))
    if len(names) > MOST_LABELS:
        raise ValueError(
            f"{len(names):,} different labels (such as {', '.join(names[:3])}): agreement is measured over at most "
            f"{MOST_LABELS}; round or bin them in the label expression"
        )
    numbers = [_number(name) for name in names]
    is_numeric = all(number is not None for number in numbers)
    if is_ordinal and not is_numeric:
        culprit = next(name for name, number in zip(names, numbers, strict=True) if number is None)
        owner = next(each.name for each, (found, _) in zip(grades, named, strict=True) if culprit in found)
        raise ValueError(
            f"label {culprit!r} of {owner}: an ordinal label must be a number; leave ordinal out, or map it"
        )
    if is_numeric:
        names.sort(key=float)
    scale = LabelScale(tuple(names), tuple(map(float, names)) if is_numeric else None)
    place = {name: code for code, name in enumerate(names)}
    return scale, [_places(found, codes, place) for found, codes in named]


def _named(grades: Grades) -> tuple[list[str], Codes]:
    """The names of one grader's labels in the order they appear, and each row's place among them."""
    found: dict[str, int] = {}
    codes: dict[object, int] = {}
    labels = grades.labels.tolist() if isinstance(grades.labels, np.ndarray) else grades.labels

    def code(label: Any) -> int:
        # In Python True == 1, but they are two labels: the type belongs to the lookup.
        known = label if type(label) is str else (type(label), label)
        try:
            if known in codes:
                return codes[known]
        except TypeError:
            kind = "list" if isinstance(label, list) else "object"
            raise ValueError(f"grades {grades.name!r}: a label is a JSON {kind}; give one value per row") from None
        name = label_name(label, "")
        place = NO_LABEL if isinstance(name, Failure) else found.setdefault(name, len(found))
        return codes.setdefault(known, place)

    places = np.fromiter(map(code, labels), dtype=np.int32, count=len(labels))
    return list(found), places


def _places(found: list[str], codes: Codes, place: dict[str, int]) -> Codes:
    """Codes by first appearance turned into places on the scale; the last entry of the table serves `NO_LABEL`."""
    table = np.array([*(place[name] for name in found), NO_LABEL], dtype=np.int32)
    return table[codes]


def _number(name: str) -> float | None:
    try:
        number = float(name)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
