"""Quarantines lines that are not one JSON object each, for verbs that otherwise never look inside a row."""

from __future__ import annotations

import msgspec

from actors.fields import not_json
from cluster.rows import Failure, Rows
from cluster.stage import Stage


class _AnyObject(msgspec.Struct):
    """Decoding into a struct without fields checks the grammar of an object and builds nothing."""


class CheckRows(Stage):
    """Lets rows that are JSON objects through as they are."""

    def setup(self) -> None:
        self._decode = msgspec.json.Decoder(_AnyObject).decode

    def process(self, rows: Rows) -> Rows:
        return rows.settle([self._check(line) for line in rows.lines])

    def _check(self, line: bytes) -> bytes | Failure:
        try:
            self._decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            return not_json(line, error)
        return line
