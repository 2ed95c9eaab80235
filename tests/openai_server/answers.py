"""Answers drawn from a seed: values that meet a JSON schema, short texts, and the tokens they are said to have.

The same seed draws the same answer. Schemas are taken as language models are given them: objects, arrays, strings,
numbers, booleans, enum, const, anyOf, oneOf, allOf, $ref, $defs. Not heeded: pattern, uniqueItems, dependent keywords.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

_PROSE = (
    "the text explains each step with care and gives an example that a reader can follow while some details stay "
    "open because their sources are not named although structure language and level fit the question well"
)
_WORDS = _PROSE.split()
_DEEP = 6  # below it, optional parts are left out, so that recursive schemas come to an end
_FORMATS = {
    "date-time": "2024-05-17T09:30:00Z",
    "date": "2024-05-17",
    "time": "09:30:00Z",
    "email": "reader@example.org",
    "uuid": "6f1c7a52-3b1e-4d55-9a64-0d6c1f5f2b11",
    "uri": "https://example.org/",
}


def text_of(rng: Random, words: int) -> str:
    """A short text."""
    return " ".join(rng.choices(_WORDS, k=words))


def tokens_of(text: str) -> int:
    """How many tokens a text is said to have."""
    return (len(text) + 3) // 4


def drawn(schema: Any, rng: Random) -> Any:
    """A value that meets the schema. A score beside `criteria` or `levels` with `is_pass` counts what passed."""
    return _Draw(schema, rng).value(schema, 0)


class _Draw:
    def __init__(self, root: Any, rng: Random) -> None:
        self._root, self._rng = root, rng

    def value(self, schema: Any, depth: int) -> Any:
        if schema is True or not schema:
            return text_of(self._rng, 2)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._rng.choice(schema["enum"])
        if "$ref" in schema:
            return self.value(self._resolved(schema), depth + 1)
        if "allOf" in schema:
            return self.value(self._merged(schema), depth + 1)
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            return self.value(self._alternative(alternatives, depth), depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type") or (
            "object" if "properties" in schema else "array" if "items" in schema else "string"
        )
        if isinstance(kind, list):
            flat = [each for each in kind if each not in ("object", "array")]
            kind = self._rng.choice(flat if flat and depth > _DEEP else kind)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind == "string":
            return self._string(schema)
        if kind == "integer":
            return _integer(schema, self._rng)
        if kind == "number":
            return _number(schema, self._rng)
        return self._rng.random() < 0.5 if kind == "boolean" else None

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        required = set(schema.get("required", ()))
        value = {}
        for name, part in schema.get("properties", {}).items():
            if name in required or (depth <= _DEEP and self._rng.random() < 0.5):
                value[name] = self.value(part, depth + 1)
        for name in schema.get("required", ()):
            if name not in value:
                value[name] = self.value(schema.get("additionalProperties", True), depth + 1)
        if "score" in value:
            self._settle_score(value, schema)
        return value

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        value = [self.value(part, depth + 1) for part in schema.get("prefixItems", ())]
        low = schema.get("minItems", 0)
        high = min(schema.get("maxItems", low + 3), low + 3)
        size = low if depth > _DEEP else self._rng.randint(low, high)
        items = schema.get("items", True)
        while len(value) < size and items is not False:
            value.append(self.value(items, depth + 1))
        return value

    def _string(self, schema: dict[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = text_of(self._rng, self._rng.randint(2, 8))
        low, high = schema.get("minLength", 0), schema.get("maxLength")
        return text.ljust(low, "x")[:high]

    def _resolved(self, schema: dict[str, Any]) -> Any:
        found = self._root
        for name in schema["$ref"].lstrip("#").strip("/").split("/"):
            found = found[name.replace("~1", "/").replace("~0", "~")] if name else found
        others = {
            name: part for name, part in schema.items() if name not in ("$ref", "description", "title", "default")
        }
        return {**found, **others} if others else found

    def _merged(self, schema: dict[str, Any]) -> dict[str, Any]:
        merged: dict[str, Any] = {name: part for name, part in schema.items() if name != "allOf"}
        for part in schema["allOf"]:
            part = self._resolved(part) if "$ref" in part else part
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", ()), *part.get("required", ())]
            merged = {**merged, **part}
            if properties:
                merged |= {"properties": properties, "required": required}
        return merged

    def _alternative(self, alternatives: list[Any], depth: int) -> Any:
        flat = [each for each in alternatives if "$ref" not in each and each.get("type") not in ("object", "array")]
        return self._rng.choice(flat if flat and depth > _DEEP else alternatives)

    def _settle_score(self, value: dict[str, Any], schema: dict[str, Any]) -> None:
        """Make the score the number of passed criteria, or of passed levels, which come before those not passed."""
        for name in ("criteria", "levels"):
            verdicts = verdicts_of(value, name)
            if verdicts is None:
                continue
            part = schema["properties"]["score"]
            if not (allowed := [n for n in range(len(verdicts) + 1) if _takes(part, n)]):
                return
            passed = sum(each["is_pass"] for each in verdicts)
            score = self._rng.choice(allowed) if name == "levels" else min(allowed, key=lambda n: abs(n - passed))
            value["score"] = score
            _pass_exactly(verdicts, score, in_order=name == "levels")
            return


def verdicts_of(value: dict[str, Any], name: str) -> list[dict[str, Any]] | None:
    """The members of value[name] that say `is_pass`, None where there are none or the score is no integer."""
    members = value.get(name)
    if not isinstance(members, dict) or type(value.get("score")) is not int:
        return None
    verdicts = [each for each in members.values() if isinstance(each, dict) and isinstance(each.get("is_pass"), bool)]
    return verdicts if verdicts and len(verdicts) == len(members) else None


def _pass_exactly(verdicts: list[dict[str, Any]], count: int, *, in_order: bool) -> None:
    if in_order:
        for place, each in enumerate(verdicts):
            each["is_pass"] = place < count
        return
    for each in verdicts:
        surplus = sum(one["is_pass"] for one in verdicts) - count
        if surplus and each["is_pass"] == (surplus > 0):
            each["is_pass"] = not each["is_pass"]


def _takes(schema: Any, number: int) -> bool:
    """Whether a schema of an integer takes this number."""
    if not isinstance(schema, dict):
        return True
    if "const" in schema:
        return bool(schema["const"] == number)
    if "enum" in schema:
        return number in schema["enum"]
    low, high = _bounds(schema)
    return (low is None or number >= low) and (high is None or number <= high)


def _bounds(schema: dict[str, Any]) -> tuple[int | None, int | None]:
    lows = [math.ceil(schema["minimum"])] if "minimum" in schema else []
    highs = [math.floor(schema["maximum"])] if "maximum" in schema else []
    lows += [math.floor(schema["exclusiveMinimum"]) + 1] if "exclusiveMinimum" in schema else []
    highs += [math.ceil(schema["exclusiveMaximum"]) - 1] if "exclusiveMaximum" in schema else []
    return max(lows, default=None), min(highs, default=None)


def _integer(schema: dict[str, Any], rng: Random) -> int:
    low, high = _bounds(schema)
    step = int(schema.get("multipleOf", 1)) or 1
    low = (min(0, high - 100) if high is not None else 0) if low is None else low
    high = low + 100 if high is None else high
    first, last = -(-low // step), high // step
    return rng.randint(first, max(first, last)) * step


def _number(schema: dict[str, Any], rng: Random) -> float:
    if "multipleOf" in schema:
        return _integer(schema, rng)
    low, high = (
        schema.get("minimum", schema.get("exclusiveMinimum")),
        schema.get("maximum", schema.get("exclusiveMaximum")),
    )
    low = (min(0.0, high - 1.0) if high is not None else 0.0) if low is None else low
    high = low + 1.0 if high is None else high
    # From the inner part of the range, so that rounding cannot reach an exclusive end.
    value = low + (high - low) * (0.1 + 0.8 * rng.random())
    rounded = round(value, 3)
    return rounded if low < rounded < high else value
