"""How numbers are written in a report: as many digits as the interval supports, in signs made for reading.

Pure text; no HTML.
"""

from __future__ import annotations

import math

from pipelines.curation.bootstrap import Estimate

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
NOTHING = "\N{EM DASH}"

_FEWEST, _MOST = 3, 6


def count_text(number: float) -> str:
    """A number of rows: thousands separated, a fraction (of weighted rows) to one digit."""
    whole = float(number).is_integer()
    return signed(f"{number:,.0f}" if whole else f"{number:,.1f}")


def share_text(share: float, digits: int = 1) -> str:
    """A share as per cent."""
    return signed(f"{share * 100:.{digits}f}") + "\N{NO-BREAK SPACE}%"


def figure_text(value: float | None, digits: int = _FEWEST) -> str:
    """A figure to so many decimal places, fewer for large ones."""
    if value is None:
        return NOTHING
    if abs(value) >= 100:
        digits = max(0, digits - int(math.log10(abs(value))))
    return signed(f"{value:,.{digits}f}")


def signed(text: str) -> str:
    """The same with a true minus sign, and none before a zero."""
    if text.startswith("-"):
        return MINUS + text[1:] if text.strip("-0.,") else text[1:]
    return text


def digits_for(estimate: Estimate) -> int:
    """Decimal places at which the interval still shows one or two digits."""
    if estimate.low is None or estimate.high is None or estimate.high <= estimate.low:
        return _FEWEST
    half = (estimate.high - estimate.low) / 2
    return min(_MOST, max(_FEWEST, math.ceil(-math.log10(half))))


def value_text(estimate: Estimate, percent: bool = False) -> str:
    """The value alone; an em dash where it is undefined."""
    if estimate.value is None:
        return NOTHING
    if percent:
        return share_text(estimate.value, max(1, digits_for(estimate) - 2))
    return figure_text(estimate.value, digits_for(estimate))


def interval_text(estimate: Estimate, percent: bool = False) -> str:
    """The interval alone, `0.91-0.93` with an en dash, `-0.01 to 0.02` where a sign would collide with it."""
    if estimate.low is None or estimate.high is None:
        return ""
    digits = digits_for(estimate)
    if percent:
        digits = max(1, digits - 2)
        low, high = (signed(f"{limit * 100:.{digits}f}") for limit in (estimate.low, estimate.high))
    else:
        low, high = figure_text(estimate.low, digits), figure_text(estimate.high, digits)
    joint = " to " if MINUS in low + high else DASH
    return f"{low}{joint}{high}" + ("\N{NO-BREAK SPACE}%" if percent else "")


def in_words(estimate: Estimate, percent: bool = False, brackets: bool = True) -> str:
    """`0.914 (0.908-0.920)` for a sentence, `0.914, 0.908-0.920` for one that has brackets already."""
    value, interval = value_text(estimate, percent), interval_text(estimate, percent)
    if not interval:
        return value
    return f"{value} ({interval})" if brackets else f"{value}, {interval}"


def plural(number: float, noun: str, several: str | None = None) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count_text(number)} {noun if number == 1 else several or noun + 's'}"
