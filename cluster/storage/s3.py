"""A storage under a prefix of an S3 bucket, Amazon's or that of a compatible service.

S3 itself makes a put atomic; an object too large for one is uploaded in parts, which become visible
together and are aborted on failure. Creating once is a conditional put. A request that was carried out
although its answer got lost is recognized by a random token in the object's metadata. The service has to be
strongly consistent, to list in bytewise order (directory buckets do not) and to honour If-None-Match;
`check_writable` tests the last.
"""

from __future__ import annotations

import datetime
import io
import itertools
import logging
import os
import random
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from cluster.storage import local
from cluster.storage.interface import (
    Entry,
    Storage,
    StorageError,
    blocks,
    checked,
    missing,
    printable,
)
from cluster.storage.s3_client import client, error_code, explained
from cluster.storage.s3_reader import S3Reader
from cluster.storage.temporaries import is_temporary, temporary_name

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PART = 16 << 20  # bytes; 10,000 parts of it make the largest object of unknown size, 160 GiB
_PARTS_IN_MEMORY = 4
_BUFFER = 1 << 20
_STALE_UPLOAD = datetime.timedelta(days=1)
_TOKEN = "publication"  # name of the metadata field
_ATTEMPTS = 8
_EXISTS = ("PreconditionFailed", "412")
_CONFLICTS = ("ConditionalRequestConflict", "OperationAborted", "409")
_PASSING = ("InternalError", "SlowDown", "ServiceUnavailable", "OperationAborted")  # of one key among many
_UNSUPPORTED = ("AccessDenied", "NotImplemented", "MethodNotAllowed", "403", "405", "501")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class S3Storage(Storage):
    """The storage of the keys under `prefix` (without slashes around it; empty for the whole bucket)."""

    bucket: str
    prefix: str
    endpoint_url: str | None = None
    patient: bool = field(default=True, repr=False, compare=False)
    is_local: ClassVar[bool] = False

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def child(self, name: str) -> S3Storage:
        return replace(self, prefix=self._key(name.rstrip("/"))) if name else self

    def list(self, prefix: str = "") -> Iterator[Entry]:
        root, start = self._folder(""), self._folder(prefix)
        with self._explained("list", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"]
                    # Keys that end in a slash are how consoles draw empty folders.
                    if not key.endswith("/") and not is_temporary(key.rpartition("/")[2]):
                        yield Entry(key[len(root) :], found["Size"], found["ETag"].strip('"'))

    def open(self, name: str) -> BinaryIO:
        return io.BufferedReader(self._reader(name), _BUFFER)

    def read(self, name: str) -> bytes:
        with self._reader(name) as reader:
            return reader.readall()

    def read_range(self, name: str, start: int, length: int) -> bytes:
        if start < 0 or length < 0:
            raise ValueError(f"no byte range: start {start}, length {length}")
        if length == 0:
            return b""
        with self._reader(name, start, start + length) as reader:
            return reader.readall()

    def size(self, name: str) -> int:
        return int(self._head(name)["ContentLength"])

    def exists(self, name: str) -> bool:
        try:
            self._head(name)
        except FileNotFoundError:
            return False
        return True

    def publish(self, name: str, data: bytes | Iterable[bytes], durable: bool = True) -> None:
        pieces = blocks(data, _BUFFER)
        head: deque[bytes] = deque()
        held = 0
        for piece in pieces:
            head.append(piece)
            held += len(piece)
            if held > _PART:
                self._upload(name, io.BufferedReader(_Pieces(_drained(head, pieces)), _BUFFER))
                return
        with self._explained("write", name):
            self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=b"".join(head))

    def publish_once(self, name: str, data: bytes) -> bool:
        token = secrets.token_hex(16)
        for attempt in itertools.count(1):
            try:
                with self._explained("create", name, passing=(*_CONFLICTS, *_EXISTS)):
                    self._client.put_object(
                        Bucket=self.bucket,
                        Key=self._key(name),
                        Body=data,
                        IfNoneMatch="*",
                        Metadata={_TOKEN: token},
                    )
            except ClientError as error:
                if error_code(error) in _EXISTS:
                    return self._is_published(name, token)
                if attempt == _ATTEMPTS:
                    with self._explained("create", name):
                        raise
                _pause(attempt)
            else:
                return True
        raise AssertionError("unreachable")

    def publish_file(self, name: str, path: Path) -> None:
        with path.open("rb") as source:
            self._upload(name, source)

    def fetch(self, name: str, path: Path) -> None:
        directory = os.path.abspath(path.parent)
        target = os.path.join(directory, path.name)
        temporary = os.path.join(directory, temporary_name(path.name))
        try:
            with self._explained("read", name), local.explained("write", target):
                os.makedirs(directory, exist_ok=True)
                with open(temporary, "xb") as sink:
                    self._client.download_fileobj(self.bucket, self._key(name), sink, Config=_transfer())
                os.replace(temporary, target)
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    @contextmanager
    def localize(self, name: str = "") -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="gristmill-") as place:
            wanted = Path(place) / (name.rstrip("/").rpartition("/")[2] or "tree")
            tree = self.child(name)
            for entry in tree.list():
                tree.fetch(entry.name, wanted / checked(entry.name))
            if not wanted.exists():
                if not name:
                    raise missing(self.url)
                self.fetch(name, wanted)
            yield wanted

    def delete(self, name: str) -> None:
        with self._explained("delete", name), suppress(FileNotFoundError):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def delete_tree(self, prefix: str) -> None:
        start = self._folder(prefix)
        if not start:
            raise StorageError(f"refusing to delete everything in {printable(self.url)}; name a folder")
        with self._explained("delete", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            for page in pages:
                self._delete_keys([found["Key"] for found in page.get("Contents", ())])

    def sweep(self) -> int:
        stale = datetime.datetime.now(datetime.UTC) - _STALE_UPLOAD
        aborted = 0
        try:
            with self._explained("sweep", "", passing=_UNSUPPORTED):
                pages = self._client.get_paginator("list_multipart_uploads").paginate(
                    Bucket=self.bucket, Prefix=self._folder("")
                )
                for upload in itertools.chain.from_iterable(page.get("Uploads", ()) for page in pages):
                    if upload["Initiated"] < stale:
                        aborted += self._abort(upload["Key"], upload["UploadId"])
        except ClientError as error:
            # Housekeeping that a narrow policy forbids is no reason to stop.
            _log.warning("cannot look for stale uploads in %s: %s", printable(self.url), error_code(error))
        return aborted

    def check_writable(self) -> None:
        if self.patient:
            replace(self, patient=False).check_writable()
            return
        with self._explained("list", ""):
            self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._folder(""), MaxKeys=1)
        super().check_writable()

    @property
    def _client(self) -> Any:
        with explained("use", self.url, self.endpoint_url):
            return client(self.endpoint_url, self.patient)

    def _key(self, name: str) -> str:
        # Checked for reading too: HTTP clients resolve '..' and would fetch another key.
        return f"{self.prefix}/{checked(name)}" if self.prefix else checked(name)

    def _folder(self, prefix: str) -> str:
        """The key prefix of a folder, ending in a slash; empty for a whole bucket."""
        folder = self._key(prefix.rstrip("/")) if prefix else self.prefix
        return folder + "/" if folder else ""

    def _explained(self, action: str, name: str, passing: tuple[str, ...] = ()) -> AbstractContextManager[None]:
        url = f"{self.url}/{name}" if name else self.url
        return explained(action, url, self.endpoint_url, passing)

    def _reader(self, name: str, start: int = 0, stop: int | None = None) -> S3Reader:
        return S3Reader(self._client, self.bucket, self._key(name), self.endpoint_url, start, stop)

    def _head(self, name: str) -> Any:
        with self._explained("read", name):
            return self._client.head_object(Bucket=self.bucket, Key=self._key(name))

    def _upload(self, name: str, source: BinaryIO) -> None:
        token = secrets.token_hex(16)
        try:
            with self._explained("write", name, passing=("NoSuchUpload",)):
                self._client.upload_fileobj(
                    source,
                    self.bucket,
                    self._key(name),
                    ExtraArgs={"Metadata": {_TOKEN: token}},
                    Config=_transfer(),
                )
        except ClientError:
            # Completing is retried after a lost answer, and the upload is gone when it had been completed.
            if not self._is_published(name, token):
                with self._explained("write", name):
                    raise

    def _is_published(self, name: str, token: str) -> bool:
        """Whether the object that is there now is the one that was put with this token."""
        try:
            return bool(self._head(name)["Metadata"].get(_TOKEN) == token)
        except FileNotFoundError:
            return False

    def _delete_keys(self, keys: Sequence[str]) -> None:
        """Delete at most a thousand keys; those that the service puts off are asked for again."""
        for key in (key for key in keys if not key.isprintable()):
            self._client.delete_object(Bucket=self.bucket, Key=key)  # XML cannot carry control characters
        left = [key for key in keys if key.isprintable()]
        for attempt in itertools.count(1):
            if not left:
                return
            answer = self._client.delete_objects(
                Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in left], "Quiet": True}
            )
            failed = answer.get("Errors", ())
            lasting = [each for each in failed if each["Code"] not in _PASSING or attempt == _ATTEMPTS]
            if lasting:
                raise ClientError({"Error": {"Code": lasting[0]["Code"]}}, "DeleteObjects")
            left = [each["Key"] for each in failed]
            if left:
                _pause(attempt)

    def _abort(self, key: str, upload: str) -> int:
        try:
            self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)
        except ClientError as error:
            if error_code(error) != "NoSuchUpload":
                raise
            return 0
        return 1


class _Pieces(io.RawIOBase):
    """An iterable of bytes as a stream."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            while not self._rest:
                self._rest = memoryview(next(self._pieces))
        except StopIteration:
            return 0
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _drained(head: deque[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    """First what is in the head, which is let go of on the way, then the rest."""
    while head:
        yield head.popleft()
    yield from rest


def _transfer() -> TransferConfig:
    config = TransferConfig(
        multipart_threshold=_PART,
        multipart_chunksize=_PART,
        max_concurrency=_PARTS_IN_MEMORY,
        num_download_attempts=10,
        preferred_transfer_client="classic",  # the other one has neither our retries nor our timeouts
    )
    config.max_in_memory_upload_chunks = _PARTS_IN_MEMORY
    return config


def _pause(attempt: int) -> None:
    time.sleep(random.random() * min(20.0, 0.25 * 2**attempt))
