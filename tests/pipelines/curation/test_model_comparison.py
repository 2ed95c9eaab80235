"""Two models on the same rows: differences with paired intervals and a verdict."""

import json

import numpy as np
import pytest

from pipelines.curation.bootstrap import Resampling
from pipelines.curation.evaluation import evaluate_classification
from pipelines.curation.model_comparison import compare_classifications

pytestmark = pytest.mark.filterwarnings("error")
NAMES = ("a", "b", "c")


def softmax(logits: np.ndarray) -> np.ndarray:
    return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)


def two_models(rows: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, rows)
    logits = random.normal(size=(rows, 3))
    logits[np.arange(rows), truth] += 1.5
    return truth, softmax(logits + noise * random.normal(size=(rows, 3))), softmax(logits)


@pytest.mark.parametrize("max_rows", [10, 10_000])
def test_differences_are_those_of_the_single_evaluations(max_rows):
    truth, worse, better = two_models(1500, 0.8)
    resampling = Resampling(resamples=300, max_rows=max_rows)
    comparison = compare_classifications(truth, worse, better, NAMES, resampling=resampling)
    one, two = (evaluate_classification(truth, p, NAMES, resampling=resampling) for p in (worse, better))
    pairs = {
        "accuracy": (one.accuracy, two.accuracy),
        "macro F1": (one.macro.f1, two.macro.f1),
        "macro ROC AUC": (one.roc_auc, two.roc_auc),
        "Brier score": (one.brier, two.brier),
    }
    for difference in comparison.differences:
        before, after = pairs[difference.name]
        assert (difference.first, difference.second) == pytest.approx((before.value, after.value))
        assert difference.difference.value == pytest.approx(after.value - before.value)
        assert difference.verdict == "better"


@pytest.mark.parametrize("max_rows", [10, 10_000])
def test_pairing_makes_the_interval_narrower_than_two_apart(max_rows):
    truth, worse, better = two_models(1500, 0.2)
    resampling = Resampling(resamples=400, max_rows=max_rows)
    comparison = compare_classifications(truth, worse, better, NAMES, resampling=resampling)
    alone = evaluate_classification(truth, better, NAMES, resampling=resampling)
    paired = {one.name: one.difference.high - one.difference.low for one in comparison.differences}
    assert paired["accuracy"] < 0.8 * (alone.accuracy.high - alone.accuracy.low)
    assert paired["macro ROC AUC"] < 0.8 * (alone.roc_auc.high - alone.roc_auc.low)
    assert paired["Brier score"] < 0.8 * (alone.brier.high - alone.brier.low)


def test_a_model_against_itself_is_undecided():
    truth, _, better = two_models(200, 0.1)
    comparison = compare_classifications(truth, better, better, NAMES, resampling=Resampling(resamples=100))
    assert {one.verdict for one in comparison.differences} == {"undecided"}
    assert [one.difference.value for one in comparison.differences] == [0, 0, 0, 0]
    plain = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert plain["differences"][0]["verdict"] == "undecided"


def test_the_worse_model_second_is_called_worse():
    truth, worse, better = two_models(1000, 1.0)
    comparison = compare_classifications(truth, better, worse, NAMES, resampling=Resampling(resamples=200))
    assert {one.verdict for one in comparison.differences} == {"worse"}


def test_multi_label_truth_is_refused():
    with pytest.raises(ValueError, match="one label each"):
        compare_classifications([[1, 0], [1, 1]], np.full((2, 2), 0.5), np.full((2, 2), 0.5), NAMES[:2])
