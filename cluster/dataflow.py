"""Source → stages → sink on Ray Data: the only importer of ray.data.

Ray Data schedules; rows never pass through the driver. Its rows are work items going in and reports coming out:
the first actor pool reads its share of the shards itself, and the last one stages what it has finished. A flow
whose stages want different resources becomes several pools, between which chunks travel through the object store.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
import ray

from cluster.async_worker import AsyncShardWorker
from cluster.embedded import lean_data
from cluster.errors import GristmillError, Halt, portable
from cluster.ledger import Pass, Run, Tally
from cluster.resources import Resources
from cluster.session import Session, check_interrupted
from cluster.shards import Source
from cluster.stage import Flow, Progress
from cluster.storage import StorageError
from cluster.worker import Report, ShardWorker, Shipment, WorkItem, commit

STRIPE_BYTES = 8 << 20  # a shard stored in less is not worth decompressing twice
# Of an asynchronous pool, by each actor: while one group's last rows are waited for, others keep its engine busy.
GROUPS_AT_ONCE = 4
COMMITS_AT_ONCE = 4  # by each committer
WORKERS_PER_COMMITTER = 16  # what these write in the time that it takes to compress it, one can move


class RunFailed(GristmillError):
    """A pass that could not finish; what it finished is kept, and the message says what stopped it."""


def plan_items(shards: Sequence[Source], workers: int, stripe_bytes: int = STRIPE_BYTES) -> list[list[WorkItem]]:
    """Work items in groups, the largest first. A shard that would keep the other workers waiting is striped."""
    total = sum(shard.size for shard in shards)
    items: list[tuple[int, WorkItem]] = []
    for shard in shards:
        large = shard.divisible and shard.size > stripe_bytes and shard.size * 2 * workers > total
        stride = workers if large else 1
        items += [(shard.size // stride, WorkItem(shard, offset, stride)) for offset in range(stride)]
    items.sort(key=lambda pair: -pair[0])
    groups: list[list[WorkItem]] = []
    room = 0
    for size, item in items:
        if room <= 0:
            groups.append([])
            room = total // (32 * workers)
        groups[-1].append(item)
        room -= size + 1
    return groups


def run_pass(
    session: Session,
    run: Run,
    step: Pass,
    flow: Flow,
    sources: Sequence[Source],
    watch: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, tuple[int, Tally]]:
    """Take every source, the run's shards or others, through the flow. Returns each one's chunks and account.

    The result is in the order of the sources, however they finished, so that what is made of it depends on no timing.
    Finished shards and chunks are not done again. Raises RunFailed once everything that can be done is done, where
    a shard is damaged; errors of a stage are raised as they are.
    """
    finished = step.published_shards() if flow.sink.commits else step.finished_shards()
    open_shards: list[Source] = [shard for shard in sources if shard.name not in finished]
    progress = Progress(step.name, len(sources), sum(shard.size for shard in sources), len(finished))
    for shard in sources:
        if shard.name in finished:
            progress.stored_bytes_done += shard.size
            progress.tally.add(finished[shard.name][1])
    watch(progress)
    if open_shards:
        _PassDriver(run, step, flow, progress, watch, finished).drive(session, open_shards)
    damaged = sorted(shard.name for shard in sources if shard.name not in finished)
    if damaged:
        raise RunFailed(_damage_message(run, damaged, len(sources)))
    return {shard.name: finished[shard.name] for shard in sources}


def _damage_message(run: Run, damaged: list[str], shards: int) -> str:
    first = run.damage(damaged[0]) or f"shard {damaged[0]} is unfinished, without a reason"
    others = f" ({len(damaged) - 1} more damaged shards)" if len(damaged) > 1 else ""
    return (
        f"{first}{others}; the other {shards - len(damaged)} shards are done. Repair the file and run the same "
        "command again, or add --skip-damaged to keep the rows before the damage"
    )


@dataclass(slots=True)
class _PassDriver:
    """The driver's side of one pass: counts reports, and starts a shard's commit when its chunks are all there."""

    run: Run
    step: Pass
    flow: Flow
    progress: Progress
    watch: Callable[[Progress], None]
    finished: dict[str, tuple[int, Tally]]
    done: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    committers: list[Any] = field(default_factory=list)
    commits: dict[Any, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)

    def drive(self, session: Session, shards: list[Source]) -> None:
        try:
            self._drive(session, shards)
        except StorageError:
            with suppress(StorageError):
                self.step.check_current()  # a write fails anywhere when its directory is taken away: say that
            raise

    def _drive(self, session: Session, shards: list[Source]) -> None:
        try:
            self.committers = _committers(session.workers) if self.flow.sink.commits else []
            for report in _reports(session, self.step, self.flow, shards):
                self._take(report)
                self._collect(COMMITS_AT_ONCE * (len(self.committers) or 1))
                self.watch(self.progress)
                check_interrupted()
            self._collect(0)
            check_interrupted()
        except ray.exceptions.RayError as error:
            raise _cause(error) from error
        self.watch(self.progress)

    def _take(self, report: Report) -> None:
        shard = report.shard
        if report.damage and not self.flow.skip_damaged:
            self.failed.add(shard)
            self.run.mark_damaged(shard, report.damage)
        self.done[shard] = self.done.get(shard, 0) + report.chunks
        self.tallies.setdefault(shard, Tally()).add(report.tally)
        self.progress.tally.add(report.tally)
        self.progress.stored_bytes_done += report.stored_bytes
        if report.total is not None:
            self.totals[shard] = report.total
        if shard not in self.failed | self.closed and self.totals.get(shard) == self.done[shard]:
            self.closed.add(shard)  # the last reports of a striped shard may all say so
            self._finish(shard, self.totals[shard], self.tallies.pop(shard))

    def _finish(self, shard: str, chunks: int, tally: Tally) -> None:
        """Have the shard committed; one that publishes nothing is only recorded."""
        publish = self.flow.sink.commits
        if publish or tally.quarantined:
            self.committers = self.committers or _committers(1)
            committer = self.committers[len(self.closed) % len(self.committers)]
            self.commits[committer.commit.remote(self.step, shard, chunks, publish)] = shard
        else:
            self.step.finish_shard(shard, chunks, tally)
            self._finished(shard, chunks, tally)

    def _finished(self, shard: str, chunks: int, tally: Tally) -> None:
        self.finished[shard] = (chunks, tally)
        self.progress.shards_done += 1

    def _collect(self, allowed: int) -> None:
        """Wait until no more than `allowed` commits are under way."""
        while self.commits:
            waiting = len(self.commits) > allowed
            ready, _ = ray.wait(list(self.commits), timeout=None if waiting else 0)
            if not ready:
                return
            for commit_ref in ready:
                shard = self.commits.pop(commit_ref)
                self._finished(shard, self.totals[shard], ray.get(commit_ref))


class _Committer:
    """Commits shards, some at once: it moves bytes and waits for storage. It holds nothing; a lost one is replaced."""

    def commit(self, step: Pass, shard: str, chunks: int, publish: bool) -> Tally:
        return commit(step, shard, chunks, publish)


def _committers(workers: int) -> list[Any]:
    """Actors for the commits of a pass, spread over the nodes. A task would start a process for every few shards."""
    actor = ray.remote(
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=3,
        max_concurrency=COMMITS_AT_ONCE,
        scheduling_strategy="SPREAD",
    )(_Committer)
    return [actor.remote() for _ in range(1 + workers // WORKERS_PER_COMMITTER)]


def _cause(error: BaseException) -> BaseException:
    """The error that the user's data or the machine caused, from inside Ray's wrapping."""
    while isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    inner = error.__cause__
    while inner is not None:
        if not isinstance(inner, ray.exceptions.RayError):
            error = inner
        inner = inner.__cause__
    if isinstance(error, ray.exceptions.RayError):
        return RunFailed(
            f"Ray stopped the work: {str(error).strip().splitlines()[0]}; run the same command again to continue"
        )
    return error


def _reports(session: Session, step: Pass, flow: Flow, shards: list[Source]) -> Iterator[Report]:
    """Build the Ray Data pipeline and yield what its last pool reports."""
    import ray.data

    # Ray Data sets up its loggers on import, and says on the terminal what the display already shows.
    for name in ("ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # every report is a block of its own, so it comes when it is made
    pools = flow.pools()
    with ray.data.DataContext.current(context), lean_data() if session.embedded else nullcontext():
        # Rows that wait for a model are worth spreading however few they are.
        stripe_bytes = 0 if flow.is_async else STRIPE_BYTES
        items = plan_items(shards, _pool_size(pools[0][0], session, 1 << 30)[1], stripe_bytes)
        rows = [{"data": pickle.dumps(group)} for group in items]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        # A second task waiting at an actor hides the way to it; of few, the first actor to start would take two.
        ahead = 2 if len(rows) > 4 * session.workers else 1
        for number, (resources, stages) in enumerate(pools):
            last = number == len(pools) - 1
            kind = AsyncShardWorker if flow.is_async else ShardWorker
            worker = kind(step, stages, flow.sink, flow.chunk_size, flow.skip_damaged, number)
            low, high = _pool_size(resources, session, len(items) if number == 0 else 1 << 30)
            calls = GROUPS_AT_ONCE if flow.is_async else 1
            data = data.map_batches(
                _actor_of(flow, number, last),
                fn_constructor_args=(cloudpickle.dumps(worker),),
                batch_size=1,
                batch_format="numpy",
                compute=ray.data.ActorPoolStrategy(
                    min_size=low,
                    max_size=high,
                    max_tasks_in_flight_per_actor=calls - 1 + (ahead if number == 0 else 2),
                    max_concurrent_calls_per_actor=calls,
                    enable_true_multi_threading=flow.is_async,
                ),
                **resources.ray_args(),
            )
        yield from _messages(data)


def _actor_of(flow: Flow, number: int, last: bool) -> type[_Actor]:
    if flow.is_async:
        return _Overlapping
    return _Fused if last and number == 0 else _Reading if number == 0 else _Finishing if last else _Between


def _messages(data: Any) -> Iterator[Report]:
    """What the last pool sends. An error is raised as it comes; one that halts the run, when all have ended."""
    halt: Halt | None = None
    for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for blob in batch.column("data"):
            message = pickle.loads(blob.as_py())
            if not isinstance(message, _Problem):
                yield message
                continue
            error = pickle.loads(message.error)
            if not isinstance(error, Halt):
                raise error
            halt = halt or error
    if halt is not None:
        raise halt


def _pool_size(resources: Resources, session: Session, items: int) -> tuple[int, int]:
    low, high = resources.replicas or (session.workers, session.workers)
    return max(1, min(low, items)), max(1, min(high, items))


def _batch(message: object) -> dict[str, list[bytes]]:
    return {"data": [pickle.dumps(message)]}


@dataclass(frozen=True, slots=True)
class _Problem:
    """An error on its way to the driver. It travels as data: Ray Data rewrites the text of those that are raised."""

    error: bytes


class _Actor:
    """A pool's actor: holds one worker, loaded at the first chunk that needs it."""

    def __init__(self, worker: bytes) -> None:
        self.worker: ShardWorker = pickle.loads(worker)
        self.worker.wary = ray.get_runtime_context().was_current_actor_reconstructed

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        try:
            for blob in batch["data"]:
                for message in self.take(pickle.loads(blob)):
                    yield _batch(message)
        except Exception as error:
            yield _batch(_Problem(cloudpickle.dumps(portable(error))))

    def take(self, message: Any) -> Iterator[Report | Shipment]:
        raise NotImplementedError


