"""One run of a verb, from its inputs to its summary: opens the run, takes its passes through Ray, and tells the sum.

A verb describes itself (configuration, inputs, output) and then asks for passes; what is done already is skipped,
and a run that is complete never starts Ray.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from textwrap import shorten
from typing import Any

import click

from actors.text_form import TextForm, extended
from cluster.errors import GristmillError
from cluster.ledger import Chunks, Pass, Run, Tally, merged
from cluster.session import Session, connect
from cluster.shards import ChunkSize, Shard, Source, shards_of
from cluster.stage import Flow, Progress, ShardSink, Sink, Stage
from cluster.storage import Storage, open_storage
from jobs.progress import display, duration
from jobs.text_forms import common_form

REASONS_LOOKED_AT = 1000  # of the rows in quarantine, for the most frequent one
REASON_SHOWN = 200  # characters


class TooManyQuarantined(GristmillError):
    """More rows than --max-quarantined allows could not be processed."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options that every verb shares (see jobs.command.run_options)."""

    num_workers: int | None = None
    address: str | None = None
    endpoint_url: str | None = None
    chunk_size: int = 4 << 20
    max_quarantined: int | float | None = None
    skip_damaged: bool = False
    fresh: bool = False
    as_json: bool = False
    quiet: bool = False

    @classmethod
    def taken_from(cls, arguments: dict[str, Any]) -> RunOptions:
        """Take the shared options out of a command's arguments; what is left is the verb's own."""
        return cls(**{name: arguments.pop(name) for name in cls.__slots__ if name in arguments})


class Job:
    """A verb at work. Use as a context manager; `complete` says that there is nothing left to do."""

    def __init__(
        self,
        verb: str,
        config: dict[str, Any],
        inputs: Sequence[str],
        output_dir: str,
        options: RunOptions,
        text_step: TextForm | None = None,
        versions: dict[str, str] | None = None,
        find_sources: Callable[[list[str], str | None], list[Shard]] = shards_of,
    ) -> None:
        self.verb, self.options = verb, options
        self.output: Storage = open_storage(output_dir, options.endpoint_url)
        shards = find_sources(list(inputs), options.endpoint_url) if inputs else []
        self.input_form = common_form(inputs, options.endpoint_url)
        self.text_form = extended(self.input_form, text_step)
        self.form_to_apply = text_step if self.text_form != self.input_form else None
        resolved = config | {"chunk_size": options.chunk_size, "skip_damaged": options.skip_damaged}
        self.run = Run(
            self.output, verb, resolved, shards, {"gristmill": version("gristmill"), **(versions or {})}, self.text_form
        )
        self.used = self.run.shards
        self._session: Session | None = None
        self.tally = Tally()
        self.measures = self.writes = False
        self.extra: dict[str, Any] = {}
        self.stack = ExitStack()
        self.began = time.monotonic()
        self.summary: dict[str, Any] | None = None

    def __enter__(self) -> Job:
        self.summary = self.run.open(self.options.fresh)
        self.resumed = self.summary is not None
        self.display = self.stack.enter_context(display(self.verb, self.options.quiet or self.resumed))
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()

    @property
    def complete(self) -> bool:
        return self.summary is not None

    @property
    def shards(self) -> list[Shard]:
        return self.used

    def connected(self) -> Session:
        """The connection to Ray, made when it is first needed."""
        if self._session is None:
            self._session = self.stack.enter_context(connect(self.options.address, self.options.num_workers))
        return self._session

    def use_only(self, wanted: Iterable[bool]) -> None:
        """Leave out the shards that this verb has no use for, such as the test split in a training."""
        self.used = [shard for shard, use in zip(self.run.shards, wanted, strict=True) if use]

    def write(
        self,
        stages: list[Stage],
        sink: Sink | None = None,
        sources: Sequence[Source] | None = None,
        counts: bool = True,
        chunk_rows: int | None = None,
    ) -> dict[str, tuple[int, Tally]]:
        """The pass that makes the output: every source through the stages, published under its own name.

        `chunk_rows` bounds the rows of a chunk, for stages that take long over each.
        """
        size = ChunkSize(self.options.chunk_size, chunk_rows)
        self.writes = True
        self.measures = any(stage.measures for stage in stages)
        return self._pass("write", Flow(stages, sink or ShardSink(), size, self.options.skip_damaged), sources, counts)

    def scan(
        self,
        name: str,
        stages: list[Stage],
        sink: Sink,
        counts: bool = False,
        chunk_bytes: int = 0,
        sources: Sequence[Source] | None = None,
    ) -> list[Chunks]:
        """A pass that only looks; returns every source's chunks, for a reduction over them.

        `counts` says that this pass makes the summary's account of rows; exactly one pass of a verb does.
        """
        size = ChunkSize(max(chunk_bytes, self.options.chunk_size))
        seen: Sequence[Source] = self.shards if sources is None else sources
        done = self._pass(name, Flow(stages, sink, size, self.options.skip_damaged), seen, counts)
        return [Chunks(source.name, done[source.name][0]) for source in seen]

    @property
    def chunk_size(self) -> ChunkSize:
        return ChunkSize(self.options.chunk_size)

    def step(self, name: str) -> Pass:
        return self.run.step(name)

    def plan(self, name: str, decide: Callable[[], bytes]) -> bytes:
        """What was decided after a pass; decided once, and then read from the run."""
        step = self.step(name)
        plan = step.load_plan()
        if plan is None:
            plan = decide()
            step.save_plan(plan)
        return plan

    def reduce(self, function: Callable[..., bytes], *arguments: Any, cpus: float = 1, gpus: float = 0) -> bytes:
        """Run a reduction, or a training, as one task on the cluster."""
        from cluster.dataflow import reduce

        self.connected()
        self.display.note(function.__name__.replace("_", " "))
        return reduce(function, *arguments, cpus=cpus, gpus=gpus)

    def _pass(
        self, name: str, flow: Flow, sources: Sequence[Source] | None, counts: bool
    ) -> dict[str, tuple[int, Tally]]:
        session = self.connected()
        from cluster.dataflow import run_pass  # after connecting: Ray's own settings are in place

        done = run_pass(
            session, self.run, self.step(name), flow, self.shards if sources is None else sources, self._watch
        )
        if counts:
            self.tally.add(merged(tally for _, tally in done.values()))
            self._check_quarantine()
        return done

    def _watch(self, progress: Progress) -> None:
        self.display.show(progress)
        limit = self.options.max_quarantined
        if isinstance(limit, int) and progress.tally.quarantined > limit:
            raise TooManyQuarantined(self._quarantine_message(progress.tally.quarantined, progress.tally.rows_in))

    def leave_out(self, rows_out: int) -> None:
        """Correct the account where a later pass took up fewer rows than the counting pass let through."""
        self.tally.filtered += self.tally.rows_out - rows_out
        self.tally.rows_out = rows_out

    def _check_quarantine(self) -> None:
        limit, found, rows = self.options.max_quarantined, self.tally.quarantined, self.tally.rows_in
        allowed = limit * rows if isinstance(limit, float) else limit
        if allowed is not None and found > allowed:
            raise TooManyQuarantined(self._quarantine_message(found, rows))

    def _quarantine_message(self, found: int, rows: int) -> str:
        return (
            f"{found:,} of {rows:,} rows are quarantined, more than --max-quarantined {self.options.max_quarantined}: "
            f"see {self.output.url}/_quarantine for the reasons; what is finished is kept"
        )

    def _warn_of_nothing(self) -> None:
        """A run whose rows all failed has done its work by its rules, and is not what anybody wanted."""
        if not self.writes or self.tally.rows_out or not self.tally.quarantined:
            return
        from jobs.looking import first_quarantined

        reasons: Counter[str] = Counter()
        with suppress(GristmillError):  # a run does not fail for the sake of a warning
            reasons.update(row["reason"] for row in first_quarantined(self.output, REASONS_LOOKED_AT))
        named = "".join(
            f", most often for: {shorten(reason, REASON_SHOWN, placeholder=' …')}"
            for reason, _ in reasons.most_common(1)
        )
        self.display.warn(
            f"not one row came out, and {self.tally.quarantined:,} of {self.tally.rows_in:,} are quarantined{named}; "
            f"see {self.output.url}/_quarantine, put right what it says, and run again with --fresh"
        )

    def finish(self, **extra: Any) -> dict[str, Any]:
        """Write the summary; the run is complete. Returns the summary, also of a run that was complete before."""
        if self.summary is None:
            if not self.tally.balanced:
                raise AssertionError(f"rows do not add up: {self.tally}")
            tally = asdict(self.tally)
            if self.measures:
                del tally["bytes_out"]  # a summary is the same however often its run was killed
            counters = dict(sorted(tally.pop("counters").items()))  # they are summed in the order of arrival
            self.summary = {"verb": self.verb, "output": self.output.url, **tally, **counters, **extra}
            self._warn_of_nothing()
            self.run.finish(self.summary)
        self.stack.close()
        self.tell()
        return self.summary

    def tell(self) -> None:
        """Print the summary on standard output, as lines for a person or as one JSON object."""
        assert self.summary is not None
        if self.options.as_json:
            click.echo(json.dumps(self.summary, ensure_ascii=False))
        elif not self.options.quiet:
            click.echo(summary_text(self.summary, time.monotonic() - self.began, self.resumed))


