"""Hashes and signatures of texts."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xxhash

from actors.fingerprints import Fingerprints, FingerprintTexts, Signatures, fingerprints
from actors.shingles import shingles
from cluster.rows import Rows


def of(texts: list[bytes], signatures: Signatures | None = None) -> Fingerprints:
    sink = FingerprintTexts(signatures)
    sink.setup()
    return fingerprints(sink.encode(Rows("a.jsonl", texts, list(range(5, 5 + len(texts))))))


def sentence(rng: random.Random, count: int) -> list[str]:
    return [f"w{rng.randrange(100_000)}" for _ in range(count)]


def test_every_row_keeps_its_line_number_and_its_hash():
    found = of([b"a", b"b", b"a", b""])
    assert found.numbers.tolist() == [5, 6, 7, 8]
    assert [(high << 64) + low for high, low in found.hashes.tolist()] == [
        xxhash.xxh3_128_intdigest(text) for text in (b"a", b"b", b"a", b"")
    ]
    assert found.signatures.shape == (4, 0)


def test_signatures_estimate_the_jaccard_similarity_of_the_ngrams():
    pytest.importorskip("rensa")
    rng = random.Random(7)
    errors = []
    for _ in range(40):
        words = sentence(rng, 300)
        changed = list(words)
        for position in rng.sample(range(300), rng.choice([2, 6, 15])):
            changed[position] = "changed"
        texts = [" ".join(each).encode() for each in (words, changed)]
        sets = [set(shingles([text], 5)[0].tolist()) for text in texts]
        one, other = of(texts, Signatures(256, 5)).signatures
        errors.append(np.mean(one == other) - len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
    assert abs(np.mean(errors)) < 0.015
    assert np.std(errors) < 1.2 / np.sqrt(256)


def test_texts_without_words_cannot_be_compared():
    pytest.importorskip("rensa")
    assert of([b"...", b"a", b"", b"a b c d e f"], Signatures(16, 5)).comparable.tolist() == [False, True, False, True]


def test_a_signature_does_not_depend_on_the_chunk_or_the_number_of_threads(tmp_path: Path):
    pytest.importorskip("rensa")
    rng = random.Random(1)
    texts = [" ".join(sentence(rng, rng.randrange(1, 400))).encode() for _ in range(50)]
    together = of(texts, Signatures(128, 5)).signatures
    alone = np.concatenate([of([text], Signatures(128, 5)).signatures for text in texts])
    assert np.array_equal(together, alone)
    program = (
        "import sys, pickle; from actors.fingerprints import *; from cluster.rows import Rows\n"
        "texts = pickle.load(open(sys.argv[1], 'rb')); sink = FingerprintTexts(Signatures(128, 5)); sink.setup()\n"
        "sys.stdout.buffer.write(sink.encode(Rows('a', texts, list(range(5, 5 + len(texts))))))"
    )
    import pickle

    (tmp_path / "texts").write_bytes(pickle.dumps(texts))
    output = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "texts")],
        env={"RAYON_NUM_THREADS": "4", "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        check=True,
    ).stdout
    assert np.array_equal(fingerprints(output).signatures, together)
