"""A run that asks a model: its journal, its limits over all workers, what it has spent, and how it ends early."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cluster.errors import GristmillError

if TYPE_CHECKING:
    from actors.engine_choice import EngineChoice
    from cluster.resources import Resources
    from cluster.storage import Storage
    from jobs.job import Job


@dataclass(frozen=True, slots=True)
class Asking:
    """The engine as the run's workers are given it, with what each of them needs, and the journal under it."""

    choice: EngineChoice
    resources: Resources
    journal: Storage
    run: str

    def spent(self) -> dict[str, Any]:
        """What the run has paid for, for its summary."""
        from jobs.spending import spending_of

        return spending_of(self.journal, self.run).told()


class AlreadyAsking(GristmillError):
    """Another process works on this run: two would hold the limits, and the budget, each for itself."""


@contextmanager
def asking(job: Job, choice: EngineChoice, cache_location: str | None, gpus: float) -> Iterator[Asking]:
    """Within, the workers can ask. Where the budget ends it is said what was spent; a run that could not ask anything is
    taken back. Raises EngineUnusable, BudgetSpent, AlreadyAsking.
    """
    from actors.spend_limiter import SpendLimiter
    from cluster.lock import locked
    from cluster.storage import open_storage
    from jobs.engines import resources
    from jobs.spending import shared_limiter, spending_of

    run = job.run.identity
    own = job.output.child(job.step("journal").folder)
    journal = open_storage(cache_location, job.options.endpoint_url) if cache_location else own
    journal.check_writable()
    session = job.connected()
    state = job.output.child(job.step("limiter").folder)
    with ExitStack() as stack:
        if not stack.enter_context(locked(state, "lock")):
            raise AlreadyAsking(
                f"{job.output.url}: the same command is at work on this run already, and both would ask and pay; wait "
                "for its end, or stop it"
            )
        stack.enter_context(_explained(job, journal, state))
        choice = replace(choice, journal=journal, run=run)
        if choice.service is not None:  # others are bounded by themselves
            before = max(spending_of(journal, run).cost, SpendLimiter.used_before(state))
            limiter = stack.enter_context(shared_limiter(choice.limits, state, run, before, job.display))
            choice = replace(choice, limiter=limiter)
        yield Asking(choice, resources(choice, session, job.options.num_workers, gpus), journal, run)


@contextmanager
def _explained(job: Job, journal: Storage, state: Storage) -> Iterator[None]:
    from actors.engines.contract import BudgetSpent, EngineUnusable
    from actors.prices import dollars
    from actors.spend_limiter import SpendLimiter
    from jobs.spending import spending_of

    try:
        yield
    except BudgetSpent as error:
        spent = spending_of(journal, job.run.identity)
        unknown = f", and {spent.unpriced:,} of them without a word on their tokens" if spent.unpriced else ""
        lost = SpendLimiter.lost_before(state)
        broken = f"; {dollars(lost)} more count for tries without an answer, which may be billed" if lost else ""
        told = f"{spent.answers:,} answers for {dollars(spent.cost)} so far{unknown}{broken}"
        raise BudgetSpent(f"{error} ({told})") from error
    except EngineUnusable:
        # Answers in a journal elsewhere are the run's too, by its identity.
        if not spending_of(journal, job.run.identity).answers:
            job.run.withdraw()
        raise
