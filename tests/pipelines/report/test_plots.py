"""Plots are deterministic, follow the page's colours, and keep to their own identifiers."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipelines.report import plots

LINES = [plots.Line((0, 0.4, 1), (0, 0.7, 1), 0), plots.Line((0, 0.5, 1), (0, 0.6, 1), 9)]
BANDS = [plots.Line((0.1, 0.5), (0.2, 0.4), 1, (0.1, 0.4), (0.3, 0.6))]
MAKERS = {
    "curve": lambda: plots.curve_plot(LINES, "x", "y", "two <curves>", diagonal=True, steps=True),
    "reliability": lambda: plots.reliability_plot(BANDS, "x", "y", "bins"),
    "histogram": lambda: plots.score_histogram([0, 5, 1200, 0], [1_500_000, 3, 0, 0], "scores"),
    "empty histogram": lambda: plots.score_histogram([0, 0], [0, 0], "scores"),
    "density": lambda: plots.density_plot([[0, 1], [4, 0]], (0, 5), (-1, 6), "x", "y", "rows", ((0, 0), (5, 5))),
    "map": lambda: plots.map_plot([0, 1], [1, 3], "x", "y", "map"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_plot_is_well_formed_and_described(name):
    svg = MAKERS[name]()
    tree = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert tree.get("role") == "img"
    assert tree.get("aria-label")
    assert not re.search(r"<style|<metadata|<image|<script|date", svg, re.IGNORECASE)


@pytest.mark.parametrize("name", MAKERS)
def test_a_plot_is_the_same_every_time(name):
    assert MAKERS[name]() == MAKERS[name]()


@pytest.mark.parametrize("name", MAKERS)
def test_every_colour_is_the_pages(name):
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", MAKERS[name]()))
    assert all(colour == "none" or colour.startswith("var(--") for colour in colours), colours


@pytest.mark.parametrize("name", MAKERS)
def test_every_reference_has_its_target(name):
    svg = MAKERS[name]()
    targets = set(re.findall(r" id=\"([^\"]+)\"", svg))
    assert set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg)) == targets


def test_different_plots_on_one_page_share_no_identifier():
    first, second = MAKERS["curve"](), MAKERS["reliability"]()
    assert not set(re.findall(r" id=\"([^\"]+)\"", first)) & set(re.findall(r" id=\"([^\"]+)\"", second))


def test_another_process_makes_the_same_bytes():
    program = (
        "from pipelines.report import plots; import sys;"
        "sys.stdout.write(plots.reliability_plot([plots.Line((0.1, 0.5), (0.2, 0.4), 1, (0.1, 0.4), (0.3, 0.6))],"
        "'x', 'y', 'bins'))"
    )
    root = Path(__file__).resolve().parents[3]
    made = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert made.stdout == MAKERS["reliability"]()
