"""Cutting numeric labels into N bins of near-equal counts, by the exact quantiles of the training labels.

Memory: 16 bytes for each distinct label value.
"""

from __future__ import annotations

import numpy as np
import orjson

from actors.fasttext_rows import numeric_labels
from cluster.errors import GristmillError
from cluster.ledger import Chunks, Pass


class BinningError(GristmillError):
    """The labels cannot be cut into as many bins as were asked for."""


def quantile_edges(values: np.ndarray, counts: np.ndarray, bins: int) -> list[float]:
    """The inner edges of `bins` bins: the label at rank ⌊i·n/bins⌋ for i = 1 … bins−1, each edge once.

    `values` are distinct and ascending. A label's bin is the number of edges at or below it; an edge at the smallest
    label would make an empty bin and is left out, so heavily tied labels give fewer bins.
    """
    ends = np.cumsum(counts)
    ranks = [i * int(ends[-1]) // bins for i in range(1, bins)]
    edges = values[np.searchsorted(ends, ranks, side="right")]
    return [float(edge) for edge in np.unique(edges) if edge > values[0]]


def decide_bins(step: Pass, chunks: list[Chunks], bins: int) -> bytes:
    """The plan of --auto: the edges of the bins. Raises BinningError where there are fewer distinct labels than bins."""
    values, counts = np.zeros(0), np.zeros(0, np.int64)
    for _, payload in step.payloads(chunks):
        more, often = numeric_labels(payload)
        values, where = np.unique(np.concatenate([values, more]), return_inverse=True)
        counts = np.bincount(where, weights=np.concatenate([counts, often]), minlength=len(values)).astype(np.int64)
    if len(values) < bins:
        raise BinningError(
            f"--auto {bins} needs at least {bins} distinct numeric labels in the train split, it has {len(values)}"
        )
    return orjson.dumps(quantile_edges(values, counts, bins))
