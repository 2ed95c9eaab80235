"""The whole of it: gristmill serve, Ray Serve and HAProxy, asked by real clients, disturbed, and swapped under load."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from tests.serve.conftest import ROOT, Served, processes_named, serving, trained

pytestmark = [pytest.mark.component, pytest.mark.timeout(900)]
pytest.importorskip("ray.serve")

KEY = "0123456789abcdef0123"
TEXTS = 10_000


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 000 real texts in four shards: pieces of Python's own library, and some that are hard to carry."""
    root = tmp_path_factory.mktemp("texts")
    dice = random.Random(5)
    lines = [orjson.dumps({"text": text}) for text in ("", " ", "\0", "a\u2028b", "é\r\n", "\U0001f600" * 9)]
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        text = path.read_text(errors="replace")
        while text and len(lines) < TEXTS:
            cut = dice.choice([30, 300, 3000, 30_000])
            lines.append(orjson.dumps({"n": len(lines), "text": text[:cut], "z": None}))
            text = text[cut:]
    assert len(lines) == TEXTS
    lines += [b'{"text": 5}', b"nope"]
    for shard in range(4):
        (root / f"s{shard}.jsonl").write_bytes(b"\n".join(lines[shard::4]) + b"\n")
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A fastText model with a normal form, and a model2vec one, trained on something like programs."""
    model2vec = pytest.importorskip("model2vec.train")
    assert model2vec
    from model2vec import StaticModel
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    from actors.classifiers.model2vec import Model2VecParams, train

    folder = tmp_path_factory.mktemp("models")
    words = ["def", "class", "return", "import", "self", "None", "for", "in", "the", "red", "apple", "car", "green"]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    vectors = np.random.default_rng(0).standard_normal((len(words) + 1, 16)).astype(np.float32)
    StaticModel(vectors, tokenizer, normalize=True).save_pretrained(folder / "base")
    samples = ["def f(self): return None", "the red apple", "class A: import", "green car in the"] * 10
    params = Model2VecParams(base_model=str(folder / "base"), max_epochs=2)
    train(samples, ["code", "prose", "code", "prose"] * 10, folder / "static", params)
    trained(folder / "quality", normalization={"name": "potion"}, max_length=20_000)
    return {"quality": folder / "quality", "static": folder / "static"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "keys.txt"
    file.write_text(KEY + "\n")
    return file


@pytest.fixture(scope="module")
def server(models: dict[str, Path], keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two replicas of two models, with API keys."""
    arguments = [part for name, path in models.items() for part in ("--model", f"{name}={path}")]
    options = ["--replicas", "2", "--reload-seconds", "1", "--api-keys", str(keys)]
    with serving(tmp_path_factory.mktemp("served"), *arguments, *options) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
        yield client


def gristmill(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, check=False, timeout=300
    )


