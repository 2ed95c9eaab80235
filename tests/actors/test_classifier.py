from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import orjson
import pytest

from actors.classifier import ClassifyRows, load_classifier, probabilities_as_json
from actors.classifiers.card import ModelError
from actors.classifiers.fasttext import FastTextClassifier, FastTextParams
from actors.classifiers.fasttext import train as train_fasttext
from actors.classifiers.model2vec import Model2VecClassifier, Model2VecParams, Model2VecRegressor
from actors.classifiers.model2vec import train as train_model2vec
from actors.text_form import FormMismatch
from cluster.rows import Rows

TEXTS = ["red apple pie", "green apple tart", "fast red car", "old green car"] * 10
LABELS = ["food", "food", "cars", "cars"] * 10


def fasttext_model(directory: Path, **options) -> Path:
    pytest.importorskip("fasttext")
    lines = directory.parent / "train.txt"
    lines.write_text("".join(f"__label__{label} {text}\n" for text, label in zip(TEXTS, LABELS, strict=True)))
    params = FastTextParams(dimension=8, bucket=50, min_count=1, learning_rate=0.5, epoch=20)
    train_fasttext(lines, directory, params, **options)
    return directory


def model2vec_model(directory: Path, **options) -> Path:
    pytest.importorskip("model2vec.train")
    from model2vec import StaticModel
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = sorted({word for text in TEXTS for word in text.split()})
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    vectors = np.random.default_rng(0).standard_normal((len(words) + 1, 8)).astype(np.float32)
    base = directory.parent / "base"
    StaticModel(vectors, tokenizer, normalize=True).save_pretrained(base)
    labels = [float(label == "food") for label in LABELS] if options.get("regression") else LABELS
    train_model2vec(TEXTS, labels, directory, Model2VecParams(base_model=str(base), max_epochs=2), **options)
    return directory


def ready(model: Path, *arguments, **options) -> ClassifyRows:
    stage = pickle.loads(pickle.dumps(ClassifyRows(str(model), *arguments, **options)))
    stage.setup()
    return stage


def rows(*lines: bytes) -> Rows:
    return Rows("a.jsonl", list(lines), list(range(1, len(lines) + 1)))


def test_each_row_gets_its_probabilities_and_keeps_its_other_bytes(tmp_path: Path):
    stage = ready(fasttext_model(tmp_path / "model"), "quality")
    out = stage.process(rows(b'{"id" : 1.50, "text":"red\\u0020apple"}', b'{"quality":0,"text":"old car","z":[ ]}'))
    one, two = out.lines
    assert one.startswith(b'{"id" : 1.50, "text":"red\\u0020apple","quality":{"cars":0.')
    assert two.startswith(b'{"quality":{"cars":0.')
    assert two.endswith(b'},"text":"old car","z":[ ]}')
    model = FastTextClassifier.load(tmp_path / "model")
    expected = model.probabilities(["red apple", "old car"])
    for line, row in zip(out.lines, expected, strict=True):
        assert list(json.loads(line)["quality"]) == ["cars", "food"]
        assert list(json.loads(line)["quality"].values()) == pytest.approx(row.tolist(), abs=5.1e-7)


def test_rows_without_a_text_are_quarantined_and_their_neighbours_are_not(tmp_path: Path):
    stage = ready(fasttext_model(tmp_path / "model"), "q", text_expression=".a.b")
    good = b'{"a":{"b":"red apple"}}'
    out = stage.process(rows(b'{"a":{}}', good, b'{"a":{"b":7}}', b"{", good, b'{"a":5}'))
    assert len(out.lines) == 2
    assert out.lines[0] == out.lines[1]
    assert [row.line for row in out.rejected] == [1, 3, 4, 6]
    assert out.rejected[0].reason == "no text: .a.b gives null"
    assert out.rejected[1].reason == "no text: .a.b gives 7"


def test_a_chunk_where_no_row_has_a_text_is_all_quarantined(tmp_path: Path):
    out = ready(fasttext_model(tmp_path / "model"), "q").process(rows(b"{}", b"{}"))
    assert (out.lines, len(out.rejected)) == ([], 2)
    assert ready(tmp_path / "model", "q").process(rows()).lines == []


