"""fastText classifiers: training into a model directory, and probabilities for batches of texts.

With one thread and the same lines, parameters and library, training gives the same bytes; with more threads, or
with autotune, it is faster or better and not reproducible, and the card says so. What can be known to be wrong is
found before the first epoch. Quantized models can be read but are not made here.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from actors.classifiers.card import Card, ModelError, read_card, write_card
from actors.classifiers.fasttext_lines import LABEL_PREFIX, fasttext_text
from actors.classifiers.fasttext_training_lines import TrainingLines, check_validation, inspect, join
from actors.classifiers.model_directory import check_space, new_model_directory

MODEL_FILE = "model.bin"
LOSSES = ("softmax", "hs", "ova", "ns")

_ARGUMENTS = {
    "learning_rate": "lr",
    "word_ngrams": "wordNgrams",
    "min_count": "minCount",
    "epoch": "epoch",
    "bucket": "bucket",
    "min_char_ngram": "minn",
    "max_char_ngram": "maxn",
    "window_size": "ws",
    "dimension": "dim",
    "loss": "loss",
    "num_negatives": "neg",
    "seed": "seed",
    "threads": "thread",
}
_NGRAMS = ("word_ngrams", "min_char_ngram", "max_char_ngram")
TUNABLE = ("learning_rate", "word_ngrams", "epoch", "bucket", "min_char_ngram", "max_char_ngram", "dimension")

# Blocks of this size and more come from the kernel as zeros: it is twice the highest threshold of glibc's malloc.
_ALWAYS_FRESH_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class FastTextParams:
    """fastText's own parameters; `ova` is the loss for rows with several labels. Raises `ModelError` on nonsense."""

    learning_rate: float = 0.1
    word_ngrams: int = 3
    min_count: int = 5
    epoch: int = 3
    bucket: int = 2_000_000
    min_char_ngram: int = 0
    max_char_ngram: int = 0
    window_size: int = 5
    dimension: int = 256
    loss: str = "softmax"
    num_negatives: int = 5
    seed: int = 42
    threads: int = 1
    pretrained_vectors: Path | None = None

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ModelError(f"loss {self.loss!r} is not one of {', '.join(LOSSES)}")
        if not self.learning_rate > 0:
            raise ModelError(f"learning rate {self.learning_rate} must be above 0")
        for name in ("word_ngrams", "min_count", "epoch", "window_size", "dimension", "threads"):
            if getattr(self, name) < 1:
                raise ModelError(f"{name.replace('_', ' ')} {getattr(self, name)} must be at least 1")
        for name in ("bucket", "min_char_ngram", "seed", "num_negatives"):
            if getattr(self, name) < 0:
                raise ModelError(f"{name.replace('_', ' ')} {getattr(self, name)} must not be negative")
        if self.max_char_ngram and self.max_char_ngram < self.min_char_ngram:
            raise ModelError(f"max char ngram {self.max_char_ngram} is below min char ngram {self.min_char_ngram}")
        if (self.word_ngrams > 1 or self.max_char_ngram) and not self.bucket:
            raise ModelError(
                "bucket 0 has no room for n-grams; raise bucket, or set word ngrams to 1 and no char ngrams"
            )

    @property
    def hashed_rows(self) -> int:
        """Rows of the input matrix that n-grams hash to; none when there are no n-grams."""
        return self.bucket if self.word_ngrams > 1 or self.max_char_ngram else 0


@dataclass(frozen=True, slots=True)
class Autotune:
    """A search for parameters on a validation file in fastText's format.

    `duration` is in seconds. `metric` is fastText's: `f1`, `f1:LABEL`, `precisionAtRecall:30` and the like. Parameters
    named in `fixed` keep the value that they have in `FastTextParams`.
    """

    validation_file: Path
    duration: int = 300
    metric: str = "f1"
    fixed: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.duration < 1:
            raise ModelError(f"autotune duration {self.duration} must be at least 1 second")
        if unknown := sorted(self.fixed - set(_ARGUMENTS)):
            raise ModelError(f"autotune cannot fix {', '.join(unknown)}: no such parameter")
        if "bucket" in self.fixed and not self.fixed.issuperset(_NGRAMS):
            # After a trial without n-grams fastText keeps a fixed bucket at 0, and divides by it in the next one.
            raise ModelError(f"autotune can fix bucket only together with {', '.join(_NGRAMS)}")


