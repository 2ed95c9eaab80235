"""/v1/batches: files of requests that are worked off over seconds, as OpenAI does it over hours.

validating, then failed, or in_progress, finalizing and completed. Lines that fail go to the error file; where lines
expire, the batch ends as expired; both files come in an order of their own. Cancelling leaves what is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import orjson

from tests.openai_server.config import Config
from tests.openai_server.errors import ApiError, server_error
from tests.openai_server.faults import Fault, share_of
from tests.openai_server.files import Files, Store, new_id, page
from tests.openai_server.ledger import Ledger
from tests.openai_server.questions import Question

_ENDPOINT = "/v1/chat/completions"
_SLICE = 50  # lines worked off in one go
_FINAL = ("failed", "completed", "expired", "cancelled")
_TIMES = "in_progress_at expires_at finalizing_at completed_at failed_at expired_at cancelling_at cancelled_at"
_UNDONE = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was cancelled before it was executed.",
}

# Reads a line's body, counts the attempt and answers it: the question, the status, the body and the fault met.
Answer = Callable[[dict[str, Any]], tuple[Question, int, dict[str, Any], Fault | None]]


class Batches:
    """All batches, and the work on them."""

    def __init__(self, config: Config, ledger: Ledger, files: Files, answer: Answer, state: Path | None) -> None:
        self._config, self._ledger, self._files, self._answer = config, ledger, files, answer
        self._store = Store(state / "batches" if state else None, ".json")
        self._batches: dict[str, dict[str, Any]] = {
            name: orjson.loads(self._store[name]) for name in self._store.names()
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self._enqueued: dict[str, int] = {}  # tokens of batches at work
        for batch in self._batches.values():
            if batch["status"] not in _FINAL:
                self._begin(batch)

    def create(self, raw: bytes) -> dict[str, Any]:
        body = _checked(raw)
        self._files.describe(body["input_file_id"])
        batch = {
            "id": new_id("batch_"),
            "object": "batch",
            "endpoint": _ENDPOINT,
            "model": None,
            "errors": None,
            "input_file_id": body["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(time.time()),
            **dict.fromkeys(_TIMES.split()),
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "usage": None,
            "metadata": body.get("metadata"),
        }
        batch["expires_at"] = batch["created_at"] + 86_400
        self._batches[batch["id"]] = batch
        self._save(batch)
        self._begin(batch)
        return batch

    def describe(self, name: str) -> dict[str, Any]:
        if name not in self._batches:
            raise ApiError(404, f"No batch found with id '{name}'.")
        return self._batches[name]

    def listed(self, query: dict[str, str]) -> dict[str, Any]:
        """A page of them, the newest first."""
        return page([self._batches[name] for name in sorted(self._batches, reverse=True)], {"limit": "20", **query})

    def cancel(self, name: str) -> dict[str, Any]:
        batch = self.describe(name)
        if batch["status"] in _FINAL or batch["status"] == "finalizing":
            raise ApiError(409, f"Cannot cancel a batch with status '{batch['status']}'.")
        self._enter(batch, "cancelling")
        return batch

    # The work

    def _begin(self, batch: dict[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._work(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, batch: dict[str, Any]) -> None:
        seconds = self._config.batch_seconds
        await asyncio.sleep(seconds * 0.2)
        lines, errors = self._validated(batch)
        if errors:
            batch["errors"] = {"object": "list", "data": errors}
            self._enter(batch, "failed")
            return
        if batch["status"] != "cancelling":
            self._enter(batch, "in_progress")
        output, failed, usage = await self._worked_off(batch, lines, seconds * 0.6)
        is_cancelled = batch["status"] == "cancelling"
        if not is_cancelled:
            self._enter(batch, "finalizing")
        await asyncio.sleep(seconds * 0.2)
        self._write(batch, output, failed)
        batch["usage"] = usage
        self._enqueued.pop(batch["id"], None)
        expired = any((each["error"] or {}).get("code") == "batch_expired" for each in failed)
        self._enter(batch, "cancelled" if is_cancelled else "expired" if expired else "completed")

    async def _worked_off(
        self, batch: dict[str, Any], lines: list[dict[str, Any]], seconds: float
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
        output: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        usage = _no_usage()
        counts = batch["request_counts"] = {"total": len(lines), "completed": 0, "failed": 0}
        for start in range(0, len(lines), _SLICE):
            for line in lines[start : start + _SLICE]:
                is_cancelled = batch["status"] == "cancelling"
                result = _undone(line, "batch_cancelled") if is_cancelled else self._line(line, usage)
                is_done = result["response"] is not None and result["response"]["status_code"] == 200
                (output if is_done else failed).append(result)
                counts["completed" if is_done else "failed"] += 1
            if batch["status"] != "cancelling":
                await asyncio.sleep(seconds * min(_SLICE, len(lines) - start) / len(lines))
        return output, failed, usage

    def _line(self, line: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
        """The answer to one line."""
        try:
            question, status, body, fault = self._answer(line["body"])
        except ApiError as error:
            return _result(line, error.status, error.content())
        attempt = self._ledger.questions[question.digest][0]
        if share_of(self._config.seed, "expire", question.digest, attempt) < self._config.batch_expire_rate:
            self._ledger.outcomes["batch expired"] += 1
            return _undone(line, "batch_expired")
        if share_of(self._config.seed, "error", question.digest, attempt) < self._config.batch_error_rate:
            status, body = 500, server_error().content()
        self._ledger.outcomes[f"batch {status}"] += 1
        if status == 200:
            self._ledger.answered(question.digest, fault)
            _add_usage(usage, body.get("usage"))
        return _result(line, status, body)

    def _write(self, batch: dict[str, Any], output: list[dict[str, Any]], failed: list[dict[str, Any]]) -> None:
        for kind, results in (("output", output), ("error", failed)):
            if results:
                Random(batch["id"]).shuffle(results)
                content = b"".join([orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in results])
                name = f"{batch['id']}_{kind}.jsonl"
                batch[f"{kind}_file_id"] = self._files.add(name, content, "batch_output")["id"]

    def _enter(self, batch: dict[str, Any], status: str) -> None:
        batch["status"] = status
        batch[f"{status}_at"] = int(time.time())
        self._save(batch)

    def _save(self, batch: dict[str, Any]) -> None:
        self._store.put(batch["id"], orjson.dumps(batch))

    # Validation

    def _validated(self, batch: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The lines of the input file, and what is wrong with it."""
        try:
            content = self._files.content(batch["input_file_id"])
        except ApiError as error:
            return [], [_error("invalid_file", error.message)]
        if len(content) > self._config.max_batch_bytes:
            return [], [_error("file_too_large", f"The file is larger than {self._config.max_batch_bytes} bytes.")]
        rows = [(number, row) for number, row in enumerate(content.split(b"\n"), 1) if row.strip()]
        if not rows:
            return [], [_error("empty_file", "The input file is empty.")]
        if len(rows) > self._config.max_batch_requests:
            message = f"The input file has more than {self._config.max_batch_requests} requests."
            return [], [_error("too_many_tasks", message)]
        lines: list[dict[str, Any]] = []
        seen: dict[str, Any] = {"ids": set(), "models": set()}
        errors = [found for number, row in rows if (found := _line_error(number, row, lines, seen))]
        if not errors and len(seen["models"]) > 1:
            errors = [_error("mismatched_model", "All requests of a batch have the same model.", param="body.model")]
        errors = errors or self._too_much(batch, content)
        batch["model"] = next(iter(seen["models"]), None)
        return lines, errors

    def _too_much(self, batch: dict[str, Any], content: bytes) -> list[dict[str, Any]]:
        most = self._config.max_enqueued_tokens
        tokens = len(content) // 4
        if most is not None and tokens + sum(self._enqueued.values()) > most:
            message = (
                f"Enqueued token limit reached. Limit: {most} enqueued tokens. Please try again once some in_progress "
                "batches have been completed."
            )
            return [_error("token_limit_exceeded", message)]
        self._enqueued[batch["id"]] = tokens
        return []