def rows(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.jsonl"))}


@pytest.mark.parametrize(("name", "verb"), [("quality", "infer-fasttext"), ("static", "infer-model2vec")])
def test_ten_thousand_texts_get_the_very_bytes_that_infer_writes(
    server: Served, models: dict[str, Path], texts: Path, tmp_path: Path, name: str, verb: str
):
    inferred = gristmill(verb, "-m", str(models[name]), "-i", str(texts), "-o", str(tmp_path / "inferred"), "-q")
    assert inferred.returncode == 0, inferred.stderr
    asked = ["--url", server.url, "--model", name, "-i", str(texts), "-o", str(tmp_path / "asked"), "-q"]
    classified = gristmill("classify", *asked, GRISTMILL_API_KEY=KEY)
    assert classified.returncode == 0, classified.stderr
    found = rows(tmp_path / "asked")
    assert found == rows(tmp_path / "inferred")
    assert sum(data.count(b"\n") for name, data in found.items() if not name.startswith("_")) == TEXTS
    assert KEY not in "".join(path.read_text() for path in (tmp_path / "asked/_run").glob("*.json"))


def test_json_bodies_get_the_same_numbers(client: httpx.Client, models: dict[str, Path], texts: Path):
    from actors.classifier import ClassifyRows
    from cluster.rows import Rows

    lines = [line for path in sorted(texts.iterdir()) for line in path.read_bytes().splitlines()]
    good = [line for line in lines if line not in (b'{"text": 5}', b"nope")]
    stage = ClassifyRows(str(models["quality"]), "p")
    stage.setup()
    expected = [json.loads(line)["p"] for line in stage.process(Rows("s", list(good), list(range(TEXTS)))).lines]
    found: list[dict[str, float]] = []
    for at in range(0, TEXTS, 400):
        inputs = [orjson.loads(line)["text"] for line in good[at : at + 400]]
        response = client.post("/v1/models/quality:classify", content=orjson.dumps({"inputs": inputs}))
        found += [result["probabilities"] for result in response.json()["results"]]
    assert found == expected


def test_a_run_that_is_killed_again_and_again_asks_on_and_ends_with_the_same_bytes(
    server: Served, texts: Path, tmp_path: Path
):
    dice = random.Random(7)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    asked = ["--url", server.url, "--model", "quality", "-i", str(texts), "--chunk-size", "64KiB", "-q"]
    assert gristmill("classify", *asked, "-o", str(whole), GRISTMILL_API_KEY=KEY).returncode == 0
    command = [sys.executable, "-m", "jobs", "classify", *asked, "-o", str(killed)]
    killed_at_work = 0
    for _ in range(3):
        environment = os.environ | {"GRISTMILL_API_KEY": KEY}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
        deadline = time.monotonic() + 60
        wanted = dice.randrange(1, 60)
        while process.poll() is None and time.monotonic() < deadline:
            if sum(path.is_file() for path in killed.glob("_run/passes/*/*/chunks/**/*")) >= wanted:
                break
            time.sleep(0.02)
        killed_at_work += process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert killed_at_work
    last = gristmill("classify", *asked, "-o", str(killed), GRISTMILL_API_KEY=KEY)
    assert last.returncode == 0, last.stderr
    assert tree(killed) == tree(whole)


def tree(folder: Path) -> dict[str, bytes]:
    """All bytes of an output but those that name it, or when it was made."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.jsonl"))}


def test_strangers_are_told_nothing_and_nothing_of_them_is_logged(server: Served):
    for headers, query in (({}, ""), ({"Authorization": "Bearer secret-of-a-stranger"}, ""), ({}, f"?key={KEY}")):
        response = httpx.post(
            f"{server.url}/v1/models/quality:classify{query}", json={"inputs": ["a"]}, headers=headers
        )
        assert response.status_code == 401
        assert response.headers["content-type"] == "application/problem+json"
    logs = [path for path in logs_of(server).rglob("*") if path.is_file()]
    assert any("replica" in path.name for path in logs)
    for path in (server.said, *logs):
        said = path.read_bytes()
        assert b"secret-of-a-stranger" not in said, path
        assert KEY.encode() not in said, path


def logs_of(server: Served) -> Path:
    """Where the server's own Ray keeps its logs, as a replica holds them open; another Ray may have started since."""
    for descriptor in Path(f"/proc/{server.replicas()[0]}/fd").iterdir():
        target = Path(os.readlink(descriptor))
        for folder in target.parents:
            if folder.name == "logs":
                return folder
    raise AssertionError("the replica holds no log open")


def test_pages_answer_without_a_key(server: Served):
    page, docs = httpx.get(server.url), httpx.get(f"{server.url}/docs")
    assert "Gristmill" in page.text and "classify" in docs.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("content", "headers", "statuses"),
    [
        (b"nope", {}, {400}),
        (b'{"inputs": ["' + b"a" * (50 << 20) + b'"]}', {}, {413}),
        (orjson.dumps({"inputs": ["a"] * 100_000}), {}, {413}),
        (b'{"inputs": ["\xff"]}', {}, {400}),
        (b'{"inputs": ["\\ud800", "\\u0000", ""]}', {}, {200}),
        (b"\x1f\x8b nope", {"content-encoding": "gzip"}, {400}),
    ],
)
def test_hard_bodies_pass_the_front_too(
    client: httpx.Client, content: bytes, headers: dict[str, str], statuses: set[int]
):
    try:
        response = client.post("/v1/models/quality:classify", content=content, headers=headers)
    except (httpx.WriteError, httpx.ReadError):  # the answer came while we were still sending, and the line was cut
        assert len(content) > 1 << 20
        return
    assert response.status_code in statuses


