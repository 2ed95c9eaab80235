"""The health of a run of tasks on its display: workers leave notices in a mailbox, and a thread here reads them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from actors.synthesis.notices import Mailbox
from cluster.errors import GristmillError
from cluster.ledger import Pass
from cluster.shared import Shared, share
from jobs.progress import Display
from pipelines.program_synthesis.health import Health, Said, Window

if TYPE_CHECKING:
    from jobs.job import Job

LOOK_EVERY = 1.0  # s


@contextmanager
def watched_health(job: Job, planned: int) -> Iterator[Shared]:
    """The mailbox of all workers, while the block lasts; what it tells goes to the display.

    The run's first attempts are kept with the run, so that one that was killed is still compared with its beginning.
    """
    name = f"gristmill-notices-{job.run.identity}-{uuid4().hex[:8]}"
    mailbox, handle = share(name, "mailbox of notices", Mailbox)
    watcher = HealthWatcher(mailbox, job.display, job.step("tasks/health"), planned)
    watcher.start()
    try:
        yield mailbox
    finally:
        watcher.stop()
        del handle


class HealthWatcher(threading.Thread):
    """Asks the mailbox every second and shows what there is to say. It only shows: nothing that goes wrong here counts."""

    def __init__(self, mailbox: Shared, display: Display, step: Pass, planned: int) -> None:
        super().__init__(daemon=True, name="health")
        self.mailbox, self.display, self.step = mailbox, display, step
        plan = step.load_plan()
        self.health = Health(planned, None if plan is None else msgspec.json.decode(plan, type=Window))
        self.kept = plan is not None
        self.seen = 0
        self.over = threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        while not self.over.wait(LOOK_EVERY):
            if not self.look(time.monotonic() - began):
                return

    def stop(self) -> None:
        """Look for the last time, at what came since, and say what there is to say of it."""
        self.over.set()
        self.join(2 * LOOK_EVERY)
        if not self.is_alive():
            self.look()
            self.tell(self.health.end())

    def look(self, seconds: float = 0.0) -> bool:
        """Take up and say what is new; False where there is nobody to ask any more."""
        try:
            found = self.mailbox.ask("after", self.seen, seconds=5 * LOOK_EVERY)
        except GristmillError:
            return False
        except Exception:  # whatever Ray raises while it is shut down
            return False
        if found is None:
            return True
        self.seen, notices = found
        self.tell(self.health.take(notices))
        if seconds and self.health.total.attempts:
            rate = self.health.total.attempts / seconds
            self.display.aside(f"{self.health.line()}, {rate:,.1f} attempts/s", "health")
        if self.health.start is not None and not self.kept:
            self.step.save_plan(msgspec.json.encode(self.health.start))
            self.kept = True
        return True

    def tell(self, lines: list[Said]) -> None:
        for said in lines:
            (self.display.log if said.kind == "log" else self.display.warn)(said.text)
