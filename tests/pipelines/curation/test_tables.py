"""Reading ranges of rows from Parquet and Arrow files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.storage import open_storage
from pipelines.curation import tables as module
from pipelines.curation.tables import Span, TableFile, TableUnreadable, units_of

ROWS = 100


def table() -> pa.Table:
    return pa.table({"id": list(range(ROWS)), "text": ["x" * (number % 7 * 10) for number in range(ROWS)]})


def write(path: Path, rows: int) -> None:
    """`rows` in each row group or batch."""
    if path.suffix == ".parquet":
        pq.write_table(table(), path, row_group_size=rows)
        return
    new = pa.ipc.new_file if path.suffix == ".feather" else pa.ipc.new_stream
    with new(path, table().schema) as writer:
        writer.write_table(table(), max_chunksize=rows)


def file_at(path: Path) -> TableFile:
    entry = next(e for e in open_storage(str(path.parent)).list() if e.name == path.name)
    return TableFile(open_storage(str(path.parent)), entry, "parquet" if path.suffix == ".parquet" else "arrow")


@pytest.fixture(params=["a.parquet", "a.arrow", "a.feather"])
def path(request, tmp_path: Path) -> Path:
    return tmp_path / request.param


def test_units_say_how_many_rows_there_are(path: Path):
    write(path, 30)
    units, schema = units_of(file_at(path))
    assert [unit.rows for unit in units] == [30, 30, 30, 10]
    assert all(unit.bytes > 0 for unit in units)
    assert schema.names == ["id", "text"]


@pytest.mark.parametrize(("first", "rows"), [(0, 100), (0, 1), (29, 2), (30, 30), (95, 5), (10, 75)])
def test_a_span_is_its_rows_and_no_others(path: Path, monkeypatch, first, rows):
    monkeypatch.setattr(module, "BATCH_BYTES", 300)
    write(path, 30)
    batches = list(Span(file_at(path), first, first // 30, first % 30, rows, rows * 40).batches())
    assert [row for batch in batches for row in batch.column("id").to_pylist()] == list(range(first, first + rows))
    assert max(len(batch) for batch in batches) <= 20


def test_a_file_that_lost_rows_is_an_error_and_not_fewer_rows(path: Path):
    write(path, 30)
    with pytest.raises(TableUnreadable, match=r"a\..*: 5 rows fewer than when the import began"):
        list(Span(file_at(path), 90, 3, 0, 15, 100).batches())


@pytest.mark.parametrize("content", [b"", b"no table at all, but some text"])
def test_a_file_that_is_no_table_is_named_in_one_line(path: Path, content):
    path.write_bytes(content)
    with pytest.raises(TableUnreadable, match=f"{path} cannot be read as (Parquet|Arrow): ") as caught:
        units_of(file_at(path))
    assert "\n" not in str(caught.value)


def test_a_truncated_parquet_file_fails_where_it_is_read(tmp_path: Path):
    write(tmp_path / "a.parquet", 10)
    whole = file_at(tmp_path / "a.parquet")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4:60] = bytes(56)  # the first pages are overwritten, the footer is whole
    (tmp_path / "a.parquet").write_bytes(bytes(data))
    assert units_of(whole)[0][0].rows == 10
    with pytest.raises(TableUnreadable):
        list(Span(whole, 0, 0, 0, 10, 100).batches())


def test_a_table_without_rows_has_no_rows_to_read(path: Path):
    write(path, 30)
    if path.suffix == ".parquet":
        pq.write_table(table().slice(0, 0), path)
        assert sum(unit.rows for unit in units_of(file_at(path))[0]) == 0
    assert list(Span(file_at(path), 0, 0, 0, 0, 0).batches()) == []
