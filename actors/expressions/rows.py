"""What a row must be for a program to read it: one JSON object in UTF-8, by the strict grammar of RFC 8259.

The grammar is checked by msgspec as it decodes or skips. It does not look at the UTF-8 of a string that it skips or
keeps raw, which is why that is checked here, for whole lines; and it refuses an escaped lone surrogate, as no UTF-8
text can hold one. Objects and arrays may be nested about a thousand deep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.fields import not_json
from cluster.rows import Failure


class _AnyObject(msgspec.Struct):
    """Decoding into a struct without fields checks the grammar of an object and builds nothing."""


_check_object = msgspec.json.Decoder(_AnyObject).decode


def row_text(line: bytes) -> str | Failure:
    """The row as text, if it is one JSON object in UTF-8."""
    try:
        _check_object(line)
        return line.decode()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return not_json(line, error)


def reject_invalid_utf8(lines: Sequence[bytes], results: list[Any]) -> list[Any]:
    """The results, with a `Failure` for every row that is not UTF-8: native code skips strings unread."""
    for position, line in enumerate(lines):
        if not line.isascii() and not isinstance(results[position], Failure):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                results[position] = not_json(line, error)
    return results
