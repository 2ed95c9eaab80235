"""Plots as SVG text for a report: curves, reliability diagrams, histograms and densities, by matplotlib.

Colours are the page's own (custom properties), so that a plot follows light and dark; text is text, in the page's
face. The same data give the same bytes: no dates, no random identifiers, and no state is kept between plots. Words of
users (labels, file names) belong in the legends and captions around a plot: axis labels are this package's own.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.report.document import SERIES_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that matplotlib writes into the SVG and that are then replaced by the page's; no plot uses them otherwise.
_INK, _MUTED, _LINE, _PANEL = "#010101", "#010102", "#010103", "#010104"
_PAGE_COLOURS = {_INK: "--ink", _MUTED: "--muted", _LINE: "--line", _PANEL: "--panel"}
_SERIES = tuple(f"#0102{i:02x}" for i in range(SERIES_COLOURS))
_PAGE_COLOURS.update({colour: f"--series-{i}" for i, colour in enumerate(_SERIES)})

_WIDTH, _HEIGHT = 4.3, 3.25
_STYLES = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)), (0, (5, 1.5, 1.2, 1.5)))


@dataclass(frozen=True, slots=True)
class Line:
    """Points of one series; `low` and `high`, if given, are limits around `y` at the same points."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    series: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def curve_plot(
    lines: Sequence[Line], x_label: str, y_label: str, description: str, diagonal: bool = False, steps: bool = False
) -> str:
    """Curves over the unit square; `diagonal` draws the line of no skill, `steps` holds each value to the next."""
    figure, axes = _canvas(x_label, y_label)
    if diagonal:
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
    for number, line in enumerate(lines):
        style: dict[str, Any] = {"color": _SERIES[line.series % SERIES_COLOURS], "linewidth": 1.7, "zorder": 3}
        style["linestyle"] = _STYLES[number % len(_STYLES)] if len(lines) > 1 else "-"
        axes.plot(line.x, line.y, drawstyle="steps-pre" if steps else "default", **style)
    _unit_square(axes)
    return _svg(figure, description)


def reliability_plot(lines: Sequence[Line], x_label: str, y_label: str, description: str) -> str:
    """Observed against predicted, with limits; on the diagonal a model is exactly as sure as it should be."""
    figure, axes = _canvas(x_label, y_label)
    axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
    for line in lines:
        colour = _SERIES[line.series % SERIES_COLOURS]
        y = np.asarray(line.y)
        reach = np.abs(np.stack([y - np.asarray(line.low), np.asarray(line.high) - y]))
        axes.errorbar(line.x, y, yerr=reach, fmt="none", ecolor=colour, elinewidth=1.1, alpha=0.55, zorder=2)
        axes.plot(line.x, y, color=colour, linewidth=1.4, zorder=3)
        axes.scatter(line.x, y, s=18, facecolor=_PANEL, edgecolor=colour, linewidth=1.4, zorder=4)
    _unit_square(axes)
    return _svg(figure, description)


def score_histogram(of_class: Sequence[float], of_others: Sequence[float], description: str) -> str:
    """Numbers of rows by the probability they were given, on a logarithmic scale: the class against all others."""
    figure, axes = _canvas("probability given", "rows (log scale)", height=2.5)
    edges = np.linspace(0, 1, len(of_class) + 1)
    largest = max(max(of_class, default=0), max(of_others, default=0), 1)
    for counts, series in ((of_others, 1), (of_class, 0)):
        colour = _SERIES[series]
        values = np.maximum(np.asarray(counts, dtype=float), 0.5)
        axes.stairs(values, edges, baseline=0.5, fill=True, color=colour, alpha=0.22, linewidth=0, zorder=2)
        axes.stairs(values, edges, baseline=0.5, color=colour, linewidth=1.3, zorder=3)
    axes.set_yscale("log")
    axes.set_ylim(0.5, largest * 2)
    axes.set_xlim(0, 1)
    axes.yaxis.set_minor_locator(_no_ticks())
    axes.yaxis.set_major_formatter(_plain_counts())
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    return _svg(figure, description)


