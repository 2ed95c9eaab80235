"""Batches against a server that speaks OpenAI's protocol: cutting, submitting, taking, and all of it after kills and breaks."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from actors.batch_format import BatchFormat, key_of
from actors.engines import openai_batches
from actors.engines.contract import EngineUnusable, Message, Request, Sampling
from actors.engines.json_service import Service
from actors.engines.openai_batches import OpenAIBatches
from actors.journal import Journal
from actors.prices import prices_of
from cluster.storage import Storage, open_storage
from pipelines.annotation.batch_folder import BatchError, BatchFolder, State
from pipelines.annotation.batch_parts import PartCutter, PartLimits
from pipelines.annotation.batches import (
    Standing,
    cut_round,
    never_asked,
    standings,
    submit,
    take,
    total,
    unanswered,
)
from tests.openai_server import Server, serving

MODEL, RUN, KEY = "gpt-5-mini", "run0123456789", "sk-that-must-not-show"
ROOT = Path(__file__).resolve().parents[3]


def requests(count: int, start: int = 0) -> list[Request]:
    sampling = Sampling(max_new_tokens=50)
    return [Request((Message("user", f"Question number {n}?"),), sampling) for n in range(start, start + count)]


class Scene:
    """A run's folder and a provider."""

    def __init__(
        self, place: Path, server: Server, key_file: Path | None = None, output: Storage | None = None
    ) -> None:
        self.service = Service("the server", f"{server.url}/v1", key_file=str(key_file) if key_file else None)
        self.server = server
        self.folder = BatchFolder(output or open_storage(str(place)), RUN)
        self.place: Storage = self.folder.output.child("journal")
        self.form = BatchFormat(self.service, MODEL, prices_of(MODEL))

    @property
    def provider(self) -> OpenAIBatches:
        return OpenAIBatches(self.service, settle_seconds=0.05)

    def lines(self, count: int) -> list[bytes]:
        return [self.form.line(request, self.form.key(request)) for request in requests(count)]

    def cut(self, count: int, limits: PartLimits, wanted: frozenset[bytes] | None = None) -> None:
        cut_round(self.folder, self.lines(count), limits, {}, wanted)

    def submit(self) -> int:
        return sum(submit(self.folder, part, self.provider, "24h") for part in self.folder.parts())

    def ended(self) -> list[Standing]:
        deadline = time.monotonic() + 60
        while True:
            found = standings(self.folder, self.provider)
            if all(each.has_ended for each in found):
                return found
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def take(self) -> list[Standing]:
        found = self.ended()

        async def taking() -> None:
            journal = Journal.open(self.place, RUN)
            await take(self.folder, found, self.provider, self.form, journal)
            await journal.close()

        asyncio.run(taking())
        return standings(self.folder, self.provider)

    def journal(self) -> Journal:
        return Journal.open(self.place, "look")

    def failures(self) -> dict[str, dict[str, Any]]:
        lines = [
            line for each in self.folder.failures.list() for line in self.folder.failures.read(each.name).splitlines()
        ]
        return {found["key"]: found for found in map(orjson.loads, lines)}

    def batches(self) -> Counter[str]:
        """How many batches the server has for each part."""
        listed = self.server.get("/v1/batches?limit=10000")["data"]
        assert all(each["metadata"]["gristmill_run"] == RUN for each in listed)
        return Counter(each["metadata"]["gristmill_part"] for each in listed)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(batch_seconds=0.2) as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_batches, "PAUSES", (0.05, 0.1, 0.2))
    monkeypatch.setattr(openai_batches, "RETRIES", 1)


ONCE_EACH = Counter({f"{number:05d}": 1 for number in range(5)})


# Cutting


def cut(lines: list[bytes], limits: PartLimits, **more: Any) -> tuple[dict[str, bytes], PartCutter, list[str]]:
    files: dict[str, bytes] = {}
    cutter = PartCutter(limits, **more)
    parts = cutter.cut(lines, 3, lambda name, pieces: files.update({name: b"".join(pieces)}))
    assert [part.requests for part in parts] == [files[f"{part.name}.jsonl"].count(b"\n") for part in parts]
    return files, cutter, [part.name for part in parts]


