"""Classifying rows through an endpoint: the stage that asks for what `ClassifyRows` computes itself, and writes the same."""

from __future__ import annotations

from actors import fields
from actors.endpoint_client import Endpoint, EndpointClient, Result
from actors.expressions import Expression
from actors.texts import text_of
from cluster.resources import Resources
from cluster.rows import Failure, Rows
from cluster.stage import Stage


class ClassifyRowsRemotely(Stage):
    """Stage: sets `column` of every row to what the endpoint's model says of its text; nothing else changes.

    With an endpoint of the same model the bytes are those of `ClassifyRows`. `version` is the model's, and the only one
    whose answers are taken. A text that the endpoint does not take is quarantined with what it said.
    """

    resources = Resources(cpus=0.5)  # it waits for the most part

    def __init__(
        self, endpoint: Endpoint, version: str, column: str, text_expression: str = ".text", normalize: bool = True
    ) -> None:
        self.endpoint, self.version, self.column = endpoint, version, column
        self.text_expression, self.normalize = text_expression, normalize

    def setup(self) -> None:
        self._expression = Expression(self.text_expression)
        self._client = EndpointClient(self.endpoint)

    def process(self, rows: Rows) -> Rows:
        texts = [text_of(value, self.text_expression) for value in self._expression.values(rows.lines)]
        good = [text for text in texts if isinstance(text, str)]
        results = iter(self._client.classify(good, self.version, self.normalize) if good else [])
        values = [_value(next(results)) if isinstance(text, str) else text for text in texts]
        return rows.settle(fields.replace(rows.lines, (self.column,), values))


def _value(result: Result) -> bytes | Failure:
    """What stands in the column: the probabilities, or a regressor's value."""
    if result.error is not None:
        return Failure(f"the endpoint refused it: {result.error}")
    found = bytes(result.probabilities) or bytes(result.value)
    return found or Failure("the endpoint gave neither probabilities nor a value")
