"""The bound of a text's tokens: never under what tokenizers in use count, and near it for prose and sources."""

from __future__ import annotations

import base64
import random
import string
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.token_bound import most_tokens

ROOT = Path(__file__).resolve().parents[2]
TOKENIZERS = ROOT.parent / "shared" / "tokenizers"
NAMES = ["dolma2_tokenizer.json", "ultra_fineweb_tokenizer.json"]
SLACK = 2  # tokens, where pieces of a few characters are put together; the engine adds more for each message

PROSE = """Every answer is in the journal, on disk, before it is used. Kill the run and start it again: what had arrived is
not asked again. "Don't panic", she said – it’s only a test.\nDer Vertrag verlängert sich stillschweigend um ein weiteres Jahr.
La niña comió, señor; où est l’école? Talossa asuu yksitoista iloista kissaa. Dzień dobry, proszę o rachunek. Bạn có khoẻ không?
Мы обсуждаем обучающие данные. Η γάτα κοιμάται. השפה העברית. اللغة العربية جميلة. हिन्दी में लिखा हुआ। ภาษาไทยไม่มีช่องว่าง
我们在这里讨论机器学习模型的训练数据和评估方法。日本語の文章です。한국어 문장입니다. 阿爾及利亞阿拉伯語、亞塞拜然語、馬拉雅拉姆語。 ქართული ენა."""


@cache
def texts() -> dict[str, str]:
    """A text for each kind, the same ones in every run."""
    drawn = random.Random(1)
    noise = drawn.randbytes(3000)

    def letters(alphabet: str, count: int) -> str:
        return "".join(drawn.choices(alphabet, k=count))

    def words(alphabet: str) -> str:
        return " ".join(letters(alphabet, drawn.randrange(2, 9)) for _ in range(400))

    grid = [[str(drawn.randrange(10)) for _ in range(30)] for _ in range(30)]
    return {
        "grid": "\n".join(" ".join(row) for row in grid),
        "dense grid": "\n".join("".join(row) for row in grid),
        "numbers": "\n".join(",".join(f"{drawn.random():.4f}" for _ in range(20)) for _ in range(50)),
        "JSON digits": str([drawn.randrange(10) for _ in range(2000)]).replace(" ", ""),
        "JSON list": str([drawn.randrange(1000) for _ in range(1000)]),
        "base64": base64.b64encode(noise).decode(),
        "base32": base64.b32encode(noise).decode(),
        "base85": base64.b85encode(noise).decode(),
        "hex": noise.hex(),
        "HEX": noise.hex().upper(),
        "dump": " ".join(f"{byte:02x}" for byte in noise),
        "emoji": "😀🎉🔥👩‍👩‍👧" * 200,
        "any emoji": "".join(chr(drawn.randrange(0x1F300, 0x1F9FF)) for _ in range(500)),
        "minified": "function a(b,c){return b?c[d]:e(f,g)}var h=[1,2,3];" * 50,
        "small letters": letters(string.ascii_lowercase, 3000),
        "capitals": letters(string.ascii_uppercase, 3000),
        "letters": letters(string.ascii_letters, 3000),
        "words": words(string.ascii_lowercase),
        "Words": words(string.ascii_lowercase).title(),
        "WORDS": words(string.ascii_uppercase),
        "single letters": " ".join(letters(string.ascii_letters, 1000)),
        "DNA": letters("acgt", 2000) + letters("ACGT", 2000),
        "marks": letters(string.punctuation, 3000),
        "printable": letters(string.printable, 3000),
        "controls": letters("".join(map(chr, range(32))), 1000),
        "spaces": " " * 1000 + letters(" \n\t\r", 1000) + "\n" * 1000 + "\t" * 1000,
        "symbols": " ".join(chr(drawn.randrange(0x2190, 0x2BFF)) for _ in range(1000)),
        "punctuation": "".join(chr(drawn.randrange(0x2000, 0x2040)) for _ in range(1000)),
        "each mark": "".join(chr(mark) * 30 for mark in range(0x2000, 0x2040)),
        "accents": "".join(chr(drawn.randrange(0xA0, 0x180)) for _ in range(1000)),
        "marks over letters": "".join("a" + chr(drawn.randrange(0x300, 0x36F)) * 3 for _ in range(300)),
        "prose": PROSE,
        "source": (ROOT / "actors" / "gate.py").read_text(),
    }


@cache
def _counter(name: str) -> Callable[[str], int] | None:
    from tokenizers import Tokenizer

    if not (TOKENIZERS / name).is_file():
        return None
    loaded: Any = Tokenizer.from_file(str(TOKENIZERS / name))
    loaded.no_truncation()
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)


def counter(name: str) -> Callable[[str], int]:
    found = _counter(name)
    if found is None:
        pytest.skip(f"{name} is not beside the repository")
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", texts())
def test_no_text_has_more_tokens(name: str, kind: str) -> None:
    text = texts()[kind]
    assert counter(name)(text) <= most_tokens(text)


pieces = st.builds(
    lambda kind, start, length: texts()[kind][start : start + length],
    st.sampled_from(list(texts())),
    st.integers(0, 3000),
    st.sampled_from([1, 5, 20, 100, 600]),
)


@pytest.mark.parametrize("name", NAMES)
@given(parts=st.lists(pieces, max_size=8), between=st.sampled_from(["", " ", "\n", "  "]))
def test_no_mixture_has_more_tokens(name: str, parts: list[str], between: str) -> None:
    text = between.join(parts)
    assert counter(name)(text) <= most_tokens(text) + SLACK


@pytest.mark.parametrize(
    ("kind", "counted"),
    [("grid", 1799), ("JSON digits", 4001), ("numbers", 4999), ("minified", 1200), ("single letters", 1000)],
)
def test_what_gpt_4_counts_is_within_the_bound(kind: str, counted: int) -> None:
    """As cl100k_base counts these texts; it needs no tokenizer here."""
    assert counted <= most_tokens(texts()[kind]) <= 1.7 * counted


def test_prose_and_sources_are_near() -> None:
    count = counter("dolma2_tokenizer.json")  # whose tokens are those of cl100k_base but for a few
    library = Path(sysconfig.get_paths()["stdlib"])
    prose, sources = sorted((ROOT / "docs").glob("*.md")), sorted(library.glob("*.py"))[::10]
    for paths in (prose, sources):
        ratios = [most_tokens(text) / count(text) for text in (path.read_text()[:20_000] for path in paths) if text]
        assert 1.4 < mean(ratios) < 2.1
        assert min(ratios) > 1.2 and max(ratios) < 2.6


def test_any_text_has_a_bound() -> None:
    assert most_tokens("") <= 1
    assert 2 <= most_tokens("\ud800\udfff a\ud800") <= 10
    assert most_tokens("\0" * 10) >= 10
