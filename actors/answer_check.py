"""Whether an answer is what its prompt asked for: JSON, by the schema, with a score that is in range and consistent.

What is wrong is said in words for the model that answered, since they go back to it when it is asked again. Only the
form is judged: whether a judgement is right, no check can see.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn

import jsonschema_rs
import orjson

from actors.prompt import Prompt, Score

MOST_PROBLEMS = 5
_MOST_CHARACTERS = 200  # of one problem: it may quote the answer

# An object that is meant as JSON; a brace in prose or in code is followed by something else.
_OPENING = re.compile(r'\{\s*"')
_FINISHED_THOUGHT = re.compile(r"</think>\s*(?=\{|```)")


class InvalidAnswer(Exception):
    """The answer cannot be used. `problem` says in a line or two what its author has to correct."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class AnswerCheck:
    """Checks answers to one prompt. Of a prompt without a schema every text is an answer: `{"answer": text}`."""

    def __init__(self, prompt: Prompt) -> None:
        self._schema = None if prompt.schema is None else orjson.dumps(prompt.schema)
        self._score = prompt.score

    def check(self, text: str) -> dict[str, Any]:
        """The answer as an object. Raises InvalidAnswer."""
        if self._schema is None:
            return _free(text)
        answer = _object_in(text)
        validator = _validator(self._schema)
        if not validator.is_valid(answer):
            raise InvalidAnswer(_violations(validator, answer))
        if self._score is not None:
            self._check_score(answer, self._score)
        try:
            orjson.dumps(answer)  # which takes less than its reader does
        except TypeError:
            raise InvalidAnswer("the answer is nested too deeply") from None
        return answer

    def _check_score(self, answer: dict[str, Any], score: Score) -> None:
        value = answer[score.field]
        if score.is_whole:
            value = answer[score.field] = int(value)
        if not score.minimum <= value <= score.maximum:
            raise InvalidAnswer(f"{score.field} is {value}: it has to be from {score.minimum} to {score.maximum}")
        if score.rule is not None and score.member is not None:
            _CONSISTENCY[score.rule](score, value, answer[score.member])


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(orjson.loads(schema), offline=True)


# Finding the object


def _free(text: str) -> dict[str, Any]:
    if not text.strip():
        raise InvalidAnswer("the answer is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidAnswer("the answer holds half a character (a lone surrogate)") from None
    return {"answer": text}


def _object_in(text: str) -> dict[str, Any]:
    """The one JSON object that the text is or holds."""
    stripped = text.strip()
    if stripped.startswith("{"):
        try:
            answer: dict[str, Any] = orjson.loads(stripped)
        except orjson.JSONDecodeError:
            pass  # more may stand behind it; if not, the reason is found again below
        else:
            _end_of_object(stripped, 0)
            return answer
    return _only_object(_after_thought(stripped))


def _after_thought(text: str) -> str:
    """What follows a model's reasoning, if it is shown and the answer stands right behind it."""
    ends = [match.end() for match in _FINISHED_THOUGHT.finditer(text)]
    return text[ends[-1] :] if ends else text


def _only_object(text: str) -> dict[str, Any]:
    found: list[str] = []
    start = 0
    while opening := _OPENING.search(text, start):
        start = _end_of_object(text, opening.start())
        found.append(text[opening.start() : start])
    if len(found) != 1:
        count = f"{len(found)} JSON objects" if found else "no JSON object"
        raise InvalidAnswer(f"the answer holds {count}: answer with one JSON object and nothing else")
    try:
        answer: dict[str, Any] = orjson.loads(found[0])
    except orjson.JSONDecodeError as error:
        raise InvalidAnswer(f"the JSON object in the answer cannot be read: {error}") from None
    return answer


class _Duplicate(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _Duplicate(next(key for number, key in enumerate(keys) if key in keys[:number]))


# Nothing is kept of what it reads: it knows where an object ends, and whether a key stands in it twice.
_reader = json.JSONDecoder(object_pairs_hook=_unique)


def _end_of_object(text: str, start: int) -> int:
    """Where the object ends that begins at `start`. Refuses one that is broken or has a key twice."""
    try:
        return _reader.raw_decode(text, start)[1]
    except _Duplicate as error:
        raise InvalidAnswer(f"the key {str(error)[:_MOST_CHARACTERS]!r} stands twice in one object") from None
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it is out of all proportion"
        raise InvalidAnswer(f"the JSON object in the answer cannot be read: {reason}") from None


# The schema and the score


def _violations(validator: jsonschema_rs.Validator, answer: dict[str, Any]) -> str:
    problems: list[str] = []
    for error in validator.iter_errors(answer):
        if len(problems) == MOST_PROBLEMS:
            problems.append("and more")
            break
        path = ".".join(map(str, error.instance_path)) or "the answer"
        message = error.message
        problems.append(f"{path}: {message if len(message) <= _MOST_CHARACTERS else message[:_MOST_CHARACTERS] + '…'}")
    return "the answer does not keep to the schema: " + "; ".join(problems)


def _check_count(score: Score, value: float, given: Mapping[str, Any]) -> None:
    passed = [name for name in score.judgements if given[name]["is_pass"]]
    if value != len(passed):
        _disagree(score, value, passed)


def _check_levels(score: Score, value: float, given: Mapping[str, Any]) -> None:
    passed = [name for name in score.judgements if given[name]["is_pass"]]
    if passed != list(score.judgements[: len(passed)]):
        gap = next(number for number, name in enumerate(score.judgements) if name != passed[number])
        raise InvalidAnswer(
            f"{passed[gap]} of {score.member} is passed although {score.judgements[gap]} is not: a level is reached "
            "only if all before it are"
        )
    if value != len(passed):
        _disagree(score, value, passed)


def _check_sum(score: Score, value: float, given: Mapping[str, Any]) -> None:
    total = math.fsum(given[name]["points"] for name in score.judgements)
    if not math.isclose(value, total, abs_tol=1e-9):
        raise InvalidAnswer(f"{score.field} is {value:g}, but the points of {score.member} add up to {total:g}")


def _disagree(score: Score, value: float, passed: list[str]) -> NoReturn:
    names = f" ({', '.join(passed)})" if passed else ""
    raise InvalidAnswer(
        f"{score.field} is {value:g}, but {len(passed)} of {score.member} have is_pass true{names}: the score has to be "
        "that number"
    )


_CONSISTENCY = {"counts": _check_count, "levels": _check_levels, "sums": _check_sum}