def test_a_stream_longer_than_any_body_is_answered(client: httpx.Client):
    line = orjson.dumps("def f(x): return x " * 50) + b"\n"

    def lines() -> Iterator[bytes]:
        for _ in range(40):
            yield line * 1000

    headers = {"content-type": "application/x-ndjson"}
    counted = 0
    # httpx sends all before it reads: the answer, 3 MB of it, has to fit into what lies between.
    with client.stream("POST", "/v1/models/quality:classify?top_k=1", content=lines(), headers=headers) as response:
        assert response.status_code == 200
        for found in response.iter_lines():
            counted += found.startswith('{"label"')
    assert counted == 40_000


# ----------------------------------------------------------------------------------------------------- under load


class Load:
    """Clients that ask all the time; every answer is counted by its status, and every failure to get one by its name."""

    def __init__(self, server: Served, clients: int = 8, texts: int = 4) -> None:
        self.server, self.clients = server, clients
        self.body = orjson.dumps({"inputs": ["the red apple is in a green car"] * texts})
        self.found: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.seconds: list[float] = []
        self._stop = threading.Event()

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request hangs"

    def _ask(self) -> None:
        url = f"{self.server.url}/v1/models/quality:classify"
        with httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    response = client.post(url, content=self.body)
                except httpx.HTTPError as error:
                    self.found[type(error).__name__] += 1
                    continue
                self.found[str(response.status_code)] += 1
                self.seconds.append(time.monotonic() - began)
                if response.status_code == 200:
                    self.versions[response.json()["version"]] += 1
                elif response.status_code == 503:
                    self.refusals[response.json()["detail"]] += 1
                    assert int(response.headers["retry-after"]) >= 1
                    time.sleep(0.05)


def waited_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_a_new_version_swaps_in_without_a_failed_request(server: Served, models: dict[str, Path], client: httpx.Client):
    before = client.get("/v1/models/quality").json()["version"]
    with Load(server) as load:
        time.sleep(1)
        trained(models["quality"], epoch=3, normalization={"name": "potion"}, max_length=20_000)

        def is_new_everywhere() -> bool:
            metrics = client.get("/metrics").text.splitlines()
            info = [line for line in metrics if line.startswith('gristmill_model_info{model="quality"')]
            return len(info) == 1 and before not in info[0] and info[0].endswith(" 2.0")

        assert waited_for(is_new_everywhere, 30)
        time.sleep(1)
    assert set(load.found) == {"200"}, load.found
    assert len(load.versions) == 2


def test_a_broken_new_version_changes_nothing(server: Served, models: dict[str, Path], client: httpx.Client):
    model = models["quality"] / "model.bin"
    card = models["quality"] / "card.json"
    kept = model.read_bytes(), card.read_bytes()
    with Load(server) as load:
        model.write_bytes(kept[0][:100])
        card.write_bytes(kept[1] + b"\n")
        assert waited_for(lambda: "failed_update" in client.get("/v1/models/quality").json(), 30)
        logs = logs_of(server) / "serve"
        told = b"the new version was not taken"
        assert waited_for(lambda: any(told in path.read_bytes() for path in logs.glob("replica_*")), 10)
        model.write_bytes(kept[0])
        card.write_bytes(kept[1])
        assert waited_for(lambda: "failed_update" not in client.get("/v1/models/quality").json(), 30)
    assert set(load.found) == {"200"}, load.found


