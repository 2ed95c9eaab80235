"""What is compared to find duplicates: a 128-bit hash of each text and, for near duplicates, a MinHash signature.

The hash is XXH3 of the UTF-8 text as it is; that two different texts share it is not expected below 2⁶⁰ texts. A
signature estimates the Jaccard similarity of two sets of n-grams as the share of places at which they agree.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from actors.shingles import shingles
from cluster.errors import GristmillError
from cluster.rows import Rows
from cluster.stage import Summarizer

SEED = 1


class NearDuplicatesUnavailable(GristmillError):
    """The library for MinHash is not installed."""


def check_near_duplicates() -> str:
    """The version of the MinHash library. Raises NearDuplicatesUnavailable where there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rensa")
    except PackageNotFoundError:
        raise NearDuplicatesUnavailable(
            "--near needs the library rensa, which is not installed: pip install 'gristmill[near-duplicates]'"
        ) from None


@dataclass(frozen=True, slots=True)
class Signatures:
    """How signatures are made: how many places they have, and of how many words an n-gram is."""

    num_perm: int
    ngram: int


class FingerprintTexts(Summarizer):
    """Keeps the fingerprints of the texts that `ExtractTexts` left, with their line numbers."""

    def __init__(self, signatures: Signatures | None = None) -> None:
        self.signatures = signatures

    def setup(self) -> None:
        if self.signatures is not None:
            os.environ.setdefault("RAYON_NUM_THREADS", "1")  # one actor, one processor
            import rensa

            self._digests = rensa.RMinHash.digest_matrix_from_flat_token_hashes

    def encode(self, rows: Rows) -> bytes:
        places = self.signatures.num_perm if self.signatures else 0
        parts = [
            np.array([len(rows), places], np.int64).tobytes(),
            np.array(rows.numbers, np.int64).tobytes(),
            b"".join(map(xxhash.xxh3_128_digest, rows.lines)),
        ]
        if self.signatures is not None:
            parts += self._signed(rows.lines, self.signatures)
        return b"".join(parts)

    def _signed(self, texts: list[bytes], settings: Signatures) -> list[bytes]:
        hashes, starts = shingles(texts, settings.ngram)
        matrix = self._digests(hashes, starts.astype(np.uint64), settings.num_perm, SEED)
        signatures = np.array(matrix.to_rows(), np.uint32).reshape(len(texts), settings.num_perm)
        return [np.asarray(np.diff(starts) > 0).tobytes(), signatures.tobytes()]


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The fingerprints of one chunk's rows, all arrays aligned.

    `numbers`: line numbers; `hashes`: uint64 (rows, 2); `comparable`: whether a text has words, and so a signature
    that means something; `signatures`: uint32 (rows, places), without places where none were asked for.
    """

    numbers: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    comparable: npt.NDArray[np.bool_]
    signatures: npt.NDArray[np.uint32]


def fingerprints(record: bytes) -> Fingerprints:
    """What `FingerprintTexts` kept of a chunk."""
    rows, places = np.frombuffer(record, np.int64, 2).tolist()
    start = 16
    numbers = np.frombuffer(record, np.int64, rows, start)
    start += 8 * rows
    hashes = np.frombuffer(record, ">u8", 2 * rows, start).astype(np.uint64).reshape(rows, 2)
    start += 16 * rows
    if not places:
        return Fingerprints(numbers, hashes, np.zeros(rows, np.bool_), np.zeros((rows, 0), np.uint32))
    comparable = np.frombuffer(record, np.bool_, rows, start)
    signatures = np.frombuffer(record, np.uint32, rows * places, start + rows).reshape(rows, places)
    return Fingerprints(numbers, hashes, comparable, signatures)