def test_parts_hold_equal_requests_once_in_order_and_keep_to_the_limits() -> None:
    form = BatchFormat(Service("x", "http://x"), MODEL)
    lines = [form.line(each, form.key(each)) for each in (*requests(10), *requests(10), *requests(5, 8))]
    unique = list(dict.fromkeys(lines))
    files, _, names = cut(lines, PartLimits(requests=4))
    assert names == ["00003", "00004", "00005", "00006"]
    assert b"".join(files[f"{name}.jsonl"] for name in names) == b"".join(line + b"\n" for line in unique)
    assert b"".join(files[f"{name}.keys"] for name in names) == b"".join(map(key_of, unique))
    size = 3 * (len(lines[0]) + 1)
    files, _, names = cut(lines[:9], PartLimits(bytes=size))
    assert [len(files[f"{name}.jsonl"]) for name in names] == [size] * 3
    files, _, names = cut(lines[:9], PartLimits(bytes=size - 1))
    assert [files[f"{name}.jsonl"].count(b"\n") for name in names] == [2, 2, 2, 2, 1]
    assert cut([], PartLimits())[2] == []


def test_a_request_larger_than_a_file_is_left_out_and_blocks_no_other() -> None:
    form = BatchFormat(Service("x", "http://x"), MODEL)
    large = Request((Message("user", "x" * 5000),))
    lines = [form.line(each, form.key(each)) for each in (*requests(3), large, *requests(3, 3))]
    files, cutter, names = cut(lines, PartLimits(bytes=2000))
    assert cutter.oversized == [(form.key(large), len(lines[3]) + 1)]
    assert b"".join(files[f"{name}.jsonl"] for name in names).count(b"\n") == 6
    exact = len(lines[3]) + 1
    assert cut(lines, PartLimits(bytes=exact))[1].oversized == []
    assert len(cut(lines, PartLimits(bytes=exact - 1))[1].oversized) == 1
    wanted = frozenset((key_of(lines[5]),))
    assert cut(lines, PartLimits(), wanted=wanted)[0]["00003.jsonl"] == lines[5] + b"\n"


# The life of batches


def test_two_thousand_requests_in_five_batches_are_answered_at_the_price_of_batches(
    server: Server, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, server)
    scene.cut(2000, PartLimits(requests=400))
    assert scene.submit() == 5
    # The files went when they were submitted.
    assert not [each for each in scene.folder.output.list(scene.folder.folder) if each.name.endswith(".jsonl")]
    assert scene.submit() == 0  # nothing is submitted twice
    found = scene.take()
    assert scene.batches() == ONCE_EACH and all(each.state.step == "taken" for each in found)
    journal = scene.journal()
    assert len(journal) == 2000 and all(key_of(line) in journal for line in scene.lines(2000))
    account = total(each.state.account for each in found)
    usage = [each["usage"] for each in server.get("/v1/batches?limit=100")["data"]]
    assert account.answers == 2000 and account.unpriced == 0
    assert account.prompt_tokens == sum(each["input_tokens"] for each in usage)
    assert account.completion_tokens == sum(each["output_tokens"] for each in usage)
    assert account.cost == account.prompt_tokens * 125 + account.completion_tokens * 1000
    before = server.stats()["paths"]
    assert scene.take() == found and scene.submit() == 0
    after = server.stats()["paths"]
    assert {name: count for name, count in after.items() if name.startswith("GET /v1")} == {
        name: count for name, count in before.items() if name.startswith("GET /v1")
    }


def test_lines_that_fail_or_expire_keep_their_reason_and_are_asked_again_alone(tmp_path: Path) -> None:
    with serving(batch_seconds=0.2, batch_error_rate=0.1, batch_expire_rate=0.1) as server:
        scene = Scene(tmp_path, server)
        scene.cut(500, PartLimits(requests=100))
        scene.submit()
        found = scene.take()
        failures, journal = scene.failures(), scene.journal()
        told = Counter(each["category"] for each in failures.values())
        assert (
            len(journal) + len(failures) == 500
            and told.keys() == {"server error", "timeout"}
            and min(told.values()) > 20
        )
        assert {each.batch.status for each in found if each.batch} == {"expired"}
        wanted = unanswered(scene.folder, found, journal)
        assert wanted == {bytes.fromhex(key) for key in failures} and never_asked(scene.folder, found, journal) == 0
        server.configure(batch_error_rate=0.0, batch_expire_rate=0.0)
        scene.cut(500, PartLimits(requests=100), wanted)
        assert scene.folder.parts()[5].name == "00005"
        # While they are in a batch that may still answer, nothing is left to ask again.
        open_ = standings(scene.folder, scene.provider)
        assert unanswered(scene.folder, open_, journal) == frozenset()
        scene.submit()
        found = scene.take()
        assert len(scene.journal()) == 500 and unanswered(scene.folder, found, scene.journal()) == frozenset()
        assert server.stats()["attempts"] == 500 + len(wanted)
        assert total(each.state.account for each in found).answers == 500


