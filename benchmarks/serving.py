"""The endpoint against what it replaces: fastText called directly, and a Ray Serve deployment written as one would.

Bulk: texts by the thousand through HTTP, over two connections to one replica, against `model.predict(lines, k=-1)`
in one process on lines that are at hand already; all probabilities are compared first. The figures are seconds of
wall time, for one replica is one core, and CPU seconds of the replica and HAProxy together.
Single: one short text a request, 64 in flight by `wrk`, a compiled client, against a plain deployment of the same
model, with one replica as well: once with all of Ray Serve's defaults, which let five requests through to a replica
and make the others try again, and once with room for all of them.
Both sides take turns, and medians are compared, for the machine's own speed drifts. The model is trained on Python
sources of this machine, without a normal form, so that fastText alone is what is compared.

    python -m benchmarks.serving [--texts 20000] [--rounds 5] [--seconds 8] [--json]
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from actors.classifiers.fasttext import FastTextParams, train
from actors.classifiers.fasttext_lines import fasttext_line, fasttext_text
from cluster.shards import ChunkSize
from pipelines.curation.python_sources import python_sources

PIECE = 2_000  # characters
TEXTS_PER_BODY = 1_000
CONNECTIONS = 2
SHORT_TEXT = "def main(): return os.path.join(folder, name)  # a short text of one line"
IN_FLIGHT = 64

PLAIN_DEPLOYMENT = """
import sys, time
import ray
from ray import serve
from starlette.requests import Request

@serve.deployment
class Classifier:
    def __init__(self, path):
        import fasttext
        self.model = fasttext.load_model(path)

    async def __call__(self, request: Request):
        texts = (await request.json())["inputs"]
        labels, values = self.model.predict(texts, k=-1)
        return {"results": [dict(zip(a, map(float, b))) for a, b in zip(labels, values)]}

ray.init(address="local", include_dashboard=False, logging_level="ERROR", log_to_driver=False)
serve.start(http_options={"port": int(sys.argv[2])})
serve.run(Classifier.bind(sys.argv[1]), name="default", route_prefix="/default")
serve.run(Classifier.options(max_ongoing_requests=1000).bind(sys.argv[1]), name="room", route_prefix="/room")
print("interface", flush=True)
time.sleep(1e6)
"""


@dataclass(frozen=True, slots=True)
class Bulk:
    """Medians over the rounds, in seconds; ratios are of speeds, above 1 where the endpoint is faster."""

    texts: int
    megabytes: float
    endpoint_seconds: float
    direct_seconds: float
    ratio: float
    endpoint_cpu_seconds: float
    direct_cpu_seconds: float
    cpu_ratio: float


@dataclass(frozen=True, slots=True)
class Single:
    """Medians over the rounds: requests a second, and the 99th percentile in milliseconds."""

    endpoint: tuple[float, float]
    default: tuple[float, float]
    room: tuple[float, float]

    def ratios(self, peer: tuple[float, float]) -> str:
        return (
            f"{self.endpoint[0] / peer[0]:.1f} times the requests, p99 {peer[1] / self.endpoint[1]:.1f} times shorter"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8, help="of each run of wrk")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("benchmarks.serving: wrk is missing; apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        texts = pieces(options.texts)
        model = trained(texts, Path(folder))
        with (
            endpoint(model) as ours,
            server([sys.executable, "-c", PLAIN_DEPLOYMENT, str(model / "model.bin")], "plain deployment") as plain,
        ):
            bulk = measure_bulk(texts, model, ours, options.rounds)
            single = measure_single(ours, plain, options.rounds, options.seconds)
    if options.json:
        print(json.dumps({"bulk": asdict(bulk), "single": asdict(single)}))
        return
    print(
        f"bulk, {bulk.texts:,} texts ({bulk.megabytes:.0f} MB): {bulk.ratio:.2f} of fastText called directly "
        f"({bulk.endpoint_seconds:.2f} s against {bulk.direct_seconds:.2f} s; CPU {bulk.endpoint_cpu_seconds:.2f} s "
        f"against {bulk.direct_cpu_seconds:.2f} s, {bulk.cpu_ratio:.2f})"
    )
    print(f"single texts, {IN_FLIGHT} in flight: {_shown(single.endpoint)}")
    for name, peer in (("Ray Serve's defaults", single.default), ("with room for all", single.room)):
        print(f"  a plain deployment, {name}: {_shown(peer)}; {single.ratios(peer)}")


def _shown(figures: tuple[float, float]) -> str:
    return f"{figures[0]:,.0f} requests a second, p99 {figures[1]:.0f} ms"


def pieces(count: int) -> list[str]:
    """Pieces of the Python sources of this machine."""
    return list(itertools.islice(_pieces(), count))


def _pieces() -> Iterator[str]:
    for source in python_sources(100_000):
        for chunk in source.chunks(ChunkSize()):
            for line in chunk.lines:
                text = orjson.loads(line)["text"]
                yield from (text[at : at + PIECE] for at in range(0, len(text), PIECE))


def trained(texts: list[str], folder: Path) -> Path:
    """A model with fastText's usual dimensions: whether a piece of a program holds a definition."""
    lines = folder / "train.txt"
    labels = ("plain", "defines")
    lines.write_text("".join(fasttext_line(labels["def " in text], text) + "\n" for text in texts))
    train(lines, folder / "model", FastTextParams(bucket=200_000, epoch=1))
    return folder / "model"


@contextmanager
def endpoint(model: Path) -> Iterator[tuple[str, int, int]]:
    """`gristmill serve` of the model, with one replica: its name, port, and process."""
    with server([sys.executable, "-m", "jobs.serve", "--model", f"quality={model}", "--port"], "endpoint") as found:
        yield found


