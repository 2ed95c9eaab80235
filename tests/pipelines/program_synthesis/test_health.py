"""The health of a run: what each hundred attempts says, and that only true drift raises an alarm."""

from __future__ import annotations

import random

import pytest

from actors.synthesis.attempt import Status
from actors.synthesis.notices import Notice
from pipelines.program_synthesis.health import Health, Said, Window


def notices(first: int, *parts: tuple[Status, int], seconds: float = 0.5) -> list[Notice]:
    statuses = [status for status, count in parts for _ in range(count)]
    ran = ("solved", "train_correct", "partial", "wrong", "execution_timeout", "execution_error", "execution_memory")
    return [
        Notice("t", 1, first + place, status, seconds if status in (*ran, "invalid_output") else None)
        for place, status in enumerate(statuses)
    ]


def warnings(said: list[Said]) -> list[str]:
    return [each.text for each in said if each.kind == "warning"]


WELL: tuple[tuple[Status, int], ...] = (("wrong", 60), ("solved", 35), ("execution_timeout", 3), ("execution_error", 2))


def test_every_hundred_attempts_make_a_line() -> None:
    health = Health(1000)
    assert health.take(notices(1, *WELL)[:99]) == []
    (said,) = health.take(notices(1, *WELL)[99:])
    assert said == Said("log", "attempts 1–100: 95 % ran, 3.0 % timeouts, 2.0 % execution errors, mean 0.50 s")
    mixed = notices(101, ("wrong", 40), ("no_code", 30), ("api_error", 20), ("execution_memory", 10), seconds=0.25)
    (said,) = [each for each in health.take(mixed) if each.kind == "log"]
    assert said.text == (
        "attempts 101–200: 40 % ran, 0.0 % timeouts, 10.0 % execution errors, 20.0 % api failures, mean 0.25 s"
    )


def test_the_mean_is_of_the_programs_that_were_run() -> None:
    window = Window()
    for notice in notices(1, ("no_code", 50), ("wrong", 50), seconds=2.0):
        window.take(notice)
    assert window.text().endswith("mean 2.00 s")
    assert "mean" not in Window(attempts=3, unanswered=3).text()


def test_the_live_line_counts_from_the_beginning() -> None:
    health = Health(1000)
    assert health.line() == ""
    health.take(notices(1, ("solved", 1), ("train_correct", 1), ("api_error", 1), ("execution_timeout", 1)))
    assert health.line() == (
        "2 of 4 attempts right on training, 1 on test too, 25.0 % api failures, 25.0 % timeouts, 0.0 % execution errors"
    )


def test_an_attempt_that_is_told_of_twice_counts_once() -> None:
    health = Health(1000)
    for _ in range(3):
        health.take(notices(1, ("wrong", 60)))
    assert health.total.attempts == 60


def test_a_wedged_sandbox_raises_an_alarm_once() -> None:
    health = Health(1000)
    said = health.take(notices(1, *WELL))
    said += health.take(notices(101, ("wrong", 60), ("execution_timeout", 40)))
    said += health.take(notices(201, ("execution_timeout", 100)))
    found = warnings(said)
    assert len(found) == 2
    assert found[0].startswith("programs that fail: 40.0 % of the last 100 attempts, 5.0 % of the first 100:")
    assert found[1].startswith("programs that time out: 40.0 % of the last 100 attempts, 3.0 % of the first 100:")


def test_a_rate_that_came_back_and_drifts_again_is_told_of_again() -> None:
    health = Health(1000)
    said = health.take(notices(1, *WELL))
    for turn in range(1, 5):
        bad: tuple[tuple[Status, int], ...] = (("wrong", 50), ("execution_error", 50))
        said += health.take(notices(1 + 100 * turn, *(bad if turn in (1, 4) else WELL)))
    assert [text.split(":")[0] for text in warnings(said)] == ["programs that fail"] * 2


def test_a_rate_that_falls_is_drift_too() -> None:
    health = Health(1000)
    health.take(notices(1, ("execution_error", 60), ("wrong", 40)))
    assert warnings(health.take(notices(101, *WELL)))[0].startswith("programs that fail: 5.0 %")