def test_the_column_may_lie_in_an_object(tmp_path: Path):
    stage = ready(fasttext_model(tmp_path / "model"), ("metadata", "quality"))
    (line,) = stage.process(rows(b'{"text":"red apple","metadata":{"id":1}}')).lines
    assert line.startswith(b'{"text":"red apple","metadata":{"id":1,"quality":{')


def test_texts_are_normalized_as_the_model_was_trained_unless_they_already_are(tmp_path: Path):
    model = fasttext_model(tmp_path / "model", normalization={"name": "potion"})
    loud, plain = b'{"text":"RED\\tAPPLE"}', b'{"text":"red\\u21a6apple"}'
    values = [json.loads(line)["q"] for line in ready(model, "q").process(rows(loud, plain)).lines]
    assert values[0] == values[1]
    values = [
        json.loads(line)["q"] for line in ready(model, "q", done={"name": "potion"}).process(rows(loud, plain)).lines
    ]
    assert values[0] != values[1]


def test_texts_in_a_form_that_the_model_was_not_trained_on_are_refused(tmp_path: Path):
    model = fasttext_model(tmp_path / "model", normalization={"name": "potion"})
    with pytest.raises(FormMismatch, match="the dataset holds texts in the normal form plsfix"):
        ready(model, "q", done={"name": "plsfix"})


def test_texts_are_cut_as_the_card_says_or_as_asked(tmp_path: Path):
    model = fasttext_model(tmp_path / "model", max_length=9)
    long, short = b'{"text":"red apple car car car"}', b'{"text":"red apple"}'
    values = [json.loads(line)["q"] for line in ready(model, "q").process(rows(long, short)).lines]
    assert values[0] == values[1]
    values = [json.loads(line)["q"] for line in ready(model, "q", max_length=99).process(rows(long, short)).lines]
    assert values[0] != values[1]


def test_a_model2vec_classifier_is_used_alike(tmp_path: Path):
    model = model2vec_model(tmp_path / "model")
    (line,) = ready(model, "q").process(rows(b'{"text":"red apple"}')).lines
    expected = Model2VecClassifier.load(model).probabilities(["red apple"])[0]
    assert list(json.loads(line)["q"].items()) == [
        ("cars", pytest.approx(expected[0], abs=1e-6)),
        ("food", pytest.approx(expected[1], abs=1e-6)),
    ]


def test_a_regressor_adds_one_number(tmp_path: Path):
    model = model2vec_model(tmp_path / "model", regression=True)
    (line,) = ready(model, "q").process(rows(b'{"text":"red apple"}')).lines
    assert json.loads(line)["q"] == pytest.approx(Model2VecRegressor.load(model).values(["red apple"])[0], abs=1e-6)


def test_the_card_says_which_model_to_load(tmp_path: Path):
    (tmp_path / "1").mkdir()
    assert isinstance(load_classifier(fasttext_model(tmp_path / "one")), FastTextClassifier)
    assert isinstance(load_classifier(model2vec_model(tmp_path / "two")), Model2VecClassifier)
    assert isinstance(load_classifier(model2vec_model(tmp_path / "three", regression=True)), Model2VecRegressor)
    with pytest.raises(ModelError, match="no model in"):
        load_classifier(tmp_path / "1")


def test_json_of_probabilities_is_in_range_short_and_exact():
    labels = ('a"b', "50%", "é\n")
    values = np.array([[1.00001, -1e-9, 0.1234567], [0.0, 1e-6, 4e-7]], np.float32)
    lines = probabilities_as_json(labels)(values)
    assert lines[0] == '{"a\\"b":1.0,"50%":0.0,"é\\n":0.123457}'.encode()
    assert [list(orjson.loads(line)) for line in lines] == [list(labels)] * 2
    assert list(orjson.loads(lines[1]).values()) == [0.0, 1e-6, 0.0]


def test_one_label_and_no_rows_are_written_too():
    encode = probabilities_as_json(("only",))
    assert encode(np.ones((2, 1), np.float32)) == [b'{"only":1.0}'] * 2
    assert encode(np.ones((0, 1), np.float32)) == []
