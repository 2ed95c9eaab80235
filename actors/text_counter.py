"""How long texts are, in characters, UTF-8 bytes and tokens: what is kept of a chunk is how often each length occurs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cluster.rows import Rows
from cluster.stage import Summarizer

Integers = npt.NDArray[np.int64]

MEASURES = ("characters", "bytes", "tokens")


class CountTexts(Summarizer):
    """Measures the texts that `ExtractTexts` left. `tokenizer` is the text of a tokenizer.json, None for no tokens.

    Tokens are those of the text alone: no special tokens around it, no truncation, no padding. They are made in the
    calling thread.
    """

    def __init__(self, tokenizer: str | None) -> None:
        self.tokenizer = tokenizer

    def setup(self) -> None:
        if self.tokenizer is None:
            return
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read by the library at each batch
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(self.tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, rows: Rows) -> bytes:
        texts = [line.decode() for line in rows.lines]
        lengths = [list(map(len, texts)), list(map(len, rows.lines))]
        if self.tokenizer is not None:
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            lengths.append([len(encoding) for encoding in encodings])
        parts = []
        for found in lengths:
            values, counts = np.unique(np.array(found, np.int64), return_counts=True)
            parts += [np.int64(len(values)).tobytes(), values.tobytes(), counts.astype(np.int64).tobytes()]
        return b"".join(parts)


def length_counts(record: bytes) -> Iterator[tuple[str, Integers, Integers]]:
    """What `CountTexts` kept of a chunk: per measure the distinct lengths, ascending, and how often each occurs."""
    start = 0
    for measure in MEASURES:
        if start == len(record):
            return
        distinct = int(np.frombuffer(record, np.int64, 1, start)[0])
        values = np.frombuffer(record, np.int64, distinct, start + 8)
        counts = np.frombuffer(record, np.int64, distinct, start + 8 + 8 * distinct)
        yield measure, values, counts
        start += 8 + 16 * distinct
