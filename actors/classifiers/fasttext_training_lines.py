"""Training lines of fastText: are they fit to train on, how many are they, and which bytes exactly.

One pass over the files, in constant memory once two labels and one frequent word are found. What is not fit is
told in one line, before fastText spends an hour on it. Lines are not changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.classifiers.card import ModelError
from actors.classifiers.fasttext_lines import LABEL_PREFIX

_BLOCK = 1 << 20  # bytes read at once


@dataclass(frozen=True, slots=True)
class TrainingLines:
    """Number of lines, bytes, and the SHA-256 (hexadecimal) of all bytes in the order given."""

    rows: int
    bytes: int
    sha256: str


def inspect(files: Sequence[Path], min_count: int) -> TrainingLines:
    """Read the lines once. Raises `ModelError` when no classifier can be learnt from them."""
    digest, rows, size = hashlib.sha256(), 0, 0
    check = _Learnable(min_count)
    if not files:
        raise ModelError("no training file was given")
    for path in files:
        block = b""
        try:
            with path.open("rb") as lines:
                while read := lines.read(_BLOCK) if check.settled else lines.readline():
                    block = read
                    if not check.settled:
                        check.add(block)
                    digest.update(block)
                    rows += block.count(b"\n")
                    size += len(block)
        except OSError as error:
            raise ModelError(
                f"{path} cannot be read ({error.strerror}); give the train.txt of a converted dataset"
            ) from error
        rows += block[-1:] not in (b"", b"\n")  # a last line may lack its LF
    check.raise_if_not(files)
    return TrainingLines(rows, size, digest.hexdigest())


class _Learnable:
    """Whether the lines read so far hold two labels and one word that is frequent enough to be kept."""

    def __init__(self, min_count: int) -> None:
        self._min_count = min_count
        self._prefix = LABEL_PREFIX.encode()
        self._labels: set[bytes] = set()
        self._words: Counter[bytes] = Counter()
        self._has_word = False
        self.settled = False

    def add(self, line: bytes) -> None:
        words = line.replace(b"\0", b" ").split()
        self._labels.update(word for word in words if word.startswith(self._prefix))
        if not self._has_word:
            # Every line's end is the word </s> for fastText, which alone teaches nothing.
            new = [word for word in words if not word.startswith(self._prefix) and word != b"</s>"]
            self._words.update(new)
            self._has_word = any(self._words[word] >= self._min_count for word in new)
        self.settled = self._has_word and len(self._labels) > 1

    def raise_if_not(self, files: Sequence[Path]) -> None:
        if self.settled:
            return
        place = ", ".join(map(str, files))
        if not self._labels:
            raise ModelError(f"{place}: no line has a {LABEL_PREFIX}…; make the file with convert-to-fasttext")
        if len(self._labels) == 1:
            (label,) = self._labels
            name = label.decode(errors="replace").removeprefix(LABEL_PREFIX)
            raise ModelError(f"{place}: every row has the label {name!r}; a classifier needs at least two labels")
        top = max(self._words.values(), default=0)
        raise ModelError(
            f"{place}: no word occurs {self._min_count} times (the most frequent one {top} times), so the vocabulary "
            f"would be empty; give more rows, or a min count of at most {max(top, 1)}"
        )


def check_validation(path: Path) -> None:
    """Raise `ModelError` unless the file holds at least one labelled line."""
    try:
        with path.open("rb") as file:
            found = any(LABEL_PREFIX.encode() in line for line in file)
    except OSError as error:
        raise ModelError(f"validation file {path} cannot be read ({error.strerror})") from error
    if not found:
        raise ModelError(f"{path}: no line has a {LABEL_PREFIX}…; autotune needs labelled rows")


def join(files: Sequence[Path], target: Path) -> Path:
    """All lines of `files` in `target`, the last line of each ended by an LF."""
    with target.open("wb") as joined:
        for path in files:
            with path.open("rb") as part:
                shutil.copyfileobj(part, joined, _BLOCK)
                if part.tell() and part.seek(-1, os.SEEK_END) >= 0 and part.read(1) != b"\n":
                    joined.write(b"\n")
    return target
