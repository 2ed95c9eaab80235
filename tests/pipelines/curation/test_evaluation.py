"""Evaluations agree with scikit-learn and fastText's definitions, on awkward input too, and are deterministic."""

import json
import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from pipelines.curation.bootstrap import Resampling
from pipelines.curation.classification_report import ClassificationReport
from pipelines.curation.evaluation import encode_labels, evaluate_classification, most_confident_mistakes

pytestmark = pytest.mark.filterwarnings("error")
FEW = Resampling(resamples=200)
NAMES = ("red", "green", "blue", "grey")


def judged(rows: int, classes: int, seed: int = 0, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, rows)
    logits = random.normal(size=(rows, classes))
    logits[np.arange(rows), truth] += 1.2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if digits is not None:
        probabilities = np.round(probabilities, digits)
    return truth, probabilities.astype(np.float32)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("max_rows", [10, 10_000])
@pytest.mark.parametrize("digits", [None, 1])
def test_every_figure_agrees_with_scikit_learn(classes, weighted, max_rows, digits):
    truth, probabilities = judged(500, classes, digits=digits)
    weights = np.random.default_rng(9).random(500) if weighted else None
    resampling = Resampling(resamples=200, max_rows=max_rows)
    report = evaluate_classification(truth, probabilities, NAMES[:classes], weights=weights, resampling=resampling)
    predicted = probabilities.argmax(axis=1)
    assert report.accuracy.value == pytest.approx(np.average(predicted == truth, weights=weights))
    assert report.macro.f1.value == pytest.approx(f1_score(truth, predicted, average="macro", sample_weight=weights))
    areas, averages = [], []
    for k, one in enumerate(report.per_class):
        areas.append(roc_auc_score(truth == k, probabilities[:, k], sample_weight=weights))
        averages.append(average_precision_score(truth == k, probabilities[:, k], sample_weight=weights))
        assert one.roc_auc.value == pytest.approx(areas[-1])
        assert one.average_precision.value == pytest.approx(averages[-1])
    assert report.roc_auc.value == pytest.approx(np.mean(areas))
    assert report.average_precision.value == pytest.approx(np.mean(averages))
    figures = [report.accuracy, report.roc_auc, report.average_precision, report.brier, report.macro.f1]
    assert all(one.low < one.value < one.high for one in figures)
    assert report.approximate == (max_rows == 10)


def test_the_approximate_intervals_are_those_of_the_bootstrap():
    truth, probabilities = judged(3000, 3)
    exact = evaluate_classification(truth, probabilities, NAMES[:3], resampling=Resampling(resamples=1000))
    limit = evaluate_classification(truth, probabilities, NAMES[:3], resampling=Resampling(resamples=1000, max_rows=10))
    for name in ("roc_auc", "average_precision", "brier"):
        one, other = getattr(exact, name), getattr(limit, name)
        assert (one.method, other.method) == ("bootstrap", "normal")
        assert other.value == pytest.approx(one.value)
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.15)
        assert other.low == pytest.approx(one.low, abs=0.2 * (one.high - one.low))


def test_p_and_r_at_1_of_one_label_are_the_accuracy():
    truth, probabilities = judged(200, 3)
    report = evaluate_classification(truth, probabilities, NAMES[:3], resampling=FEW)
    assert report.precision_at_1 == report.recall_at_1 == report.accuracy
    assert report.micro.f1.value == pytest.approx(report.accuracy.value)


def test_multi_label_rows_are_judged_as_fasttext_does():
    truth = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0]])
    probabilities = np.array([[0.9, 0.6, 0.1], [0.2, 0.7, 0.6], [0.4, 0.1, 0.8], [0.1, 0.3, 0.2]], dtype=np.float32)
    report = evaluate_classification(truth, probabilities, NAMES[:3], resampling=FEW)
    assert report.multi_label
    assert report.confusion is None
    # Most probable: red (right), green (wrong), blue (right), green (right); 6 true labels.
    assert report.precision_at_1.value == pytest.approx(3 / 4)
    assert report.recall_at_1.value == pytest.approx(3 / 6)
    # At 0.5: {red, green} right, {green, blue} wrong, {blue} wrong, {} wrong.
    assert report.accuracy.value == pytest.approx(1 / 4)
    assert report.micro.f1.value == pytest.approx(f1_score(truth, probabilities >= 0.5, average="micro"))
    assert report.macro.f1.value == pytest.approx(f1_score(truth, probabilities >= 0.5, average="macro"))


