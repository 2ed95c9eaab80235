"""The options of an engine's own as they come from a command line: what reads as JSON is that, anything else is text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from actors.engines.contract import EngineUnusable


def option_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with numbers, true, false, null, lists and objects in place of their spelling; `-` in names is `_`."""
    return {name.replace("-", "_"): _value(value) for name, value in options.items()}


def check_names(options: Mapping[str, Any], engine: str, known: Sequence[str]) -> None:
    """Raise EngineUnusable for an option that the engine does not have, naming those that it has."""
    for name in options:
        if name.replace("-", "_") not in known:
            there_are = "there is" if len(known) == 1 else "there are"
            raise EngineUnusable(
                f"--engine-option {name}: --engine {engine} has no such option; {there_are} {' and '.join(known)}"
            )


def _value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        # As Python writes them, too.
        return {"True": True, "False": False, "None": None}.get(value, value)
