"""Repair of mojibake and odd characters by the library plsfix, called only where it could change something.

`fix_text` gives `plsfix.fix_text` of the whole text, `fix_fragments` that of each fragment between word
boundaries (which misses entities and most mojibake, and is what older classifiers were trained on). The library
looks at each line by itself. A stretch of characters that it never changes, whatever their order, is recognized
here and left alone; which characters those are is a fact about plsfix 0.1.8 that the tests establish.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from actors.normalizers.remembered import Remembered

LONGEST = 1 << 20
"""Code points after which `fix_fragments` cuts a text, at the next LF if there is one."""

# The library works on at most so many bytes of a line at once, and panics where that cuts a character in two.
_SEGMENT = 1_000_000

# Controls are removed; CR becomes LF; FF, TAB and LF stay.
_REMOVED = dict.fromkeys((*range(9), 11, *range(14, 32), 127))

_PLAIN_ASCII = r"\t\n\x0c -~"

# Letters that take part in none of the library's rules for mojibake, ligatures and widths when only such letters,
# digits and the signs below surround them, and that NFC leaves alone in any order. Upper-case accented letters,
# oe, Dz and the like are missing on purpose.
_PLAIN_LETTERS = (
    "ß-öø-ÿ"
    "āăąćĉċčďđēĕėęěĝğġģĥħĩīĭįıĵķĸĺļľŀłńņňŋōŏőŕŗřśŝşšţťŧũūŭůűųŵŷźżž"
    "Α-ΡΣ-Ωά-ώ"
    "ЁА-яё"
    "א-תء-غف-ي"
    "ぁ-ゖァ-ヺー々㐀-䶿一-鿿가-힣"
)
# The same for signs, among signs.
_PLAIN_SIGNS = "\xa0¡©«\xad®´·»¿\u200b-\u200f–—―•…‹›™←-⇿☀-⛿✀-➿、。〈-】〔-〛\ufe0f\U0001f1e6-\U0001f1ff\U0001f300-\U0001f6ff\U0001f900-\U0001f9ff\U0001fa70-\U0001faff"

# Signs that the library replaces one by one, whatever plain signs surround them.
_REPLACED = {
    "\r\n": "\n",
    "\r": "\n",
    **dict.fromkeys("‘’‚‛", "'"),
    **dict.fromkeys("“”„‟", '"'),
    "\u3000": " ",
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if not chr(code).isalnum()},
}

_REPLACED_SIGNS = re.escape("".join(sign for sign in _REPLACED if len(sign) == 1))
_CHANGEABLE = re.compile(f"[^{_PLAIN_ASCII}{_PLAIN_LETTERS}{_PLAIN_SIGNS}{_REPLACED_SIGNS}]")
_REPLACEABLE = re.compile(f"\r\n|[{_REPLACED_SIGNS}]")
_BOUNDARY = re.compile(r"\b")
_WORD_TAIL, _GAP_TAIL = re.compile(r"\w*"), re.compile(r"\W*")

# In a line signs stand beside letters, and then a closing quotation mark is a clue: only letters are plain there.
_ENTITY = r"&#?[0-9A-Za-z]{1,24};"
_CHANGEABLE_IN_LINE = re.compile(f"[^{_PLAIN_ASCII}{_PLAIN_LETTERS}、。]|{_ENTITY}")


def fix_text(text: str) -> str:
    """The whole text repaired. Raises UnicodeEncodeError on a lone surrogate."""
    done = 0
    parts: list[str] = []
    while found := _CHANGEABLE_IN_LINE.search(text, done):
        start = text.rfind("\n", done, found.start()) + 1 or done
        end = text.find("\n", found.start()) + 1 or len(text)
        parts += text[done:start], text[start:end]
        done = end
    parts[1::2] = _fixed(parts[1::2])
    return "".join((*parts, text[done:])) if parts else text


def fix_fragments(text: str) -> str:
    r"""The text split at every `\b`, each fragment repaired alone; what follows a cut at `LONGEST` is dropped.

    Raises UnicodeEncodeError on a lone surrogate.
    """
    if len(text) > LONGEST:
        line_end = text.find("\n", LONGEST)
        text = text[: LONGEST if line_end == -1 else line_end]
    if len(text) > _SEGMENT and "\r" in text:
        return "".join(_fixed(_BOUNDARY.split(text)))  # a long line may be cut between CR and LF
    if text.isascii():
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text.translate(_REMOVED)
    text = _fix_changeable_fragments(text)
    for sign in sorted(set(_REPLACEABLE.findall(text)), reverse=True):
        text = text.replace(sign, _REPLACED[sign])
    return text


def _fix_changeable_fragments(text: str) -> str:
    done = 0
    parts: list[str] = []
    while found := _CHANGEABLE.search(text, done):
        start, end = _fragment(text, done, found.start())
        parts += text[done:start], text[start:end]
        done = end
    parts[1::2] = _fragments.of(parts[1::2])
    return "".join((*parts, text[done:])) if parts else text


def _fragment(text: str, earliest: int, position: int) -> tuple[int, int]:
    r"""Where the fragment starts and ends that holds `position`: a run of `\w`, or of everything else."""
    in_word = _is_word(text[position])
    start = position
    while start > earliest and _is_word(text[start - 1]) is in_word:
        start -= 1
    tail = (_WORD_TAIL if in_word else _GAP_TAIL).match(text, position)
    assert tail is not None
    return start, tail.end()


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _fixed(texts: list[str]) -> list[str]:
    from plsfix import fix_text as fix  # 46 MB that only a text with something to repair needs

    return [fix(text) if len(text) * 4 <= _SEGMENT else "".join(map(fix, _segments(text))) for text in texts]


def _segments(text: str) -> Iterator[str]:
    """The parts of the text that the library works on: lines, cut where a character ends before `_SEGMENT` bytes."""
    encoded, start = text.encode(), 0
    while start < len(encoded):
        end = encoded.find(b"\n", start) + 1 or len(encoded)
        if end - start > _SEGMENT:
            end = start + _SEGMENT
            while encoded[end] & 0xC0 == 0x80:
                end -= 1
        yield encoded[start:end].decode()
        start = end


_fragments = Remembered(_fixed)
