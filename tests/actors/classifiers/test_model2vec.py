from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.classifiers import model2vec
from actors.classifiers.card import ModelError, read_card
from actors.classifiers.model2vec import Model2VecClassifier, Model2VecParams, Model2VecRegressor, train

pytest.importorskip("model2vec.train", reason="needs model2vec[train]")


@pytest.fixture
def params(static_base: Path) -> Model2VecParams:
    return Model2VecParams(base_model=str(static_base), max_epochs=8, learning_rate=0.01)


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_training_learns_and_writes_safetensors_and_a_card(rows, params, tmp_path: Path):
    card = train(*rows(200), tmp_path / "model", params, normalization={"name": "potion"}, max_length=99)
    names = set(digests(tmp_path / "model"))
    assert {"model.safetensors", "head.safetensors", "tokenizer.json", "config.json", "card.json", "README.md"} <= names
    assert not any(name.endswith((".skops", ".pkl", ".pt", ".bin")) for name in names)
    assert read_card(tmp_path / "model") == card
    assert card.training == {"rows": 200, "label_counts": {"car": 100, "fruit": 100}}
    assert card.parameters["base_model"] == "base"
    model = Model2VecClassifier.load(tmp_path / "model")
    texts, labels = rows(60, seed=9)
    found = [model.labels[best] for best in model.probabilities(texts).argmax(1)]
    assert sum(one == other for one, other in zip(found, labels, strict=True)) > 54


def test_the_same_rows_give_the_same_bytes(rows, params, tmp_path: Path):
    for name in ("one", "two"):
        assert train(*rows(200), tmp_path / name, params).reproducible
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    train(*rows(200), tmp_path / "three", replace(params, seed=7))
    assert digests(tmp_path / "one")["head.safetensors"] != digests(tmp_path / "three")["head.safetensors"]


@pytest.fixture
def trained(monkeypatch) -> dict:
    """What `train` trained, still in torch."""
    kept = {}
    fit = model2vec._fit
    monkeypatch.setattr(model2vec, "_fit", lambda *arguments: kept.setdefault("model", fit(*arguments)))
    return kept


MANY_WORDS = " ".join(f"{stem}{number}" for number in range(12) for stem in ("pear", "wheel", "the", "brake", "apple"))
ODD_TEXTS = [
    "",
    "unheard of",
    MANY_WORDS,
    MANY_WORDS.replace(" ", " zz "),
    "x" * 390 + " apple1",
    "apple1\npear2 wheel3",
]


def test_probabilities_without_torch_are_those_of_the_trained_network(rows, params, tmp_path: Path, trained):
    train(*rows(200), tmp_path / "model", params)
    texts = rows(50, seed=3)[0] + ODD_TEXTS
    found = Model2VecClassifier.load(tmp_path / "model").probabilities(texts)
    np.testing.assert_allclose(found, trained["model"].predict_proba(texts), atol=2e-6)
    assert found.dtype == np.float32


def test_rows_may_have_several_labels(rows, params, tmp_path: Path, trained):
    texts, labels = rows(200)
    both = [[label, "long"] if len(text) > 70 else [label] for text, label in zip(texts, labels, strict=True)]
    card = train(texts, both, tmp_path / "model", params)
    assert (card.task, card.labels) == ("multilabel", ("car", "fruit", "long"))
    found = Model2VecClassifier.load(tmp_path / "model").probabilities(texts + ODD_TEXTS)
    np.testing.assert_allclose(found, trained["model"].predict_proba(texts + ODD_TEXTS), atol=2e-6)


def test_a_regressor_predicts_numbers(rows, params, tmp_path: Path, trained):
    texts, labels = rows(200)
    numbers = [5.0 if label == "car" else -5 for label in labels]
    card = train(texts, numbers, tmp_path / "model", replace(params, max_epochs=60), regression=True)
    assert (card.task, card.labels) == ("regression", ())
    found = Model2VecRegressor.load(tmp_path / "model").values(texts)
    np.testing.assert_allclose(found, trained["model"].encode(texts)[:, 0], atol=1e-5)
    assert np.corrcoef(found, numbers)[0, 1] > 0.9
    with pytest.raises(ModelError, match="regressor"):
        Model2VecClassifier.load(tmp_path / "model")