def train(
    train_file: Path | Sequence[Path],
    output_dir: Path,
    params: FastTextParams | None = None,
    *,
    normalization: dict[str, Any] | None = None,
    max_length: int | None = None,
    autotune: Autotune | None = None,
    overwrite: bool = False,
    verbose: int = 0,
) -> Card:
    """Train on lines of fastText's format and write `model.bin`, `card.json` and `README.md` into `output_dir`.

    Several files are taken as one, in the order given. `normalization` and `max_length` say what was done to the texts
    of the file; inference repeats it. `verbose` above 0 shows fastText's progress on standard error. Nothing stands
    in `output_dir` until everything is finished. Raises `ModelError`.
    """
    params = params or FastTextParams()
    files = [train_file] if isinstance(train_file, Path) else list(train_file)
    _check_installed()
    data = inspect(files, params.min_count)
    vectors = _check_vectors(params)
    if autotune is not None:
        check_validation(autotune.validation_file)
    with new_model_directory(output_dir, overwrite=overwrite) as directory:
        need = _expected_bytes(params, data.bytes, vectors)
        check_space(directory, need + (data.bytes if len(files) > 1 else 0), "the bucket or the dimension")
        source = files[0] if len(files) == 1 else join(files, directory / "train.txt")
        arguments = _arguments(source, params, autotune, verbose)
        answer = _run_training(directory, arguments, params, autotune, verbose, need)
        if len(files) > 1:
            source.unlink()
        return write_card(directory, _card(params, autotune, answer, data, normalization, max_length))


def _check_installed() -> None:
    try:
        import fasttext  # noqa: F401
    except ImportError as error:
        raise ModelError("fastText is not installed; pip install fasttext-numpy2") from error


def _check_vectors(params: FastTextParams) -> int:
    """The number of pretrained vectors, 0 without any; fastText would only find a wrong file after reading the data."""
    path = params.pretrained_vectors
    if path is None:
        return 0
    try:
        with path.open("rb") as file:
            count, dimension = map(int, file.readline(100).split())
    except OSError as error:
        raise ModelError(f"pretrained vectors {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ModelError(
            f"{path} is no text file of vectors: its first line must be their number and dimension"
        ) from error
    if dimension != params.dimension:
        raise ModelError(
            f"{path} holds vectors of dimension {dimension}, not {params.dimension}; set the dimension to {dimension}"
        )
    return count


def _expected_bytes(params: FastTextParams, data_bytes: int, vectors: int) -> int:
    """Size of the model, in memory and on disk, rather too large than too small.

    The vocabulary is guessed by Heaps' law, 30·n^0.6 distinct words in n words of six bytes, which counts the rare
    ones that the minimum count will drop.
    """
    words = min(int(30 * (data_bytes / 6) ** 0.6), data_bytes // 2) + vectors
    return (params.hashed_rows + words) * params.dimension * 4


def _arguments(source: Path, params: FastTextParams, autotune: Autotune | None, verbose: int) -> dict[str, Any]:
    """The arguments of `fasttext.train_supervised`; autotune searches over those that are absent."""
    values = {name: getattr(params, name) for name in _ARGUMENTS}
    arguments: dict[str, Any] = {"input": str(source), "label": LABEL_PREFIX, "verbose": verbose}
    if params.pretrained_vectors is not None:
        arguments["pretrainedVectors"] = str(params.pretrained_vectors)
    if autotune is not None:
        fixed = autotune.fixed | ({"dimension"} if params.pretrained_vectors is not None else set())
        values = {name: value for name, value in values.items() if name in fixed or name not in TUNABLE}
        arguments["autotuneValidationFile"] = str(autotune.validation_file)
        arguments["autotuneDuration"] = autotune.duration
        arguments["autotuneMetric"] = autotune.metric
    return arguments | {_ARGUMENTS[name]: value for name, value in values.items()}


def _run_training(
    directory: Path,
    arguments: dict[str, Any],
    params: FastTextParams,
    autotune: Autotune | None,
    verbose: int,
    need: int,
) -> dict[str, Any]:
    """Train in a child process (`fasttext_training` says why) and return what it tells about the model."""
    model, job_file, answer_file = directory / MODEL_FILE, directory / ".job.json", directory / ".answer.json"
    small = params.hashed_rows * params.dimension * 4 < _ALWAYS_FRESH_BYTES
    job = {
        "arguments": arguments,
        "model": str(model),
        "answer": str(answer_file),
        "clear_memory": small or autotune is not None,
    }
    job_file.write_text(json.dumps(job), encoding="utf-8")
    script = Path(__file__).with_name("fasttext_training.py")
    # -P: this folder holds a module named fasttext, which must not stand before the library on the child's path.
    command = [sys.executable, "-P", str(script), str(job_file)]
    output = None if verbose else subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=output) as child:
        try:
            said = child.stderr.read() if child.stderr else b""
            status = child.wait()
        except BaseException:
            child.kill()
            raise
    answer = _answer(answer_file, status, said, need, params)
    if model.stat().st_size < answer["least_bytes"]:
        raise ModelError(
            f"fastText wrote only {model.stat().st_size} of {answer['least_bytes']} bytes; is {directory.parent} full?"
        )
    job_file.unlink()
    answer_file.unlink()
    return answer


