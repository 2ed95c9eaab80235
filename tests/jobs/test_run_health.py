"""The watcher of a run's health, with a mailbox at hand: what it shows, what it keeps, and that it harms nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.synthesis.attempt import Status
from actors.synthesis.notices import Mailbox, Notice
from cluster.errors import GristmillError
from cluster.ledger import Pass
from cluster.storage import open_storage
from jobs.progress import Display
from jobs.run_health import HealthWatcher


class Shown(Display):
    def __init__(self) -> None:
        super().__init__("run-tasks")
        self.logged: list[str] = []
        self.warned: list[str] = []

    def log(self, message: str) -> None:
        self.logged.append(message)

    def warn(self, message: str) -> None:
        self.warned.append(message)


class Way:
    """In place of the way to a shared mailbox; `error` is raised instead of an answer."""

    def __init__(self) -> None:
        self.mailbox, self.error, self.is_slow = Mailbox(), None, False

    def ask(self, method: str, *arguments: Any, seconds: float | None = None) -> Any:
        if self.error is not None:
            raise self.error
        return None if self.is_slow else getattr(self.mailbox, method)(*arguments)


def notices(first: int, status: Status, count: int = 100) -> list[Notice]:
    return [Notice("t", 1, first + number, status, 0.1) for number in range(count)]


@pytest.fixture
def step(tmp_path: Path) -> Pass:
    return Pass(open_storage(str(tmp_path)), "tasks/health", "abc")


def watcher(step: Pass) -> tuple[HealthWatcher, Way, Shown]:
    way, shown = Way(), Shown()
    return HealthWatcher(way, shown, step, 1000), way, shown  # type: ignore[arg-type]


def test_lines_warnings_and_the_live_line_go_where_they_belong(step: Pass) -> None:
    watching, way, shown = watcher(step)
    way.mailbox.put(notices(1, "solved"))
    assert watching.look(10.0)
    assert [line.split(":")[0] for line in shown.logged] == ["attempts 1–100"]
    assert shown.beside.startswith("100 of 100 attempts right on training") and "10.0 attempts/s" in shown.beside
    way.mailbox.put(notices(101, "execution_timeout"))
    assert watching.look(20.0)
    assert len(shown.logged) == 2 and len(shown.warned) == 2
    assert watching.look(30.0) and len(shown.logged) == 2


def test_a_run_that_was_killed_is_compared_with_its_own_beginning(step: Pass) -> None:
    first, way, _ = watcher(step)
    way.mailbox.put(notices(1, "solved"))
    first.look()
    second, way, shown = watcher(step)
    way.mailbox.put(notices(101, "execution_timeout"))
    second.look()
    assert len(shown.warned) == 2


def test_a_mailbox_that_is_slow_or_gone_is_no_failure(step: Pass) -> None:
    watching, way, shown = watcher(step)
    way.is_slow = True
    assert watching.look()
    way.error = GristmillError("gone")  # type: ignore[assignment]
    assert not watching.look()
    way.error = RuntimeError("Ray is shut down")  # type: ignore[assignment]
    assert not watching.look()
    assert not shown.warned
    way.error, way.is_slow = None, False
    way.mailbox.put(notices(1, "solved"))
    assert watching.look() and shown.logged


def test_what_came_last_is_said_when_the_run_ends(step: Pass) -> None:
    watching, way, shown = watcher(step)
    watching.start()
    way.mailbox.put(notices(1, "solved"))
    watching.stop()
    assert shown.logged and not watching.is_alive()


def test_a_short_run_that_nobody_answers_says_so_when_it_ends(step: Pass) -> None:
    watching, way, shown = watcher(step)
    watching.start()
    way.mailbox.put(notices(1, "api_error", 4))
    watching.stop()
    assert shown.logged == ["attempts 1–4: 0 % ran, 0.0 % timeouts, 0.0 % execution errors, 100.0 % api failures"]
    assert shown.warned == ["most of the last 4 requests had no answer: no reason given"]
    assert step.load_plan() is None  # no beginning to compare with
