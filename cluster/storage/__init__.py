"""Where data lives: a local directory or an S3 prefix behind one small interface.

`open_storage` turns what a user types into a `Storage`; the rest of the project sees names relative to it.
What the interface promises is written in `cluster.storage.interface`. Other object stores are reached
through their S3 endpoint, or mounted.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from cluster.storage.interface import Entry, Storage, StorageError, checked, printable
from cluster.storage.local import LocalStorage

__all__ = ["Entry", "LocalStorage", "Storage", "StorageError", "open_parent", "open_storage"]

_ENDPOINT = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-~]*)?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_storage(url: str, endpoint_url: str | None = None) -> Storage:
    """The storage at a local path, a `file://` URL or `s3://bucket/prefix`; touches neither disk nor network.

    `endpoint_url` names an S3-compatible service; without it AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL hold,
    and travel with the pickled storage to machines where they are not set. Credentials come from boto3's
    chain on the machine that does the work and are never part of the storage. Raises `StorageError` for a
    URL that cannot be one.
    """
    found = _SCHEME.match(url)
    scheme = found[1].lower() if found else ""
    if not url or "\0" in url:
        raise StorageError(f"{printable(url)!r} is no place to keep data; give a directory or s3://bucket/prefix")
    if not found:
        return LocalStorage(os.path.abspath(os.path.expanduser(url)))
    rest = url[found.end() :]
    if scheme == "file":
        return LocalStorage(_file_path(url, rest))
    if scheme == "s3":
        return _open_s3(url, rest, endpoint_url)
    raise StorageError(f"{printable(url)}: {scheme}:// is not supported; use a local path or s3://bucket/prefix")


def open_parent(url: str, endpoint_url: str | None = None) -> tuple[Storage, str]:
    """The storage that the object at `url` lies in, and its name there; see `open_storage`."""
    parent, _, name = url.rpartition("/")
    if "://" in url and not _SCHEME.match(parent):
        raise StorageError(f"{printable(url)} names no object; write s3://bucket/name")
    return open_storage(parent or ("/" if url.startswith("/") else "."), endpoint_url), name


def _file_path(url: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise StorageError(f"{printable(url)}: a file URL needs an absolute path, as in file:///data/corpus")
    return os.path.abspath(slash + unquote(path))


def _open_s3(url: str, rest: str, endpoint_url: str | None) -> Storage:
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise StorageError(f"{printable(url)} names no bucket; write s3://bucket/prefix")
    prefix = prefix.strip("/")
    if prefix:
        checked(prefix, "prefix")
    from cluster.storage.s3 import S3Storage  # boto3 is loaded for those who use it

    endpoint = endpoint_url or _configured_endpoint()
    if endpoint is not None:
        _check_endpoint(endpoint)
    return S3Storage(bucket, prefix, endpoint)


def _configured_endpoint() -> str | None:
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.username or parts.password:
        raise StorageError("the S3 endpoint URL holds a password; put credentials in the environment")
    if not _ENDPOINT.fullmatch(endpoint):
        raise StorageError(f"S3 endpoint {printable(endpoint)!r} is no http:// or https:// URL")
