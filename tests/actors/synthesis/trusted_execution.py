"""A stand-in for the executors, for programs of the tests themselves: runs them in this process, without a sandbox."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from actors.sandboxes.contract import DEFAULT_LIMITS, Execution, Limits, Outcome, returned


class TrustedExecutors:
    """Answers as `Executors` does. `executed` are the programs in the order in which they came."""

    def __init__(self) -> None:
        self.executed: list[str] = []

    async def execute(
        self, program: str, function: str, inputs: Sequence[Any], limits: Limits = DEFAULT_LIMITS
    ) -> Execution:
        self.executed.append(program)
        return run_trusted(program, function, inputs)


def run_trusted(program: str, function: str, inputs: Sequence[Any]) -> Execution:
    scope: dict[str, Any] = {}
    try:
        exec(program, scope)
    except Exception as error:
        return Execution(tuple(_failed(error) for _ in inputs))
    outcomes = []
    for given in inputs:
        try:
            value = scope[function](json.loads(json.dumps(given)))
            outcomes.append(returned(json.loads(json.dumps(value))))
        except TypeError as error:
            outcomes.append(Outcome("wrong_type", message=str(error)))
        except Exception as error:
            outcomes.append(_failed(error))
    return Execution(tuple(outcomes))


def _failed(error: Exception) -> Outcome:
    return Outcome("exception", message=f"{type(error).__name__}: {error}")