def test_undefined_figures_carry_a_reason_and_no_zero():
    truth = np.array([0, 0, 1, 1, 1])
    probabilities = np.array([[0.6, 0.4, 0], [0.7, 0.3, 0], [0.8, 0.2, 0], [0.9, 0.1, 0], [0.9, 0.1, 0]])
    report = evaluate_classification(truth, probabilities, NAMES[:3], resampling=FEW)
    green, blue = report.per_class[1], report.per_class[2]
    assert (green.precision.value, green.precision.reason) == (None, "never predicted")
    assert green.recall.value == 0
    for figure in (blue.recall, blue.f1, blue.average_precision):
        assert (figure.value, figure.reason) == (None, "no row of this class in the truth")
    assert blue.roc_auc.value is None
    assert report.notes == (
        "Not in the truth, and left out of the averages: blue.",
        "Never predicted, with precision 0 in the averages: green, blue.",
    )


def test_a_label_that_the_model_does_not_know_counts_as_mistakes():
    codes, classes = encode_labels(["b", "a", "zebra", "a"], ["a", "b"])
    assert classes == ("a", "b", "zebra")
    probabilities = np.array([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], dtype=np.float32)
    report = evaluate_classification(codes, probabilities, classes, resampling=FEW)
    assert report.accuracy.value == pytest.approx(3 / 4)
    assert report.per_class[2].support == 1
    assert report.per_class[2].recall.value == 0


def test_probabilities_slightly_above_1_are_cut():
    probabilities = np.array([[1.00001, -1e-6], [0.2, 0.8]], dtype=np.float32)
    report = evaluate_classification([0, 1], probabilities, ["a", "b"], resampling=FEW)
    assert report.accuracy.value == 1
    assert max(one.predicted for one in report.calibration.bins) == 1
    assert report.brier.value == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("truth", "probabilities", "message"),
    [
        ([0, 1], [[3.0, -1.0], [0.0, 1.0]], "no probabilities"),
        ([0, 1], [[np.nan, 1.0], [0.0, 1.0]], "no probabilities"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], "1 rows of truth"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "2 classes need 0..1"),
        ([[0, 2], [1, 0]], [[0.5, 0.5], [0.5, 0.5]], "0/1 matrix"),
        ([], np.zeros((0, 2)), "probabilities of shape"),
    ],
)
def test_input_that_does_not_fit_is_refused(truth, probabilities, message):
    with pytest.raises(ValueError, match=message):
        evaluate_classification(truth, probabilities, ["a", "b"])


def test_the_same_input_gives_the_same_report_and_survives_json():
    truth, probabilities = judged(300, 3)
    first, second = (evaluate_classification(truth, probabilities, NAMES[:3], resampling=FEW) for _ in range(2))
    text = json.dumps(first.to_dict(), allow_nan=False)
    assert text == json.dumps(second.to_dict(), allow_nan=False)
    assert ClassificationReport.from_dict(json.loads(text)) == first


def test_the_most_confident_mistakes_come_first():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.2, 0.8]], dtype=np.float32)
    mistakes = most_confident_mistakes([1, 0, 0, 0], probabilities, ["a", "b"], limit=2)
    assert [(one.row, one.truth, one.predicted, one.probability) for one in mistakes] == [
        (0, ("b",), "a", 0.9),
        (1, ("a",), "b", 0.8),
    ]


def test_two_hundred_thousand_rows_take_seconds():
    truth, probabilities = judged(200_000, 4)
    began = time.process_time()
    report = evaluate_classification(truth, probabilities, NAMES)
    # Processor time, not the clock: a busy machine is no slower by it. An idle core needs half a second.
    assert time.process_time() - began < 5
    assert report.approximate
