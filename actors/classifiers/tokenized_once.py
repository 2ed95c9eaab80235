"""model2vec's trainable models, tokenizing every text once instead of once per epoch.

The batches are those of model2vec itself. Token ids are kept in one flat array of four bytes each, at most
`max_length` (512) of a text. Needs model2vec 0.10, whose training loop it hooks into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_TEXTS_PER_BLOCK = 8192


class TokenIds:
    """The token ids of many texts: `ids[i]` is the list of text i."""

    def __init__(self, blocks: Sequence[np.ndarray[Any, np.dtype[np.int32]]], lengths: Sequence[int]) -> None:
        self._ids = np.concatenate(blocks) if blocks else np.zeros(0, np.int32)
        self._ends = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> list[int]:
        ids: list[int] = self._ids[self._ends[index] : self._ends[index + 1]].tolist()
        return ids


def tokenized_once(kind: type[Any]) -> type[Any]:
    """A subclass of one of model2vec's trainable models that tokenizes before the first epoch."""

    class TokenizedOnce(kind):  # type: ignore[misc]
        def _text_dataset(self, rows: Any, indices: Any = None) -> Any:
            from model2vec.train.dataset import ColumnRows, TextDataset

            # Training and validation rows share one object when model2vec splits them itself.
            if getattr(self, "_tokenized_rows", None) is not rows:
                self._tokenized_rows = rows
                self._token_ids = self._all_ids(rows.columns["text"])
            tokenized = ColumnRows(text=self._token_ids, label=rows.columns["label"])
            return TextDataset(tokenized, lambda ids: ids, self._to_targets, indices)

        def _all_ids(self, texts: Sequence[str]) -> TokenIds:
            blocks: list[np.ndarray[Any, np.dtype[np.int32]]] = []
            lengths: list[int] = []
            for start in range(0, len(texts), _TEXTS_PER_BLOCK):
                ids = self._tokenize_ids(texts[start : start + _TEXTS_PER_BLOCK])
                lengths.extend(map(len, ids))
                blocks.append(np.fromiter((token for text in ids for token in text), np.int32))
            return TokenIds(blocks, lengths)

    TokenizedOnce.__name__ = kind.__name__
    return TokenizedOnce
