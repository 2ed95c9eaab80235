"""API keys: who may ask. A file (or a mounted Secret) with one key on each line; it is read again when it changes.

Only digests of the keys are held, and they are compared in constant time. A key comes in the Authorization header and
nowhere else; nothing here logs or returns one.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from cluster.errors import GristmillError

LEAST_CHARACTERS = 16


class ApiKeyError(GristmillError):
    """A file of keys that cannot be used; the message never holds a key."""


class ApiKeys:
    """The keys in `path`; None lets everybody in. Raises ApiKeyError."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path).expanduser()
        self._digests: list[bytes] = []
        self._seen: tuple[int, int] | None = None
        self.reload()

    @property
    def wanted(self) -> bool:
        """Whether a key is asked for."""
        return self._path is not None

    def reload(self) -> None:
        """Read the file again if it has changed."""
        if self._path is None:
            return
        try:
            status = self._path.stat()
            if self._seen != (version := (status.st_mtime_ns, status.st_size)):
                self._digests = _digests(self._path)
                self._seen = version
        except OSError as error:
            raise ApiKeyError(f"API keys {self._path} cannot be read: {error.strerror}") from error

    def admit(self, authorization: bytes | None) -> bool:
        """Whether the value of an Authorization header holds one of the keys."""
        if self._path is None:
            return True
        scheme, _, key = (authorization or b"").partition(b" ")
        digest = _digest(key.strip())
        # Every key is compared, whichever matches: the time says nothing about them.
        found = [hmac.compare_digest(digest, each) for each in self._digests]
        return scheme.lower() == b"bearer" and any(found)


def _digests(path: Path) -> list[bytes]:
    lines = [line.strip() for line in path.read_bytes().splitlines()]
    keys = [line for line in lines if line and not line.startswith(b"#")]
    if not keys:
        raise ApiKeyError(f"{path} holds no API key; write one on each line, for instance from: openssl rand -hex 32")
    if any(len(key) < LEAST_CHARACTERS or not key.isascii() or b" " in key for key in keys):
        raise ApiKeyError(
            f"{path} holds a key that is shorter than {LEAST_CHARACTERS} characters, or not plain ASCII; "
            "make one with: openssl rand -hex 32"
        )
    return [_digest(key) for key in keys]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
