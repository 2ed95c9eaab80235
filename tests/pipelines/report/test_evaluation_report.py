"""The evaluation report says what the figures say, for one model and several, on awkward input too."""

import numpy as np
import pytest

from pipelines.curation.bootstrap import Resampling
from pipelines.curation.evaluation import evaluate_classification
from pipelines.curation.model_comparison import compare_classifications
from pipelines.report.document import Fact
from pipelines.report.evaluation_report import EvaluatedModel, RowToRead, evaluation_report, evaluation_sections
from pipelines.report.numbers import in_words, value_text

FEW = Resampling(resamples=60)
MISTAKE = RowToRead("test/a.jsonl.zst:17", "poor", "good", 0.987, "<b>bold</b> text")


def model(rows: int = 400, classes: int = 2, noise: float = 1.0, name: str = "fastText", **options) -> EvaluatedModel:
    truth, probabilities, names = judged(rows, classes, noise)
    return EvaluatedModel(
        name, evaluate_classification(truth, probabilities, names, resampling=FEW, **options), (MISTAKE,)
    )


def judged(rows: int, classes: int, noise: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    truth = random.integers(0, classes, rows)
    logits = noise * random.normal(size=(rows, classes))
    logits[np.arange(rows), truth] += 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, probabilities.astype(np.float32), [f"class {k}" for k in range(classes)]


def test_one_model_is_shown_with_its_figures_and_rows():
    evaluated = model()
    html = evaluation_report([evaluated], title="Quality", facts=(Fact("Dataset", "data/test"),))
    report = evaluated.report
    for estimate in (report.macro.f1, report.roc_auc, report.calibration.error, report.per_class[1].recall):
        assert value_text(estimate) in html
    assert "test/a.jsonl.zst:17" in html
    assert "&lt;b&gt;bold&lt;/b&gt; text" in html
    assert "data/test" in html
    assert "No figure here has an approximate interval." in html
    assert "≈" not in html


def test_the_same_evaluation_gives_the_same_bytes():
    assert evaluation_report([model()], title="Q") == evaluation_report([model()], title="Q")


def test_approximate_intervals_are_marked_and_explained():
    truth, probabilities, names = judged(300, 2, 1.0)
    resampling = Resampling(resamples=60, max_rows=100)
    report = evaluate_classification(truth, probabilities, names, resampling=resampling)
    html = evaluation_report([EvaluatedModel("m", report)], title="Q")
    assert "≈ marks an interval that is approximate: with more than 100 rows" in html
    assert 'title="approximate interval' in html


def test_a_model_without_skill_is_called_that():
    truth = np.repeat([0, 1], [180, 20])
    probabilities = np.tile([[0.9, 0.1]], (200, 1))
    report = evaluate_classification(truth, probabilities, ["poor", "good"], resampling=FEW)
    html = evaluation_report([EvaluatedModel("m", report)], title="Q")
    assert "not surely more than a model without any skill: always answering “poor” would be right on 90.0" in html
    assert "Never predicted, with precision 0 in the averages: good." in html
    assert "never predicted" in html


def test_a_model_too_sure_of_itself_is_called_that():
    random = np.random.default_rng(1)
    truth = (random.random(500) < 0.6).astype(int)
    probabilities = np.tile([[0.02, 0.98]], (500, 1))
    report = evaluate_classification(truth, probabilities, ["no", "yes"], resampling=FEW)
    assert "It is too sure of itself" in evaluation_report([EvaluatedModel("m", report)], title="Q")


def test_two_models_stand_side_by_side_with_their_differences():
    truth, first, names = judged(600, 3, 2.0)
    second = judged(600, 3, 0.7)[1]
    comparison = compare_classifications(truth, first, second, names, resampling=FEW)
    models = [
        EvaluatedModel(name, evaluate_classification(truth, p, names, resampling=FEW), (MISTAKE,))
        for name, p in (("fastText", first), ("model2vec", second))
    ]
    html = evaluation_report(models, title="Q", comparison=comparison)
    assert "model2vec is better than fastText." in html
    assert f"accuracy by {in_words(comparison.differences[0].difference)}" in html
    assert "Rows worth reading: fastText" in html
    titles = [section.title for section in evaluation_sections(models, comparison)]
    assert titles[:3] == ["In short", "Figures side by side", "Differences"]


def test_sixty_classes_leave_out_the_grid_and_say_what_is_left_out():
    evaluated = model(900, 60, 1.0)
    html = evaluation_report([evaluated], title="Q")
    assert "Shown are the 6 most frequent of 60 classes." in html
    assert "The 20 rarest labels are left out." in html
    assert "Confusion" not in [section.title for section in evaluation_sections([evaluated])]


def test_multi_label_rows_have_no_grid_and_show_both_figures_at_1():
    random = np.random.default_rng(2)
    truth = random.random((200, 3)) < 0.4
    report = evaluate_classification(truth, random.random((200, 3)), ["a", "b", "c"], resampling=FEW)
    html = evaluation_report([EvaluatedModel("m", report)], title="Q")
    assert "Recall at 1" in html
    assert "A label is predicted when its probability is at least 0.5" in html
    assert "All labels right on" in html


def test_a_truth_of_one_class_is_reported_without_curves():
    report = evaluate_classification([0, 0, 0], [[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]], ["a", "b"], resampling=FEW)
    html = evaluation_report([EvaluatedModel("m", report)], title="Q")
    assert "needs rows of the class and rows of others" in html


def test_no_model_is_an_error():
    with pytest.raises(ValueError, match="at least one model"):
        evaluation_report([], title="Q")