def _answer(path: Path, status: int, said: bytes, need: int, params: FastTextParams) -> dict[str, Any]:
    last = said.decode(errors="replace").replace("\r", "\n").strip().rpartition("\n")[2]
    if status == -signal.SIGKILL:
        raise ModelError(
            f"fastText was killed, for want of memory perhaps: the model takes about {need / 1e9:.1f} GB; "
            "lower the bucket or the dimension"
        )
    if status or not path.exists():
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        raise ModelError(f"the process that trains ended {how}: {last or 'it says above why'}")
    answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "NaN" in answer.get("error", ""):
        raise ModelError(f"training diverged: fastText met NaN; lower the learning rate (it is {params.learning_rate})")
    if "error" in answer:
        raise ModelError(f"fastText: {answer['error']}")
    return answer


def _card(
    params: FastTextParams,
    autotune: Autotune | None,
    answer: dict[str, Any],
    data: TrainingLines,
    normalization: dict[str, Any] | None,
    max_length: int | None,
) -> Card:
    counts = dict(sorted((name.removeprefix(LABEL_PREFIX), count) for name, count in answer["labels"]))
    parameters = asdict(params)
    parameters["pretrained_vectors"] = params.pretrained_vectors and params.pretrained_vectors.name
    if autotune is not None:
        parameters |= answer["tuned"]
        parameters |= {"autotune_duration": autotune.duration, "autotune_metric": autotune.metric}
    reason = _not_reproducible(params, autotune, answer)
    return Card(
        kind="fasttext",
        task="multilabel" if params.loss == "ova" else "classification",
        labels=tuple(counts),
        normalization=normalization,
        max_length=max_length,
        parameters=parameters,
        training={
            "rows": data.rows,
            "bytes": data.bytes,
            "sha256": data.sha256,
            "words": answer["words"],
            "label_counts": counts,
        },
        library=_library(),
        reproducible=reason is None,
        reproducibility=reason
        or "With one thread on a CPU of the same kind, the same lines give the same bytes again.",
    )


def _not_reproducible(params: FastTextParams, autotune: Autotune | None, answer: dict[str, Any]) -> str | None:
    if autotune is not None:
        return "Not reproducible: autotune tries as much as its time allows."
    if params.threads > 1:
        return f"Not reproducible: {params.threads} threads update the same weights without waiting for each other."
    if not answer["cleared"]:
        return "Not reproducible: this C library does not clear the memory that fastText starts a small model from."
    return None


def _library() -> dict[str, str]:
    for name in ("fasttext-numpy2", "fasttext", "fasttext-wheel"):
        try:
            return {"name": name, "version": metadata.version(name)}
        except metadata.PackageNotFoundError:
            continue
    return {"name": "fasttext", "version": "of unknown version"}


class FastTextClassifier:
    """A trained fastText model: `labels` in alphabetical order, and probabilities in that order."""

    def __init__(self, model: Any, card: Card) -> None:
        self._model = model
        self._columns = {label: self._place(label, card) for label in model.get_labels()}
        self.card = card
        self.labels = card.labels

    @staticmethod
    def _place(label: str, card: Card) -> int:
        try:
            return card.labels.index(label.removeprefix(LABEL_PREFIX))
        except ValueError:
            raise ModelError(
                f"the model has a label {label!r} that its card lacks; copy the whole model directory"
            ) from None

    @classmethod
    def load(cls, model_dir: Path) -> FastTextClassifier:
        """Load `model.bin`, also one that another program trained and left without a card. Raises `ModelError`."""
        path = model_dir / MODEL_FILE
        card = read_card(model_dir)
        if card is not None and card.kind != "fasttext":
            raise ModelError(f"{model_dir} holds a {card.kind} model, not a fastText one")
        if not path.is_file():
            raise ModelError(f"{path} does not exist; give the directory that train-fasttext wrote")
        _check_installed()
        import fasttext

        try:
            model = fasttext.load_model(str(path))
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ModelError(f"{path} cannot be loaded: {error}") from error
        return cls(model, card or _bare_card(model))

    def probabilities(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Probabilities of shape (texts, labels), clipped to [0, 1]. Texts may hold anything, line breaks too.

        A text of which the model knows nothing, not even that it ends, gets 1/labels everywhere (0.5 for `ova`).
        """
        lines = [fasttext_text(text) + "\n" for text in texts]
        labels, values = self._model.f.multilinePredict(lines, -1, 0.0, "strict")
        sizes = np.fromiter(map(len, values), np.intp, len(lines))
        result = np.zeros((len(lines), len(self.labels)), np.float32)
        if lines:
            rows = np.repeat(np.arange(len(lines)), sizes)
            columns = np.fromiter(map(self._columns.__getitem__, chain.from_iterable(labels)), np.intp, len(rows))
            result[rows, columns] = np.concatenate(values)
            result[sizes == 0] = 0.5 if self.card.task == "multilabel" else 1 / len(self.labels)
        return np.clip(result, 0.0, 1.0, out=result)


def _bare_card(model: Any) -> Card:
    labels = tuple(sorted(label.removeprefix(LABEL_PREFIX) for label in model.get_labels()))
    several = model.f.getArgs().loss.name == "ova"
    return msgspec.structs.replace(
        Card(kind="fasttext", task="multilabel" if several else "classification"),
        labels=labels,
        reproducibility="It came without a card.",
    )
