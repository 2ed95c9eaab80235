"""What can be measured of a source text line by line, in any programming language.

Lines are cut on LF, columns are characters. Nothing here parses: a comment is a line that opens with one of the
language's comment markers, and one inside a string is counted as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# The widest limit in common use; a narrower one would measure which formatter a project runs.
WIDE = 120
# A copied passage shows as a run of the same lines; three lines alike are often only the shape of an idiom.
WINDOW = 4

COMMENT_MARKERS: Mapping[str, str] = {
    "hash": r"#",
    "slash": r"//|/\*|\*(?!\w)",
    "dash": r"--",
    "percent": r"%",
    "semicolon": r";",
    "markup": r"<!--",
}
_COMMENT = {family: re.compile(rf"^[ \t]*(?:{marker})(.*)", re.MULTILINE) for family, marker in COMMENT_MARKERS.items()}
# Code that was switched off: a statement rather than a sentence behind the marker.
_DISABLED = re.compile(
    r"\s*(?:(?:def|class|function|func|fn|public|private|static)\s\w[^.]*[({:]\s*$"
    r"|(?:if|for|while|elif|else if|switch)\b.*[:{]\s*$|return\b[^.]*;?\s*$|import\s[\w.]+;?\s*$"
    r"|from\s\S+\simport\s|[\w.\[\]]+\s*[-+*/|]?=\s*[^=\s].*|[\w.]+\([^)]*\);?\s*$|[{}]\s*;?\s*$)"
)


@dataclass(frozen=True, slots=True)
class LineMeasures:
    """Counts of lines, and shares (0 to 1) of the non-blank ones."""

    lines: int
    blank: int
    comments: int
    longest: int
    wide_share: float
    repeated_share: float
    disabled_share: float

    @property
    def code(self) -> int:
        """Lines that are neither blank nor a comment."""
        return self.lines - self.blank - self.comments


def measure_lines(text: str, family: str = "hash") -> LineMeasures:
    """Measure `text`; `family` is a key of `COMMENT_MARKERS`."""
    lines = text.split("\n")
    solid = [stripped for line in lines if (stripped := line.strip())]
    widths = [len(line) for line in lines]
    comments = _COMMENT[family].findall(text)
    disabled = sum(1 for comment in comments if _DISABLED.match(comment[:WIDE]))
    return LineMeasures(
        lines=len(lines),
        blank=len(lines) - len(solid),
        comments=len(comments),
        longest=max(widths),
        wide_share=sum(width > WIDE for width in widths) / max(1, len(solid)),
        repeated_share=_repeated_share(solid),
        disabled_share=disabled / max(1, len(solid)),
    )


def _repeated_share(solid: list[str]) -> float:
    """Share of the runs of `WINDOW` consecutive non-blank lines that stood in the text before."""
    runs = len(solid) - WINDOW + 1
    if runs < 1:
        return 0.0
    distinct = set(zip(*(solid[offset : offset + runs] for offset in range(WINDOW)), strict=True))
    return 1 - len(distinct) / runs
