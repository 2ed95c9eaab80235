"""Training and inference by Gristmill against plain calls of the fastText library: what the care around it costs.

Training: `train` (checks, a child process, digests, the card) against `train_supervised` and `save_model`, on the
same file with the same parameters; both models must be equal, byte for byte. Inference: the stage `ClassifyRows`,
from JSON lines to JSON lines, against `model.predict(texts, k=-1)` on a list of texts that is at hand already; the
library's probabilities must be the ones in the rows. Rows are pieces of the Python sources of this machine. Figures
are CPU seconds of the best of several runs, child processes included, so that a busy machine changes them little.
What this does not measure is reading and writing shards, and loading the model. What training loses is nearly all a
fixed cost, the SHA-256 of a model of 2 GB, so on fewer rows the ratio is lower and on more it is higher.

    python -m benchmarks.classifier [--rows 40000] [--repeat 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from actors.classifier import ClassifyRows
from actors.classifiers.fasttext import FastTextParams, train
from actors.classifiers.fasttext_lines import fasttext_line, fasttext_text
from cluster.rows import Rows
from cluster.shards import ChunkSize
from pipelines.curation.python_sources import python_sources

PIECE = 3_000
ROWS_PER_CHUNK = 1_000
LOST_AT_MOST = 0.10

PLAIN_TRAINING = """
import sys, fasttext
fasttext.train_supervised(
    sys.argv[1], lr=0.1, wordNgrams=3, minCount=5, epoch=3, bucket=2000000, minn=0, maxn=0, ws=5, dim=256,
    loss="softmax", neg=5, seed=42, thread=1, verbose=0,
).save_model(sys.argv[2])
"""


@dataclass(frozen=True, slots=True)
class Result:
    """CPU seconds, and the library's over Gristmill's: 1 is no loss."""

    work: str
    gristmill: float
    fasttext: float
    ratio: float


def make_rows(count: int) -> list[tuple[str, str]]:
    """Pieces of source text of 3,000 characters, labelled by whether they speak of tests."""
    rows: list[tuple[str, str]] = []
    for source in python_sources(100_000):
        for chunk in source.chunks(ChunkSize()):
            for line in chunk.lines:
                text = orjson.loads(line)["text"]
                label = "test" if "test" in text else "library"
                rows.extend((label, text[start : start + PIECE]) for start in range(0, len(text), PIECE))
            if len(rows) >= count:
                return rows[:count]
    return rows


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time that the work takes, in this process and the ones it starts."""
    started = sum(os.times()[:4])
    work()
    return sum(os.times()[:4]) - started


def compared(work: str, gristmill: Callable[[], float], library: Callable[[], float], repeat: int) -> Result:
    """The best of several runs of each, in turns, so that a busy hour of the machine meets both."""
    times = [(gristmill(), library()) for _ in range(repeat)]
    ours, theirs = (min(column) for column in zip(*times, strict=True))
    return Result(work, ours, theirs, theirs / ours)


def measure_training(lines: Path, folder: Path, repeat: int) -> Result:
    ours, plain = folder / "model", folder / "plain.bin"
    command = [sys.executable, "-P", "-c", PLAIN_TRAINING, str(lines), str(plain)]

    def fresh(model: Path, work: Callable[[], object]) -> float:
        """CPU seconds of training where no model is, and the disk has nothing left to write."""
        shutil.rmtree(model, ignore_errors=True) if model == ours else model.unlink(missing_ok=True)
        os.sync()
        return cpu_seconds(work)

    result = compared(
        "train",
        lambda: fresh(ours, lambda: train(lines, ours, FastTextParams())),
        lambda: fresh(plain, lambda: subprocess.run(command, check=True, capture_output=True)),
        repeat,
    )
    if subprocess.run(["cmp", "--silent", str(plain), str(ours / "model.bin")], check=False).returncode:
        raise SystemExit("the two models differ")
    plain.unlink()
    return result


def measure_inference(rows: list[tuple[str, str]], model_dir: Path, repeat: int) -> Result:
    import fasttext

    texts = [fasttext_text(text) for _, text in rows]
    lines = [json.dumps({"id": f"doc-{n:08d}", "text": text}).encode() for n, (_, text) in enumerate(rows)]
    starts = range(0, len(rows), ROWS_PER_CHUNK)
    stage = ClassifyRows(str(model_dir), "quality")
    stage.setup()
    model = fasttext.load_model(str(model_dir / "model.bin"))

    def by_gristmill() -> list[bytes]:
        chunks = (
            Rows("benchmark", lines[at : at + ROWS_PER_CHUNK], list(range(at, at + ROWS_PER_CHUNK))) for at in starts
        )
        return [line for chunk in chunks for line in stage.process(chunk).lines]

    def by_library() -> list[tuple[list[str], list[float]]]:
        answers = (model.predict(texts[at : at + ROWS_PER_CHUNK], k=-1) for at in starts)
        return [answer for labels, values in answers for answer in zip(labels, values, strict=True)]

    for line, (labels, values) in zip(by_gristmill(), by_library(), strict=True):
        found = orjson.loads(line)["quality"]
        for label, value in zip(labels, values, strict=True):
            if abs(found[label.removeprefix("__label__")] - min(value, 1.0)) > 1e-6:
                raise SystemExit(f"{label} is {value} for fastText and {found} in the row")
    return compared("infer", lambda: cpu_seconds(by_gristmill), lambda: cpu_seconds(by_library), 2 * repeat)


def main() -> int:
    parser = argparse.ArgumentParser(description="fastText through Gristmill against the library itself.")
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = make_rows(options.rows)
    folder = Path(tempfile.mkdtemp(prefix="gristmill-benchmark-"))
    try:
        lines = folder / "train.txt"
        lines.write_text("".join(fasttext_line(label, text) + "\n" for label, text in rows), encoding="utf-8")
        results = [measure_training(lines, folder, options.repeat)]
        results.append(measure_inference(rows, folder / "model", options.repeat))
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps([asdict(result) for result in results]))
    else:
        print(f"{len(rows)} rows of up to {PIECE} characters; CPU seconds")
        print(f"{'':8}{'gristmill':>12}{'fastText':>12}{'ratio':>8}")
        for result in results:
            print(f"{result.work:8}{result.gristmill:12.2f}{result.fasttext:12.2f}{result.ratio:8.2f}")
    return 0 if all(result.ratio >= 1 - LOST_AT_MOST for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
