"""Replacing the value of one field of a JSON row, in place, without touching any other byte.

The promise: key order, whitespace, number spelling, escapes, duplicate keys and a trailing CR stay exactly as
they were; of duplicate keys the last one counts, as it does for JSON parsers and jq. What this does not do is
check the UTF-8 of strings that it leaves alone: reading a field (`actors.expressions`) checks the whole row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec
import orjson

from cluster.rows import Failure

_WHITESPACE = b" \t\r\n"
_OPENING_BRACE = ord("{")

Buffer: TypeAlias = bytes | msgspec.Raw
Change: TypeAlias = tuple[bytes, Buffer, msgspec.Raw | None]
RawMember: TypeAlias = Callable[[Buffer], msgspec.Raw | None]
RawMembers: TypeAlias = Callable[[Buffer], Sequence[msgspec.Raw | None]]


def not_json(line: bytes, error: Exception) -> Failure:
    """The failure of a row that could not be decoded, with the decoder's reason in one line."""
    if isinstance(error, RecursionError):
        return Failure("not JSON: nested too deeply")
    if isinstance(error, msgspec.ValidationError):
        return Failure("not a JSON object")
    try:
        line.decode()
        orjson.loads(line)
    except UnicodeDecodeError as invalid:
        return Failure(f"not JSON: byte 0x{line[invalid.start]:02x} at offset {invalid.start} is not UTF-8")
    except orjson.JSONDecodeError as worded:
        # orjson names a lone surrogate and the column, where msgspec says "input data was truncated".
        return Failure(f"not JSON: {worded}")
    return Failure(f"not JSON: {error}")


def replace(
    lines: Sequence[bytes], path: tuple[str, ...], values: Sequence[bytes | Failure | None]
) -> list[bytes | Failure | None]:
    """Set the field at `path` of every row to its value, a JSON text; a `Failure` or `None` passes through.

    A field that is absent is appended just before the closing brace of the innermost object that exists. A row
    that is not a JSON object, or that has something else than an object on the way to the field, is a `Failure`.
    """
    if not path:
        raise ValueError("the row itself is no field: a path must name at least one key")
    steps = [raw_member(key) for key in path]
    results: list[bytes | Failure | None] = []
    for line, value in zip(lines, values, strict=True):
        if type(value) is not bytes:
            results.append(value)
            continue
        try:
            results.append(_replaced(line, path, steps, value))
        except (msgspec.DecodeError, RecursionError) as error:
            results.append(not_json(line, error))
    return results


def merge(lines: Sequence[bytes], members: Sequence[Mapping[str, bytes] | Failure]) -> list[bytes | Failure]:
    """Set several members of every row, key by key to a JSON text, as `replace` does; a `Failure` passes through."""
    results: list[bytes | Failure] = []
    for line, changes in zip(lines, members, strict=True):
        if isinstance(changes, Failure):
            results.append(changes)
            continue
        try:
            found = raw_members(tuple(changes))(line)
        except (msgspec.DecodeError, RecursionError) as error:
            results.append(not_json(line, error))
            continue
        results.append(splice(line, zip(map(orjson.dumps, changes), changes.values(), found, strict=True)))
    return results


def splice(line: bytes, changes: Iterable[Change]) -> bytes:
    """The row with several members set, new ones just before the closing brace.

    A change is the key as JSON, the new value's JSON text (any buffer), and the old value as a view of the line or
    None. A value that is its own old value stays.
    """
    edits: list[tuple[int, int, Buffer]] = []
    added: list[Buffer] = []
    for key, new, old in changes:
        if old is None:
            added += (b",", key, b":", new)
        elif new is not old:
            edits.append((*_span(line, old), new))
    edits.sort(key=itemgetter(0))
    if added:
        brace, comma = _room(line, 0, len(line))
        edits.append((brace, brace, b"".join((comma, *added[1:]))))
    pieces: list[Buffer] = []
    done = 0
    for first, last, value in edits:
        pieces += (line[done:first], value)
        done = last
    pieces.append(line[done:])
    return b"".join(pieces)


def _replaced(line: bytes, path: tuple[str, ...], steps: list[RawMember], value: bytes) -> bytes | Failure:
    holder: Buffer = line
    for depth, step in enumerate(steps):
        if depth and bytes(memoryview(holder)[:1]) != b"{":
            return Failure(f"{spelled(path[:depth])} is not an object, so {spelled(path)} cannot be set")
        found = step(holder)
        if found is None:
            brace, comma = _room(line, *_span(line, holder))
            keys = [orjson.dumps(key) for key in path[depth:]]
            closing = b"}" * (len(keys) - 1)
            return b"".join((line[:brace], comma, b":{".join(keys), b":", value, closing, line[brace:]))
        holder = found
    start, end = _span(line, holder)
    return b"".join((line[:start], value, line[end:]))


def _room(line: bytes, start: int, end: int) -> tuple[int, bytes]:
    """Where a new member goes in the object in `start:end`, and the comma, if any, that must stand before it."""
    brace = line.rindex(b"}", start, end)
    last = brace - 1
    while line[last] in _WHITESPACE:
        last -= 1
    return brace, b"" if line[last] == _OPENING_BRACE else b","


def _span(line: bytes, part: Buffer) -> tuple[int, int]:
    """Where a raw value stands in its line: it is a view of the line, so its address says so without a search."""
    address = _address()
    start: int = address(part) - address(line)
    end = start + len(part)
    if not 0 <= start < end <= len(line):
        raise RuntimeError("msgspec.Raw is no view of the decoded line: install a msgspec version where it is")
    return start, end


@cache
def _address() -> Callable[[Buffer], int]:
    import pyarrow  # it reads the address of a buffer ten times as fast as numpy and ctypes do

    py_buffer = pyarrow.py_buffer
    return lambda buffer: py_buffer(buffer).address


def spelled(path: tuple[str, ...]) -> str:
    """A path as a jq program."""
    steps = (f".{key}" if key.isascii() and key.isidentifier() else f".{orjson.dumps(key).decode()}" for key in path)
    return "".join(steps) or "."


@lru_cache(maxsize=1024)
def raw_member(key: str) -> RawMember:
    """As `raw_members`, for one member."""
    decode = _decoder((key,))
    if decode is None:
        return lambda text: _decode_all(text).get(key)
    return lambda text: decode(text).f0


@lru_cache(maxsize=1024)
def raw_members(keys: tuple[str, ...]) -> RawMembers:
    """A function from an object's JSON text to the raw values of its members, None where one is absent.

    The values are views of the text. The function raises msgspec.ValidationError for what is no object and
    msgspec.DecodeError for what is no JSON.
    """
    decode = _decoder(keys)
    if decode is None:
        return lambda text: [_decode_all(text).get(key) for key in keys]
    return lambda text: msgspec.structs.astuple(decode(text))


def _decoder(keys: tuple[str, ...]) -> Callable[[Buffer], Any] | None:
    """A decoder that keeps these members and skips all others, or None where msgspec cannot name them."""
    names = [f"f{number}" for number in range(len(keys))]
    fields: list[tuple[str, Any, Any]] = [(name, msgspec.Raw, None) for name in names]
    try:
        shape = msgspec.defstruct("Members", fields, rename=dict(zip(names, keys, strict=True)), gc=False)
    except ValueError:  # a key that needs an escape
        return None
    return msgspec.json.Decoder(shape).decode


_decode_all: Callable[[Buffer], dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
