"""/v1/files: files in memory, or in a directory that outlives the server."""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path
from typing import Any

import orjson

from tests.openai_server.errors import ApiError


def new_id(prefix: str) -> str:
    """An id; ids sort by their time."""
    return f"{prefix}{time.time_ns():016x}{uuid.uuid4().hex[:8]}"


class Store:
    """Named contents of one kind. With a directory, each is also a file there, whole or not at all."""

    def __init__(self, directory: Path | None, suffix: str) -> None:
        self._directory, self._suffix = directory, suffix
        self._held: dict[str, bytes] = {}
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._held = {path.stem: path.read_bytes() for path in directory.glob(f"*{suffix}")}

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def __getitem__(self, name: str) -> bytes:
        return self._held[name]

    def names(self) -> list[str]:
        return sorted(self._held)

    def put(self, name: str, content: bytes) -> None:
        self._held[name] = content
        if self._directory is not None:
            part = self._directory / f".{name}.part"
            part.write_bytes(content)
            part.replace(self._directory / f"{name}{self._suffix}")

    def drop(self, name: str) -> None:
        del self._held[name]
        if self._directory is not None:
            (self._directory / f"{name}{self._suffix}").unlink(missing_ok=True)


class Files:
    """Files and what is said of them."""

    def __init__(self, state: Path | None) -> None:
        self._contents = Store(state / "files" if state else None, ".content")
        self._objects = Store(state / "files" if state else None, ".json")

    def upload(self, content_type: bytes, body: bytes) -> dict[str, Any]:
        """Take the file of a multipart form."""
        form = multipart(content_type, body)
        if "file" not in form or "purpose" not in form:
            missing = "file" if "file" not in form else "purpose"
            raise ApiError(400, f"'{missing}' is a required property", param=missing)
        purpose = form["purpose"][1].decode()
        if purpose not in ("batch", "assistants", "fine-tune", "vision", "user_data", "evals"):
            raise ApiError(400, f"'{purpose}' is not one of the purposes of files", param="purpose")
        name, content = form["file"]
        return self.add(name or "upload", content, purpose)

    def add(self, name: str, content: bytes, purpose: str) -> dict[str, Any]:
        described: dict[str, Any] = {
            "id": new_id("file-"),
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
            "status_details": None,
            "expires_at": None,
        }
        self._contents.put(described["id"], content)
        self._objects.put(described["id"], orjson.dumps(described))
        return described

    def describe(self, name: str) -> dict[str, Any]:
        self._check(name)
        described: dict[str, Any] = orjson.loads(self._objects[name])
        return described

    def content(self, name: str) -> bytes:
        self._check(name)
        return self._contents[name]

    def delete(self, name: str) -> dict[str, Any]:
        self._check(name)
        self._objects.drop(name)
        self._contents.drop(name)
        return {"id": name, "object": "file", "deleted": True}

    def listed(self) -> dict[str, Any]:
        return page([self.describe(name) for name in reversed(self._objects.names())], {})

    def _check(self, name: str) -> None:
        if name not in self._objects:
            raise ApiError(404, f"No such File object: {name}", param="id")


def page(objects: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """One page of a list, as `limit` and `after` ask for it."""
    limit = int(query.get("limit", "20")) if "limit" in query or "after" in query else len(objects)
    names = [each["id"] for each in objects]
    start = names.index(query["after"]) + 1 if query.get("after") in names else 0
    shown = objects[start : start + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": start + limit < len(objects),
    }


def multipart(content_type: bytes, body: bytes) -> dict[str, tuple[str | None, bytes]]:
    """The parts of a form: by name the file's name, None for a plain field, and the content."""
    found = re.search(rb'boundary="?([^";]+)"?', content_type)
    if not content_type.startswith(b"multipart/form-data") or not found:
        raise ApiError(400, "The request is no multipart form.")
    mark = b"--" + found[1]
    form = {}
    start = body.find(mark)
    while start >= 0 and not body.startswith(b"--", start + len(mark)):
        end = body.find(b"\r\n" + mark, start)
        if end < 0:
            raise ApiError(400, "The multipart form has no end.")
        head_end = body.find(b"\r\n\r\n", start, end)
        head = body[start:head_end].decode()
        name, filename = re.search(r'\bname="([^"]*)"', head), re.search(r'\bfilename="([^"]*)"', head)
        if name:
            form[name[1]] = (filename[1] if filename else None, body[head_end + 4 : end])
        start = end + 2
    return form
