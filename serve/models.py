"""The models of a replica: loaded with their normalizers, and swapped for new versions while requests go on.

A request keeps the model that it began with; the next one gets the new version. A new version that cannot be loaded
changes nothing: the one that is there goes on answering, and `ServedModel.failed_update` says what is wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from actors.calibration import Calibration, calibration_from_dict
from actors.classifier import Model, load_model
from actors.classifiers.card import CARD_FILE, ModelError
from actors.classifiers.fasttext import MODEL_FILE
from actors.classifiers.model2vec import Model2VecRegressor
from actors.text_form import TextForm, applier, steps_of
from cluster.errors import GristmillError
from cluster.storage import open_storage
from serve.settings import LOGGER, ModelSettings

CALIBRATION_FILE = "calibration.json"
# Something to answer: a replica that cannot predict this is not healthy.
PROBE = "def probe(text):\n    return text"

log = logging.getLogger(LOGGER)


@dataclass(frozen=True)
class ServedModel:
    """One version of a model, ready to answer."""

    name: str
    version: str
    model: Model
    normalize: Callable[[list[str]], list[str]]
    settings: ModelSettings
    calibration: Calibration | None = None
    columns: tuple[int, ...] = ()
    failed_update: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.model.card.labels

    @property
    def is_regressor(self) -> bool:
        return isinstance(self.model, Model2VecRegressor)

    def outputs(self, texts: Sequence[str], normalize: bool = True) -> npt.NDArray[np.float32]:
        """Probabilities of shape (texts, labels); a regressor's values as (texts, 1). The same as `infer-*` writes."""
        if not texts:
            return np.zeros((0, 1 if self.is_regressor else len(self.labels)), np.float32)
        cut = [text[: self.model.card.max_length] for text in texts]
        formed = self.normalize(cut) if normalize else cut
        if isinstance(self.model, Model2VecRegressor):
            return self.model.values(formed)[:, None]
        return np.clip(self.model.probabilities(formed), 0.0, 1.0)

    def calibrated(self, outputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64] | None:
        """The calibrated scores (texts,) of outputs, None without a calibration."""
        if self.calibration is None:
            return None
        return np.asarray(self.calibration.predict(outputs[:, list(self.columns)].astype(np.float64)))

    def describe(self) -> dict[str, Any]:
        """What `GET /v1/models` says of it."""
        card = self.model.card
        found = {
            "name": self.name,
            "kind": card.kind,
            "task": card.task,
            "labels": list(card.labels),
            "version": self.version,
            "normalization": None if card.normalization is None else card.normalization["name"],
            "normalization_steps": [_public_step(step) for step in steps_of(card.normalization)],
            "max_length": card.max_length,
            "calibrated": self.calibration is not None,
        }
        return found | ({"failed_update": self.failed_update} if self.failed_update else {})


def _public_step(step: TextForm) -> TextForm:
    """What tells a normalizer from others, without the paths of the machine that it was used on."""
    return {key: step[key] for key in ("name", "tokenizer_sha256") if key in step}


@dataclass
class Models:
    """The models that a replica serves now, by name."""

    endpoint_url: str | None = None
    current: dict[str, ServedModel] = field(default_factory=dict)

    async def take(self, wanted: dict[str, ModelSettings]) -> None:
        """Serve these models from now on. Raises GristmillError where one that was not there yet cannot be loaded."""
        found = {}
        for name, settings in wanted.items():
            before = self.current.get(name)
            found[name] = await self._newest(name, settings, before)
        self.current = found

    async def refresh(self) -> None:
        """Look for new versions of the models."""
        for name, before in list(self.current.items()):
            newest = await self._newest(name, before.settings, before)
            if newest is not before and self.current.get(name) is before:
                self.current[name] = newest

    async def _newest(self, name: str, settings: ModelSettings, before: ServedModel | None) -> ServedModel:
        try:
            version = await asyncio.to_thread(version_of, settings, self.endpoint_url)
            if before is not None and (before.version, before.settings) == (version, settings):
                return before if before.failed_update is None else replace(before, failed_update=None)
            return await asyncio.to_thread(load, name, settings, version, self.endpoint_url)
        except (GristmillError, OSError, ValueError) as error:
            if before is None:
                raise
            reason = str(error)
            if before.failed_update != reason:
                log.error("model %s: the new version was not taken, %s goes on: %s", name, before.version, reason)
            return before if before.failed_update == reason else replace(before, failed_update=reason)


def version_of(settings: ModelSettings, endpoint_url: str | None) -> str:
    """What tells this version of a model and its calibration from others: the beginning of a digest. Raises ModelError."""
    storage = open_storage(settings.dir, endpoint_url)
    digest = hashlib.sha256()
    try:
        digest.update(storage.read(CARD_FILE))
    except FileNotFoundError:
        entries = [(entry.name, entry.size, entry.version) for entry in storage.list() if "/" not in entry.name]
        if not any(path == MODEL_FILE or path.endswith(".safetensors") for path, _, _ in entries):
            raise ModelError(
                f"no model in {settings.dir}; give the directory that train-fasttext or train-model2vec wrote"
            ) from None
        digest.update(repr(sorted(entries)).encode())
    if settings.calibration is not None:
        digest.update(_calibration_bytes(settings.calibration, endpoint_url))
    return digest.hexdigest()[:12]


def load(name: str, settings: ModelSettings, version: str, endpoint_url: str | None) -> ServedModel:
    """Load a model with what belongs to it, and have it answer once. Raises GristmillError."""
    model = load_model(settings.dir, endpoint_url)
    normalize = applier(model.card.normalization, settings.tokenizer)
    calibration, columns = _calibration(settings, model, endpoint_url)
    served = ServedModel(name, version, model, normalize, settings, calibration, columns)
    served.outputs([PROBE])
    if version_of(settings, endpoint_url) != version:
        raise ModelError(f"{settings.dir} changed while it was read; it is read again")
    return served


def _calibration(
    settings: ModelSettings, model: Model, endpoint_url: str | None
) -> tuple[Calibration | None, tuple[int, ...]]:
    """The calibration and which of the model's outputs it takes."""
    if settings.calibration is None:
        return None, ()
    try:
        calibration = calibration_from_dict(msgspec.json.decode(_calibration_bytes(settings.calibration, endpoint_url)))
    except (ValueError, AttributeError) as error:
        raise ModelError(
            f"{settings.calibration} is not a calibration ({error}); make one with train-calibration"
        ) from error
    labels = model.card.labels
    if isinstance(model, Model2VecRegressor) and len(calibration.inputs) == 1:
        return calibration, (0,)
    names = calibration.inputs
    if settings.calibration_label is not None and len(names) == 1:
        names = (settings.calibration_label,)
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise ModelError(
            f"{settings.calibration} takes {', '.join(unknown)}, and the model's labels are {', '.join(labels)}: "
            "name the label that it was fitted on as the calibration's label"
        )
    return calibration, tuple(labels.index(name) for name in names)


def _calibration_bytes(place: str, endpoint_url: str | None) -> bytes:
    folder, _, name = place.rpartition("/") if place.endswith(".json") else (place, "", CALIBRATION_FILE)
    try:
        return open_storage(folder or ".", endpoint_url).read(name)
    except FileNotFoundError as error:
        raise ModelError(f"{place} holds no {CALIBRATION_FILE}; make one with train-calibration") from error
