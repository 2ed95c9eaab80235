"""Maps from what a classifier says to a score: isotonic, sigmoid (Platt) and ridge; applying, saving, reading.

A fitted map is a few numbers: it is saved as JSON (no pickle), applied with NumPy alone, and does the same wherever
it is read. Scores keep the scale of the labels they were fitted on. Isotonic takes one input, the others any number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["isotonic", "sigmoid", "ridge"]
FloatArray = npt.NDArray[np.float64]

_FORMAT = "gristmill-calibration-1"


@dataclass(frozen=True, slots=True)
class IsotonicCalibration:
    """A rising step-free map: linear between knots, constant beyond the outer ones."""

    kind: ClassVar[Kind] = "isotonic"
    inputs: tuple[str, ...]
    score_range: tuple[float, float]
    knots: tuple[float, ...]
    scores: tuple[float, ...]

    def predict(self, inputs: npt.ArrayLike) -> FloatArray:
        """Scores (rows,) of inputs (rows,) or (rows, 1)."""
        return np.interp(input_matrix(inputs, self.inputs)[:, 0], self.knots, self.scores)


@dataclass(frozen=True, slots=True)
class SigmoidCalibration:
    """low + (high - low)·σ(inputs·coefficients + intercept): Platt scaling, of one or several inputs."""

    kind: ClassVar[Kind] = "sigmoid"
    inputs: tuple[str, ...]
    score_range: tuple[float, float]
    coefficients: tuple[float, ...]
    intercept: float

    def predict(self, inputs: npt.ArrayLike) -> FloatArray:
        """Scores (rows,) of inputs (rows,) or (rows, inputs)."""
        low, high = self.score_range
        return low + (high - low) * sigmoid(_linear(self, inputs))


@dataclass(frozen=True, slots=True)
class RidgeCalibration:
    """inputs·coefficients + intercept, cut to the range of the scores it was fitted on."""

    kind: ClassVar[Kind] = "ridge"
    inputs: tuple[str, ...]
    score_range: tuple[float, float]
    coefficients: tuple[float, ...]
    intercept: float
    penalty: float

    def predict(self, inputs: npt.ArrayLike) -> FloatArray:
        """Scores (rows,) of inputs (rows,) or (rows, inputs)."""
        return np.clip(_linear(self, inputs), *self.score_range)


Calibration = IsotonicCalibration | SigmoidCalibration | RidgeCalibration


def input_matrix(inputs: npt.ArrayLike, names: Sequence[str]) -> FloatArray:
    matrix = np.asarray(inputs, dtype=np.float64)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise ValueError(f"inputs of shape {matrix.shape}: this calibration takes {len(names)} ({', '.join(names)})")
    return matrix


def _linear(calibration: SigmoidCalibration | RidgeCalibration, inputs: npt.ArrayLike) -> FloatArray:
    # Summed column by column: a matrix product may round differently for other numbers of rows.
    columns = input_matrix(inputs, calibration.inputs).T
    total = np.full(columns.shape[1], calibration.intercept)
    for column, coefficient in zip(columns, calibration.coefficients, strict=True):
        total += column * coefficient
    return total


def sigmoid(values: FloatArray) -> FloatArray:
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))


def calibration_to_dict(calibration: Calibration) -> dict[str, Any]:
    """The plain JSON form of a fitted map."""
    return {"format": _FORMAT, "kind": calibration.kind, **asdict(calibration)}


def calibration_from_dict(saved: dict[str, Any]) -> Calibration:
    """Read what `calibration_to_dict` wrote; raises ValueError for anything else."""
    kinds = {kind.kind: kind for kind in (IsotonicCalibration, SigmoidCalibration, RidgeCalibration)}
    if saved.get("format") != _FORMAT or saved.get("kind") not in kinds:
        raise ValueError(f"not a calibration: format {saved.get('format')!r}, kind {saved.get('kind')!r}")
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items() if k not in ("format", "kind")}
    try:
        calibration: Calibration = kinds[saved["kind"]](**fields)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"not a {saved['kind']} calibration: {error}") from None
    numbers = [n for v in fields.values() for n in (v if isinstance(v, tuple) else (v,)) if not isinstance(n, str)]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ValueError(f"not a {saved['kind']} calibration: it holds values that are not finite numbers")
    return calibration
