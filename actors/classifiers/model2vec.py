"""Static-embedding classifiers and regressors by model2vec: training, inference without torch, and distillation.

On the CPU, with the same rows, parameters, thread count and libraries, training gives the same bytes. Models are
safetensors and JSON, and model2vec's own `StaticModelPipeline` reads them too; no pickle is written or read. A text
is tokenized once for all epochs, and its token ids take four bytes each in memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from actors.classifiers.base_models import base_model, first_line, public_name
from actors.classifiers.card import Card, ModelError, Task, read_card, write_card
from actors.classifiers.model_directory import check_space, new_model_directory
from actors.classifiers.static_network import Floats, StaticNetwork
from actors.classifiers.steady_torch import bars, steady_torch

if TYPE_CHECKING:
    from model2vec import StaticModel

DEFAULT_BASE_MODEL = "minishlab/potion-base-32M"
HEAD_FILE = "head.safetensors"
CLASS_WEIGHTS = ("uniform", "balanced", "sqrt")

ClassWeight = Literal["uniform", "balanced", "sqrt"]


@dataclass(frozen=True, slots=True)
class Model2VecParams:
    """Parameters of a training. Raises `ModelError` on nonsense.

    `base_model` is a hub id or a directory. Training goes on for `max_epochs` (None: as long as it gets better),
    and stops when `patience` checks on the validation rows brought nothing (None: never). A tenth of the rows, at
    most 10,000, validate when no validation rows are given. `batch_size` None leaves it to model2vec.
    """

    base_model: str = DEFAULT_BASE_MODEL
    learning_rate: float = 1e-3
    batch_size: int | None = None
    min_epochs: int | None = None
    max_epochs: int | None = None
    patience: int | None = 5
    loss_class_weight: ClassWeight = "uniform"
    seed: int = 42
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.loss_class_weight not in CLASS_WEIGHTS:
            raise ModelError(f"loss class weight {self.loss_class_weight!r} is not one of {', '.join(CLASS_WEIGHTS)}")
        if not self.learning_rate > 0:
            raise ModelError(f"learning rate {self.learning_rate} must be above 0")
        for name in ("batch_size", "min_epochs", "max_epochs", "patience", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ModelError(f"{name.replace('_', ' ')} {value} must be at least 1")
        if self.max_epochs is None and self.patience is None:
            raise ModelError("without max epochs and without patience training never ends; set one of them")


Labels = Sequence[str] | Sequence[Sequence[str]] | Sequence[float]


def train(
    texts: Sequence[str],
    labels: Labels,
    output_dir: Path,
    params: Model2VecParams | None = None,
    *,
    validation: tuple[Sequence[str], Labels] | None = None,
    regression: bool = False,
    normalization: dict[str, Any] | None = None,
    max_length: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Card:
    """Train on `texts` with their `labels`, aligned, and write the model and its card into `output_dir`.

    Labels are names, lists of names (each row any number of them), or with `regression` numbers. `normalization` and
    `max_length` (characters) say what was done to the texts; inference repeats it. `progress` shows model2vec's bars
    on standard error. Nothing stands in `output_dir` until everything is finished. Raises `ModelError`.
    """
    params = params or Model2VecParams()
    _check_rows("training", texts, labels, regression)
    if validation is not None:
        _check_rows("validation", *validation, regression)
        _check_known(labels, validation[1], regression)
    with new_model_directory(output_dir, overwrite=overwrite) as directory:
        _import_training()
        base = base_model(params.base_model)
        check_space(directory, base.embedding.nbytes, "the base model's size")
        with steady_torch(params.threads), bars(progress):
            model = _fit(base, texts, labels, params, validation, regression)
        model.to_pipeline().save_pretrained(str(directory))
        _check_learnt(model, params)
        return write_card(directory, _card(model, params, labels, regression, normalization, max_length))


def _check_rows(which: str, texts: Sequence[str], labels: Labels, regression: bool) -> None:
    if len(texts) != len(labels):
        raise ModelError(f"{len(texts)} {which} texts have {len(labels)} labels; every text needs one")
    least = 2 if which == "training" else 1
    if len(texts) < least:
        raise ModelError(f"{len(texts)} {which} rows are too few; give at least {least}")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise ModelError(f"{which} row {position + 1}: its text is a {type(text).__name__}, not a string")
    fits, what = (_is_number, "is not a finite number to regress on") if regression else _name_check(labels)
    for position, label in enumerate(labels):
        if not fits(label):
            raise ModelError(f"{which} row {position + 1}: {label!r} {what}")
    if not regression and which == "training" and len(counts := _label_counts(labels)) < 2:
        known = f"the only label is {next(iter(counts))!r}" if counts else "no row has a label"
        raise ModelError(f"{known}; a classifier needs at least two labels")


def _is_number(label: object) -> bool:
    return isinstance(label, int | float) and not isinstance(label, bool) and math.isfinite(label)


def _name_check(labels: Labels) -> tuple[Callable[[object], bool], str]:
    """What every label must be, going by the first one: a name, or a list of names."""
    if isinstance(labels[0], list | tuple):
        return (
            lambda names: isinstance(names, list | tuple) and all(isinstance(name, str) for name in names),
            "is no list of names, as the label of the first row is",
        )
    return lambda name: isinstance(name, str), "is no name; give labels as strings"


def _check_known(labels: Labels, validation_labels: Labels, regression: bool) -> None:
    if regression:
        return
    if unknown := sorted(_label_counts(validation_labels).keys() - _label_counts(labels).keys()):
        raise ModelError(f"validation rows have labels that no training row has: {', '.join(map(repr, unknown[:5]))}")


def _label_counts(labels: Labels) -> Counter[str]:
    if len(labels) and not isinstance(labels[0], str):
        return Counter(name for names in cast(Sequence[Sequence[str]], labels) for name in names)
    return Counter(cast(Sequence[str], labels))


def _import_training() -> None:
    try:
        import model2vec.train  # noqa: F401
    except ImportError as error:
        raise ModelError(f"training needs {error.name}; pip install 'model2vec[train]'") from error


def _fit(
    base: StaticModel,
    texts: Sequence[str],
    labels: Labels,
    params: Model2VecParams,
    validation: tuple[Sequence[str], Labels] | None,
    regression: bool,
) -> Any:
    from model2vec.train import StaticModelForClassification, StaticModelForRegression

    from actors.classifiers.tokenized_once import tokenized_once

    kind = tokenized_once(StaticModelForRegression if regression else StaticModelForClassification)
    model = kind.from_static_model(model=base)
    targets = [_targets(labels, regression), validation and _targets(validation[1], regression)]
    options: dict[str, Any] = {} if regression else {"class_weight": _class_weight(labels, params.loss_class_weight)}
    return model.fit(
        texts,
        targets[0],
        X_val=validation and validation[0],
        y_val=targets[1],
        learning_rate=params.learning_rate,
        batch_size=params.batch_size,
        min_epochs=params.min_epochs,
        max_epochs=params.max_epochs,
        early_stopping_patience=params.patience,
        random_seed=params.seed,
        device=params.device,
        **options,
    )


def _targets(labels: Labels, regression: bool) -> Any:
    return [[float(cast(float, label))] for label in labels] if regression else labels


def _class_weight(labels: Labels, scheme: ClassWeight) -> dict[str, float] | None:
    """Weights of the loss: n / (k·n_c) for `balanced`, its square root for `sqrt`, as scikit-learn balances classes."""
    if scheme == "uniform":
        return None
    counts = _label_counts(labels)
    weights = {label: counts.total() / (len(counts) * count) for label, count in counts.items()}
    return weights if scheme == "balanced" else {label: math.sqrt(weight) for label, weight in weights.items()}


def _check_learnt(model: Any, params: Model2VecParams) -> None:
    """A model of NaNs, or one still as it began: model2vec keeps the first weights when no check ever improved."""
    finite = all(bool(value.isfinite().all()) for value in model.state_dict().values())
    if not finite or not bool(model.head[-1].bias.any()):
        raise ModelError(f"training diverged; lower the learning rate (it is {params.learning_rate})")


def _card(
    model: Any,
    params: Model2VecParams,
    labels: Labels,
    regression: bool,
    normalization: dict[str, Any] | None,
    max_length: int | None,
) -> Card:
    task: Task = "regression" if regression else "multilabel" if model.multilabel else "classification"
    names = () if regression else tuple(model.classes_)
    counts = {} if regression else _label_counts(labels)
    cpu = params.device == "cpu"
    return Card(
        kind="model2vec",
        task=task,
        labels=names,
        normalization=normalization,
        max_length=max_length,
        parameters=asdict(params) | {"base_model": public_name(params.base_model)},
        training={"rows": len(labels), "label_counts": {name: counts[name] for name in names}},
        library=library(),
        reproducible=cpu,
        reproducibility=(
            f"With {params.threads} thread(s) on a CPU of the same kind, the same rows give the same bytes again."
            if cpu
            else f"Not reproducible: sums on the device {params.device} have no fixed order."
        ),
    )


def library() -> dict[str, str]:
    """Name and version of model2vec, for a card."""
    return {"name": "model2vec", "version": metadata.version("model2vec")}


class Model2VecClassifier:
    """A trained classifier: `labels` in alphabetical order, and probabilities in that order."""

    def __init__(self, network: StaticNetwork, card: Card) -> None:
        self._network = network
        self.card = card
        self.labels = card.labels

    @classmethod
    def load(cls, model_dir: Path) -> Model2VecClassifier:
        """Load a classifier that `train` or model2vec's `save_pretrained` wrote. Raises `ModelError`."""
        network, card = _load(model_dir)
        if card.task == "regression":
            raise ModelError(f"{model_dir} holds a regressor, which has no labels")
        return cls(network, card)

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Probabilities of shape (texts, labels): softmax, or for several labels a row the sigmoid of each."""
        logits = self._network(texts)
        if self.card.task == "multilabel":
            return cast(Floats, 1 / (1 + np.exp(-np.clip(logits, -80, None))))
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        return cast(Floats, odds / odds.sum(axis=1, keepdims=True))


class Model2VecRegressor:
    """A trained regressor: one number per text."""

    def __init__(self, network: StaticNetwork, card: Card) -> None:
        self._network = network
        self.card = card

    @classmethod
    def load(cls, model_dir: Path) -> Model2VecRegressor:
        """Load a regressor that `train` wrote. Raises `ModelError`."""
        network, card = _load(model_dir)
        if card.task != "regression":
            raise ModelError(f"{model_dir} holds a classifier, not a regressor")
        return cls(network, card)

    def values(self, texts: Sequence[str]) -> Floats:
        """Predictions of shape (texts,), in the unit of the labels."""
        return self._network(texts)[:, 0]


def _load(model_dir: Path) -> tuple[StaticNetwork, Card]:
    card = read_card(model_dir)
    if card is not None and card.kind != "model2vec":
        raise ModelError(f"{model_dir} holds a {card.kind} model, not a trained model2vec one")
    # Without this file model2vec would look for an old head, which only a pickle-like loader reads.
    if not (model_dir / HEAD_FILE).is_file():
        raise ModelError(f"{model_dir / HEAD_FILE} does not exist; give the directory that train-model2vec wrote")
    try:
        from model2vec.inference import StaticModelPipeline
    except ImportError as error:
        raise ModelError("model2vec is not installed; pip install model2vec") from error
    try:
        pipeline = StaticModelPipeline.from_pretrained(model_dir)
    except Exception as error:  # safetensors, tokenizers and JSON have no common class
        raise ModelError(f"{model_dir} cannot be loaded: {first_line(error)}") from error
    if card is None:
        labels = () if pipeline.classes_ is None else tuple(map(str, pipeline.classes_))
        tasks: dict[str, Task] = {"softmax": "classification", "sigmoid": "multilabel", "identity": "regression"}
        task = tasks[pipeline.head.activation.value]
        card = Card(kind="model2vec", task=task, labels=labels, reproducibility="It came without a card.")
    return StaticNetwork(pipeline.model, pipeline.head), card