def _checked(raw: bytes) -> dict[str, Any]:
    """The body of a request for a batch. Raises ApiError."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError(400, "We could not parse the JSON body of your request.") from None
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(body.get(name), str):
            message = f"Missing required parameter: '{name}'."
            raise ApiError(400, message, param=name, code="missing_required_parameter")
    for name, known in (("endpoint", _ENDPOINT), ("completion_window", "24h")):
        if body[name] != known:
            message = f"Invalid value: '{body[name]}'. Supported values are: '{known}'."
            raise ApiError(400, message, param=name, code="invalid_value")
    metadata = body.get("metadata") or {}
    if len(metadata) > 16 or any(
        not isinstance(value, str) or len(name) > 64 or len(value) > 512 for name, value in metadata.items()
    ):
        raise ApiError(400, "Invalid 'metadata'.", param="metadata", code="invalid_value")
    return dict(body)


def _line_error(number: int, row: bytes, lines: list[dict[str, Any]], seen: dict[str, Any]) -> dict[str, Any] | None:
    """What is wrong with one line; a right one is appended to the lines."""
    try:
        line = orjson.loads(row)
    except orjson.JSONDecodeError:
        return _error("invalid_json_line", "This line is not parseable as valid JSON.", number)
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if not isinstance(line, dict) or not isinstance(line.get(name), kind):
            return _error("missing_required_parameter", f"Missing required parameter: '{name}'.", number, name)
    if line["custom_id"] in seen["ids"]:
        message = (
            "The custom_id for this request is a duplicate of another request. The custom_id parameter must be unique "
            "for each request in a batch."
        )
        return _error("duplicate_custom_id", message, number, "custom_id")
    if line["method"] != "POST":
        return _error("invalid_method", "The method of a request is POST.", number, "method")
    if line["url"] != _ENDPOINT:
        return _error(
            "invalid_url", "The URL provided for this request does not match the batch endpoint.", number, "url"
        )
    seen["ids"].add(line["custom_id"])
    seen["models"].add(line["body"].get("model"))
    lines.append(line)
    return None


def _error(code: str, message: str, line: int | None = None, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": param, "line": line}


def _result(line: dict[str, Any], status: int, body: dict[str, Any]) -> dict[str, Any]:
    response = {"status_code": status, "request_id": new_id("req_"), "body": body}
    return {"id": new_id("batch_req_"), "custom_id": line["custom_id"], "response": response, "error": None}


def _undone(line: dict[str, Any], code: str) -> dict[str, Any]:
    error = {"code": code, "message": _UNDONE[code]}
    return {"id": new_id("batch_req_"), "custom_id": line["custom_id"], "response": None, "error": error}


def _no_usage() -> dict[str, Any]:
    return {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }


def _add_usage(total: dict[str, Any], usage: dict[str, Any] | None) -> None:
    if usage is None:
        return
    total["input_tokens"] += usage["prompt_tokens"]
    total["input_tokens_details"]["cached_tokens"] += usage["prompt_tokens_details"]["cached_tokens"]
    total["output_tokens"] += usage["completion_tokens"]
    total["output_tokens_details"]["reasoning_tokens"] += usage["completion_tokens_details"]["reasoning_tokens"]
    total["total_tokens"] += usage["total_tokens"]