def summary_text(summary: dict[str, Any], seconds: float, resumed: bool) -> str:
    """The summary as a person reads it: the sum of rows first, then what the verb counted."""
    head = f"{summary['verb']}: {summary['output']}" if summary["output"] else summary["verb"]
    lines = [head + (" was complete already" if resumed else f" done in {duration(seconds)}")]
    if summary.get("rows_in"):
        parts = (
            f"{summary['rows_out']:,} out + {summary['filtered']:,} filtered + {summary['quarantined']:,} quarantined"
        )
        lines.append(f"  rows: {summary['rows_in']:,} in = {parts}")
        size = summary["bytes_in"]
        lines.append(
            f"  read: {size / 1e6:,.1f} MB"
            + ("" if resumed else f", {size / 1e6 / max(seconds, 1e-9):,.1f} MB/s overall")
        )
    if summary.get("quarantined") and summary["output"]:
        lines.append(f"  quarantined rows and reasons: {summary['output']}/_quarantine")
    known = {"verb", "output", "rows_in", "rows_out", "filtered", "quarantined", "bytes_in", "bytes_out", "tables"}
    lines += [f"  {name.replace('_', ' ')}: {_value(value)}" for name, value in summary.items() if name not in known]
    for title, table in summary.get("tables", {}).items():
        lines += ["", f"  {title}", *table_lines(table)]
    return "\n".join(lines)


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of equal keys as aligned columns: words to the left, numbers to the right."""
    if not rows:
        return []
    names = list(rows[0])
    cells = [[_value(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[column]) for line in cells)) for column, name in enumerate(names)]
    right = [all(isinstance(row.get(name), int | float | None) for row in rows) for name in names]

    def line(values: list[str]) -> str:
        padded = [v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True)]
        return "    " + "  ".join(padded).rstrip()

    return [line(names), *map(line, cells)]


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:,.4f}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
