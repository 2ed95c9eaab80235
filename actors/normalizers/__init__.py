"""Text normalizers by name: pure functions of the text, identical on every machine and for every batch size.

`normalizer(name)` gives a callable from a list of texts to the list of their normal forms, in order. A trained
classifier keeps the normalizer's `description`, from which `restored` makes the same one again, or refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actors.normalizers.tokenizer_file import (
    HUB_IDS,
    TokenizerFile,
    TokenizerMissing,
    TokenizerUnusable,
    how_to_get,
    locate,
)
from cluster.errors import GristmillError

__all__ = [
    "HUB_IDS",
    "NAMES",
    "Normalizer",
    "TokenizerMissing",
    "TokenizerUnusable",
    "UnknownNormalizer",
    "needs_tokenizer",
    "normalizer",
    "restored",
]

NAMES = (
    "whitespace",
    "plsfix",
    "plsfix-fragments",
    "ultrafine",
    "potion",
    "potion_code",
    "hyperfine",
    "hyperfine_code",
    "tokenizer",
)
"""Every normalizer; `_` and `-` may stand for each other."""

_TOKENIZERS = {"ultrafine": "ultra_fineweb", "hyperfine": "dolma2", "hyperfine_code": "dolma2", "tokenizer": "dolma2"}


class UnknownNormalizer(GristmillError, ValueError):
    """There is no normalizer of that name."""


class Normalizer:
    """Texts to their normal forms. It holds no state that a result depends on, and any thread may call it."""

    def __init__(self, name: str, function: Callable[[str], str], tokenizer: TokenizerFile | None = None) -> None:
        self.name = name
        self._function = function
        self._tokenizer = tokenizer

    def __call__(self, texts: list[str]) -> list[str]:
        """The normal form of each text. Raises UnicodeEncodeError on a lone surrogate (`whitespace` does not)."""
        return list(map(self._function, texts))

    @property
    def description(self) -> dict[str, str]:
        """All that the result depends on: `name`, and `tokenizer` and `tokenizer_sha256` where one is used."""
        if self._tokenizer is None:
            return {"name": self.name}
        return {"name": self.name, "tokenizer": self._tokenizer.source, "tokenizer_sha256": self._tokenizer.sha256}


def needs_tokenizer(name: str) -> str | None:
    """The tokenizer that the normalizer needs, a key of `HUB_IDS` (which says where to get it), or None."""
    return _TOKENIZERS.get(_canonical(name))


def normalizer(name: str, tokenizer: str | None = None) -> Normalizer:
    """The normalizer of that name.

    `tokenizer` is the path of a tokenizer.json, a directory that holds one, or a hub id; normalizers that need
    none ignore it. Raises UnknownNormalizer, TokenizerMissing and TokenizerUnusable.
    """
    name = _canonical(name)
    kind = _TOKENIZERS.get(name)
    if kind is None:
        return Normalizer(name, _plain(name))
    if not tokenizer:
        raise TokenizerMissing(f"normalization {name!r} needs a tokenizer; {how_to_get(kind)}")
    file = locate(tokenizer, kind)
    return Normalizer(name, _with_tokenizer(name, file), file)


def restored(description: Mapping[str, str], tokenizer: str | None = None) -> Normalizer:
    """The normalizer that `description` describes; `tokenizer` says where its file is now, if it has moved.

    Raises TokenizerUnusable if the tokenizer is not the one that was described.
    """
    made = normalizer(description["name"], tokenizer or description.get("tokenizer"))
    expected, found = description.get("tokenizer_sha256"), made.description.get("tokenizer_sha256")
    if expected != found:
        raise TokenizerUnusable(
            f"tokenizer {made.description.get('tokenizer')} has SHA-256 {found}, not {expected}: "
            f"pass --tokenizer with the file that the classifier was trained with"
        )
    return made


def _canonical(name: str) -> str:
    spelled = {known.replace("-", "_"): known for known in NAMES}
    known = spelled.get(name.replace("-", "_"))
    if known is None:
        raise UnknownNormalizer(f"no normalization {name!r}; there are {', '.join(NAMES)}")
    return known


def _plain(name: str) -> Callable[[str], str]:
    from actors.normalizers.mojibake import fix_fragments, fix_text
    from actors.normalizers.potion import potion, potion_code
    from actors.normalizers.whitespace import collapse_whitespace

    return {
        "whitespace": collapse_whitespace,
        "plsfix": fix_text,
        "plsfix-fragments": fix_fragments,
        "potion": potion,
        "potion_code": potion_code,
    }[name]


def _with_tokenizer(name: str, file: TokenizerFile) -> Callable[[str], str]:
    from actors.normalizers.hyperfine import Hyperfine, HyperfineCode, Tokens
    from actors.normalizers.ultrafine import Ultrafine

    made: dict[str, Callable[[TokenizerFile], Callable[[str], str]]] = {
        "ultrafine": Ultrafine,
        "hyperfine": Hyperfine,
        "hyperfine_code": HyperfineCode,
        "tokenizer": Tokens,
    }
    return made[name](file)
