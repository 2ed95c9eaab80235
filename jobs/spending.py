"""What a run that asks a model has spent, and the display's live line about it."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import msgspec

from actors.engines.contract import Completion
from actors.journal import Journal
from actors.prices import NANO, dollars
from actors.spend_limiter import Limits, SpendLimiter
from cluster.errors import GristmillError
from cluster.shared import Shared, share
from cluster.storage import Storage
from jobs.progress import Display

LOOK_EVERY = 1.0  # s
REASON_SHOWN = 100  # characters
_COMPLETION = msgspec.json.Decoder(Completion)


class Spending(msgspec.Struct):
    """Answers that a run has paid for, whatever became of their rows. `cost` in nano-dollars."""

    answers: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0
    unpriced: int = 0

    def told(self) -> dict[str, Any]:
        """For the summary."""
        told: dict[str, Any] = {
            "answers_paid_for": self.answers,
            "prompt_tokens": self.prompt_tokens,
            "prompt_tokens_from_the_providers_cache": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
        }
        return told | ({} if self.unpriced else {"cost_usd": self.cost / NANO})


def spending_of(journal: Storage, run: str) -> Spending:
    """The sum over the journal's answers to this run."""
    total = Spending()
    for _, record in Journal.records_of(journal, run):
        with suppress(msgspec.DecodeError):  # log-probabilities, which have no price of their own
            completion = _COMPLETION.decode(record)
            total.answers += 1
            total.prompt_tokens += completion.usage.prompt_tokens
            total.cached_tokens += completion.usage.cached_tokens
            total.completion_tokens += completion.usage.completion_tokens
            total.cost += completion.cost or 0
            total.unpriced += completion.cost is None
    return total


@contextmanager
def shared_limiter(limits: Limits, storage: Storage, run: str, spent_before: int, display: Display) -> Iterator[Shared]:
    """The limiter of all workers, while the block lasts. Its state is kept in `storage`; the display shows its counts."""
    name = f"gristmill-limiter-{run}-{uuid4().hex[:8]}"
    state = f"{name}.json"
    limiter, handle = share(name, "spend limiter", lambda: SpendLimiter(limits, storage, state, spent_before))
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(limiter, display, over), daemon=True)
    watcher.start()
    try:
        yield limiter
    finally:
        over.set()
        watcher.join(2 * LOOK_EVERY)
        del handle


def _watch(limiter: Shared, display: Display, over: threading.Event) -> None:
    before: dict[str, int] = {}
    at = time.monotonic()
    while not over.wait(LOOK_EVERY):
        try:
            found = limiter.ask("shown", seconds=5 * LOOK_EVERY)
        except GristmillError:
            return
        except Exception:  # whatever Ray raises while it is shut down: this only shows
            return
        if found is not None:
            totals, failing = found
            now = time.monotonic()
            rate = (totals.get("answered", 0) - before.get("answered", 0)) / max(now - at, 1e-9)
            # While all is well again, what went wrong before is of no interest.
            is_failing = not totals.get("answered") or totals.get("retries", 0) > before.get("retries", 0)
            display.aside(live_line(totals, rate, failing if is_failing else ""))
            before, at = totals, now


def live_line(totals: dict[str, int], rate: float, failing: str = "") -> str:
    """`12,345 answers at 812/s, 500 under way, $0.1234, 3 retries (timeout: no answer within 600 s)`."""
    parts = [f"{totals.get('answered', 0):,} answers at {rate:,.0f}/s", f"{totals['under way']:,} under way"]
    if totals["spent"]:
        parts.append(dollars(totals["spent"]))
    if totals.get("retries"):
        parts.append(f"{totals['retries']:,} retries")
    return ", ".join(parts) + (f" ({textwrap.shorten(failing, REASON_SHOWN, placeholder=' …')})" if failing else "")
