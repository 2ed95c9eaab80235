import gzip

import msgspec
import pytest

from cluster.shards import DamagedShard, encode
from cluster.storage import open_storage
from pipelines.program_synthesis.attempts import UnreadableAttempts, read_attempts
from tests.synthesis_attempts import A, B, attempt, task, write_run

ONE = task("one")


def line(run, number):
    return msgspec.json.encode(attempt(ONE, run, number, train=[A, B], test=[A])) + b"\n"


def numbers(place, **more):
    return [(each.run, each.attempt) for each in read_attempts(str(place), **more)]


def test_a_run_is_read_in_the_order_of_its_numbers_and_nothing_else_in_it_is(tmp_path):
    write_run(tmp_path, [ONE], [attempt(ONE, run, 1) for run in (10, 2, 1)], 10)
    (tmp_path / "votes.jsonl").write_text("{}\n")
    (tmp_path / "run-3.jsonl.zst.part").write_text("half of it")
    assert numbers(tmp_path) == [(1, 1), (2, 1), (10, 1)]


def test_one_file_and_a_directory_of_any_files_are_read(tmp_path):
    (tmp_path / "b.jsonl").write_bytes(line(1, 1) + b"\n" + line(1, 2).rstrip())
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(line(2, 1)))
    (tmp_path / "notes.txt").write_text("not for reading")
    assert numbers(tmp_path / "b.jsonl") == [(1, 1), (1, 2)]
    assert numbers(tmp_path) == [(1, 1), (1, 2), (2, 1)]


def test_a_path_relative_to_here_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.jsonl").write_bytes(line(1, 1))
    assert numbers("b.jsonl") == [(1, 1)]


def test_attempts_come_back_as_they_were(tmp_path):
    made = attempt(ONE, 1, 3, train=[A, None], test=[B], transductive="why", response="text", cost=0.5)
    write_run(tmp_path, [ONE], [made], 1)
    assert list(read_attempts(str(tmp_path))) == [made]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"{]\n", "malformed"),
        (b'{"task_id":1}\n', "Expected `str`"),
        (b'"\xff"\n', "this is no attempt"),
        (b"{}\n", "task_id"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, bad, said):
    file = tmp_path / "run-1.jsonl"
    file.write_bytes(line(1, 1) + b"\n" + bad + line(1, 2))
    with pytest.raises(UnreadableAttempts, match=said) as caught:
        numbers(tmp_path)
    assert f"{file}, line 3: this is no attempt" in str(caught.value)


def test_a_file_that_ends_early_is_an_error(tmp_path):
    (tmp_path / "run-1.jsonl.zst").write_bytes(encode(line(1, 1) * 50, "run-1.jsonl.zst")[:-9])
    with pytest.raises(DamagedShard, match=r"run-1\.jsonl\.zst"):
        numbers(tmp_path)


def test_a_place_without_attempts_is_said(tmp_path):
    with pytest.raises(UnreadableAttempts, match="no attempts here"):
        numbers(tmp_path)
    with pytest.raises(UnreadableAttempts, match="no such file"):
        numbers(tmp_path / "run-1.jsonl")


def test_a_directory_named_like_a_file_is_read_as_a_directory(tmp_path):
    (tmp_path / "all.jsonl").mkdir()
    (tmp_path / "all.jsonl" / "x.jsonl").write_bytes(line(1, 1))
    assert numbers(tmp_path / "all.jsonl") == [(1, 1)]


def test_attempts_are_read_from_object_storage(s3_server, s3_bucket):
    storage = open_storage(f"s3://{s3_bucket}/runs/one", s3_server)
    storage.publish("run-2.jsonl.zst", encode(line(2, 1), "run-2.jsonl.zst"))
    storage.publish("run-1.jsonl", line(1, 1))
    assert numbers(storage.url, endpoint_url=s3_server) == [(1, 1), (2, 1)]
    assert numbers(f"{storage.url}/run-1.jsonl", endpoint_url=s3_server) == [(1, 1)]
