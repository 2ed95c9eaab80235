"""Finding shards in datasets, cutting them into chunks, and what is said of damaged ones."""

from __future__ import annotations

import gzip
import pickle
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import shards as shards_module
from cluster.shards import (
    UTF8_BOM,
    ChunkSize,
    DamagedShard,
    DatasetError,
    RawChunk,
    Shard,
    encode,
    encoded_nothing,
    labels_of,
    lines_of,
    read_chunks,
    shards_of,
    split_of,
    suffix_of,
)
from cluster.storage import open_storage

SMALL = ChunkSize(bytes=64)


def shard_at(path: Path, size: int | None = None) -> Shard:
    return Shard(
        open_storage(str(path.parent)), path.name, path.name, path.stat().st_size if size is None else size, "v1"
    )


def write(path: Path, content: bytes) -> Shard:
    path.write_bytes(content)
    return shard_at(path)


def chunks_of(shard: Shard, size: ChunkSize = SMALL) -> list[RawChunk]:
    return list(read_chunks(shard, size))


def read_until_damage(shard: Shard, size: ChunkSize = SMALL) -> tuple[list[RawChunk], DamagedShard]:
    found: list[RawChunk] = []
    with pytest.raises(DamagedShard) as caught:
        found.extend(read_chunks(shard, size))
    # `extend` keeps what came before the error.
    return found, caught.value


def rows(count: int, seed: int = 0) -> bytes:
    noise = random.Random(seed)
    return b"".join(b'{"id": %d, "noise": "%s"}\n' % (n, noise.randbytes(16).hex().encode()) for n in range(count))


def check_chunks(chunks: list[RawChunk], content: bytes, size: ChunkSize) -> None:
    """What holds for the chunks of any file: they are the file, cut at the first line end from the chunk size on."""
    assert b"".join(chunk.payload for chunk in chunks) == content
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    line = 1
    for chunk in chunks:
        assert chunk.first_line == line
        line += chunk.payload.count(b"\n")
        without_last_line = chunk.payload[: chunk.payload.rstrip(b"\n").rfind(b"\n") + 1]
        lines = lines_of(chunk.payload)
        assert len(without_last_line) < size.bytes or len(lines) == 1
        assert size.rows is None or len(lines) <= size.rows
    for chunk in chunks[:-1]:
        assert chunk.payload.endswith(b"\n")
        assert len(chunk.payload) >= size.bytes or len(lines_of(chunk.payload)) == size.rows


@settings(max_examples=300, deadline=None)
@given(
    content=st.lists(
        st.sampled_from([b"\n", b"a", b"\r\n", b'{"a": 1}\n', b"\xe2\x80\xa8", UTF8_BOM, b"x" * 40]), max_size=60
    ),
    read_size=st.sampled_from([1, 2, 3, 7, 64, 4096]),
    size=st.builds(ChunkSize, st.integers(1, 80), st.none() | st.integers(1, 5)),
    ending=st.sampled_from(["jsonl", "jsonl.zst", "jsonl.gz"]),
)
def test_chunks_depend_on_the_bytes_and_the_settings_alone(
    tmp_path_factory: pytest.TempPathFactory, content: list[bytes], read_size: int, size: ChunkSize, ending: str
) -> None:
    whole = b"".join(content)
    path = tmp_path_factory.getbasetemp() / f"property.{ending}"
    shard = write(path, encode(whole, path.name) or b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "READ_SIZE", read_size)
        chunks = chunks_of(shard, size)
    assert [(c.index, c.first_line, c.payload) for c in chunks] == [
        (c.index, c.first_line, c.payload) for c in chunks_of(shard, size)
    ]
    check_chunks(chunks, whole.removeprefix(UTF8_BOM), size)


@pytest.mark.parametrize("rows_per_chunk", [None, 3])
def test_stored_bytes_read_grow_to_the_size_of_the_file(tmp_path: Path, rows_per_chunk: int | None) -> None:
    shard = write(tmp_path / "a.jsonl.zst", encode(rows(20_000), ".zst"))
    read = [chunk.read for chunk in chunks_of(shard, ChunkSize(1 << 16, rows_per_chunk))]
    assert read == sorted(read)
    assert read[-1] == shard.size


