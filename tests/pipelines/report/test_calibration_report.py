"""The calibration report shows the map and whether it helps."""

import numpy as np
import pytest

from pipelines.curation.bootstrap import Resampling
from pipelines.curation.calibration import evaluate_calibration, fit_calibration, stretched
from pipelines.report.calibration_report import calibration_report

FEW = Resampling(resamples=60)


def graded() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    probabilities = random.random(800)
    return probabilities, np.clip(np.round(5 * probabilities**3 + random.normal(size=800) * 0.5), 0, 5)


@pytest.mark.parametrize("kind", ["isotonic", "sigmoid", "ridge"])
def test_a_map_that_helps_is_said_to_help(kind):
    probabilities, scores = graded()
    fitted = fit_calibration(kind, probabilities, scores, score_range=(0, 5))
    before = evaluate_calibration(stretched(probabilities, (0, 5)), scores, (0, 5), resampling=FEW)
    after = evaluate_calibration(fitted.predict(probabilities), scores, (0, 5), resampling=FEW)
    html = calibration_report(after, title="T", before=before, calibration=fitted, source=".scores")
    assert "the calibration helps." in html
    assert "The map" in html
    assert ("As a jq program" in html) == (kind != "isotonic")


def test_a_map_that_does_harm_is_said_to():
    probabilities, scores = graded()
    before = evaluate_calibration(stretched(probabilities, (0, 5)), scores, (0, 5), resampling=FEW)
    after = evaluate_calibration(np.full(800, 5.0), scores, (0, 5), resampling=FEW)
    assert "the calibration does harm." in calibration_report(after, title="T", before=before)


def test_several_inputs_show_coefficients_and_no_map():
    random = np.random.default_rng(1)
    inputs = random.random((200, 2))
    scores = inputs @ [1.0, 3.0]
    fitted = fit_calibration("ridge", inputs, scores, names=("clarity", "depth"))
    after = evaluate_calibration(fitted.predict(inputs), scores, fitted.score_range, resampling=FEW)
    html = calibration_report(after, title="T", calibration=fitted)
    assert "clarity" in html
    assert "The map" not in html


def test_a_map_that_changes_next_to_nothing_is_not_said_to_help():
    probabilities, scores = graded()
    before = evaluate_calibration(stretched(probabilities, (0, 5)), scores, (0, 5), resampling=FEW)
    after = evaluate_calibration(stretched(probabilities, (0, 5)) - 0.01, scores, (0, 5), resampling=FEW)
    assert after.reliability.error.value < before.reliability.error.value
    assert "these rows do not show that it helps." in calibration_report(after, title="T", before=before)