def test_a_replica_that_is_killed_costs_no_more_than_what_it_was_at_work_on(server: Served):
    assert waited_for(lambda: len(server.replicas()) == 2, 60)
    with Load(server) as load:
        time.sleep(1)
        victim = server.replicas()[0]
        os.kill(victim, signal.SIGKILL)
        assert waited_for(lambda: len(set(server.replicas()) - {victim}) == 2, 90)
        time.sleep(2)
        load.found["200 before"] = load.found["200"]
        failed_before = sum(load.found[status] for status in ("502", "503"))
        time.sleep(3)
        assert sum(load.found[status] for status in ("502", "503")) == failed_before
    # An answer that had begun is cut, and its client sees that; the others are told 502 or 503.
    cut = load.found["RemoteProtocolError"] + load.found["ReadError"]
    failed = load.found["502"] + load.found["503"] + cut
    assert failed + load.found["200"] + load.found["200 before"] == load.found.total(), load.found
    assert load.found["200"] > load.found["200 before"] > 0
    assert failed <= load.clients * 4, load.found


def test_ten_times_what_it_can_do_is_refused_cleanly_and_leaves_no_trace(models: dict[str, Path], tmp_path: Path):
    """A minute of it. How long the accepted ones take is measured by benchmarks.overload, and printed here."""
    pytest.importorskip("aiohttp")
    from benchmarks.overload import overload

    seconds = float(os.environ.get("GRISTMILL_OVERLOAD_SECONDS", "60"))
    with serving(tmp_path, "--model", f"quality={models['quality']}") as server:
        url = f"{server.url}/v1/models/quality:classify"
        asyncio.run(overload(url, 2, times=1))  # what it holds once it has been at work
        before = memory_of(server)
        found = asyncio.run(overload(url, seconds))
        print(f"\noverload: {found}")
        assert set(found.statuses) == {200, 503}
        assert found.without_retry_after == 0
        assert found.statuses[200] > 0.3 * seconds / found.service  # it goes on working
        assert found.recovered
        assert memory_of(server) - before < 200 << 20


def memory_of(server: Served) -> int:
    """Bytes that the replicas hold."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in server.replicas()]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def test_ending_it_answers_what_is_in_flight_and_leaves_nothing(models: dict[str, Path], tmp_path: Path):
    with serving(tmp_path, "--model", f"quality={models['quality']}") as server:
        body = orjson.dumps({"inputs": ["the red apple is in a green car " * 60] * 4000})
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(httpx.post, f"{server.url}/v1/models/quality:classify", content=body, timeout=30)
            time.sleep(0.4)  # long enough to be under way; one that is answered already is answered, too
            server.process.send_signal(signal.SIGTERM)
            assert asked.result().status_code == 200
        assert server.process.wait(20) == 0
        assert "requests in flight are answered" in server.said.read_text()
    assert waited_for(lambda: not processes_named("", server.process.pid), 20)


def said(*arguments: str) -> tuple[int, str]:
    found = gristmill("serve", *arguments)
    return found.returncode, found.stderr


def test_what_cannot_be_served_is_said_in_one_line(models: dict[str, Path], tmp_path: Path, server: Served):
    quality = f"quality={models['quality']}"
    port = server.url.rpartition(":")[2]
    broken = tmp_path / "broken"
    shutil.copytree(models["quality"], broken)
    (broken / "model.bin").write_bytes(bytes((broken / "model.bin").stat().st_size))
    for arguments, status, words in (
        (["--model", f"quality={tmp_path}"], 1, f"no model in {tmp_path}"),
        (["--model", str(tmp_path)], 2, "write NAME=DIR"),
        (["--model", quality, "--model", quality], 2, "given twice"),
        (["--model", quality, "--host", "0.0.0.0"], 2, "give --api-keys FILE"),
        (["--model", quality, "--api-keys", str(tmp_path / "none")], 1, "none cannot be read"),
        (["--model", quality, "--port", port], 1, f"127.0.0.1:{port} is in use"),
        (["--model", quality, "--calibration", "other=x"], 2, "there is no other"),
        (["--model", f"quality={broken}"], 1, f"{broken}/model.bin cannot be loaded"),  # which a replica finds out
        (["--model", f"bad name={tmp_path}"], 1, "settings of the endpoint"),
    ):
        found, text = said(*arguments)
        assert found == status, text
        assert words in text
        assert "Traceback" not in text
