"""Special tokens of chat templates, broken where they stand in a row's text, so that the text cannot open a turn.

A `·` is put behind the first character of each: `<·|im_start|>` reads as before, and no tokenizer takes it for the
token. Known are the forms that the model families use; the exact tokens of the tokenizer in use can be given on top.
A token of one character cannot be broken. Nothing else of the text changes, and this does not judge what it says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

# What breaks a token: visible, in every font, and part of no special token that is known.
BREAKERS = "·¦‧∙⋅"

# Both spellings of each word are written out: the regular expressions ignore case at ten times the cost.
_WORDS = (
    "s bos eos pad unk mask cls sep sop eop eod eot think image pre mid suf tool_call tool_calls tool_response "
    "bos_token eos_token pad_token unk_token"
)
_ANGLED = (
    # ChatML, Llama 3, Phi, Qwen, gpt-oss; full-width bars are DeepSeek's, and Gemma has forms with one bar.
    r"[|｜][^<>|｜\s{breakers}]{{1,64}}+[|｜]?>",
    r"[^<>|｜\s{breakers}]{{1,64}}+[|｜]>",
    rf"/?(?:{'|'.join([*_WORDS.split(), *_WORDS.upper().split()])})>",
    r"</?(?:SYS|sys)>>",
    r"(?:start|end)_of_(?:turn|image|audio|role|text)>",
    r"(?:fim_(?:prefix|middle|suffix|pad)|file_sep|repo_name|reponame|filename|endoftext)>",
    r"(?:extra_id_|unused_?|reserved_|special_|SPECIAL_|/?seed:)\w{{1,40}}+>",
)
_SQUARE = (
    # Mistral, Llama 2, GLM, BERT, EXAONE.
    r"/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|MODEL_SETTINGS|ARGS|CALL_ID)\]",
    r"/?(?:THINK|IMG|IMG_BREAK|IMG_END|AUDIO|BEGIN_AUDIO|PREFIX|MIDDLE|SUFFIX)\]",
    r"(?:g|s|d)?MASK\]",
    r"(?:CLS|SEP|PAD|UNK|BOS|EOS)\]",
    r"(?:unused|UNUSED_TOKEN_)\d{{1,6}}\]",
    r"\|[^\[\]|\s{breakers}]{{1,64}}+\|\]",
)


def neutralize(text: str, extra: frozenset[str] = frozenset()) -> tuple[str, int]:
    """The text with every special token broken, and how many there were. What is broken once stays as it is.

    `extra` are further tokens, exactly as they are written.
    """
    if "<" not in text and "[" not in text and not any(map(text.__contains__, extra)):
        return text, 0
    pattern, broken = _tokens(extra)
    text, count = pattern.subn(broken, text)
    total = count
    # Tokens may overlap: the first is broken, and what is left of the text can still hold the second.
    while count:
        text, count = pattern.subn(broken, text)
        total += count
    return text, total


def neutralize_value(value: Any, extra: frozenset[str] = frozenset()) -> tuple[Any, int]:
    """As `neutralize`, for every string in a JSON value, keys included."""
    if isinstance(value, str):
        return neutralize(value, extra)
    if isinstance(value, list):
        items = [neutralize_value(item, extra) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    if isinstance(value, dict):
        members = [(neutralize_value(key, extra), neutralize_value(item, extra)) for key, item in value.items()]
        return {key: item for (key, _), (item, _) in members}, sum(k + i for (_, k), (_, i) in members)
    return value, 0


@lru_cache(maxsize=16)
def _tokens(extra: frozenset[str]) -> tuple[re.Pattern[str], Callable[[re.Match[str]], str]]:
    """The pattern of all tokens, and what stands for a match of it.

    No form reaches across a breaker, and a match has a character on both sides of the one that is put in. So each
    pass leaves shorter stretches, and the passes come to an end.
    """
    longer = sorted((token for token in extra if len(token) > 1), key=lambda token: (-len(token), token))
    breaker = next((sign for sign in BREAKERS if not any(sign in token for token in longer)), None)
    if breaker is None:
        raise ValueError(f"special tokens that hold all of {BREAKERS} cannot be broken")
    forms = [
        f"<(?:{'|'.join(_ANGLED)})".format(breakers=breaker),
        f"\\[(?:{'|'.join(_SQUARE)})".format(breakers=breaker),
    ]
    pattern = re.compile("|".join([*map(re.escape, longer), *forms]))
    return pattern, lambda match: f"{match[0][0]}{breaker}{match[0][1:]}"
