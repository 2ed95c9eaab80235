"""Figures from counts agree with scikit-learn, and are NaN where they are undefined."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, precision_recall_fscore_support
from sklearn.metrics import confusion_matrix as reference_confusion

from pipelines.curation import metrics

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_figures_agree_with_scikit_learn(classes, weighted):
    random = np.random.default_rng(classes)
    truth, predicted = random.integers(0, classes, 400), random.integers(0, classes, 400)
    weights = random.random(400) if weighted else None
    confusion = metrics.confusion_matrix(truth, predicted, classes, weights)
    assert confusion == pytest.approx(reference_confusion(truth, predicted, sample_weight=weights).astype(float))
    assert metrics.accuracy(confusion) == pytest.approx(accuracy_score(truth, predicted, sample_weight=weights))
    counts = metrics.counts_of_confusion(confusion)
    expected = precision_recall_fscore_support(truth, predicted, sample_weight=weights)
    for found, reference in zip((metrics.precision, metrics.recall, metrics.f1), expected, strict=False):
        assert found(counts) == pytest.approx(reference)
    averages = metrics.averages(counts)
    for kind in ("macro", "weighted", "micro"):
        reference = precision_recall_fscore_support(truth, predicted, sample_weight=weights, average=kind)[:3]
        found = [getattr(averages, f"{kind}_{figure}") for figure in ("precision", "recall", "f1")]
        assert np.array(found) == pytest.approx(np.array(reference))


def test_classes_without_rows_are_undefined_and_left_out_of_averages():
    # Class 2 is in the truth and never predicted, class 3 is predicted and never true.
    confusion = np.array([[4, 0, 0, 1], [1, 3, 0, 0], [2, 1, 0, 0], [0, 0, 0, 0]], dtype=float)
    counts = metrics.counts_of_confusion(confusion)
    assert np.isnan(metrics.precision(counts)).tolist() == [False, False, True, False]
    assert np.isnan(metrics.recall(counts)).tolist() == [False, False, False, True]
    assert np.isnan(metrics.f1(counts)).tolist() == [False, False, False, True]
    assert metrics.f1(counts)[2] == 0
    averages = metrics.averages(counts)
    assert averages.macro_precision == pytest.approx((4 / 7 + 3 / 4 + 0) / 3)
    assert averages.macro_recall == pytest.approx((4 / 5 + 3 / 4 + 0) / 3)


def test_many_confusion_matrices_are_taken_at_once():
    random = np.random.default_rng(0)
    confusions = random.integers(0, 9, (7, 3, 3)).astype(float)
    together = metrics.averages(metrics.counts_of_confusion(confusions)).macro_f1
    alone = [metrics.averages(metrics.counts_of_confusion(one)).macro_f1 for one in confusions]
    assert together == pytest.approx(np.array(alone))


def test_counts_of_cells_are_those_of_the_confusion_matrix():
    random = np.random.default_rng(1)
    confusion = random.integers(0, 9, (4, 4)).astype(float)
    truth, predicted = (codes.ravel() for codes in np.indices((4, 4)))
    cells = metrics.counts_of_cells(confusion.reshape(1, -1), truth, predicted, 4)
    whole = metrics.counts_of_confusion(confusion)
    for name in ("found", "predicted", "support"):
        assert getattr(cells, name)[0].tolist() == getattr(whole, name).tolist()


@pytest.mark.parametrize("classes", [2, 4])
def test_the_brier_score_agrees_with_scikit_learn(classes):
    random = np.random.default_rng(2)
    truth = random.integers(0, classes, 300)
    probabilities = random.dirichlet(np.ones(classes), 300)
    found = metrics.brier_per_row(probabilities, np.eye(classes, dtype=bool)[truth]).mean()
    assert found == pytest.approx(brier_score_loss(truth, probabilities, labels=list(range(classes))))
