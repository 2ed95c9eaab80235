from __future__ import annotations

from pathlib import Path

import pytest

from actors.classifiers.tokenized_once import TokenIds, tokenized_once

pytest.importorskip("model2vec.train", reason="needs model2vec[train]")

import numpy as np
from model2vec import StaticModel
from model2vec.train import StaticModelForClassification


def fit(kind, base: Path, texts, labels, **options):
    model = kind.from_static_model(model=StaticModel.from_pretrained(base))
    calls = []
    tokenize = model._tokenize_ids
    model._tokenize_ids = lambda batch: calls.append(len(batch)) or tokenize(batch)
    model.fit(texts, labels, max_epochs=3, batch_size=32, device="cpu", **options)
    return {name: value.numpy() for name, value in model.state_dict().items()}, sum(calls)


@pytest.mark.parametrize("own_validation", [False, True])
def test_the_network_is_the_same_and_every_text_is_tokenized_once(static_base: Path, rows, own_validation: bool):
    texts, labels = rows(200)
    texts[7] = ""
    validation = rows(20, seed=2)
    options = {"X_val": validation[0], "y_val": validation[1]} if own_validation else {}
    plain, often = fit(StaticModelForClassification, static_base, texts, labels, **options)
    ours, once = fit(tokenized_once(StaticModelForClassification), static_base, texts, labels, **options)
    assert all(np.array_equal(plain[name], ours[name]) for name in plain)
    assert once == 200 + 20 * own_validation
    assert often > 2 * once


def test_ids_come_back_text_by_text():
    ids = TokenIds([np.array([1, 2, 3], np.int32), np.array([4], np.int32)], [2, 0, 1, 1])
    assert [ids[i] for i in range(len(ids))] == [[1, 2], [], [3], [4]]
