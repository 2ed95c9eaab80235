"""What a text went through travels with it, and only what is missing is done."""

import pytest

from actors.text_form import FormMismatch, applier, extended, form_of_steps, needed

PLSFIX, POTION = {"name": "plsfix"}, {"name": "potion"}
TOKENS = {"name": "ultrafine", "tokenizer": "/a/tokenizer.json", "tokenizer_sha256": "1"}


def test_a_form_grows_by_each_normalizer_and_the_same_twice_counts_once():
    assert extended(None, PLSFIX) == PLSFIX
    assert extended(PLSFIX, PLSFIX) == PLSFIX
    assert extended(PLSFIX, POTION) == {"name": "plsfix, potion", "steps": [PLSFIX, POTION]}
    assert extended(PLSFIX, None) == PLSFIX


def test_only_the_missing_steps_are_needed():
    both = form_of_steps([PLSFIX, POTION])
    assert needed(both, None, "m", "d") == both
    assert needed(both, PLSFIX, "m", "d") == POTION
    assert needed(both, both, "m", "d") is None
    assert needed(None, None, "m", "d") is None


def test_a_tokenizer_that_moved_is_the_same_and_another_one_is_not():
    assert needed(TOKENS, TOKENS | {"tokenizer": "/b/tokenizer.json"}, "m", "d") is None
    with pytest.raises(FormMismatch):
        needed(TOKENS, TOKENS | {"tokenizer_sha256": "2"}, "m", "d")


def test_texts_in_another_form_are_refused_with_the_way_out():
    with pytest.raises(
        FormMismatch, match="d holds texts in the normal form potion, m needs plsfix: use the dataset as"
    ):
        needed(PLSFIX, POTION, "m", "d")


def test_applying_a_form_applies_its_steps_in_order():
    assert applier(form_of_steps([{"name": "whitespace"}, {"name": "potion"}]))(["A \n\n B"]) == ["a b"]
    assert applier(None)(["A"]) == ["A"]
