"""Every normalizer, by name: golden rows, identity with the literal definition, and what a classifier keeps of it."""

from __future__ import annotations

import json
import threading
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.normalizers import (
    NAMES,
    Normalizer,
    TokenizerMissing,
    TokenizerUnusable,
    UnknownNormalizer,
    needs_tokenizer,
    normalizer,
    restored,
)

GOLDEN_INPUT = "Héllo  World\n\n\n\nfoo\tbar\r\nbaz 1234 naïve"
GOLDEN = {
    "whitespace": "Héllo World foo bar baz 1234 naïve",
    "plsfix": "Héllo  World\n\n\n\nfoo\tbar\nbaz 1234 naïve",
    "plsfix-fragments": "Héllo  World\n\n\n\nfoo\tbar\nbaz 1234 naïve",
    "ultrafine": r"hello world \n \n foo \t bar \r \n baz 1 2 3 4 naive",
    "potion": "hello world¶foo↦bar·baz 1234 naive",
    "potion_code": "Hello  World¶¶foo↦bar¶baz 1234 naive",
    "hyperfine": r"hello Ġworld \ n \ n foo \ t bar \ n baz Ġ 123 4 Ġnaive",
}
CODE = "def f(x):\n    if x:\n        return 'é'\n\n  \n    # aligned    comment  \n\treturn  0\n"


@pytest.fixture(scope="session")
def made(tokenizer_path):
    """The normalizer of a name, with its tokenizer."""

    @cache
    def make(name: str) -> Normalizer:
        kind = needs_tokenizer(name)
        return normalizer(name, str(tokenizer_path(kind)) if kind else None)

    return make


@pytest.fixture(scope="session")
def literally(reference, tokenizer_path):
    """The literal definition of a name."""

    @cache
    def make(name: str):
        kind = needs_tokenizer(name)
        return reference.literal(name, tokenizer_path(kind) if kind else None)

    return make


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_rows(name, made, literally):
    assert made(name)([GOLDEN_INPUT]) == [GOLDEN[name]]
    assert literally(name)(GOLDEN_INPUT) == GOLDEN[name]


@pytest.mark.parametrize("name", NAMES)
def test_identical_to_the_literal_definition_on_awkward_texts(name, made, literally, texts):
    @settings(max_examples=400, deadline=None)
    @given(st.lists(texts(14), min_size=1, max_size=3))
    def check(batch):
        assert made(name)(batch) == [literally(name)(text) for text in batch]

    check()


@pytest.mark.parametrize("name", NAMES)
def test_identical_to_the_literal_definition_on_any_characters(name, made, literally):
    @settings(max_examples=150, deadline=None)
    @given(st.text(max_size=60))
    def check(text):
        assert made(name)([text]) == [literally(name)(text)]

    check()


@pytest.mark.parametrize("name", NAMES)
def test_identical_to_the_literal_definition_on_source_files(name, made, literally, sources):
    limit = 1_000_000 if needs_tokenizer(name) is None else 120_000
    taken, size = [], 0
    for text in sources:
        taken.append(text)
        size += len(text)
        if size > limit:
            break
    assert made(name)(taken) == [literally(name)(text) for text in taken]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "text", ["", " ", "\n", "\t", "  \n  ", "\r", "\0", "é", CODE, "\n\n" + CODE + "   ", "a\n  b\n   \tc"]
)
def test_identical_on_edges(name, text, made, literally):
    assert made(name)([text]) == [literally(name)(text)]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_texts_one_by_one_and_again_the_same(name, made, sources):
    batch = [text[:3000] for text in sources[:8]]
    together = made(name)(batch)
    assert together == [made(name)([text])[0] for text in batch]
    assert made(name)([]) == []


@pytest.mark.parametrize(
    "name", ["plsfix-fragments", "potion", "potion_code", "hyperfine", "hyperfine_code", "tokenizer"]
)
@pytest.mark.parametrize("line_end", ["", "\n"])
def test_a_long_text_is_cut_at_the_first_line_end_behind_two_to_the_twenty(name, line_end, made):
    text = "é word, " * (2**17 + 2) + line_end + "tail é"
    cut = text.index(line_end) if line_end else 2**20
    assert cut >= 2**20
    # with its line end, for without one it would itself be cut, at 2^20
    assert made(name)([text]) == made(name)([text[:cut] + line_end])
    assert made(name)([text]) != made(name)([text[: cut - 5]])


def test_names_may_be_spelled_with_either_dash():
    assert normalizer("potion-code").name == "potion_code"
    assert normalizer("plsfix_fragments").name == "plsfix-fragments"
    assert needs_tokenizer("hyperfine-code") == "dolma2"
    assert needs_tokenizer("potion") is None
    assert needs_tokenizer("ultrafine") == "ultra_fineweb"


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNormalizer, match=r"no normalization 'ultra'; there are whitespace, .*tokenizer"):
        normalizer("ultra")


def test_a_missing_tokenizer_says_where_to_get_it():
    with pytest.raises(TokenizerMissing, match=r"'ultrafine' needs a tokenizer.*openbmb/Ultra-FineWeb-classifier"):
        normalizer("ultrafine")
    with pytest.raises(TokenizerMissing, match=r"'hyperfine' needs a tokenizer.*allenai/dolma2-tokenizer"):
        normalizer("hyperfine")


def test_a_description_survives_json_and_gives_the_same_normalizer(made):
    for name in ("potion", "hyperfine"):
        description = json.loads(json.dumps(made(name).description))
        again = restored(description)
        assert again.description == description
        assert again([GOLDEN_INPUT]) == [GOLDEN[name]]


def test_a_tokenizer_that_moved_is_found_and_another_one_refused(made, tokenizer_path, tmp_path):
    description = made("hyperfine").description
    moved = tmp_path / "tokenizer.json"
    moved.write_bytes(tokenizer_path("dolma2").read_bytes())
    assert restored(description, str(tmp_path))([GOLDEN_INPUT]) == [GOLDEN["hyperfine"]]
    moved.write_bytes(moved.read_bytes() + b"\n")
    with pytest.raises(TokenizerUnusable, match=f"has SHA-256 .*, not {description['tokenizer_sha256']}"):
        restored(description, str(tmp_path))


def test_a_lone_surrogate_is_an_error_and_not_a_wrong_text(made):
    for name in set(NAMES) - {"whitespace"}:
        with pytest.raises(UnicodeEncodeError):
            made(name)(["fine", "half \ud83d pair"])


@pytest.mark.parametrize("name", ["ultrafine", "hyperfine_code"])
def test_threads_may_share_a_normalizer(name, tokenizer_path, made, sources):
    shared = normalizer(name, str(tokenizer_path(needs_tokenizer(name))))
    batch = [text[:4000] for text in sources[:6]]
    expected = made(name)(batch)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(shared(batch))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 4