def test_validation_rows_are_used_as_given(rows, params, tmp_path: Path):
    train(*rows(200), tmp_path / "one", params, validation=rows(20, seed=4))
    train(*rows(200), tmp_path / "two", params)
    assert digests(tmp_path / "one")["head.safetensors"] != digests(tmp_path / "two")["head.safetensors"]


def test_class_weights_follow_their_formulas():
    labels = ["a"] * 8 + ["b"] * 2
    assert model2vec._class_weight(labels, "uniform") is None
    assert model2vec._class_weight(labels, "balanced") == {"a": 10 / 16, "b": 10 / 4}
    assert model2vec._class_weight(labels, "sqrt") == pytest.approx({"a": 0.625**0.5, "b": 2.5**0.5})


def test_class_weights_reach_the_training(rows, params, tmp_path: Path):
    texts, labels = rows(200)
    few = [i for i, label in enumerate(labels) if label == "car" or i < 20]
    texts, labels = [texts[i] for i in few], [labels[i] for i in few]
    kinds = ("uniform", "balanced", "sqrt")
    for kind in kinds:
        train(texts, labels, tmp_path / kind, replace(params, loss_class_weight=kind))
    assert len({digests(tmp_path / kind)["head.safetensors"] for kind in kinds}) == 3


@pytest.mark.parametrize("regression", [False, True])
def test_a_diverged_training_is_told_and_leaves_nothing(rows, params, tmp_path: Path, regression: bool):
    texts, labels = rows(100)
    wanted = [float(label == "car") for label in labels] if regression else labels
    with pytest.raises(ModelError, match="diverged; lower the learning rate"):
        train(texts, wanted, tmp_path / "model", replace(params, learning_rate=1e30), regression=regression)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("texts", "labels", "options", "message"),
    [
        (["a", "b"], ["x"], {}, "2 training texts have 1 labels"),
        (["a"], ["x"], {}, "too few"),
        (["a", "b"], ["x", "x"], {}, "the only label is 'x'"),
        (["a", "b"], [[], []], {}, "no row has a label"),
        (["a", 3], ["x", "y"], {}, "row 2: its text is a int"),
        (["a", "b"], [1, 2], {}, "is no name; give labels as strings"),
        (["a", "b"], [["x"], "y"], {}, "row 2: 'y' is no list of names"),
        (["a", "b"], ["x", ["y"]], {}, "row 2: ..y.. is no name"),
        (["a", "b"], [1.0, float("nan")], {"regression": True}, "row 2: nan is not a finite number"),
        (["a", "b"], [1.0, "x"], {"regression": True}, "row 2: 'x' is not a finite number"),
        (["a", "b"], ["x", "y"], {"validation": (["c"], ["z"])}, "validation rows have labels .*'z'"),
        (["a", "b"], ["x", "y"], {"validation": ([], [])}, "0 validation rows are too few"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_told(params, tmp_path: Path, texts, labels, options, message):
    with pytest.raises(ModelError, match=message):
        train(texts, labels, tmp_path / "model", params, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes", [{"loss_class_weight": "cubic"}, {"patience": None}, {"learning_rate": 0.0}, {"batch_size": 0}]
)
def test_nonsense_parameters_are_refused(changes):
    with pytest.raises(ModelError):
        Model2VecParams(**changes)


def test_a_model_that_model2vec_saved_loads_without_a_card(rows, params, tmp_path: Path):
    train(*rows(100), tmp_path / "model", params)
    before = Model2VecClassifier.load(tmp_path / "model").probabilities(["apple1"])
    (tmp_path / "model" / "card.json").unlink()
    after = Model2VecClassifier.load(tmp_path / "model")
    assert after.labels == ("car", "fruit")
    assert after.probabilities(["apple1"]).tolist() == before.tolist()


def test_what_is_no_model_is_told(tmp_path: Path, static_base: Path):
    with pytest.raises(ModelError, match=r"head\.safetensors does not exist"):
        Model2VecClassifier.load(static_base)
