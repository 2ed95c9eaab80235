"""fastText's own tokenizer is the judge of what a line holds."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.classifiers.fasttext_lines import LabelNames, clean_label, fasttext_line, fasttext_text

fasttext = pytest.importorskip("fasttext")

TEXTS = st.text(
    st.sampled_from("ab é\u00a0\u2028\u2029\x85\x1c\x1e\n\r\t\v\f\0 ") | st.characters(codec="utf-8"), max_size=30
) | st.lists(st.sampled_from(["__label__", "__label__x", "</s>", "\n", "\0", " ", "\t", "word"])).map("".join)


def words(text: str) -> list[str]:
    """What fastText reads of one line, with `</s>` at its end."""
    return fasttext.tokenize(text + "\n")


@given(TEXTS)
@example("__label____label__x </s> y")
@example("__label__</s>")
def test_a_line_is_one_record_with_its_labels_and_no_others(text: str):
    line = fasttext_line(["good", "short"], text)
    read = words(line)
    assert read[:2] == ["__label__good", "__label__short"]
    assert read[-1] == "</s>"
    assert not any(word.startswith("__label__") or word == "</s>" for word in read[2:-1])


@given(TEXTS)
def test_a_line_is_one_line_for_every_reader(text: str):
    line = fasttext_line("good", text)
    assert line.splitlines() == [line]
    assert len(line.encode().split(b"\n")) == 1


@given(st.text(st.sampled_from("abé_<>/ \t\n\r\v\f\0")))
def test_words_are_those_that_fasttext_would_find(text: str):
    expected = [word for word in re.split("[ \t\n\r\v\f\0]+", text) if word and word != "</s>"]
    assert words(fasttext_text(text))[:-1] == expected


@given(TEXTS)
def test_doing_it_twice_changes_nothing(text: str):
    assert fasttext_text(fasttext_text(text)) == fasttext_text(text)


def test_a_lone_surrogate_becomes_the_replacement_character():
    assert fasttext_text("a\ud800b \U0001f600") == "a\ufffdb \U0001f600"


def test_a_word_that_only_contains_the_markers_stays():
    assert fasttext_text("my__label__x </s>y x</s>") == "my__label__x </s>y x</s>"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("good", "good"),
        ("__label__good", "good"),
        ("very  good\n", "very_good"),
        ("a\0b", "a_b"),
        ("a\u00a0b\u2028c", "a_b_c"),
        ("Good", "Good"),
    ],
)
def test_labels_are_cleaned(label: str, name: str):
    assert clean_label(label) == name
    assert words(fasttext_line(name, ""))[0] == f"__label__{name}"


@pytest.mark.parametrize("label", ["", " \n", "__label__", "\ud800"])
def test_a_label_without_a_name_is_refused(label: str):
    with pytest.raises(ValueError, match="label"):
        clean_label(label)


def test_two_labels_with_one_name_are_refused_with_both():
    names = LabelNames()
    assert [names.add("a b"), names.add("a b"), names.add("c")] == ["a_b", "a_b", "c"]
    with pytest.raises(ValueError, match=r"'a b' and 'a_b' are both 'a_b'"):
        names.add("a_b")


def test_names_found_in_parts_are_checked_together():
    one, two = LabelNames(), LabelNames()
    one.add("a b")
    two.add("a\tb")
    with pytest.raises(ValueError, match="are both"):
        one.merge(two.sources)
