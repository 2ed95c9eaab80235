"""A report is one well-formed, self-contained file whatever the text in it, and the same bytes every time."""

import re
from html.parser import HTMLParser

import pytest

from pipelines.curation.bootstrap import Estimate
from pipelines.report import plots
from pipelines.report.document import (
    SNIPPET_CHARACTERS,
    Bars,
    Code,
    Column,
    Example,
    Examples,
    Fact,
    Figure,
    Forest,
    Grid,
    HeatMap,
    KeyFigures,
    Legend,
    Mark,
    Plot,
    Plots,
    Prose,
    Ruled,
    Section,
    Table,
    Verdict,
    common_scale,
    render,
    shade,
    snippet,
    whisker,
)

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Balance(HTMLParser):
    """Follows every tag and keeps what is out of balance."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.wrong += [f"{tag} {name}" for name, _ in attrs if name.startswith("on") or name in ("src", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> Balance:
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.wrong == []
    assert parser.open == []
    return parser


def every_section(text: str) -> list[Section]:
    estimate = Estimate(0.5, 0.4, 0.6, "normal")
    cells = (
        text,
        3,
        0.25,
        None,
        estimate,
        Ruled(estimate, (0, 1)),
        Forest((estimate, estimate), (0, 1)),
        Mark(text, "bad"),
    )
    columns = tuple(Column(text, numeric=i % 2 == 0) for i in range(9))
    svg = plots.curve_plot([plots.Line((0, 1), (0, 1), 0)], "x", "y", text)
    return [
        KeyFigures(text, (Figure(text, estimate, text), Figure(text, Estimate.undefined(text))), text, (text,)),
        Table(text, columns, ((*cells, Code(text)),), ((*cells, Code(text)),), text, (text,)),
        Plots(text, (Plot(text, svg, text, (Legend(text, 0),)),), text, (text,)),
        HeatMap(text, (Grid(text, (text, "b"), ((1, 0), (2, 3)), text, text),), text, (text,)),
        Bars(text, (text,), (text, "b"), ((1,), (0,)), lead=text, notes=(text,)),
        Examples(text, (Example(text, ((text, text),), text, "good"),), text, (text,)),
        Verdict(text, text, (text,), "warning"),
        Prose(text, (text, Code(text))),
    ]


@pytest.mark.parametrize("text", [HOSTILE, "plain", "日本語 עברית \ud800 \x00\x1b\u202e"])
def test_every_section_is_well_formed_and_escaped(text):
    html = render(text, every_section(text), subtitle=text, facts=(Fact(text, text),), kind=text)
    parser = read(html)
    assert not parser.tags & {"script", "img", "link", "iframe", "object"}
    html.encode("utf-8")
    assert "\x00" not in html


def test_nothing_is_loaded_from_elsewhere():
    html = render("Title", every_section("text"))
    assert "default-src 'none'" in html
    assert not re.findall(r"(?:src|href)\s*=\s*\"(?!#)", html)
    assert not re.findall(r"https?://|@import|url\((?!#)", html)


def test_the_same_sections_give_the_same_bytes():
    assert render("Title", every_section("text")) == render("Title", every_section("text"))


def test_anchors_lead_to_sections_even_when_titles_repeat():
    html = render("Title", [Prose("Same & same"), Prose("Same & same"), Prose("日本"), Prose("Other")])
    anchors = re.findall(r"<a href=\"#([^\"]+)\"", html)
    assert anchors == ["1-same-same", "2-same-same", "3-section", "4-other"]
    assert all(f'<section id="{anchor}"' in html for anchor in anchors)


def test_long_texts_are_cut_and_say_so():
    shown = snippet("x" * (SNIPPET_CHARACTERS + 1234))
    assert shown.startswith("x" * SNIPPET_CHARACTERS + "…")
    assert shown.endswith("(1,234 more characters)")
    assert snippet("a\tb\n") == "a\tb\n"


def test_characters_that_hide_or_turn_text_are_made_visible():
    assert "a\u2400b\u241b[U+202E]c\td" in render("Title", [Prose("a\x00b\x1b\u202ec\td")])


def test_a_row_that_does_not_fit_its_table_is_refused():
    with pytest.raises(ValueError, match="table 'Steps': a row of 1 cells under 2 columns"):
        Table("Steps", (Column("a"), Column("b")), (("x",),))


def test_whiskers_stay_on_their_bar():
    place = whisker(Estimate(0.9, 0.8, 1.4), (0.5, 1.0))
    assert (place.left, place.width, place.value) == (60.0, 40.0, 80.0)
    assert whisker(Estimate.undefined("x"), (0, 1)) is None
    assert whisker(Estimate(1.0, 1.0, 1.0), (1.0, 1.0)) is not None


def test_a_common_scale_holds_every_interval():
    low, high = common_scale([Estimate(0.5, 0.4, 0.6), Estimate.undefined("x"), Estimate(0.7, 0.65, 0.8)])
    assert low < 0.4
    assert high > 0.8
    assert common_scale([Estimate.undefined("x")]) == (0.0, 1.0)


def test_shades_grow_with_the_share_and_flip_the_text():
    assert shade(0.0).opacity == 0
    assert 0 < shade(0.01).opacity < shade(0.3).opacity < shade(1.0).opacity <= 1
    assert shade(1.0).is_strong
    assert not shade(0.1).is_strong
