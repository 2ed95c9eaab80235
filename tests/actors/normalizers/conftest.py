"""What the tests of normalizers share: the literal definitions, the tokenizer files, and texts that are awkward."""

from __future__ import annotations

import importlib.util
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import strategies as st

_TOKENIZERS = Path(__file__).resolve().parents[3].parent / "shared" / "tokenizers"

WORDS = [
    *(
        "a",
        "I",
        "foo",
        "Hello",
        "naïve",
        "Ünder",
        "ÉCOLE",
        "don't",
        "He'LL",
        "we’re",
        "x'sy",
        "_private",
        "ΣΑΣ",
        "ß",
        "İ",
    ),
    *(
        "self.assertEqual(foo[1:2],",
        "-->",
        "==",
        "...",
        "((",
        "#!",
        "--",
        "'",
        '"',
        "“",
        "”",
        "«",
        "»",
        "—",
        "…",
        "•",
        "\\n",
    ),
    *("1", "42", "1234", "3.14159", "0xFF", "x2", "²", "½", "٣", "१", "Ⅷ", "①", "３"),
    *(
        "中文，字。",
        "日本語の",
        "한국어",
        "가\u11a8",
        "привет",
        "вЂ",
        "מבחן",
        "مرحبا",
        "हिन्दी",
        "ไทย",
        "😀",
        "👍🏽",
        "👨‍👩‍👧",
        "🇮🇹",
    ),
    *(
        "e\u0301",
        "o\u0308\u0323",
        "\u0301",
        "\u1d165\u1d16d",
        "\U0001d165\u0307\U0001d16d",
        "ﬁ",
        "Ǆ",
        "Å",
        "ŉ",
        "™",
        "©",
        "€",
        "£5",
        "±",
    ),
    *(
        "doesnâ€™t",
        "Ã©tÃ©",
        "â€œquoteâ€",
        "Ã ",
        "&amp;",
        "&lt;b&gt;",
        "&#39;",
        "&EACUTE;",
        "\x1b[31m",
        "\ufeff",
        "\ufffd",
        "\u00ad",
    ),
    *("<|endoftext|>", "<|", "|||PHONE_NUMBER|||", "|||", "<|fim_prefix|>x", "<｜begin▁of▁sentence｜>", "ĠĊ", "Ġ"),
    *(
        "\x00",
        "\x01",
        "\x02",
        "\x03",
        "\x04",
        "\x05",
        "\x1c",
        "\x7f",
        "\x85",
        "\x9d",
        "\u200b",
        "\u180e",
        "\u2060",
        "ſ",
        "'ſ",
    ),
]
GAPS = [
    *(
        " ",
        " ",
        " ",
        "  ",
        "   ",
        "       ",
        "\n",
        "\n",
        "\n\n",
        "\n\n\n\n",
        "\n    ",
        "\n        ",
        "\n   ",
        "\n\t",
        "\n\t\t",
        "\t",
        "\t\t",
    ),
    *("\r\n", "\r\n\r\n", "\r", " \n", "  \n", "\n \n", "\n   \n", " \t ", "\t ", " \t", "\n \t", "\n\t  ", "", "", ""),
    *("\x0b", "\x0c", " \x0c", "\xa0", " \xa0 ", "\u1680", "\u2003 ", "\u2028", "\u2029", "\u3000", "\u202f"),
]


def awkward_texts(max_size: int = 12) -> st.SearchStrategy[str]:
    """Words, signs and scripts that need care, with every kind of gap between, and any characters now and then."""
    word = st.sampled_from(WORDS) | st.sampled_from(WORDS) | st.text(max_size=3)
    pair = st.tuples(word, st.sampled_from(GAPS))
    return st.lists(pair, max_size=max_size).map(lambda pairs: "".join(word + gap for word, gap in pairs))


@pytest.fixture(scope="session")
def texts() -> Callable[[int], st.SearchStrategy[str]]:
    return awkward_texts


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """The literal definitions."""
    spec = importlib.util.spec_from_file_location("literal_normalizers", Path(__file__).with_name("literal.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tokenizer_path() -> Callable[[str], Path]:
    """The path of the tokenizer.json of that kind; without it the test is skipped."""

    def path(kind: str) -> Path:
        file = _TOKENIZERS / f"{kind}_tokenizer.json"
        if not file.is_file():
            pytest.skip(f"no {file.name} beside the repository")
        return file

    return path


@pytest.fixture(scope="session")
def sources() -> list[str]:
    """Files of the Python standard library, a few hundred thousand characters, among them ones in many scripts."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in root.glob("*.py"))[::8] + sorted((root / "encodings").glob("*.py"))[::40]
    files += [root / "test" / name for name in ("test_textwrap.py", "test_html.py") if (root / "test" / name).exists()]
    return [path.read_text(encoding="utf-8") for path in files]
