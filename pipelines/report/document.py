"""A report as one self-contained HTML file: typed sections in, a string out.

The file loads nothing and runs nothing (a content security policy in it says so), reads well in light and dark, on
paper and on a phone, and is byte-identical for equal input. All text is escaped by the templates; only plots made by
`plots` are inserted as they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pipelines.curation.bootstrap import Estimate
from pipelines.report import numbers
from pipelines.report.task_cards import TaskCards

if TYPE_CHECKING:
    from jinja2 import Environment

Tone = Literal["good", "bad", "neutral", "warning"]

# Longer texts are cut in the middle of nothing: a reader needs the start, and the place says where the rest is.
SNIPPET_CHARACTERS = 700
# Colours that the style sheet defines for series.
SERIES_COLOURS = 8
# What a browser would not show: control characters, and marks that make text read otherwise than it is stored
# (CVE-2021-42574). A reader must see them.
_HIDDEN = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"}
_HIDDEN |= {code: f"[U+{code:04X}]" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
# Colours that the style sheet defines for series.
SERIES_COLOURS = 8
# Marks that make text read otherwise than it is stored (CVE-2021-42574): a reader must see them.
_TURNS_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of what the report is about: `Rows: 12,000`."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A word in a table that carries a judgement, coloured by its tone."""

    text: str
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class Code:
    """A name, path or program, set in a fixed-width face."""

    text: str


@dataclass(frozen=True, slots=True)
class Ruled:
    """An estimate drawn on a scale of its own, so that those in one row of a table can be compared by eye."""

    estimate: Estimate
    scale: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Forest:
    """Several estimates drawn under each other on one scale, in the colours of their series."""

    estimates: tuple[Estimate, ...]
    scale: tuple[float, float]


Cell = str | int | float | None | Estimate | Ruled | Forest | Mark | Code


@dataclass(frozen=True, slots=True)
class Figure:
    """A key figure. `scale` is the span of the bar that shows its interval; None draws none."""

    label: str
    estimate: Estimate
    note: str = ""
    percent: bool = False
    scale: tuple[float, float] | None = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """The figures a reader wants first."""

    template: ClassVar[str] = "key_figures.html.j2"
    title: str
    figures: tuple[Figure, ...]
    lead: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, and whether it holds numbers (which are set to the right)."""

    label: str
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; a row has one cell per column. `totals` rows are set apart at the end."""

    template: ClassVar[str] = "table.html.j2"
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    totals: tuple[tuple[Cell, ...], ...] = ()
    lead: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in (*self.rows, *self.totals):
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: a row of {len(row)} cells under {len(self.columns)} columns")


@dataclass(frozen=True, slots=True)
class Legend:
    """A name and the number of the series' colour (0 to 7)."""

    label: str
    series: int


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot made by `plots`: its SVG, a heading and what to see in it."""

    title: str
    svg: str
    caption: str = ""
    legend: tuple[Legend, ...] = ()


@dataclass(frozen=True, slots=True)
class Plots:
    """Plots side by side, as many as the page is wide."""

    template: ClassVar[str] = "plots.html.j2"
    title: str
    plots: tuple[Plot, ...]
    lead: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """A square table of counts, rows against columns in the same order of names; the diagonal is agreement."""

    name: str
    names: tuple[str, ...]
    counts: tuple[tuple[float, ...], ...]
    row_axis: str
    column_axis: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """One or several grids, coloured by the share of each row: one hue on the diagonal, another off it."""

    template: ClassVar[str] = "heat_map.html.j2"
    title: str
    grids: tuple[Grid, ...]
    lead: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bars:
    """A distribution over categories for one or several series: `counts[series][category]`.

    `colours` are the numbers of the series' colours; 7 is grey.
    """

    template: ClassVar[str] = "bars.html.j2"
    title: str
    categories: tuple[str, ...]
    series: tuple[str, ...]
    counts: tuple[tuple[float, ...], ...]
    colours: tuple[int, ...] = tuple(range(SERIES_COLOURS))
    lead: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """A row to read: where it is, what was said of it, and its text."""

    place: str
    facts: tuple[tuple[str, str], ...]
    text: str
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows to read, the most telling first."""

    template: ClassVar[str] = "examples.html.j2"
    title: str
    examples: tuple[Example, ...]
    lead: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it comes to, in words."""

    template: ClassVar[str] = "verdict.html.j2"
    title: str
    headline: str
    paragraphs: tuple[str, ...] = ()
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs; a `Code` among them is a program or a command to type, set apart."""

    template: ClassVar[str] = "prose.html.j2"
    title: str
    paragraphs: tuple[str | Code, ...] = ()


