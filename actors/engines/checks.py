"""Checks that make a criterion: each holds one figure against its limit, and all have to be met.

The limits that every language shares stand here; what is particular to one stands with its criteria.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actors.engines.grade import Criterion
from actors.engines.hardcoded_secrets import hardcoded_secrets
from actors.engines.line_measures import WIDE, LineMeasures

# A function is read at once if it fits a screen.
SCREEN = 60
# A finding more adds nothing to the judgement, and every explanation is stored with its row.
NAMED_FLAGS = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One figure and its limit in words; `text` reads the same whether the check is met or not."""

    is_met: bool
    text: str


def criterion(checks: Iterable[Check]) -> Criterion:
    """Passes if every check is met; the explanation names what failed first."""
    checks = list(checks)
    failed = [check.text for check in checks if not check.is_met]
    met = [check.text for check in checks if check.is_met]
    parts = [f"fails on: {'; '.join(failed)}"] if failed else []
    parts += [f"holds: {'; '.join(met)}"] if met else []
    return Criterion(not failed, ". ".join(parts))


def percent(share: float) -> str:
    """A share between 0 and 1 as it is read; a tenth more is shown where rounding would hide a difference."""
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def at_most(value: float, limit: float, text: str) -> Check:
    """`text` with the limit after it."""
    return Check(value <= limit, f"{text} (at most {limit:,})")


def share_at_most(share: float, limit: float, text: str) -> Check:
    """The same for a share, which stands before the text."""
    return Check(share <= limit, f"{percent(share)} {text} (at most {100 * limit:.0f} %)")


def flag_checks(text: str, hazards: Sequence[str]) -> list[Check]:
    """No credential in the text, and none of the hazards that its language's measures found."""
    flags = [*hardcoded_secrets(text), *hazards]
    if not flags:
        return [Check(True, "no hard-coded secret, no call that runs computed code, no bare except")]
    more = f" and {len(flags) - NAMED_FLAGS} more" if len(flags) > NAMED_FLAGS else ""
    return [Check(False, ", ".join(flags[:NAMED_FLAGS]) + more)]


def layout_checks(lines: LineMeasures, function_lengths: Sequence[int]) -> list[Check]:
    """Widths, function lengths and switched-off code."""
    long = sum(length > SCREEN for length in function_lengths)
    share = long / max(1, len(function_lengths))
    return [
        share_at_most(lines.wide_share, 0.03, f"of the lines wider than {WIDE} columns"),
        # One line this wide is a blob or minified, whatever the rest looks like.
        at_most(lines.longest, 300, f"longest line {lines.longest:,} columns"),
        share_at_most(share, 0.1, f"of {len(function_lengths)} functions longer than {SCREEN} lines"),
        share_at_most(lines.disabled_share, 0.03, "of the lines commented-out code"),
    ]


def structure_checks(lines: LineMeasures, complexities: Sequence[int]) -> list[Check]:
    """Functions, their complexity, the length of the file and copied passages."""
    worst = max(complexities, default=0)
    mean = sum(complexities) / max(1, len(complexities))
    return [
        Check(bool(complexities), f"{len(complexities)} functions (at least 1)"),
        # McCabe drew the line at 10 and allowed 15 where a team knows why; a mean of 5 is where radon's rank A ends.
        at_most(worst, 15, f"highest cyclomatic complexity {worst}"),
        at_most(mean, 5, f"mean cyclomatic complexity {mean:.1f}"),
        # pylint's limit for a module.
        at_most(lines.lines, 1000, f"{lines.lines:,} lines"),
        share_at_most(lines.repeated_share, 0.1, "of the passages repeated"),
    ]
