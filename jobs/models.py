"""Model directories on the command line: the card of one, and that it is of the kind the verb is for."""

from __future__ import annotations

import hashlib

from actors.classifier import load_model
from actors.classifiers.card import CARD_FILE, Card
from cluster.errors import GristmillError
from cluster.storage import open_storage

TRAINED_BY = {"fasttext": "train-fasttext", "model2vec": "train-model2vec"}


class WrongModel(GristmillError):
    """A directory without a model, or with one of another kind."""


def card_of(model_dir: str, endpoint_url: str | None, kind: str) -> tuple[Card, str]:
    """The card of a model and a digest of it. Raises WrongModel."""
    storage = open_storage(model_dir, endpoint_url)
    try:
        card = load_card(storage.read(CARD_FILE))
        digest = hashlib.sha256(storage.read(CARD_FILE)).hexdigest()
    except FileNotFoundError:
        if not storage.exists("model.bin"):
            raise WrongModel(f"{model_dir}: no model here; make one with gristmill {TRAINED_BY[kind]}") from None
        card, digest = load_model(model_dir, endpoint_url).card, ""
    if card.kind != kind:
        raise WrongModel(
            f"{model_dir} holds a {card.kind} model, not a {kind} one: use gristmill's verbs for {card.kind}"
        )
    return card, digest


def load_card(data: bytes) -> Card:
    """The card in the bytes of its file."""
    import msgspec

    return msgspec.json.decode(data, type=Card)
