from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from actors.classifiers.static_network import StaticNetwork

pytest.importorskip("model2vec")

from model2vec import StaticModel
from model2vec.inference.mlp import Activation, Layer, MLPHead


def network(base: Path, **changes) -> tuple[StaticNetwork, StaticModel]:
    model = StaticModel.from_pretrained(base)
    for name, value in changes.items():
        setattr(model, name, value)
    identity = Layer(np.eye(16, dtype=np.float32), np.zeros(16, np.float32))
    return StaticNetwork(model, MLPHead([identity], Activation.IDENTITY)), StaticModel.from_pretrained(base)


def test_short_texts_are_embedded_as_model2vec_does(static_base: Path, rows):
    ours, theirs = network(static_base)
    texts = [*rows(3000)[0], "", "unheard"]
    np.testing.assert_allclose(ours(texts), theirs.encode(texts), atol=1e-6)


def test_a_text_gets_the_same_bits_whatever_is_asked_with_it(static_base: Path, rows):
    model = StaticModel.from_pretrained(static_base)
    dice = np.random.default_rng(0)
    shapes = [(64, 16), (2, 64)]
    layers = [Layer(dice.standard_normal(shape).astype(np.float32), np.ones(shape[0], np.float32)) for shape in shapes]
    ours = StaticNetwork(model, MLPHead(layers, Activation.SOFTMAX))
    texts = [f"{text} apple{number % 7} wheel{number % 5}" for number, text in enumerate(rows(400)[0])]
    whole = ours(texts)
    for count in (1, 2, 3, 7, 31, 32, 33, 64, 100, 399):
        chosen = dice.permutation(len(texts))[:count]
        assert ours([texts[place] for place in chosen]).tobytes() == whole[chosen].tobytes()


def test_so_it_does_with_the_products_of_another_machine():
    """OpenBLAS multiplies in another way on every kind of processor; this one's way depends on a row's place."""
    this = f"{__file__}::{test_a_text_gets_the_same_bits_whatever_is_asked_with_it.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", this],
        env=os.environ | {"OPENBLAS_CORETYPE": "Haswell"},
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
    )
    assert "1 passed" in done.stdout, done.stdout


def test_a_text_is_cut_after_its_known_words(static_base: Path):
    """The limit counts tokens that the model knows, as it does in training."""
    ours, _ = network(static_base)
    long, cut = ours(["zz " * 30 + "apple1 " * 39 + "pear1 pear2", "apple1 " * 39 + "pear1"])
    np.testing.assert_allclose(long, cut, atol=1e-6)


def test_quantized_vocabularies_with_weights_are_read(static_base: Path):
    model = StaticModel.from_pretrained(static_base)
    tokens = len(model.tokens)
    rng = np.random.default_rng(0)
    changes = {
        "embedding": rng.standard_normal((5, 16)).astype(np.float32),
        "token_mapping": rng.integers(0, 5, tokens),
        "weights": rng.random(tokens).astype(np.float32),
    }
    ours, theirs = network(static_base, **changes)
    for name, value in changes.items():
        setattr(theirs, name, value)
    texts = ["apple1 apple2 wheel3", "pear1"]
    np.testing.assert_allclose(ours(texts), theirs.encode(texts), atol=1e-6)


def test_a_lone_surrogate_is_no_obstacle(static_base: Path):
    ours, _ = network(static_base)
    assert np.isfinite(ours(["apple1 \ud800", "pear1"])).all()


def test_torch_is_not_imported(static_base: Path):
    code = (
        "import sys; from pathlib import Path; from model2vec import StaticModel\n"
        "from model2vec.inference.mlp import MLPHead\n"
        "from actors.classifiers.static_network import StaticNetwork\n"
        "from actors.classifiers.model2vec import Model2VecClassifier\n"
        "assert 'torch' not in sys.modules and 'datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[3])
