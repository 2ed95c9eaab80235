"""Every column type in its form as JSON, and the rows and columns that have none."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from typing import Any

import pyarrow as pa
import pytest

from actors.json_rows import ColumnRefused, JsonRows


def written(values: Any, kind: Any = None) -> list[Any]:
    """The JSON values of one column."""
    return [json.loads(line)["x"] for line in raw(values, kind)]


def raw(values: Any, kind: Any = None) -> list[bytes]:
    column = values if isinstance(values, pa.Array) else pa.array(values, kind)
    batch = pa.RecordBatch.from_arrays([column], ["x"])
    return JsonRows(batch.schema, "file").lines(batch)


def test_rows_have_every_column_in_order_and_null_where_there_is_nothing():
    table = pa.table({"b": [1, None], "a": ["é\u2028\n", ""], "n": pa.nulls(2)})
    lines = JsonRows(table.schema, "file").lines(table.to_batches()[0])
    assert lines == ['{"b":1,"a":"é\u2028\\n","n":null}'.encode(), b'{"b":null,"a":"","n":null}']


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2**63 - 1, -(2**63)], pa.int64()),
        ([2**64 - 1, 0], pa.uint64()),
        ([2**53 + 1], pa.int64()),
        ([True, False, None], pa.bool_()),
        ([0.1, 1e300, -0.5], pa.float64()),
        ([1.5, None], pa.float16()),
        (["a", None], pa.large_string()),
        (["a", None], pa.string_view()),
        ([[1, None], [], None], pa.list_(pa.int8())),
        ([["a"], None], pa.list_view(pa.string())),
        ([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
        ([{"a": 1, "b": ["x"]}, None], pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])),
    ],
)
def test_what_json_has_stays_exact(values, kind):
    assert written(values, kind) == values


def test_numbers_that_json_does_not_have_are_null_at_any_depth():
    assert written([math.nan, math.inf, -math.inf, 1.0]) == [None, None, None, 1.0]
    assert written([[math.nan, 2.0]]) == [[None, 2.0]]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (0, pa.timestamp("s"), "1970-01-01T00:00:00"),
        (1_500, pa.timestamp("ms"), "1970-01-01T00:00:01.500"),
        (1_600_000_000_000_000_001, pa.timestamp("ns"), "2020-09-13T12:26:40.000000001"),
        (-1, pa.timestamp("us", "America/New_York"), "1969-12-31T23:59:59.999999Z"),
        (10**15, pa.timestamp("s"), "31690708-07-05T01:46:40"),
        (18_262, pa.date32(), "2020-01-01"),
        (86_400_000, pa.date64(), "1970-01-02"),
        (3_661, pa.time32("s"), "01:01:01"),
        (1, pa.time64("ns"), "00:00:00.000000001"),
        (1_500, pa.duration("ms"), "PT1.5S"),
        (-2, pa.duration("s"), "PT-2S"),
        (9_223_372_036_854_775_807, pa.duration("ns"), "PT9223372036.854775807S"),
    ],
)
def test_dates_and_times_are_iso_8601(value, kind, expected):
    width = pa.int32() if kind in (pa.date32(), pa.time32("s")) else pa.int64()
    column = pa.array([value, None], width).cast(kind)
    assert written(column) == [expected, None]
    nested = pa.ListArray.from_arrays([0, 2], column)
    assert written(nested) == [[expected, None]]
    struct = pa.StructArray.from_arrays([column], ["deep"])
    assert written(struct) == [{"deep": expected}, {"deep": None}]


def test_decimals_are_strings_with_all_their_digits():
    values = [decimal.Decimal("1.50"), decimal.Decimal("-12345678901234567890.12"), None]
    assert written(values) == ["1.50", "-12345678901234567890.12", None]
    assert written([decimal.Decimal("1E+3")], pa.decimal128(4, -3)) == ["1000"]


def test_binary_values_are_base64_and_a_uuid_is_spelled_out():
    assert written([b"\x00\xff", None]) == ["AP8=", None]
    assert written([b"ab"], pa.binary(2)) == ["YWI="]
    assert written([{"bytes": b"\x89PNG", "path": "a.png"}]) == [{"bytes": "iVBORw==", "path": "a.png"}]
    number = uuid.UUID(int=5)
    assert written(pa.array([number.bytes, None], pa.uuid())) == [str(number), None]


def test_maps_are_pairs_and_dictionary_values_themselves():
    kind = pa.map_(pa.string(), pa.date32())
    assert written([[("k", datetime.date(2020, 1, 1)), ("n", None)], None], kind) == [
        [["k", "2020-01-01"], ["n", None]],
        None,
    ]
    assert written([[(1, "a")]], pa.map_(pa.int32(), pa.string())) == [[[1, "a"]]]
    assert written(pa.array(["a", None, "a"]).dictionary_encode()) == ["a", None, "a"]
    moments = pa.array([0], pa.timestamp("s")).dictionary_encode()
    assert written(moments) == ["1970-01-01T00:00:00"]


def test_an_extension_type_is_what_it_is_stored_as():
    assert written(pa.array(['{"a":1}'], pa.json_())) == ['{"a":1}']


def test_text_that_is_not_utf8_keeps_its_bytes_and_its_neighbours_are_written_as_ever():
    offsets, data = pa.array([0, 1, 3, 4], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff\xfeb")
    text = pa.Array.from_buffers(pa.string(), 3, [None, offsets, data])
    batch = pa.RecordBatch.from_arrays([text, pa.array([math.nan, 1.0, 2.0]), pa.array([b"q"] * 3)], ["t", "f", "b"])
    assert JsonRows(batch.schema, "file").lines(batch) == [
        b'{"t":"a","f":null,"b":"cQ=="}',
        b'{"t":"\xff\xfe","f":1.0,"b":"cQ=="}',
        b'{"t":"b","f":2.0,"b":"cQ=="}',
    ]


@pytest.mark.parametrize(
    "kind",
    [
        pa.month_day_nano_interval(),
        pa.run_end_encoded(pa.int32(), pa.string()),
        pa.list_(pa.dense_union([pa.field("a", pa.int8())])),
    ],
)
def test_a_column_without_a_form_is_refused_by_name_and_type(kind):
    with pytest.raises(ColumnRefused, match=r"^corpus/a.parquet: column x.* is of type .*, which has no form as JSON"):
        JsonRows(pa.schema([("x", kind)]), "corpus/a.parquet")


def test_two_members_of_one_name_are_refused():
    with pytest.raises(ColumnRefused, match="two columns are named 'x'"):
        JsonRows(pa.schema([("x", pa.int8()), ("x", pa.int8())]), "file")
    with pytest.raises(ColumnRefused, match="column x has two fields of one name"):
        JsonRows(pa.schema([("x", pa.struct([("a", pa.int8()), ("a", pa.int8())]))]), "file")
