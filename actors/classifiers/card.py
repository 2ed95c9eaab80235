"""The card of a trained model: what it was made of, how, and what its files are.

`card.json` is for programs and `README.md` says the same to people. Neither holds a time, a user, or a path but that
of a tokenizer as it was given, so the same data, parameters and library give the same bytes. The card is written last:
a directory without one is not a finished model. It does not hold evaluation results.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec

from actors.text_form import TextForm, steps_of
from cluster.errors import GristmillError

CARD_FILE = "card.json"
README_FILE = "README.md"

Kind = Literal["fasttext", "model2vec", "static-embeddings"]
Task = Literal["classification", "multilabel", "regression", "embedding"]


class ModelError(GristmillError):
    """A model that cannot be trained, saved or loaded; the message is one line and says the way out."""


class ModelFile(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256 (hexadecimal) of one file of a model."""

    bytes: int
    sha256: str


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of one model directory.

    `labels` are the model's labels in the order of its probability columns. `normalization` is what was done to a
    text before training (see `actors.text_form`), and `max_length` the number of characters that it was cut
    to before that; inference repeats both. `training` holds counts of the training data, `library` the name and
    version of the package that trained. `reproducible` says whether training again gives the same bytes, and
    `reproducibility` why, in a sentence.
    """

    kind: Kind
    task: Task
    labels: tuple[str, ...] = ()
    normalization: TextForm | None = None
    max_length: int | None = None
    parameters: dict[str, Any] = {}
    training: dict[str, Any] = {}
    library: dict[str, str] = {}
    reproducible: bool = False
    reproducibility: str = ""
    files: dict[str, ModelFile] = {}


def read_card(model_dir: Path) -> Card | None:
    """The card of `model_dir`, or None where there is none. Raises `ModelError` for a damaged card or model file."""
    path = model_dir / CARD_FILE
    try:
        card = msgspec.json.decode(path.read_bytes(), type=Card)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ModelError(f"{path} is not a model card ({error}); train the model again") from error
    for name, expected in card.files.items():
        file = model_dir / name
        if not file.is_file():
            raise ModelError(f"{file} is missing, though {CARD_FILE} lists it; copy the whole model directory")
        if (size := file.stat().st_size) != expected.bytes:
            raise ModelError(f"{file} has {size} bytes, its card says {expected.bytes}; copy the model again")
    return card


def write_card(model_dir: Path, card: Card) -> Card:
    """Write `README.md` and `card.json` for the files now in `model_dir`; the returned card lists them."""
    names = sorted(path.name for path in model_dir.iterdir() if path.is_file() and not path.name.startswith("."))
    files = {name: _model_file(model_dir / name) for name in names if name not in (CARD_FILE, README_FILE)}
    card = msgspec.structs.replace(card, files=files)
    (model_dir / README_FILE).write_text(readme(card), encoding="utf-8")
    text = msgspec.json.format(msgspec.json.encode(card), indent=2)
    (model_dir / CARD_FILE).write_bytes(text + b"\n")
    return card


def _model_file(path: Path) -> ModelFile:
    with path.open("rb") as file:
        return ModelFile(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def readme(card: Card) -> str:
    """The card as Markdown, with the front matter that the Hugging Face hub reads."""
    tag = {"embedding": "feature-extraction", "regression": "text-regression"}.get(card.task, "text-classification")
    title = {
        "fasttext": "fastText classifier",
        "model2vec": f"Model2Vec {'regressor' if card.task == 'regression' else 'classifier'}",
        "static-embeddings": "Static embeddings",
    }[card.kind]
    library = " ".join(card.library.values()) or "an unknown library"
    sections = [
        f"---\nlibrary_name: {'fasttext' if card.kind == 'fasttext' else 'model2vec'}\ntags:\n- {tag}\n---",
        f"# {title}",
        f"Trained by {library}. {card.reproducibility}".rstrip(),
        _described_input(card),
        _table("Parameter", "Value", card.parameters),
        _table("Training data", "", {k: v for k, v in card.training.items() if k != "label_counts"}),
        _table("Label", "Training rows", _label_rows(card)),
        _table("File", "SHA-256", {name: file.sha256 for name, file in card.files.items()}),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _described_input(card: Card) -> str:
    if card.task == "embedding":
        return ""
    cut = f"cut to its first {card.max_length} characters, then " if card.max_length is not None else ""
    if card.normalization is None:
        return f"A text is {cut}taken as it is, without normalization."
    steps = ", then ".join(_described_step(step) for step in steps_of(card.normalization))
    return f"A text is {cut}normalized before the model reads it, by {steps}."


def _described_step(step: TextForm) -> str:
    tokenizer = step.get("tokenizer_sha256") or step.get("tokenizer")
    return f"`{step['name']}`" + (f" with the tokenizer `{tokenizer}`" if tokenizer else "")


def _label_rows(card: Card) -> dict[str, Any]:
    counts = card.training.get("label_counts", {})
    return {label: counts.get(label, "") for label in card.labels}


def _table(left: str, right: str, rows: dict[str, Any]) -> str:
    if not rows:
        return ""
    lines = [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join([f"| {left} | {right} |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.replace("|", "\\|").replace("\n", " ")