def test_a_batch_that_the_limit_on_enqueued_tokens_refuses_is_told_and_asked_again(tmp_path: Path) -> None:
    with serving(batch_seconds=0.3) as server:
        scene = Scene(tmp_path, server)
        size = sum(len(line) + 1 for line in scene.lines(100))
        server.configure(max_enqueued_tokens=size // 4 * 3 + 50)
        scene.cut(500, PartLimits(requests=100))
        scene.submit()
        found = scene.take()
        refused = [each for each in found if each.batch and each.batch.status == "failed"]
        assert 1 <= len(refused) < 5  # how many are at work at once is a matter of time
        assert all(each.batch and each.batch.problems[0].startswith("token_limit_exceeded") for each in refused)
        assert never_asked(scene.folder, found, scene.journal()) == 100 * len(refused)
        assert {each["category"] for each in scene.failures().values()} == {"rejected"}
        assert "token_limit_exceeded" in next(iter(scene.failures().values()))["detail"]
        server.configure(max_enqueued_tokens=None)
        scene.cut(500, PartLimits(requests=100), unanswered(scene.folder, found, scene.journal()))
        scene.submit()
        found = scene.take()
        assert len(scene.journal()) == 500 and never_asked(scene.folder, found, scene.journal()) == 0


def test_a_cancelled_batch_gives_what_it_has_and_says_why_the_rest_is_missing(server: Server, tmp_path: Path) -> None:
    server.configure(batch_seconds=2.0)
    scene = Scene(tmp_path, server)
    scene.cut(400, PartLimits())
    scene.submit()
    (batch,) = server.get("/v1/batches")["data"]
    while server.get(f"/v1/batches/{batch['id']}")["request_counts"]["completed"] < 100:
        time.sleep(0.02)
    server.post(f"/v1/batches/{batch['id']}/cancel", {})
    (found,) = scene.take()
    assert found.state.status == "cancelled"
    failures = scene.failures()
    assert 100 <= len(scene.journal()) < 400 and len(failures) == 400 - len(scene.journal())
    assert all("cancelled" in each["detail"] for each in failures.values())


@pytest.mark.component
def test_the_same_on_an_object_store(server: Server, tmp_path: Path, s3_server: str, s3_bucket: str) -> None:
    scene = Scene(tmp_path, server, output=open_storage(f"s3://{s3_bucket}/out", s3_server))
    scene.cut(30, PartLimits(requests=10))
    with scene.folder.locked():
        assert (scene.submit(), scene.submit()) == (3, 0)
    found = scene.take()
    assert len(scene.journal()) == 30 and scene.take() == found and set(scene.batches().values()) == {1}
    left = [entry.name for entry in scene.folder.output.list(f"{scene.folder.folder}/parts")]
    assert left and all(name.endswith(".keys") for name in left)


def test_an_answer_that_is_in_the_journal_already_stays_and_its_cost_is_told_all_the_same(
    server: Server, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, server)
    scene.cut(10, PartLimits())
    scene.submit()
    first = key_of(scene.lines(10)[0])

    async def keep() -> None:
        journal = Journal.open(scene.place, "zother")
        await journal.put(first, msgspec.json.encode({"text": "from elsewhere"}))
        await journal.close()

    asyncio.run(keep())
    (found,) = scene.take()
    entry = scene.journal().find(first)
    assert entry is not None and entry.run == "zother" and found.state.account and found.state.account.answers == 10


# Breaks and kills


def test_a_connection_that_breaks_after_the_server_did_its_work_makes_nothing_twice(tmp_path: Path) -> None:
    lost = ["reset_before", None, "reset_before", "error_500", "rate_limit", None, "reset_before", "error_503", None]
    with serving(batch_seconds=0.2, path_faults={"POST /v1/batches": lost, "POST /v1/files": lost}) as server:
        scene = Scene(tmp_path, server)
        scene.cut(500, PartLimits(requests=100))
        assert scene.submit() == 5
        assert scene.batches() == ONCE_EACH
        files = Counter(each["filename"] for each in server.get("/v1/files")["data"] if each["purpose"] == "batch")
        assert files == Counter({f"gristmill-{RUN}-{name}.jsonl": 1 for name in ONCE_EACH})
        scene.take()
        assert len(scene.journal()) == 500 and server.stats()["most_answers_without_fault"] == 1


@pytest.mark.parametrize("others", [0, 230])
def test_an_attempt_killed_before_it_wrote_what_it_had_made_is_gone_on_with(
    others: int, server: Server, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, server)
    scene.cut(10, PartLimits(requests=5))
    first, second = scene.folder.parts()
    file = scene.folder.part_file(first)
    kept = scene.folder.output.read(file)
    submit(scene.folder, first, scene.provider, "24h")
    made = scene.folder.state(first)
    for _ in range(others):  # so that it stands on the third page
        body = {"input_file_id": made.file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        server.post("/v1/batches", body | {"metadata": {"gristmill_run": "another", "gristmill_part": "00000"}})
    scene.folder.output.publish(file, kept)
    scene.folder.save(first, State("creating", time.time() - 60, made.file))
    submit(scene.folder, first, scene.provider, "24h")
    assert scene.folder.state(first).batch == made.batch
    scene.folder.output.publish(file, kept)
    scene.folder.save(first, State("uploading", time.time() - 60))
    scene.folder.save(second, State("uploading", time.time() - 60))  # killed before it sent anything
    scene.submit()
    assert scene.folder.state(first).file == made.file
    listed = [each for each in server.get("/v1/batches?limit=1000")["data"] if each["metadata"]["gristmill_run"] == RUN]
    assert Counter(each["metadata"]["gristmill_part"] for each in listed)["00001"] == 1


def test_of_two_batches_of_a_part_the_older_one_counts_and_the_other_is_ended(server: Server, tmp_path: Path) -> None:
    server.configure(batch_seconds=5)
    scene = Scene(tmp_path, server)
    scene.cut(3, PartLimits())
    submit(scene.folder, scene.folder.parts()[0], scene.provider, "24h")
    made = scene.folder.state(scene.folder.parts()[0])
    metadata = {"gristmill_run": RUN, "gristmill_part": "00000"}
    time.sleep(1.1)  # the server's clock has seconds
    assert made.file is not None
    late = scene.provider.create(
        made.file, metadata, "24h"
    )  # what an attempt that was given up for lost may still make
    assert late.id != made.batch
    assert scene.provider.create(made.file, metadata, "24h", in_doubt_since=0.0).id == made.batch
    assert scene.provider.describe(late.id).status == "cancelling"


KILLED = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.pipelines.annotation.test_batches import RUN, BatchFolder, OpenAIBatches, Service, open_storage, submit
folder = BatchFolder(open_storage({place!r}), RUN)


def slow(step):
    def slowly(*arguments):
        time.sleep(0.02)
        made = step(*arguments)
        time.sleep(0.02)  # the server has done it, and nobody knows
        return made

    return slowly


provider = OpenAIBatches(Service("the server", {url!r}), settle_seconds=0.05)
provider.upload, provider.create = slow(provider.upload), slow(provider.create)
for part in folder.parts():
    submit(folder, part, provider, "24h")
"""


@pytest.mark.component
def test_killed_at_any_moment_every_part_has_one_batch(server: Server, tmp_path: Path) -> None:
    scene, dice = Scene(tmp_path, server), random.Random(7)
    scene.cut(1200, PartLimits(requests=50))
    program = KILLED.format(root=str(ROOT), place=str(tmp_path), url=f"{server.url}/v1")
    states = tmp_path / scene.folder.folder / "state"
    kills = 0
    while kills < 8:
        before, seen, wanted = versions(states), set[tuple[str, int]](), dice.randint(1, 8)
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
        # So many of the writes around remote steps later, and a moment of its own after that.
        while process.poll() is None and len(seen) < wanted:
            seen |= versions(states) - before
            time.sleep(0.0005)
        time.sleep(dice.random() * 0.05)
        process.kill()
        error = process.communicate()[1]
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, error.decode()
        kills += 1
    assert kills >= 5
    scene.submit()
    assert scene.batches() == Counter({f"{number:05d}": 1 for number in range(24)})
    files = [each["filename"] for each in server.get("/v1/files")["data"] if each["purpose"] == "batch"]
    assert len(files) == len(set(files)) == 24
    scene.take()
    assert len(scene.journal()) == 1200 and server.stats()["most_answers_without_fault"] == 1


def versions(states: Path) -> set[tuple[str, int]]:
    """The state objects that are there, by name and time of writing."""
    if not states.is_dir():
        return set()
    return {(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(states) if entry.name.endswith(".json")}


def test_an_output_file_whose_connection_breaks_is_read_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx2

    scene = Scene(tmp_path, server)
    scene.cut(50, PartLimits())
    scene.submit()
    batch = scene.ended()[0].batch
    assert batch and batch.output_file
    provider = scene.provider
    whole = list(provider.lines(batch.output_file))
    assert len(whole) == 50
    stream, breaks = provider._stream, iter((0, 20, 35))

    def breaking(file: str) -> Iterator[bytes]:
        at = next(breaks, None)
        for number, line in enumerate(stream(file)):
            if number == at:
                raise httpx2.ReadError("the connection broke")
            yield line

    monkeypatch.setattr(provider, "_stream", breaking)
    assert list(provider.lines(batch.output_file)) == whole


def test_lines_end_at_line_ends_alone(server: Server, tmp_path: Path) -> None:
    lines = ["a\u2028b\u0085c\r", "", "é" * 700_000, "the last, without an end"]
    (tmp_path / "file").write_bytes("\n".join(lines).encode())
    provider = Scene(tmp_path, server).provider
    assert list(provider.lines(provider.upload(tmp_path / "file", "file"))) == [line.encode() for line in lines]


# What cannot be gone on with


def test_errors_are_one_line_that_says_the_way_out_and_never_the_key(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    with serving(api_key="another", batch_seconds=0.1) as server:
        scene = Scene(tmp_path / "out", server, key_file)
        scene.cut(3, PartLimits())
        with pytest.raises(
            EngineUnusable, match=r"does not accept the API key \(401\); set OPENAI_API_KEY or give"
        ) as said:
            scene.submit()
        server.configure(api_key=None, path_faults={"POST /v1/files": ["quota", "*"]})
        with pytest.raises(EngineUnusable, match="quota is used up"):
            scene.submit()
        server.configure(path_faults={"POST /v1/files": ["error_502_html", "*"]})
        with pytest.raises(EngineUnusable, match=r"answered 502.*run the same command again"):
            scene.submit()
        server.configure(path_faults={})
        with pytest.raises(EngineUnusable, match=r"answered 404: No batch found.*same project"):
            scene.provider.describe("batch_nothing")
        scene.submit()
    with pytest.raises(EngineUnusable, match="does not answer") as gone:
        standings(scene.folder, scene.provider)
    assert KEY not in f"{said.value}{gone.value}" and "\n" not in f"{said.value}{gone.value}"
    kept = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert KEY.encode() not in kept


def test_a_file_that_is_gone_at_the_provider_is_uploaded_anew(server: Server, tmp_path: Path) -> None:
    scene = Scene(tmp_path, server)
    scene.cut(3, PartLimits())
    (part,) = scene.folder.parts()
    scene.folder.save(part, State("uploaded", file="file-nothing"))
    with pytest.raises(EngineUnusable, match="No such File"):
        scene.submit()
    assert scene.submit() == 1 and len(scene.take()) == 1 and len(scene.journal()) == 3


def test_two_commands_at_once_on_one_run_are_kept_apart(tmp_path: Path) -> None:
    folder = BatchFolder(open_storage(str(tmp_path)), RUN)
    with folder.locked():
        with pytest.raises(BatchError, match="another command is at work"), folder.locked():
            pass
        with pytest.raises(BatchError, match="another command is at work"), folder.locked():
            pass
    with folder.locked():
        pass
