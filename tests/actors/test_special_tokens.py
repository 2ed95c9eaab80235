"""Special tokens in a row's text: none is left, nothing else changes, and real tokenizers agree."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.special_tokens import BREAKERS, neutralize, neutralize_value

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "tokenizers"

TOKENS = [
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|start_header_id|>", "<|eot_id|>", "<|begin_of_text|>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|channel|>", "<|message|>", "<|return|>", "<|end|>"),
    *("<|fim_prefix|>", "<|reserved_special_token_12|>", "<|START_OF_TURN_TOKEN|>", "<|endofprompt|>"),
    *("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜tool▁calls▁begin｜>", "<|turn>", "<turn|>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[THINK]", "[/THINK]", "[IMG]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"),
    *("<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<EOT>", "<PRE>", "<BOS_TOKEN>", "<EOS_TOKEN>"),
    *("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<extra_id_0>", "<extra_id_99>", "<unused7>"),
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "<fim_middle>", "<file_sep>"),
    *("[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "[unused3]", "[UNUSED_TOKEN_145]", "[|system|]", "[|endofturn|]"),
    *("<seed:think>", "</seed:think>", "<reserved_106>", "<SPECIAL_12>", "<endoftext>"),
]
EXTRA = frozenset({"|||IP_ADDRESS|||", ">>TITLE<<", "]~b]", "<|odd name|>", "||"})
PIECES = st.lists(
    st.sampled_from(
        [*TOKENS, *EXTRA, "<|", "|>", "<", ">", "|", "[", "]", "/", "im_start", "INST", "·", "｜", " ", "s"]
    )
)
TEXTS = st.text(alphabet="<>|｜[]/·sINTabc_ ", max_size=60) | PIECES.map("".join)


def tokenizer_with(tokens: list[str], normalized: bool = False) -> Any:
    """A tokenizer of bytes that has these special tokens."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

    alphabet = {sign: number for number, sign in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.normalizer = normalizers.NFKC() if normalized else None
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(token, normalized=normalized) for token in tokens])
    return tokenizer


def special_ids(tokenizer: Any, text: str) -> set[int]:
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return special & set(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("token", TOKENS)
def test_every_known_token_is_broken_and_stays_readable(token):
    text, count = neutralize(f"a{token}b")
    assert count == 1
    assert text == f"a{token[0]}·{token[1:]}b"


@pytest.mark.parametrize(
    "text",
    [
        "if (a < b && c[0] > d) { return x | y; }",
        "let f = xs |> List.map g <| h in f <| x |> y",
        "<div class='s'><span>|</span></div>",
        "Map<String, List<Integer>> m; Array<string | null>",
        "[0] [INSTALL] [x|y] [/etc] [a | b] <stdio.h> <string> <unknown>",
        "[link](http://a.example/<id>) <!-- s --> <svg>",
        "",
    ],
)
def test_other_texts_stay_as_they_are(text):
    assert neutralize(text) == (text, 0)


def test_tokens_that_overlap_are_all_broken():
    assert neutralize("<|<|im_start|>") == ("<|<·|im_start|>", 1)
    text, count = neutralize("<|a|>b|>c<|im_end|><|im_end|>")
    assert count == 3
    assert neutralize("||a||", frozenset({"||a|", "|a||"}))[1] == 2
    assert neutralize(text) == (text, 0)


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_nothing_is_left_and_a_second_time_changes_nothing(text):
    for extra in (frozenset[str](), EXTRA):
        broken, count = neutralize(text, extra)
        assert neutralize(broken, extra) == (broken, 0)
        assert len(broken) == len(text) + count
        assert not any(token in broken for token in (*TOKENS, *extra))


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_no_tokenizer_reads_a_special_token(text):
    tokenizer = _cached("tiny", lambda: tokenizer_with([*TOKENS, *EXTRA]))
    assert special_ids(tokenizer, neutralize(text, EXTRA)[0]) == set()


def test_the_tokenizer_of_these_tests_does_read_them():
    tokenizer = tokenizer_with(TOKENS)
    assert len(special_ids(tokenizer, "".join(TOKENS))) == len(TOKENS)


def test_tokens_that_a_normalizer_makes_are_broken_too():
    tokenizer = tokenizer_with(["<|im_start|>"], normalized=True)
    assert special_ids(tokenizer, "<｜im_start｜>")
    assert not special_ids(tokenizer, neutralize("<｜im_start｜>")[0])


@pytest.mark.parametrize("name", ["dolma2_tokenizer.json", "ultra_fineweb_tokenizer.json"])
def test_tokenizers_in_use_read_no_special_token(name):
    from tokenizers import Tokenizer

    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the repository")
    tokenizer = Tokenizer.from_file(str(path))
    added = json.loads(path.read_text())["added_tokens"]
    special = [token["content"] for token in added if token["special"]]
    assert special
    text = " ".join(["Hello", *special, *TOKENS, "".join(special), "<|" + special[0]])
    assert special_ids(tokenizer, text)
    assert special_ids(tokenizer, neutralize(text, frozenset(special))[0]) == set()


def test_the_breaker_is_one_that_no_token_holds():
    text, count = neutralize("<a·b> <|x|>", frozenset({"<a·b>"}))
    assert (text, count) == ("<¦a·b> <¦|x|>", 2)
    with pytest.raises(ValueError, match="cannot be broken"):
        neutralize(BREAKERS, frozenset({BREAKERS}))
    assert neutralize("a<b", frozenset({"<", ""})) == ("a<b", 0)


def test_strings_in_json_values_are_broken_wherever_they_stand():
    value = {"<s>": ["[INST]", {"a": "x</s>"}, 1, None, True]}
    assert neutralize_value(value) == ({"<·s>": ["[·INST]", {"a": "x<·/s>"}, 1, None, True]}, 3)


def test_it_is_fast_where_there_is_nothing_to_do_and_bounded_where_there_is():
    plain, markup = "plain prose without any token " * 100_000, "<p class='x'>a<b>c</b></p>[0]\n" * 10_000
    began = time.perf_counter()
    neutralize(plain)
    assert time.perf_counter() - began < 0.05  # measured 0.02 ms a megabyte
    for text in (markup, "<|" * 100_000, "<" + "a" * 300_000, "<|im_start|>" * 20_000, "[|" * 100_000):
        began = time.perf_counter()
        neutralize(text)
        assert time.perf_counter() - began < 2


_made: dict[str, Any] = {}


def _cached(name: str, make: Any) -> Any:
    if name not in _made:
        _made[name] = make()
    return _made[name]
