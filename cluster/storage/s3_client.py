"""The S3 client of this process, and what S3's errors mean to the user.

One client per process, endpoint and patience: clients are safe between threads, but neither across forks
nor in pickles. Throttling, server errors, resets and timeouts of whole requests are retried by botocore
with jitter. Error texts of the service are never shown, since some repeat what was signed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
)
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from cluster.storage.interface import StorageError, missing, printable

# 10 attempts with doubling pauses of at most 20 s ride out about a minute of "slow down".
_PATIENT: dict[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 10},
    "connect_timeout": 10,
    "read_timeout": 60,
}
_IMPATIENT: dict[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "connect_timeout": 5,
    "read_timeout": 20,
}
_ABSENT = ("NoSuchKey", "404", "NotFound")  # of reading; HEAD has no body to carry the name of the error
_MEANINGS = {
    "NoSuchBucket": "the bucket does not exist; create it or correct the name",
    "AccessDenied": "access denied; check the credentials and the bucket's policy",
    "403": "access denied; check the credentials and the bucket's policy",
    "Forbidden": "access denied; check the credentials and the bucket's policy",
    "AllAccessDisabled": "access denied; check the credentials and the bucket's policy",
    "InvalidAccessKeyId": "the access key is not known there; check the credentials and the endpoint",
    "SignatureDoesNotMatch": "the secret key does not match the access key; check the credentials",
    "InvalidToken": "the session token is not valid; get new credentials",
    "ExpiredToken": "the credentials have expired; get new ones and run the same command again",
    "TokenRefreshRequired": "the credentials have expired; get new ones and run the same command again",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "SlowDown": "the service kept asking to slow down; run the same command again with fewer workers",
    "ServiceUnavailable": "the service stayed unavailable; run the same command again later",
    "PreconditionFailed": "the object changed while it was being read; run the same command again",
    "KeyTooLongError": "the name is too long for S3 (1024 bytes); shorten it",
    "EntityTooLarge": "the object is larger than the service takes; write smaller shards",
    "InvalidObjectState": "the object is archived; restore it first",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION or the endpoint",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION or the endpoint",
}
_FULL = ("XMinioStorageFull", "InsufficientStorage", "507", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded")

_clients: dict[tuple[int, str | None, bool], Any] = {}


def client(endpoint_url: str | None, patient: bool = True) -> Any:
    """This process's boto3 client for the endpoint; `patient` ones retry for a minute, others for seconds."""
    key = (os.getpid(), endpoint_url, patient)
    found = _clients.get(key)
    # Two threads may both build one; no lock, since a fork could inherit it locked.
    return found if found is not None else _clients.setdefault(key, _build(endpoint_url, patient))


def _build(endpoint_url: str | None, patient: bool) -> Any:
    options = dict(_PATIENT if patient else _IMPATIENT)
    if endpoint_url is not None and "AWS_REQUEST_CHECKSUM_CALCULATION" not in os.environ:
        # Many S3-compatible services refuse the trailing checksums that Amazon's takes.
        options["request_checksum_calculation"] = "when_required"
    config = Config(max_pool_connections=32, tcp_keepalive=True, **options)
    # A session of its own: boto3's default session must not be shared between threads.
    return boto3.session.Session().client("s3", endpoint_url=endpoint_url, config=config)


def error_code(error: ClientError) -> str:
    """S3's short name of the error, or the HTTP status where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def explained(action: str, url: str, endpoint_url: str | None, passing: tuple[str, ...] = ()) -> Iterator[None]:
    """Turn errors of boto3 in the block into `StorageError`, or `FileNotFoundError` for a missing object.

    Errors whose code is in `passing` are left to the caller as they are.
    """
    try:
        yield
    except ClientError as error:
        if error_code(error) in passing:
            raise
        if error_code(error) in _ABSENT and error.operation_name in ("GetObject", "HeadObject"):
            raise missing(url) from error
        raise _failure(action, url, endpoint_url, _meaning(error, url)) from error
    except (BotoCoreError, RetriesExceededError, S3DownloadFailedError) as error:
        raise _failure(action, url, endpoint_url, _transport_meaning(error)) from error


def _failure(action: str, url: str, endpoint_url: str | None, meaning: str) -> StorageError:
    place = printable(url) + (f" at {endpoint_url}" if endpoint_url else "")
    return StorageError(f"cannot {action} {place}: {meaning}")


def _meaning(error: ClientError, url: str) -> str:
    code = error_code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    if code in _FULL or status == 507:
        bucket = "/".join(url.split("/", 3)[:3])
        return f"no space left on {bucket}: {code}; free space and run the same command again; what is finished is kept"
    if code in _MEANINGS:
        return _MEANINGS[code]
    return f"the service answered {printable(code)} (HTTP {status}) to {error.operation_name}; try again"


def _transport_meaning(error: Exception) -> str:
    kind = type(error).__name__
    if isinstance(error, NoCredentialsError):
        return "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role"
    if isinstance(error, ParamValidationError):
        return "that is no valid bucket or object name; correct it"
    if isinstance(error, FlexibleChecksumError):
        return "the content does not match its checksum; run the same command again"
    if isinstance(error, EndpointConnectionError):
        return "no route to the endpoint; check its address, the network and the proxy settings"
    if isinstance(error, ConnectionError | HTTPClientError | RetriesExceededError):
        return f"the connection kept failing ({kind}); check the network and run the same command again"
    if any(word in kind for word in ("Credential", "Token", "SSO", "Profile", "Config", "Login")):
        return f"the credentials cannot be loaded ({kind}); check AWS_PROFILE, ~/.aws and the AWS_ variables"
    return f"{kind}; check the endpoint and the configuration, then run the same command again"