def density_plot(
    counts: Sequence[Sequence[float]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_label: str,
    y_label: str,
    description: str,
    guide: tuple[tuple[float, float], tuple[float, float]],
) -> str:
    """How many rows lie where: `counts[x][y]` over equal bins of both ranges, darker for more (by square root).

    `guide` is a straight line to compare with, from one point to another.
    """
    figure, axes = _canvas(x_label, y_label)
    table = np.asarray(counts, dtype=float)
    x_edges = np.linspace(*x_range, table.shape[0] + 1)
    y_edges = np.linspace(*y_range, table.shape[1] + 1)
    opacity = np.sqrt(table / max(table.max(), 1.0))
    for i, j in zip(*np.nonzero(table), strict=True):
        corner, size = (x_edges[i], y_edges[j]), (x_edges[i + 1] - x_edges[i], y_edges[j + 1] - y_edges[j])
        alpha = round(0.08 + 0.87 * float(opacity[i, j]), 2)
        axes.add_patch(_rectangle(corner, size, facecolor=_SERIES[0], alpha=alpha, linewidth=0, zorder=2))
    axes.plot(*zip(*guide, strict=True), color=_INK, linewidth=0.9, linestyle=(0, (2, 3)), zorder=3)
    axes.set_xlim(*x_range)
    axes.set_ylim(*y_range)
    return _svg(figure, description)


def share_plot(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    description: str,
    x_ticks: Sequence[tuple[float, str]] = (),
    points: bool = False,
    highest: float | None = None,
) -> str:
    """Shares, in per cent from 0, over any quantity; limits, where a line has them, as a band.

    `x_ticks` are the only places to be named, if given; `points` marks each value. The plot reaches up to `highest`,
    by default to the highest value drawn.
    """
    figure, axes = _canvas(x_label, y_label)
    for line in lines:
        colour = _SERIES[line.series % SERIES_COLOURS]
        if line.low:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.16, linewidth=0, zorder=2)
        axes.plot(line.x, line.y, color=colour, linewidth=1.6, zorder=3)
        if points:
            axes.scatter(line.x, line.y, s=18, facecolor=_PANEL, edgecolor=colour, linewidth=1.4, zorder=4)
    top = max((value for line in lines for value in (*line.y, *line.high)), default=0.0) if highest is None else highest
    axes.set_ylim(0, min(1.02, max(0.05, top * 1.08)))
    axes.yaxis.set_major_locator(_few_ticks())
    axes.yaxis.set_major_formatter(_per_cent())
    if x_ticks:
        axes.set_xticks([place for place, _ in x_ticks], [name for _, name in x_ticks])
    return _svg(figure, description)


def map_plot(x: Sequence[float], y: Sequence[float], x_label: str, y_label: str, description: str) -> str:
    """One function of one variable, such as a fitted calibration."""
    figure, axes = _canvas(x_label, y_label)
    axes.plot(x, y, color=_SERIES[0], linewidth=1.8, zorder=3)
    return _svg(figure, description)


def _canvas(x_label: str, y_label: str, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), facecolor="none")
    axes = figure.add_axes((0.125, 0.55 / height, 0.85, 1 - 0.68 / height))
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.grid(color=_LINE, linewidth=0.7)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, labelsize=9.5, labelcolor=_MUTED, pad=5)
    axes.set_xlabel(x_label, fontsize=10.5, color=_INK, labelpad=5)
    axes.set_ylabel(y_label, fontsize=10.5, color=_INK, labelpad=4)
    return figure, axes


def _unit_square(axes: Axes) -> None:
    ticks, labels = [0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"]
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def _per_cent() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value * 100:g} %")


def _plain_counts() -> Any:
    from matplotlib.ticker import FuncFormatter

    def text(value: float, _: int) -> str:
        for size, suffix in ((1e6, "M"), (1e3, "k")):
            if value >= size:
                return f"{value / size:g}{suffix}"
        return f"{value:g}"

    return FuncFormatter(text)


def _rectangle(corner: tuple[float, float], size: tuple[float, float], **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, *size, **style)


def _svg(figure: Figure, description: str) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    written = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "gristmill", "path.simplify": False}):
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": None})
    return _for_page(written.getvalue(), description)


def _for_page(svg: str, description: str) -> str:
    """Cut what only a file of its own needs, and give colours, face and identifiers of the page."""
    from markupsafe import escape

    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->|<style.*?</style>", "", svg, flags=re.DOTALL)
    for colour, name in _PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var({name})")
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"(?<= d=\")[^\"]*", lambda path: re.sub(r"\d+\.\d+", _shorter, path[0]), svg)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    prefix = "p" + hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r" id=\"([^\"]*)\"", lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\1{prefix}-", svg)
    box = re.search(r"viewBox=\"([^\"]*)\"", svg)
    opening = f'<svg viewBox="{box[1] if box else "0 0 310 234"}" role="img" aria-label="{escape(description)}">'
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1)).strip()


def _shorter(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