class _Fused(_Actor):
    """The one pool of a flow: reads, processes and stages."""

    def take(self, message: list[WorkItem]) -> Iterator[Report | Shipment]:
        for item in message:
            yield from self.worker.work(item)


class _Overlapping(_Actor):
    """The one pool of a flow that waits for somebody else: has the chunks of several items in work at once."""

    def take(self, message: list[WorkItem]) -> Iterator[Report | Shipment]:
        assert isinstance(self.worker, AsyncShardWorker)
        yield from self.worker.work_all(message)


class _Reading(_Actor):
    """The first of several pools: reads, processes its own stages, and ships."""

    def take(self, message: list[WorkItem]) -> Iterator[Report | Shipment]:
        for item in message:
            yield from self.worker.ship(item)


class _Between(_Actor):
    """A pool in the middle: processes and ships on. What is not rows passes through."""

    def take(self, message: Any) -> Iterator[Any]:
        if isinstance(message, Shipment):
            message.rows = self.worker.process_watched(message.rows, message.index)
        yield message


class _Finishing(_Actor):
    """The last of several pools: processes and stages."""

    def take(self, message: Any) -> Iterator[Any]:
        yield self.worker.receive(message) if isinstance(message, Shipment) else message


def reduce(function: Callable[..., bytes], *arguments: Any, cpus: float = 1, gpus: float = 0) -> bytes:
    """Run a function over what a pass has staged, as one task on the cluster; its result must be small.

    It is asked for no more CPUs than the cluster has: a task that nothing can run would wait for ever.
    """

    def reduction(*arguments: Any) -> bytes:
        try:
            return bytes(function(*arguments))
        except Exception as error:
            raise portable(error) from None

    cpus = min(cpus, ray.cluster_resources().get("CPU", cpus))
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=3)(reduction)
    try:
        result = bytes(ray.get(task.remote(*arguments)))
        check_interrupted()
        return result
    except ray.exceptions.RayError as error:
        raise _cause(error) from error
