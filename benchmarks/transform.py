"""transform-dataset's stage against jq's Python bindings used plainly, on the same programs and rows.

Plainly means: both programs joined into one (`text + label`), compiled once, one `input_text` per line, the output
written by orjson. Rows are pieces of the interpreter's own source files, 3,000 characters each, with metadata.
Every output is compared with jq's, as JSON values, before anything is timed. Figures are megabytes of input per
second of CPU time on one core, the best of several runs, so that a busy machine changes them little. What this
does not measure is reading and writing shards.

    python -m benchmarks.transform [--rows 2000] [--repeat 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import sysconfig
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jq
import msgspec
import orjson

from actors.transformer import TransformRows
from cluster.rows import Rows

PIECE = 3_000


@dataclass(frozen=True, slots=True)
class Case:
    """Two programs, and whether the other fields stay."""

    name: str
    text: str
    label: str
    keep_fields: bool = False

    def as_one_program(self) -> str:
        return f"{'. + ' if self.keep_fields else ''}({self.text}) + ({self.label})"


@dataclass(frozen=True, slots=True)
class Result:
    """Megabytes per second of CPU time."""

    case: str
    gristmill: float
    jq: float
    ratio: float


CASES = [
    Case("copy two fields (the default)", "{text: .text}", "{score: .score}"),
    Case("the same, other fields kept", "{text: .text}", "{score: .score}", keep_fields=True),
    Case("threshold", "{text: .text}", '{score: (if .score >= 2.5 then "pos" else "neg" end)}'),
    Case("threshold, other fields kept", "{text}", '{label: (if .score >= 2.5 then "pos" else "neg" end)}', True),
    Case("nested fields, comparison", "{text, id, by: .metadata.name}", '{score: (.metadata.language == "python")}'),
    Case("joined text, alternatives", r'{text: (.title + "\n\n" + .text)}', "{score: (.rating // .int_score // 0)}"),
    Case("bands", "{text: .text}", '{score: (if .score < 1 then "low" elif .score < 4 then "mid" else "high" end)}'),
    Case("not native: jq runs it", '{text: (.text | ltrimstr("#"))}', "{score: (.score | round)}"),
]


def make_rows(count: int) -> list[bytes]:
    """Rows of about 3.3 kB: a piece of source text, an id, scores and nested metadata."""
    rows: list[bytes] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        source = path.read_text(encoding="utf-8", errors="replace")
        for start in range(0, len(source), PIECE):
            number = len(rows)
            row = {
                "id": f"doc-{number:08d}",
                "title": path.stem,
                "metadata": {"name": path.name, "language": "python", "licenses": ["psf"], "stars": number % 977},
                "text": source[start : start + PIECE],
                "score": number * 7919 % 500 / 100,
                "int_score": number % 6,
            }
            rows.append(json.dumps(row, ensure_ascii=number % 2 == 0).encode())
            if len(rows) == count:
                return rows
    return rows


def by_gristmill(stage: TransformRows, lines: list[bytes]) -> list[bytes]:
    rows = stage.process(Rows("benchmark", lines, list(range(1, len(lines) + 1))))
    if rows.rejected:
        raise SystemExit(f"line {rows.rejected[0].line} was quarantined: {rows.rejected[0].reason}")
    return rows.lines


def by_jq(program: Any, lines: list[bytes]) -> list[bytes]:
    return [orjson.dumps(program.input_text(line.decode()).first()) for line in lines]


def fastest(repeat: int, *works: Callable[[], object]) -> list[float]:
    """CPU seconds of the fastest of several runs of each work, in turns, so that a busy spell meets all of them."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeat):
        for work, taken in zip(works, times, strict=True):
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
    return [min(taken) for taken in times]


def measure(case: Case, lines: list[bytes], repeat: int) -> Result:
    stage = TransformRows(case.text, case.label, case.keep_fields)
    stage.setup()
    program = jq.compile(case.as_one_program())
    for number, (ours, theirs) in enumerate(zip(by_gristmill(stage, lines), by_jq(program, lines), strict=True), 1):
        if orjson.loads(ours) != orjson.loads(theirs):
            raise SystemExit(f"{case.name}: row {number} differs from jq's")
    size = sum(map(len, lines)) / 1e6
    seconds = fastest(repeat, lambda: by_gristmill(stage, lines), lambda: by_jq(program, lines))
    ours_speed, jq_speed = (size / taken for taken in seconds)
    return Result(case.name, round(ours_speed, 1), round(jq_speed, 1), round(ours_speed / jq_speed, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description="transform-dataset's stage against the jq bindings")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    lines = make_rows(options.rows)
    size = sum(map(len, lines)) / 1e6
    decode = msgspec.json.Decoder().decode
    limit = size / fastest(options.repeat, lambda: [decode(line) for line in lines])[0]
    results = [measure(case, lines, options.repeat) for case in CASES]
    if options.json:
        figures = {"rows": len(lines), "megabytes": round(size, 1), "full_decode": round(limit, 1)}
        print(json.dumps({**figures, "cases": [asdict(result) for result in results]}))
        return
    print(f"{len(lines)} rows, {size:.1f} MB; a full JSON decode alone: {limit:.0f} MB/s of CPU time")
    print(f"{'programs':32} {'gristmill':>10} {'jq':>8} {'ratio':>7}")
    for result in results:
        print(f"{result.case:32} {result.gristmill:>7.0f} MB/s {result.jq:>3.0f} MB/s {result.ratio:>6.1f}x")


if __name__ == "__main__":
    main()
