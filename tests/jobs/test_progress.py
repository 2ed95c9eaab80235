"""What displays say beside their line: asides by what they are about, lines for the record, warnings."""

from __future__ import annotations

import pytest

from jobs.progress import Display, LiveDisplay, LogDisplay, display


def test_asides_about_different_things_stand_side_by_side() -> None:
    shown = Display("run-tasks")
    shown.aside("3 answers", "spending")
    shown.aside("1 solved", "health")
    shown.aside("4 answers", "spending")
    assert shown.beside == "4 answers, 1 solved"


def test_a_log_says_lines_for_the_record_and_the_quiet_one_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    LogDisplay("run-tasks").log("attempts 1–100")
    display("run-tasks", quiet=True).log("attempts 1–100")
    assert capsys.readouterr().err == "run-tasks: attempts 1–100\n"


def test_a_warning_is_said_by_all_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    for shown in (Display("v"), LogDisplay("v"), LiveDisplay("v")):
        with shown:
            shown.warn("look [here]")
    out, err = capfd.readouterr()
    assert err.count("v: warning: look [here]") == 3
    assert out == ""