def test_only_a_byte_order_mark_at_the_very_start_is_left_out(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.jsonl", UTF8_BOM + b"one\n" + UTF8_BOM + b"two\n")
    assert chunks_of(shard)[0].payload == b"one\n" + UTF8_BOM + b"two\n"


def test_a_carriage_return_and_unicode_line_ends_are_part_of_the_row(tmp_path: Path) -> None:
    content = '{"a": "\u2028\u2029\x0b\x0c\x85"}\r\n{"b": 1}\r\n'.encode()
    assert lines_of(chunks_of(write(tmp_path / "a.jsonl", content))[0].payload) == [
        '{"a": "\u2028\u2029\x0b\x0c\x85"}\r'.encode(),
        b'{"b": 1}\r',
    ]


def test_a_missing_final_line_end_makes_no_difference_to_the_rows(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.jsonl", b"one\ntwo")
    assert lines_of(chunks_of(shard)[0].payload) == [b"one", b"two"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst", "a.jsonl.gz"])
def test_a_shard_without_bytes_or_rows_has_no_chunks(tmp_path: Path, name: str) -> None:
    assert chunks_of(write(tmp_path / name, b"")) == []
    assert chunks_of(write(tmp_path / name, encoded_nothing(name))) == []
    assert chunks_of(write(tmp_path / name, encode(UTF8_BOM, name))) == []


def test_a_row_of_50_megabytes_is_one_chunk_and_its_neighbours_are_whole(tmp_path: Path) -> None:
    large = b'{"text": "' + b"x" * (50 << 20) + b'"}\n'
    shard = write(tmp_path / "a.jsonl.zst", encode(b'{"n": 1}\n' + large + b'{"n": 3}\n', ".zst"))
    chunks = chunks_of(shard, ChunkSize())
    assert [chunk.payload for chunk in chunks] == [b'{"n": 1}\n' + large, b'{"n": 3}\n']
    assert [chunk.first_line for chunk in chunks] == [1, 3]


def test_several_frames_and_members_are_one_file(tmp_path: Path) -> None:
    parts = [rows(50, seed) for seed in range(5)]
    for name in ("a.jsonl.zst", "a.jsonl.gz"):
        shard = write(tmp_path / name, b"".join(encode(part, name) for part in [b"", *parts]) + encoded_nothing(name))
        assert b"".join(chunk.payload for chunk in chunks_of(shard)) == b"".join(parts)
    # A foreign writer's frame may state no size, and lines may run across frames.
    foreign = zstandard.ZstdCompressor(write_content_size=False)
    halves = foreign.compress(parts[0][:333]) + foreign.compress(parts[0][333:])
    assert b"".join(chunk.payload for chunk in chunks_of(write(tmp_path / "b.jsonl.zst", halves))) == parts[0]


@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.jsonl.gz"])
def test_the_usual_tools_read_what_is_encoded_also_nothing(tmp_path: Path, name: str) -> None:
    tool = "zstd" if name.endswith(".zst") else "gzip"
    for content in (encode(b"one\n", name) + encode(b"two\n", name), encoded_nothing(name)):
        (tmp_path / name).write_bytes(content)
        try:
            done = subprocess.run([tool, "-dc", tmp_path / name], capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"the program {tool} is not installed")
        assert (done.returncode, done.stdout) in [(0, b"one\ntwo\n"), (0, b"")]


def test_encoding_is_the_same_at_any_time() -> None:
    assert encode(rows(10), ".gz") == encode(rows(10), ".gz")
    assert gzip.decompress(encode(b"x\n", ".gz")) == b"x\n"
    assert encode(b"", ".zst") == b""


# ---------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("count", [30, 60_000])
@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.jsonl.gz"])
def test_a_truncated_shard_gives_the_rows_before_and_says_where(tmp_path: Path, name: str, count: int) -> None:
    content = rows(count)
    stored = b"".join(encode(content[at : at + 700], name) for at in range(0, len(content), 700))[:-3]
    chunks, damage = read_until_damage(write(tmp_path / name, stored))
    whole = b"".join(chunk.payload for chunk in chunks)
    assert content.startswith(whole)
    assert whole.endswith(b"\n")
    assert len(content) - len(whole) < 1000  # the last frame, and the row that began before it
    assert damage.line == whole.count(b"\n")
    assert content.startswith(whole + damage.tail)
    assert b"\n" not in damage.tail
    assert str(damage) == (
        f"shard {tmp_path / name}, after line {damage.line}: the compressed stream ends early "
        f"({len(stored):,} of {len(stored):,} stored bytes read)"
    )


def test_chunks_of_a_truncated_shard_do_not_depend_on_how_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write(tmp_path / "a.jsonl.gz", encode(rows(5000), ".gz")[:-9])
    expected, damage = read_until_damage(shard)
    monkeypatch.setattr(shards_module, "READ_SIZE", 1000)
    found, again = read_until_damage(shard)
    assert [chunk.payload for chunk in found] == [chunk.payload for chunk in expected]
    assert (again.line, again.tail) == (damage.line, damage.tail)


@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.jsonl.gz"])
def test_a_corrupt_stream_keeps_the_frames_before_it(tmp_path: Path, name: str) -> None:
    frames = [encode(rows(40, seed), name) for seed in range(8)]
    broken = bytearray(frames[5])
    broken[len(broken) // 2] ^= 0xFF
    stored = b"".join([*frames[:5], bytes(broken), *frames[6:]])
    chunks, damage = read_until_damage(write(tmp_path / name, stored))
    whole = b"".join(chunk.payload for chunk in chunks)
    assert damage.reason.startswith("the compressed stream is corrupt near stored byte ")
    assert damage.line == whole.count(b"\n")
    assert b"".join(rows(40, seed) for seed in range(8)).startswith(whole[: 40 * 50])


def test_a_file_that_is_not_compressed_at_all_is_corrupt_from_the_start(tmp_path: Path) -> None:
    chunks, damage = read_until_damage(write(tmp_path / "a.jsonl.zst", rows(10)))
    assert (chunks, damage.line, damage.tail) == ([], 0, b"")
    assert damage.reason.startswith("the compressed stream is corrupt")


def test_a_line_without_an_end_is_damage_and_the_rows_before_it_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(shards_module, "MAX_TAIL_BYTES", 100)
    shard = write(tmp_path / "a.jsonl", rows(50) + b"x" * (2 << 20) + b"\nlast\n")
    chunks, damage = read_until_damage(shard, ChunkSize(4 << 20))
    assert [chunk.payload for chunk in chunks] == [rows(50)]
    assert str(damage) == f"shard {tmp_path}/a.jsonl, after line 50: no line end within 1 MiB"
    assert damage.tail == b"x" * 100


def test_a_chunk_may_be_larger_than_the_longest_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "MAX_LINE_BYTES", 1000)
    shard = write(tmp_path / "a.jsonl", rows(20_000))
    assert len(chunks_of(shard, ChunkSize(1 << 30))) == 1


def test_damage_travels_between_processes() -> None:
    damage = DamagedShard("a.jsonl", 3, "why", b"tail", "data/a.jsonl")
    again = pickle.loads(pickle.dumps(damage))
    assert (str(again), again.tail) == ("shard data/a.jsonl, after line 3: why", b"tail")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
def test_a_shard_that_changed_since_it_was_listed_is_refused(tmp_path: Path, name: str) -> None:
    shard = write(tmp_path / name, encode(rows(10), name))
    (tmp_path / name).write_bytes(encode(rows(11), name))
    with pytest.raises(DatasetError, match=r"has \d+ bytes now and had \d+ when this run listed it"):
        chunks_of(shard)


# --------------------------------------------------------------------------------------------------- datasets


def make(root: Path, *names: str) -> str:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return str(root)


def test_shards_are_found_in_splits_and_below_in_the_order_of_their_names(tmp_path: Path) -> None:
    url = make(tmp_path, "train/b.jsonl", "train/a/x.jsonl.gz", "valid/c.jsonl.zst", "test/d.jsonl", "sample.jsonl")
    found = shards_of([url])
    assert [shard.name for shard in found] == [
        "test/d.jsonl",
        "train/a/x.jsonl.gz",
        "train/b.jsonl",
        "valid/c.jsonl.zst",
    ]
    assert [shard.path for shard in found] == [shard.name for shard in found]
    assert found[2].url == f"{url}/train/b.jsonl"


def test_without_splits_every_shard_belongs(tmp_path: Path) -> None:
    url = make(tmp_path, "b.jsonl", "sub/a.jsonl.zst", "trains/c.jsonl")
    assert [shard.name for shard in shards_of([url])] == ["b.jsonl", "sub/a.jsonl.zst", "trains/c.jsonl"]
    assert {split_of(shard.name) for shard in shards_of([url])} == {None}


def test_dots_in_names_are_part_of_the_name(tmp_path: Path) -> None:
    assert [shard.name for shard in shards_of([make(tmp_path, "a.v1.jsonl.zst")])] == ["a.v1.jsonl.zst"]
    assert [suffix_of(name) for name in ("a.v1.jsonl.zst", "a.jsonl", "a.json", "a.jsonl.bz2")] == [
        ".jsonl.zst",
        ".jsonl",
        None,
        None,
    ]


def test_hidden_and_underscored_files_and_folders_are_no_data(tmp_path: Path) -> None:
    url = make(tmp_path, "a.jsonl", "_quarantine/b.jsonl", ".cache/c.jsonl", "sub/_d.jsonl", "e.txt", "f.jsonl.tmp")
    assert [shard.name for shard in shards_of([url])] == ["a.jsonl"]


def test_several_datasets_get_a_folder_each_behind_the_split(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", "train/x.jsonl"), make(tmp_path / "two", "train/x.jsonl")
    assert [shard.name for shard in shards_of([two, one])] == ["train/two/x.jsonl", "train/one/x.jsonl"]
    flat = make(tmp_path / "flat", "x.jsonl")
    assert [shard.name for shard in shards_of([flat, one])] == ["flat/x.jsonl", "train/one/x.jsonl"]


def test_datasets_of_one_name_are_told_apart_whatever_the_others_are_called(tmp_path: Path) -> None:
    urls = [make(tmp_path / folder, "x.jsonl") for folder in ("a/data", "b/data-01", "c/data", "d/_data", "e/data-02/")]
    names = [shard.name for shard in shards_of(urls)]
    assert len(set(names)) == len(urls)
    assert names == ["data-03/x.jsonl", "data-01/x.jsonl", "data-04/x.jsonl", "data-05/x.jsonl", "data-02/x.jsonl"]


def test_datasets_whose_shards_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    flat, split = make(tmp_path / "train", "b/x.jsonl"), make(tmp_path / "b", "train/x.jsonl")
    with pytest.raises(DatasetError, match="would get the same name"):
        shards_of([flat, split])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["/", "a", "a-01", "b/a", "c/a-02", "_a", ".a", "..", "."]), min_size=2, max_size=8))
def test_labels_of_datasets_are_unique_folder_names(urls: list[str]) -> None:
    labels = labels_of(urls)
    assert len(set(labels)) == len(urls)
    assert all(label and label[0] not in "_." and "/" not in label for label in labels)


def test_a_dataset_that_cannot_be_one_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"/nowhere: no such directory$"):
        shards_of([str(tmp_path / "nowhere")])
    with pytest.raises(DatasetError, match=r"a\.jsonl: is a file, not a dataset directory$"):
        shards_of([make(tmp_path, "a.jsonl") + "/a.jsonl"])
    with pytest.raises(DatasetError, match=r"/empty: no shards here; a dataset holds "):
        shards_of([make(tmp_path / "empty", "readme.md")])


@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.jsonl.gz"])
def test_threads_may_encode_at_once(name: str) -> None:
    payloads = [bytes([number]) + random.Random(number).randbytes(200_000) * 2 for number in range(8)]
    expected = [encode(payload, name) for payload in payloads]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            assert list(threads.map(lambda payload: encode(payload, name), payloads)) == expected
