"""Numbers are written with the digits that their interval supports."""

import pytest

from pipelines.curation.bootstrap import Estimate
from pipelines.report.numbers import (
    count_text,
    figure_text,
    in_words,
    interval_text,
    plural,
    share_text,
    value_text,
)


@pytest.mark.parametrize(
    ("estimate", "value", "interval"),
    [
        (Estimate(0.91372, 0.9081, 0.9199), "0.914", "0.908–0.920"),
        (Estimate(0.61441, 0.61347, 0.61539), "0.6144", "0.6135–0.6154"),
        (Estimate(0.61441, 0.61437, 0.61451), "0.61441", "0.61437–0.61451"),
        (Estimate(-0.02, -0.051, 0.011), "−0.020", "−0.051 to 0.011"),
        (Estimate(1.0, 1.0, 1.0), "1.000", "1.000–1.000"),
        (Estimate.undefined("never predicted"), "—", ""),
        (Estimate(0.5, reason="too few rows"), "0.500", ""),
    ],
)
def test_estimates_show_a_digit_or_two_of_their_uncertainty(estimate, value, interval):
    assert value_text(estimate) == value
    assert interval_text(estimate) == interval


def test_percentages_follow_the_same_rule():
    estimate = Estimate(0.576, 0.5544, 0.5971)
    assert in_words(estimate, percent=True) == "57.6\N{NO-BREAK SPACE}% (55.4–59.7\N{NO-BREAK SPACE}%)"
    assert in_words(Estimate(0.5), brackets=False) == "0.500"
    assert in_words(Estimate(0.5, 0.4, 0.6), brackets=False) == "0.500, 0.400–0.600"


def test_counts_figures_and_shares():
    assert (count_text(1234567), count_text(12.5), count_text(3.0)) == ("1,234,567", "12.5", "3")
    assert (figure_text(None), figure_text(12345.678), figure_text(-0.0004)) == ("—", "12,346", "0.000")
    assert (share_text(0.5), share_text(-0.012)) == ("50.0\N{NO-BREAK SPACE}%", "−1.2\N{NO-BREAK SPACE}%")
    assert (plural(1, "row"), plural(2000, "row"), plural(2, "class", "classes")) == (
        "1 row",
        "2,000 rows",
        "2 classes",
    )
