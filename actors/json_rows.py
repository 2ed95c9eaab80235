"""Arrow record batches as JSON lines, one object per row with every column, in the order of the columns.

Integers of all widths and strings stay exact. A float that JSON has no number for (NaN, infinities) becomes null.
Decimals become strings. Dates and times become ISO 8601 strings: a timestamp with a time zone in UTC, ending in Z, one
without as it is; fractions of a second are written where they are not zero; a duration is `PT1.5S`. Binary values
become base64, a UUID its usual spelling. A map becomes a list of [key, value] pairs, a dictionary-encoded value the
value itself, any other extension type what it is stored as. A column whose type has no such form (a union, an
interval) is refused when the writer is made.

A string that is not UTF-8 goes into the line as the bytes it is, so that the row is quarantined with what it held.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from cluster.errors import GristmillError

Convert = Callable[[Any], Any]

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class ColumnRefused(GristmillError):
    """A column that has no form as JSON."""


class JsonRows:
    """Writes batches of one schema. Raises ColumnRefused for a schema that it cannot write."""

    def __init__(self, schema: Any, source: str) -> None:
        import pyarrow as pa

        names = list(schema.names)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ColumnRefused(f"{source}: two columns are named {twice!r}; rename or drop one")
        self._source = source
        self._plans: dict[bool, tuple[Any, list[tuple[str, Convert]]]] = {}
        for raw_strings in (False, True):
            forms = [(field.name, *self._form(field.type, field.name, raw_strings)) for field in schema]
            target = pa.schema([pa.field(name, kind) for name, kind, _ in forms])
            converters = [(name, convert) for name, _, convert in forms if convert is not None]
            self._plans[raw_strings] = (target, converters)

    def lines(self, batch: Any) -> list[bytes]:
        """The rows of a record batch, each as one line without its LF."""
        try:
            return [orjson.dumps(row) for row in self._rows(batch, raw_strings=False)]
        except UnicodeDecodeError:
            return [_encoded(row) for row in self._rows(batch, raw_strings=True)]

    def _rows(self, batch: Any, raw_strings: bool) -> list[dict[str, Any]]:
        target, converters = self._plans[raw_strings]
        rows: list[dict[str, Any]] = _cast(batch, target).to_pylist()
        for name, convert in converters:
            for row in rows:
                if row[name] is not None:
                    row[name] = convert(row[name])
        return rows

    def _form(self, kind: Any, place: str, raw_strings: bool) -> tuple[Any, Convert | None]:
        """The type to cast a column to, and what turns its Python values into JSON's, None where they are already."""
        import pyarrow as pa

        is_ = pa.types
        if isinstance(kind, pa.BaseExtensionType):
            if kind.extension_name == "arrow.uuid":
                return kind.storage_type, lambda value: str(UUID(bytes=value))
            return self._form(kind.storage_type, place, raw_strings)
        if is_.is_dictionary(kind):
            return self._form(kind.value_type, place, raw_strings)
        if is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind):
            return (pa.large_binary(), _raw_text) if raw_strings else (pa.large_string(), None)
        if is_.is_null(kind) or is_.is_boolean(kind) or is_.is_integer(kind) or is_.is_floating(kind):
            return kind, None
        form = self._nested(kind, place, raw_strings) or _scalar(kind)
        if form is None:
            raise ColumnRefused(f"{self._source}: column {place} is of type {kind}, which has no form as JSON; drop it")
        return form

    def _nested(self, kind: Any, place: str, raw_strings: bool) -> tuple[Any, Convert | None] | None:
        import pyarrow as pa

        is_ = pa.types
        if is_.is_struct(kind):
            forms = {field.name: self._form(field.type, f"{place}.{field.name}", raw_strings) for field in kind}
            if len(forms) < kind.num_fields:
                raise ColumnRefused(f"{self._source}: column {place} has two fields of one name; drop one")
            members = {name: convert for name, (_, convert) in forms.items() if convert is not None}
            return pa.struct([(name, target) for name, (target, _) in forms.items()]), _of_struct(members)
        if is_.is_map(kind):
            (key, of_key), (item, of_item) = (
                self._form(part, place, raw_strings) for part in (kind.key_type, kind.item_type)
            )
            return pa.map_(key, item), _of_map(of_key, of_item)
        if is_.is_fixed_size_list(kind):
            value, convert = self._form(kind.value_type, f"{place}[]", raw_strings)
            return pa.list_(value, kind.list_size), _of_list(convert)
        if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_list_view(kind) or is_.is_large_list_view(kind):
            value, convert = self._form(kind.value_type, f"{place}[]", raw_strings)
            return pa.large_list(value), _of_list(convert)
        return None


def _cast(batch: Any, target: Any) -> Any:
    import pyarrow as pa

    columns = []
    for column, field in zip(batch.columns, target, strict=True):
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=target)


def _scalar(kind: Any) -> tuple[Any, Convert] | None:
    import pyarrow as pa

    is_ = pa.types
    if is_.is_decimal(kind):
        return kind, lambda value: format(value, "f")
    if is_.is_timestamp(kind):
        zone = "Z" if kind.tz else ""
        return pa.int64(), lambda value: _moment(value, kind.unit) + zone
    if is_.is_date32(kind):
        return pa.int32(), lambda value: str(np.datetime64(value, "D"))
    if is_.is_date64(kind):
        return pa.int64(), lambda value: str(np.datetime64(value, "ms").astype("datetime64[D]"))
    if is_.is_time(kind):
        width = pa.int32() if is_.is_time32(kind) else pa.int64()
        return width, lambda value: _moment(value, kind.unit).partition("T")[2]
    if is_.is_duration(kind):
        return pa.int64(), lambda value: f"PT{format(Decimal(value) / _PER_SECOND[kind.unit], 'f')}S"
    if is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind) or is_.is_binary_view(kind):
        return pa.large_binary(), lambda value: b64encode(value).decode("ascii")
    return None


def _moment(value: int, unit: Any) -> str:
    whole, rest = divmod(value, _PER_SECOND[unit])
    return str(np.datetime64(whole, "s") if not rest else np.datetime64(value, unit))


def _raw_text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _encoded(row: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(row)
    except TypeError:  # bytes that are no UTF-8, as surrogates
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def _of_struct(members: dict[str, Convert]) -> Convert | None:
    if not members:
        return None

    def convert(value: dict[str, Any]) -> dict[str, Any]:
        for name, of_member in members.items():
            if value[name] is not None:
                value[name] = of_member(value[name])
        return value

    return convert


def _of_list(of_item: Convert | None) -> Convert | None:
    if of_item is None:
        return None
    return lambda values: [None if value is None else of_item(value) for value in values]


def _of_map(of_key: Convert | None, of_item: Convert | None) -> Convert | None:
    if of_key is None and of_item is None:
        return None

    def convert(pairs: list[tuple[Any, Any]]) -> list[list[Any]]:
        return [
            [of_key(key) if of_key else key, of_item(item) if of_item and item is not None else item]
            for key, item in pairs
        ]

    return convert
