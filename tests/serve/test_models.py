from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from actors.calibration import IsotonicCalibration, RidgeCalibration, calibration_to_dict
from actors.classifiers.card import ModelError
from serve.models import ServedModel, load, version_of
from serve.results import results
from serve.settings import ModelSettings

ISOTONIC = IsotonicCalibration(("probability",), (0.0, 5.0), (0.0, 1.0), (0.0, 5.0))


def served(model_dir: Path, place: Path | None = None, label: str | None = None) -> ServedModel:
    settings = ModelSettings(str(model_dir), None if place is None else str(place), label)
    return load("quality", settings, version_of(settings, None), None)


def saved(path: Path, calibration: IsotonicCalibration | RidgeCalibration) -> Path:
    path.mkdir(exist_ok=True)
    (path / "calibration.json").write_bytes(orjson.dumps(calibration_to_dict(calibration)))
    return path


def test_a_calibrated_score_stands_beside_the_probabilities(model_dir: Path, tmp_path: Path):
    place = saved(tmp_path / "isotonic", ISOTONIC)
    for where in (place, place / "calibration.json"):
        model = served(model_dir, where, "food")
        outputs = model.outputs(["red apple", "old car"])
        for row, line in zip(outputs, results(model, outputs), strict=True):
            found = orjson.loads(line)
            assert found["calibrated"] == pytest.approx(5 * float(row[1]), abs=1e-5)
            assert found["probabilities"]["food"] == pytest.approx(float(row[1]), abs=1e-6)


def test_a_calibration_of_several_inputs_takes_them_by_their_labels(model_dir: Path, tmp_path: Path):
    ridge = RidgeCalibration(("food", "cars"), (0.0, 10.0), (4.0, 1.0), 2.0, 0.01)
    model = served(model_dir, saved(tmp_path / "ridge", ridge))
    outputs = model.outputs(["red apple"])
    assert model.calibrated(outputs) == pytest.approx(2 + 4 * outputs[:, 1] + outputs[:, 0])


@pytest.mark.parametrize("label", [None, "birds"])
def test_a_calibration_needs_to_know_its_label(model_dir: Path, tmp_path: Path, label: str | None):
    with pytest.raises(ModelError, match="the model's labels are cars, food"):
        served(model_dir, saved(tmp_path / "isotonic", ISOTONIC), label)


def test_what_is_no_calibration_is_named(model_dir: Path, tmp_path: Path):
    with pytest.raises(ModelError, match=r"holds no calibration\.json"):
        served(model_dir, tmp_path)
    for text in ("nope", "[]", '{"format": "other"}'):
        (tmp_path / "calibration.json").write_text(text)
        with pytest.raises(ModelError, match="is not a calibration"):
            served(model_dir, tmp_path)


def test_a_new_calibration_is_a_new_version(model_dir: Path, tmp_path: Path):
    settings = ModelSettings(str(model_dir), str(saved(tmp_path / "c", ISOTONIC)), "food")
    before = version_of(settings, None)
    assert before == version_of(settings, None) != version_of(ModelSettings(str(model_dir)), None)
    saved(tmp_path / "c", IsotonicCalibration(("probability",), (0.0, 5.0), (0.0, 1.0), (0.0, 4.0)))
    assert version_of(settings, None) != before


def test_a_model_without_a_card_is_served(model_dir: Path, tmp_path: Path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "model.bin").write_bytes((model_dir / "model.bin").read_bytes())
    model = served(bare)
    assert np.array_equal(model.outputs(["red apple"]), served(model_dir).outputs(["red apple"]))


def test_labels_with_signs_of_formatting_come_out_as_they_are(model_dir: Path):
    class Percent(ServedModel):
        labels = ("100%", '"%b"')  # type: ignore[assignment]

    model = served(model_dir)
    odd = Percent(model.name, model.version, model.model, model.normalize, model.settings)
    (line,) = results(odd, np.array([[0.25, 0.75]], np.float32))
    assert orjson.loads(line) == {"label": '"%b"', "probability": 0.75, "probabilities": {"100%": 0.25, '"%b"': 0.75}}
    (line,) = results(odd, np.array([[0.25, 0.75]], np.float32), top_k=1)
    assert orjson.loads(line)["probabilities"] == {'"%b"': 0.75}
