"""Calibrations fit as scikit-learn's do, are plain JSON, and improve what they claim to improve."""

import json

import jq
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge

from actors.calibration import calibration_from_dict, calibration_to_dict
from pipelines.curation.bootstrap import Resampling
from pipelines.curation.calibration import (
    CalibrationReport,
    evaluate_calibration,
    fit_calibration,
    jq_program,
    stretched,
)

pytestmark = pytest.mark.filterwarnings("error")
FEW = Resampling(resamples=200)


def graded(rows: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    probabilities = random.random(rows)
    return probabilities, np.clip(np.round(5 * probabilities**3 + random.normal(size=rows) * 0.7), 0, 5)


def test_isotonic_is_that_of_scikit_learn():
    probabilities, scores = graded()
    weights = np.random.default_rng(1).random(len(scores))
    fitted = fit_calibration("isotonic", probabilities, scores, weights=weights)
    reference = IsotonicRegression(out_of_bounds="clip").fit(probabilities, scores, sample_weight=weights)
    grid = np.linspace(-0.2, 1.2, 300)
    assert fitted.predict(grid) == pytest.approx(reference.predict(grid))
    assert (np.diff(fitted.predict(grid)) >= 0).all()


@pytest.mark.parametrize("penalty", [0.01, 10.0])
def test_ridge_is_that_of_scikit_learn_cut_to_the_scale(penalty):
    random = np.random.default_rng(2)
    inputs = random.random((400, 3))
    scores = np.clip(inputs @ [1.0, 2.0, 3.0] + random.normal(size=400) * 0.1, 0, 5)
    fitted = fit_calibration("ridge", inputs, scores, names=("a", "b", "c"), score_range=(0, 5), penalty=penalty)
    reference = Ridge(alpha=penalty).fit(inputs, scores)
    assert fitted.predict(inputs) == pytest.approx(np.clip(reference.predict(inputs), 0, 5))
    assert fitted.predict([[9.0, 9.0, 9.0]]).tolist() == [5.0]


def test_sigmoid_of_two_classes_is_platt_scaling():
    random = np.random.default_rng(3)
    inputs = random.random(600)
    truth = (random.random(600) < 1 / (1 + np.exp(3 - 6 * inputs))).astype(int)
    # Of a regression on one input, scikit-learn calibrates the decision: a line, which Platt's fit absorbs.
    base = LogisticRegression().fit(inputs[:, None], truth)
    reference = CalibratedClassifierCV(FrozenEstimator(base), method="sigmoid").fit(inputs[:, None], truth)
    fitted = fit_calibration("sigmoid", inputs, truth)
    expected = np.mean([one.predict_proba(inputs[:, None])[:, 1] for one in reference.calibrated_classifiers_], axis=0)
    assert fitted.predict(inputs) == pytest.approx(expected, abs=1e-3)


def test_sigmoid_of_separable_and_many_inputs_stays_finite():
    fitted = fit_calibration("sigmoid", [0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1])
    assert np.isfinite(fitted.coefficients).all()
    low, high = fitted.predict([0.0, 1.0])
    assert low < 0.3 < 0.7 < high
    random = np.random.default_rng(4)
    inputs = random.normal(size=(300, 2)) * [1000.0, 1e-3]
    scores = (inputs[:, 0] > 0) * 4.0 + 1
    several = fit_calibration("sigmoid", inputs, scores, names=("x", "y"))
    assert ((several.predict(inputs) > 3) == (scores > 3)).mean() > 0.97


@pytest.mark.parametrize("kind", ["isotonic", "sigmoid", "ridge"])
def test_a_saved_calibration_gives_the_same_scores(kind):
    probabilities, scores = graded()
    fitted = fit_calibration(kind, probabilities, scores, score_range=(0, 5))
    loaded = calibration_from_dict(json.loads(json.dumps(calibration_to_dict(fitted))))
    assert loaded == fitted
    assert np.array_equal(loaded.predict(probabilities), fitted.predict(probabilities))
    assert loaded.predict(probabilities[:1]) == fitted.predict(probabilities)[:1]


@pytest.mark.parametrize(
    "saved",
    [
        {},
        {"format": "gristmill-calibration-1", "kind": "forest"},
        {"format": "gristmill-calibration-1", "kind": "ridge", "inputs": ["a"]},
        {
            "format": "gristmill-calibration-1",
            "kind": "isotonic",
            "inputs": ["a"],
            "score_range": [0, 1],
            "knots": [0.0, float("nan")],
            "scores": [0.0, 1.0],
        },
    ],
)
def test_what_is_no_calibration_is_refused(saved):
    with pytest.raises(ValueError, match="not a"):
        calibration_from_dict(saved)


@pytest.mark.parametrize("kind", ["sigmoid", "ridge"])
def test_the_jq_program_computes_the_same_score(kind):
    random = np.random.default_rng(5)
    inputs = random.random((200, 2))
    scores = np.clip(np.round(inputs @ [2.0, 4.0]), 0, 5)
    names = ('tricky "name"', "b")
    fitted = fit_calibration(kind, inputs, scores, names=names, score_range=(0, 5))
    program = jq.compile(jq_program(fitted, ".scores"))
    for row in inputs[:20]:
        given = {"scores": dict(zip(names, row.tolist(), strict=True))}
        assert program.input_value(given).first() == pytest.approx(fitted.predict([row])[0])


def test_an_isotonic_map_has_no_jq_program():
    assert jq_program(fit_calibration("isotonic", *graded(50)), ".") is None


@pytest.mark.parametrize(
    ("kind", "inputs", "scores", "message"),
    [
        ("isotonic", [[0.1, 0.2], [0.3, 0.4]], [0, 1], "takes 1"),
        ("ridge", [0.1, 0.2], [1, 1], "at least two different scores"),
        ("ridge", [0.1, np.nan], [0, 1], "not finite"),
        ("ridge", [0.1, 0.2, 0.3], [0, 1], "one each"),
        ("forest", [0.1, 0.2], [0, 1], "isotonic, sigmoid, ridge"),
    ],
)
def test_input_that_does_not_fit_is_refused(kind, inputs, scores, message):
    with pytest.raises(ValueError, match=message):
        fit_calibration(kind, inputs, scores)


def test_several_inputs_are_refused_by_isotonic_and_named():
    with pytest.raises(ValueError, match="use sigmoid or ridge"):
        fit_calibration("isotonic", [[0.1, 0.2], [0.3, 0.4]], [0, 1], names=("a", "b"))
    fitted = fit_calibration("ridge", [[0.1, 0.2], [0.3, 0.4]], [0, 1], names=("a", "b"))
    with pytest.raises(ValueError, match=r"takes 2 \(a, b\)"):
        fitted.predict([0.1, 0.2])


def test_a_calibration_lowers_the_error_on_rows_it_has_not_seen():
    probabilities, scores = graded(3000)
    seen, unseen = slice(0, 1500), slice(1500, 3000)
    before = evaluate_calibration(stretched(probabilities[unseen], (0, 5)), scores[unseen], (0, 5), resampling=FEW)
    for kind in ("isotonic", "sigmoid"):
        fitted = fit_calibration(kind, probabilities[seen], scores[seen], score_range=(0, 5))
        after = evaluate_calibration(fitted.predict(probabilities[unseen]), scores[unseen], (0, 5), resampling=FEW)
        assert after.reliability.error.high < before.reliability.error.low
        assert after.brier.value < before.brier.value
        assert after.regression.mae.value < before.regression.mae.value


def test_the_brier_score_is_the_squared_error_on_the_unit_scale():
    report = evaluate_calibration([0.0, 5.0, 2.5], [0, 0, 5], (0, 5), resampling=FEW)
    assert report.brier.value == pytest.approx((0 + 1 + 0.25) / 3)
    assert report.regression.mae.value == pytest.approx((0 + 5 + 2.5) / 3)
    assert CalibrationReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_labels_outside_the_scale_are_refused():
    with pytest.raises(ValueError, match="do not fit a scale from 0 to 1"):
        evaluate_calibration([0.5, 0.5], [0, 2], (0, 1))