def test_the_threshold_is_fishers_with_the_correction_for_looking() -> None:
    """9 looks at three rates: the level is 0.001 / 27 = 3.7e-5. Fisher's p of 5 against 26 of 100 is 5.4e-5, of 27, 2.8e-5."""
    for failed, alarms in ((26, 0), (27, 1)):
        health = Health(1000)
        health.take(notices(1, ("wrong", 95), ("execution_error", 5)))
        said = health.take(notices(101, ("wrong", 100 - failed), ("execution_error", failed)))
        assert len(warnings(said)) == alarms
    # Looking once needs no such caution.
    health = Health(200)
    health.take(notices(1, ("wrong", 95), ("execution_error", 5)))
    assert warnings(health.take(notices(101, ("wrong", 74), ("execution_error", 26))))


def test_the_same_rates_all_along_raise_no_alarm_in_a_hundred_runs() -> None:
    chance, alarms = random.Random(1), 0
    for _ in range(100):
        health = Health(1000)
        statuses: list[Status] = chance.choices(
            ["wrong", "execution_error", "execution_timeout", "api_error"], [7, 1, 1, 1], k=1000
        )
        alarms += bool(warnings(health.take([Notice("t", 1, n, status) for n, status in enumerate(statuses)])))
    assert alarms <= 1  # 0.1 are to be expected at most


def test_the_beginning_of_a_run_that_was_killed_still_counts() -> None:
    first = Health(1000)
    first.take(notices(1, *WELL))
    resumed = Health(1000, first.start)
    assert warnings(resumed.take(notices(101, ("execution_timeout", 100))))


def test_services_and_programs_are_never_mixed_up() -> None:
    health = Health(1000)
    health.take(notices(1, *WELL))
    found = warnings(health.take(notices(101, ("api_error", 40), ("wrong", 60))))
    assert [text.split(":")[0] for text in found] == ["requests without an answer"]


def test_a_service_that_answers_nobody_is_told_of_with_its_words() -> None:
    health = Health(1000)
    silent = [Notice("t", 1, n, "api_error", error="rejected: no such parameter: min_p") for n in range(100)]
    assert warnings(health.take(silent)) == [
        "most of the last 100 requests had no answer: rejected: no such parameter: min_p"
    ]


def test_what_is_left_at_the_end_is_told_and_judged() -> None:
    health = Health(150)
    health.take(notices(1, *WELL, ("api_error", 1)))
    health.take([Notice("t", 1, n, "api_error", error="no such host") for n in range(102, 141)])
    said = health.end()
    assert said[0] == Said(
        "log", "attempts 101–140: 0 % ran, 0.0 % timeouts, 0.0 % execution errors, 100.0 % api failures"
    )
    assert warnings(said)[0] == "most of the last 40 requests had no answer: no such host"
    assert warnings(said)[1].startswith(
        "requests without an answer: 100.0 % of the last 40 attempts, 0.0 % of the first 100"
    )
    assert health.end() == []


def test_a_run_shorter_than_a_window_is_judged_and_is_nobodys_beginning() -> None:
    health = Health(1)
    health.take([Notice("t", 1, 1, "api_timeout", error="slow")])
    assert warnings(health.end()) == ["the last request had no answer: slow"]
    assert health.start is None
    assert Health(5).end() == []


def test_a_broken_sandbox_is_told_of_at_once_and_then_rarely() -> None:
    health, said = Health(1000), []
    for number in range(1, 51):
        said += health.take([Notice("t", 1, number, "execution_error", 0.1, sandbox_failed=True)])
    found = warnings(said)
    assert [text.split(" not ")[0] for text in found] == ["a program was", "10 programs were"]


@pytest.mark.parametrize("planned", [0, 5, 99, 150])
def test_a_short_run_divides_by_nothing(planned: int) -> None:
    health = Health(planned)
    health.take(notices(1, ("wrong", 250)))
    assert health.total.attempts == 250
