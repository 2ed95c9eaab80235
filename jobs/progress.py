"""How a long pass is shown: a live line on a terminal, a log line every ten seconds elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.stage import Progress

LOG_SECONDS = 10.0
# Counters that verbs may have: rows answered by the request journal, and failures by category.
FOUND, FAILED = "answers from the journal", "failed: "


def display(verb: str, quiet: bool) -> Display:
    """The display that fits where standard error goes."""
    if quiet:
        return Display(verb)
    return LiveDisplay(verb) if sys.stderr.isatty() else LogDisplay(verb)


class Display(AbstractContextManager["Display"]):
    """Shows nothing; the base of those that do. `start` is when the verb began."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.start = time.monotonic()
        self.asides: dict[str, str] = {}

    @property
    def beside(self) -> str:
        """What stands at the end of the line."""
        return _joined(*self.asides.values())

    def aside(self, text: str, about: str = "") -> None:
        """Take what is known beside the passes' reports, from another thread; the latest about each thing is shown."""
        self.asides = self.asides | {about: text}

    def note(self, message: str) -> None:
        """Say what is going on between passes."""

    def log(self, message: str) -> None:
        """Say something for the record; a live line has no use for it."""

    def warn(self, message: str) -> None:
        """Say what a person should look at, also where nothing else is shown; it stays on the terminal."""
        print(f"{self.verb}: warning: {message}", file=sys.stderr, flush=True)

    def show(self, progress: Progress) -> None:
        """Take the latest state of a pass."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class LogDisplay(Display):
    """Plain lines on standard error, for logs and for the Ray dashboard."""

    def __init__(self, verb: str) -> None:
        super().__init__(verb)
        self.last = 0.0
        self.rate = Rate()
        self.line = ""

    def aside(self, text: str, about: str = "") -> None:
        super().aside(text, about)
        if time.monotonic() - self.last >= LOG_SECONDS:
            self._print()

    def note(self, message: str) -> None:
        print(f"{self.verb}: {message}", file=sys.stderr, flush=True)

    def log(self, message: str) -> None:
        self.note(message)

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        self.rate.take(progress)
        self.line = self.rate.line(progress)
        if now - self.last >= LOG_SECONDS or (progress.shards_done == progress.shards and progress.tally.rows_in):
            self._print()

    def _print(self) -> None:
        self.last = time.monotonic()
        print(f"{self.verb}: {_joined(self.line, self.beside)}", file=sys.stderr, flush=True)


class LiveDisplay(Display):
    """One live line with a bar, kept by rich."""

    def __init__(self, verb: str) -> None:
        super().__init__(verb)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.fields[step]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[line]}", style="dim"),
            # its own descriptor: cluster.session silences number 2 while Ray starts
            console=Console(file=os.fdopen(os.dup(sys.stderr.fileno()), "w")),
            transient=True,
        )
        self.task = self.bar.add_task(verb, total=None, step=verb, line="starting Ray …")
        self.rate = Rate()
        self.line = ""
        self.bar.start()

    def aside(self, text: str, about: str = "") -> None:
        super().aside(text, about)
        self.bar.update(self.task, line=_joined(self.line, self.beside))

    def note(self, message: str) -> None:
        self.bar.update(self.task, line=message)

    def warn(self, message: str) -> None:
        self.bar.console.print(f"{self.verb}: warning: {message}", style="yellow", markup=False, highlight=False)

    def show(self, progress: Progress) -> None:
        self.rate.take(progress)
        self.line = self.rate.line(progress)
        self.bar.update(
            self.task,
            step=f"{self.verb} · {progress.step}",
            completed=progress.stored_bytes_done,
            total=max(progress.stored_bytes, 1),
            line=_joined(self.line, self.beside),
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()


class Rate:
    """Speed and time left of one pass, counted from its first report; finished work of earlier runs is left out."""

    def __init__(self) -> None:
        self.step = ""
        self.began = 0.0
        self.bytes_before = self.stored_before = 0

    def take(self, progress: Progress) -> None:
        if progress.step != self.step:
            self.step, self.began = progress.step, time.monotonic()
            self.bytes_before, self.stored_before = progress.tally.bytes_in, progress.stored_bytes_done

    def line(self, progress: Progress) -> str:
        seconds = max(time.monotonic() - self.began, 1e-9)
        tally = progress.tally
        speed = (tally.bytes_in - self.bytes_before) / seconds / 1e6
        parts = [f"{tally.rows_in:,} rows", f"{speed:,.0f} MB/s", f"{progress.shards_done}/{progress.shards} shards"]
        done = progress.stored_bytes_done - self.stored_before
        left = progress.stored_bytes - progress.stored_bytes_done
        if done > 0 and left > 0:
            parts.append(f"{duration(left / done * seconds)} left")
        if found := tally.counters.get(FOUND):
            parts.append(f"{found:,.0f} {FOUND}")
        if tally.quarantined:
            parts.append(f"{tally.quarantined:,} quarantined{_categories(tally.counters)}")
        return ", ".join(parts)


def _categories(counters: Mapping[str, float]) -> str:
    """Why rows failed, where the verb counts it."""
    failed = [
        f"{amount:,.0f} {name.removeprefix(FAILED)}" for name, amount in counters.items() if name.startswith(FAILED)
    ]
    return f" ({', '.join(sorted(failed))})" if failed else ""


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """`45 s`, `12 min 05 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