@contextmanager
def server(command: list[str], name: str) -> Iterator[tuple[str, int, int]]:
    """A server on a free port, which is its command's last argument, from its first answer to its end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "interface" in line:
            break
    else:
        sys.exit(f"benchmarks.serving: the {name} does not start: {''.join(said)}")
    threading.Thread(target=process.stdout.read, daemon=True).start()
    try:
        yield name, port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def measure_bulk(texts: list[str], model: Path, ours: tuple[str, int, int], rounds: int) -> Bulk:
    import fasttext

    library = fasttext.load_model(str(model / "model.bin"))
    lines = [fasttext_text(text) for text in texts]
    groups = [texts[at : at + TEXTS_PER_BODY] for at in range(0, len(texts), TEXTS_PER_BODY)]
    bodies = [orjson.dumps({"inputs": group}) for group in groups]
    _, port, session = ours
    _check_equal(ask_all(bodies, port), library.predict(lines, k=-1))
    figures: dict[str, list[float]] = {"endpoint": [], "direct": [], "endpoint cpu": [], "direct cpu": []}
    for _ in range(rounds):
        before, began = cpu_of(session), time.perf_counter()
        ask_all(bodies, port)
        figures["endpoint"].append(time.perf_counter() - began)
        figures["endpoint cpu"].append(cpu_of(session) - before)
        before, began = time.process_time(), time.perf_counter()
        for at in range(0, len(lines), TEXTS_PER_BODY):
            library.predict(lines[at : at + TEXTS_PER_BODY], k=-1)
        figures["direct"].append(time.perf_counter() - began)
        figures["direct cpu"].append(time.process_time() - before)
    median = {name: statistics.median(values) for name, values in figures.items()}
    return Bulk(
        len(texts),
        sum(map(len, bodies)) / 1e6,
        median["endpoint"],
        median["direct"],
        median["direct"] / median["endpoint"],
        median["endpoint cpu"],
        median["direct cpu"],
        median["direct cpu"] / median["endpoint cpu"],
    )


def ask_all(bodies: list[bytes], port: int) -> list[bytes]:
    """The answers to the bodies, asked over a few connections at once."""
    answers: list[bytes] = [b""] * len(bodies)
    waiting = iter(range(len(bodies)))
    lock = threading.Lock()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            with lock:
                number = next(waiting, None)
            if number is None:
                return
            while True:
                connection.request("POST", "/v1/models/quality:classify", bodies[number])
                response = connection.getresponse()
                answer = response.read()
                if response.status == 200:
                    break
                if response.status != 503:
                    sys.exit(f"benchmarks.serving: {response.status} {answer.decode()}")
                time.sleep(0.02)
            answers[number] = answer

    threads = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _check_equal(answers: list[bytes], expected: tuple[Any, Any]) -> None:
    """End the program unless the endpoint says of every text what the library says."""
    found = [result["probabilities"] for answer in answers for result in orjson.loads(answer)["results"]]
    for mine, labels, values in zip(found, *expected, strict=True):
        theirs = {label.removeprefix("__label__"): float(value) for label, value in zip(labels, values, strict=True)}
        if any(abs(mine[label] - value) > 2e-5 for label, value in theirs.items()):
            sys.exit(f"benchmarks.serving: the endpoint says {mine}, fastText {theirs}")


def cpu_of(session: int) -> float:
    """CPU seconds, so far, of the replica and the HAProxy of a session."""
    ticks = 0
    for place in Path("/proc").iterdir():
        try:
            name, _, rest = (place / "stat").read_text().rpartition(")")
            fields = rest.split()
            if int(fields[3]) == session and (
                "haproxy" in name or "ServeReplica:classifiers:classifiers" in _command(place)
            ):
                ticks += int(fields[11]) + int(fields[12])
        except (OSError, IndexError):
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def _command(place: Path) -> str:
    return (place / "cmdline").read_bytes().decode(errors="replace")


def measure_single(ours: tuple[str, int, int], plain: tuple[str, int, int], rounds: int, seconds: int) -> Single:
    urls = {
        "endpoint": f"http://127.0.0.1:{ours[1]}/v1/models/quality:classify",
        "default": f"http://127.0.0.1:{plain[1]}/default",
        "room": f"http://127.0.0.1:{plain[1]}/room",
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in urls}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        body = json.dumps({"inputs": [SHORT_TEXT]})
        script.write(
            f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\nwrk.headers['Content-Type'] = 'application/json'\n"
        )
        script.flush()
        for url in urls.values():
            wrk(url, script.name, 3)  # warm
        for _ in range(rounds):
            for name, url in urls.items():
                figures[name].append(wrk(url, script.name, seconds))

    def medians(name: str) -> tuple[float, float]:
        rates, latencies = zip(*figures[name], strict=True)
        return statistics.median(rates), statistics.median(latencies)

    return Single(medians("endpoint"), medians("default"), medians("room"))


def wrk(url: str, script: str, seconds: int) -> tuple[float, float]:
    """Requests a second, and the 99th percentile of their latency in milliseconds."""
    command = ["wrk", "-t1", f"-c{IN_FLIGHT}", f"-d{seconds}s", "--latency", "-s", script, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if failed := re.search(r"Non-2xx.*|Socket errors.*", said):
        print(f"benchmarks.serving: {url}: {failed[0].strip()}", file=sys.stderr)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    assert rate and p99, said
    return float(rate[1]), float(p99[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99[2]]


if __name__ == "__main__":
    main()