Section = KeyFigures | Table | Plots | HeatMap | Bars | Examples | Verdict | Prose | TaskCards


def render(
    title: str, sections: Sequence[Section], *, subtitle: str = "", facts: Sequence[Fact] = (), kind: str = "Report"
) -> str:
    """The whole report as HTML text (UTF-8 when written)."""
    entries = [(f"{i}-{_slug(section.title)}", section) for i, section in enumerate(sections, 1)]
    page = _environment().get_template("report.html.j2")
    html = page.render(title=title, subtitle=subtitle, facts=facts, kind=kind, entries=entries)
    # A lone surrogate (valid in JSON) has no UTF-8 form and must not keep a report from being written.
    return html.translate(_HIDDEN).encode("utf-8", "replace").decode("utf-8")


def _slug(title: str) -> str:
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "section"


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=numbers.count_text,
        share=numbers.share_text,
        number=_number_text,
        value=numbers.value_text,
        interval=numbers.interval_text,
        snippet=snippet,
        sentences=_sentences,
        weight=lambda weight: numbers.count_text(round(weight, 1)),
    )
    environment.tests.update(
        estimate=lambda cell: isinstance(cell, Estimate),
        ruled=lambda cell: isinstance(cell, Ruled),
        forest=lambda cell: isinstance(cell, Forest),
        marked=lambda cell: isinstance(cell, Mark),
        coded=lambda cell: isinstance(cell, Code),
        numeric=lambda cell: isinstance(cell, int | float),
    )
    environment.globals.update(whisker=whisker, shade=shade)
    return environment


def _number_text(number: float) -> str:
    return numbers.count_text(number) if isinstance(number, int) else numbers.figure_text(number)


def _sentences(text: str) -> list[str]:
    return [paragraph for paragraph in text.split("\n\n") if paragraph]


def snippet(text: str) -> str:
    """The beginning of a text, and how much was left out."""
    left = len(text) - SNIPPET_CHARACTERS
    return f"{text[:SNIPPET_CHARACTERS]}… ({numbers.count_text(left)} more characters)" if left > 0 else text


@dataclass(frozen=True, slots=True)
class Whisker:
    """Places on a bar, in per cent of its width: where the interval begins, how wide it is, where the value stands."""

    left: float
    width: float
    value: float


def whisker(estimate: Estimate, scale: tuple[float, float]) -> Whisker | None:
    """Where to draw an estimate on a scale; None without an interval."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    low, high = scale
    span = (high - low) or 1.0
    left, value, right = (
        round(min(100.0, max(0.0, (limit - low) / span * 100)), 2)
        for limit in (estimate.low, estimate.value, estimate.high)
    )
    return Whisker(left, round(right - left, 2), value)


@dataclass(frozen=True, slots=True)
class Shade:
    """How a cell of a grid is coloured: opacity 0 to 1, and whether text on it must change its colour."""

    opacity: float
    is_strong: bool


def shade(share: float) -> Shade:
    """The colour of a share of a row; faint shares stay visible."""
    # The square root keeps rare mistakes apart, which matter more than how full the diagonal is.
    opacity = round(0.92 * max(share, 0.0) ** 0.5, 3)
    return Shade(opacity, opacity > 0.68)


def common_scale(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """A scale that holds all the intervals with a little room, for comparing them."""
    limits = [limit for e in estimates for limit in (e.low, e.value, e.high) if limit is not None]
    if not limits:
        return (0.0, 1.0)
    low, high = min(limits), max(limits)
    room = (high - low) * 0.08 or max(abs(high), 1.0) * 0.01
    return (low - room, high + room)
