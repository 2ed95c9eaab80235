"""The report on a run of tasks tells figures, rates and every task, is bounded in size, and lets no text out of its place."""

import re
import shutil
from html.parser import HTMLParser

import pytest

import pipelines.report.task_gallery as gallery
from pipelines.curation.bootstrap import Resampling
from pipelines.program_synthesis.scoring import score_run
from pipelines.report.synthesis_report import _rates_along, synthesis_report, synthesis_sections
from tests.synthesis_attempts import A, B, C, attempt, task

FEW = Resampling(resamples=100)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "</script></pre></style><img src=x onerror=alert(1)>\"'&"
ONE, TWO, THREE = task("one"), task("two"), task("three", test=(A, B))
TASKS = [ONE, TWO, THREE]
MADE = [
    attempt(ONE, 1, 1, train=[A, B], test=[A]),
    attempt(ONE, 1, 2, train=[A, C], test=[C]),
    attempt(ONE, 2, 1, train=[A, B], test=[A]),
    attempt(TWO, 1, 1, status="api_timeout"),
    attempt(TWO, 2, 1, train=[A, B], test=[A]),
    attempt(THREE, 1, 1, train=[A, A], test=[A, C]),
]


def report(attempts=MADE, tasks=TASKS, config=None, **more):
    scores = score_run(attempts, tasks, resampling=FEW, **more)
    return synthesis_report(scores, attempts, tasks, config or {"model": "m", "subset": "s"})


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text outside of style."""

    def __init__(self, html):
        super().__init__()
        self.found, self.text = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_it_tells_figures_rates_and_tasks():
    html = report()
    # One is solved in both runs, two in one of them, three in none: the mean of 1/3 and 2/3.
    assert "50.0\N{NO-BREAK SPACE}%" in html
    for words in (
        "m on s",
        "Run 1",
        "Service timed out",
        "solved in 2 of 2 runs",
        "solved in 1 of 2 runs",
        "not solved",
    ):
        assert words in html
    assert html == report()


def test_the_sections_come_in_their_order():
    titles = [each.title for each in synthesis_sections(score_run(MADE, TASKS, resampling=FEW), MADE, TASKS)]
    assert titles == [
        "In short",
        "Before you read on",
        "Run by run",
        "Over the runs",
        "More attempts",
        "What became of the attempts",
        "Along the runs",
        "Task by task",
        "How the figures were made",
    ]


def test_what_a_reader_has_to_know_first_is_said_first():
    html = report(missing=(3,))
    assert "This run is not finished: run 3 of 3 is missing, and nothing here counts it." in html
    assert "got no answer from the service, most often: api_timeout. They count" in html
    assert "3 tasks tell little" in html
    spelled = attempt(THREE, 2, 1, train=[A, B], test=[A, B], transductive="a literal")
    html = report([*MADE, spelled])
    assert "Without transductive attempts" in html
    assert "Held to spell the answer out: a literal" in html


def test_attempts_that_are_no_draws_have_no_curve_and_the_reason_is_told():
    assert "Solved with one attempt" in report() and "pass@k: pass@1" in report()
    html = report(no_pass_at_k="in the mode refine attempts build on earlier ones")
    assert "There is no pass@k for this run, since in the mode refine attempts build on earlier ones:" in html
    for words in ("Solved with one attempt", "pass@1", "Pass@1", "unbiased"):
        assert words not in html


def test_each_distinct_guess_is_shown_once_with_all_who_made_it():
    (cards,) = (
        each
        for each in synthesis_sections(score_run(MADE, TASKS, resampling=FEW), MADE, TASKS)
        if hasattr(each, "cards")
    )
    one = cards.cards[0]
    assert [picture.lines for picture in one.test[0].pictures] == [
        ("input", "1 x 1"),
        ("expected", "1 x 2"),
        ("right", "run 1, first guess", "run 2, first guess"),
        ("2 cells wrong, 0.0\N{NO-BREAK SPACE}% right", "run 1, second guess"),
    ]
    assert [picture.tone for picture in one.test[0].pictures] == ["", "", "good", "bad"]
    assert [program.title for program in one.programs] == [
        "The program of run 1, attempt 1; run 2, attempt 1: 2 of 2 training pairs right"
    ]
    assert [pair.title for pair in cards.cards[2].test] == ["Test 1 of 2", "Test 2 of 2"]
    assert [card.state for card in cards.cards] == ["solved", "sometimes", "unsolved"]
    assert [card.hardest for card in cards.cards] == [2, 1, 0]


def test_what_a_winner_returned_for_a_training_pair_is_shown_where_it_is_wrong():
    made = [
        attempt(ONE, 1, 1, train=[A, [[2, 1]]], test=[A]),
        attempt(ONE, 2, 3, train=[A, [[2, 1]]], test=[C]),
        attempt(ONE, 3, 1, train=[None, B], test=[B]),
    ]
    scores = score_run(made, [ONE], resampling=FEW)
    (card,) = next(each.cards for each in synthesis_sections(scores, made, [ONE]) if hasattr(each, "cards"))
    first, second = card.training
    assert (first.title, second.title) == ("Training pair 1: no grid from run 3, attempt 1", "Training pair 2")
    assert [picture.lines[0] for picture in first.pictures] == ["input", "expected"]
    assert [picture.lines for picture in second.pictures[1:]] == [
        ("expected", "1 x 2"),
        ("1 cell wrong, 50.0\N{NO-BREAK SPACE}% right", "predicted by run 1, attempt 1; run 2, attempt 3"),
    ]
    assert 'class="dot"' in second.pictures[2].svg and second.pictures[2].tone == "bad"


@pytest.mark.parametrize(
    ("statuses", "block", "places", "shares"),
    [
        (["wrong"] * 250 + ["api_error"] * 30, 56, (56, 112, 168, 224, 280), (0, 0, 0, 0, 30 / 56)),
        (["wrong"] * 600 + ["api_error"] * 30, 100, (100, 200, 300, 400, 500, 600, 630), (0, 0, 0, 0, 0, 0, 1)),
        (["wrong"], 1, (1,), (0,)),
        ([], 1, (), ()),
    ],
)
def test_rates_along_a_run_reach_to_its_last_attempt(statuses, block, places, shares):
    found, lines = _rates_along(statuses)
    assert (found, lines[3].x, lines[3].y) == (block, places, shares)


def test_a_last_block_that_is_smaller_is_marked():
    names = [task(f"t{number}") for number in range(11)]
    html = report([attempt(each, 1, 1, train=[A, B], test=[A]) for each in names], names)
    assert "Each point is a block of 2 attempts; the last one is of 1 only." in html
    assert "Each point is a block of 2 attempts." in report(
        [attempt(each, 1, 1, train=[A, B], test=[A]) for each in names[:10]], names
    )


def test_a_guess_of_another_shape_is_said_to_be_one():
    made = [attempt(ONE, 1, 1, train=[A, B], test=[[[1], [1]]])]
    assert "wrong: 2 x 1, not 1 x 2" in report(made, [ONE])


def test_hostile_text_stays_text():
    named = task(HOSTILE)
    made = [
        attempt(named, 1, 1, train=[A, B], test=[A], program=HOSTILE, transductive=HOSTILE, response=HOSTILE),
        attempt(named, 1, 2, status="api_error", error=HOSTILE),
    ]
    config = {"model": HOSTILE, "subset": HOSTILE, "dataset": HOSTILE, "mode": HOSTILE}
    page = Elements(report(made, [named], config))
    assert not [tag for tag, _ in page.found if tag in ("script", "img", "iframe", "object", "link", "base", "form")]
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
    shown = "".join(page.text)
    assert shown.count(HOSTILE) >= 7  # title twice, facts, task, program, reason


def test_it_loads_nothing_and_says_so_to_the_browser():
    html = report()
    assert "default-src 'none'; style-src 'unsafe-inline'" in html
    assert not re.search(r"(src|href)=\"(?!#)", html)
    assert "https://" not in html


def test_its_size_is_bounded_and_what_is_left_out_is_said(monkeypatch):
    whole = report()
    assert "Its pictures are left out" not in whole
    monkeypatch.setattr(gallery, "BUDGET", 1)
    small = report()
    assert len(small) < len(whole)
    # The first task uses up the budget; the others keep their lines and votes.
    assert small.count("Its pictures are left out") == 2
    assert small.count("Training pair 1") == 1
    assert "solved in 1 of 2 runs" in small


def test_a_very_long_program_is_cut():
    made = [attempt(ONE, 1, 1, train=[A, B], test=[A], program="x" * 50_000)]
    html = report(made, [ONE])
    assert "(44,000 more characters)" in html
    assert "x" * 6001 not in html


def test_a_run_in_which_nothing_worked_has_a_report():
    html = report([attempt(ONE, 1, 1, status="api_error")], TASKS)
    assert "100.0\N{NO-BREAK SPACE}%" in html
    assert "there is no guess" in html


@pytest.mark.component
def test_tasks_are_filtered_and_ordered_in_a_browser_without_a_script(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    (tmp_path / "report.html").write_text(report(), encoding="utf-8")
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(java_script_enabled=True)
        complaints = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"file://{tmp_path}/report.html")

        def shown():
            cards = [card for card in page.locator(".card").all() if card.is_visible()]
            return [
                card.locator("summary code").first.inner_text()
                for card in sorted(cards, key=lambda c: c.bounding_box()["y"])
            ]

        assert shown() == ["one", "two", "three"]
        page.click("text=hardest first")
        assert shown() == ["three", "two", "one"]
        page.click("label[for=show-unsolved]")
        assert shown() == ["three"]
        page.click("label[for=show-solved]")
        assert shown() == ["one"]
        # An arrow leads from the input to what is expected, and none on to what a program returned instead.
        pair = page.locator(".card", has_text="three").locator(".pair", has_text="Training pair 2")
        arrows = "each => each.map(one => getComputedStyle(one, '::before').content)"
        assert pair.locator(".picture").evaluate_all(arrows) == ["none", '"→"', "none"]
        assert complaints == []
        browser.close()
