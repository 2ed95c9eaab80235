"""Storage on S3: what a broken network, a throttling service and wrong settings do to it."""

from __future__ import annotations

import datetime
import http.client
import itertools
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("boto3")

from cluster.storage import Storage, StorageError, open_storage, s3_client, s3_reader
from cluster.storage.temporaries import temporary_name

MIB = 1 << 20
CONTENT = b"".join(number.to_bytes(4, "big") for number in range(MIB))


@dataclass
class Faults:
    """What the proxy does to the next requests: each fault strikes `times` requests that `strikes` picks."""

    endpoint: str = ""
    times: int = 0
    strikes: Callable[[str, str], bool] = lambda method, path: True
    fault: Callable[[Relay, bytes], None] = lambda relay, body: None
    log: list[tuple[str, str, str | None]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(
        self,
        fault: Callable[[Relay, bytes], None],
        times: int = 1,
        strikes: Callable[[str, str], bool] = lambda method, path: True,
    ) -> None:
        with self.lock:
            self.fault, self.times, self.strikes = fault, times, strikes
            self.log.clear()

    def next(self, method: str, path: str, byte_range: str | None) -> Callable[[Relay, bytes], None] | None:
        with self.lock:
            self.log.append((method, path, byte_range))
            if self.times and self.strikes(method, path):
                self.times -= 1
                return self.fault
            return None


class Relay(BaseHTTPRequestHandler):
    """Hands each request on to the real server, unless a fault strikes it."""

    protocol_version = "HTTP/1.1"
    faults: Faults
    behind: str

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.faults.next(self.command, self.path, self.headers.get("Range"))
        if fault is None:
            self.answer(body)
        else:
            fault(self, body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = relay

    def ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.behind, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def answer(self, body: bytes, cut: int | None = None, initiated: str = "") -> None:
        answer, content = self.ask(body)
        if initiated:
            content = re.sub(rb"<Initiated>.*?<", f"<Initiated>{initiated}<".encode(), content)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content[:cut])

    def reset(self) -> None:
        """End the connection as a crashed peer or a firewall does."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def refuse(self, status: int, code: str) -> None:
        content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>AKIDTESTTESTTEST</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def finish(self) -> None:
        if not self.wfile.closed and self.connection.fileno() >= 0:
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here all the time."""


def refusing(status: int, code: str) -> Callable[[Relay, bytes], None]:
    return lambda relay, body: relay.refuse(status, code)


def cutting(after: int) -> Callable[[Relay, bytes], None]:
    def fault(relay: Relay, body: bytes) -> None:
        relay.answer(body, cut=after)
        time.sleep(0.05)  # a reset overtakes what the peer has not read yet
        relay.reset()

    return fault


def losing_the_answer(relay: Relay, body: bytes) -> None:
    relay.ask(body)
    relay.reset()


def resetting(relay: Relay, body: bytes) -> None:
    relay.reset()


def stalling(relay: Relay, body: bytes) -> None:
    relay.answer(body, cut=MIB + 5)
    time.sleep(3)
    relay.reset()


@pytest.fixture(scope="session")
def proxy(s3_server: str) -> Iterator[Faults]:
    found = Faults()

    class Handler(Relay):
        faults = found
        behind = urlsplit(s3_server).netloc

    with Proxy(("127.0.0.1", 0), Handler) as server:
        found.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture
def faults(proxy: Faults) -> Faults:
    proxy.arm(resetting, times=0)
    return proxy


@pytest.fixture
def storage(faults: Faults, s3_bucket: str) -> Storage:
    return open_storage(f"s3://{s3_bucket}/prefix", faults.endpoint)


@pytest.fixture
def client(s3_client: Any) -> Any:
    return s3_client


def bucket_of(storage: Storage) -> str:
    return storage.url.split("/")[2]


def unfinished_uploads(client: Any, storage: Storage) -> list[str]:
    return [each["Key"] for each in client.list_multipart_uploads(Bucket=bucket_of(storage)).get("Uploads", ())]


@pytest.mark.parametrize("chunk", [-1, 100_003])
def test_a_stream_resumes_where_the_connection_was_reset(storage: Storage, faults: Faults, chunk: int) -> None:
    storage.publish("object", CONTENT)
    faults.arm(cutting(after=MIB + 5), times=3, strikes=lambda method, path: method == "GET")
    with storage.open("object") as stream:
        assert b"".join(iter(lambda: stream.read(chunk), b"")) == CONTENT
    ranges = [byte_range for method, _, byte_range in faults.log]
    assert len(ranges) == 4
    starts = [0] + [int((each or "=-").split("=")[1].split("-")[0]) for each in ranges[1:]]
    assert all(after - before >= MIB // 2 for before, after in itertools.pairwise(starts))


def test_a_stream_goes_on_through_any_number_of_resets_while_it_makes_progress(
    storage: Storage, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_reader, "_LONGEST_PAUSE", 0.01)
    storage.publish("object", CONTENT)
    faults.arm(cutting(after=MIB // 3), times=12, strikes=lambda method, path: method == "GET")
    assert storage.read("object") == CONTENT
    assert faults.times == 0


def test_a_range_survives_resets_too(storage: Storage, faults: Faults) -> None:
    storage.publish("object", CONTENT)
    faults.arm(cutting(after=MIB), times=1)
    assert storage.read_range("object", 333, 3 * MIB) == CONTENT[333 : 333 + 3 * MIB]
    assert len(faults.log) == 2


def test_a_stream_resumes_after_a_stall(storage: Storage, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "_clients", {})
    monkeypatch.setitem(s3_client._PATIENT, "read_timeout", 0.4)
    storage.publish("object", CONTENT)
    faults.arm(stalling)
    assert storage.read("object") == CONTENT
    assert len(faults.log) == 2


def test_a_stream_that_makes_no_progress_ends_in_one_line(
    storage: Storage, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_reader, "_LONGEST_PAUSE", 0.01)
    storage.publish("object", CONTENT)
    faults.arm(cutting(after=0), times=1000)
    with pytest.raises(StorageError, match=r"object past byte 0: the connection kept failing .*run the same") as caught:
        storage.read("object")
    assert "\n" not in str(caught.value)
    assert len(faults.log) == 9


def test_an_object_replaced_while_the_stream_was_broken_is_not_spliced(storage: Storage, faults: Faults) -> None:
    storage.publish("object", CONTENT)
    faults.arm(cutting(after=MIB))
    stream = storage.open("object")
    assert stream.read(1000) == CONTENT[:1000]
    storage.publish("object", bytes(len(CONTENT)))
    with pytest.raises(StorageError, match="changed while it was being read"):
        stream.read()
    stream.close()


def test_a_service_that_ignores_ranges_is_found_out(storage: Storage, faults: Faults) -> None:
    storage.publish("object", CONTENT)

    def whole(relay: Relay, body: bytes) -> None:
        del relay.headers["Range"]
        relay.answer(body)

    faults.arm(whole)
    with pytest.raises(StorageError, match="ignores byte ranges"):
        storage.read_range("object", 5, 10)


def test_a_download_survives_resets(storage: Storage, faults: Faults, tmp_path: Path) -> None:
    content = CONTENT * 9
    storage.publish("object", content)
    faults.arm(cutting(after=MIB), times=3, strikes=lambda method, path: method == "GET")
    storage.fetch("object", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert faults.times == 0


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (503, "ServiceUnavailable")])
def test_throttling_and_server_errors_pass_unnoticed(storage: Storage, faults: Faults, status: int, code: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: storage.publish("object", CONTENT),
        lambda: storage.read("object") == CONTENT,
        lambda: [each.name for each in storage.list()] == ["object"],
        lambda: storage.exists("object"),
        lambda: storage.publish_once(f"once-{time.time()}", b""),
    ]
    for call in calls if code == "SlowDown" else calls[:2]:
        faults.arm(refusing(status, code), times=2)
        assert call() in (None, True)
        assert faults.times == 0


@pytest.mark.parametrize("size", [4, 40])
def test_uploads_survive_throttling_and_resets(storage: Storage, faults: Faults, client: Any, size: int) -> None:
    for fault in (refusing(503, "SlowDown"), resetting, losing_the_answer):
        content = bytes([size]) * size * MIB
        faults.arm(fault, times=3, strikes=lambda method, path: method == "PUT")
        storage.publish("object", (content[at : at + MIB] for at in range(0, len(content), MIB)))
        assert faults.times == 0
        assert storage.read("object") == content
    assert unfinished_uploads(client, storage) == []


def test_an_upload_completed_although_the_answer_got_lost_is_done(storage: Storage, faults: Faults) -> None:
    def fault(relay: Relay, body: bytes) -> None:
        if faults.times == 1:
            losing_the_answer(relay, body)
        else:
            relay.refuse(404, "NoSuchUpload")

    faults.arm(fault, times=2, strikes=lambda method, path: method == "POST" and "uploadId" in path)
    storage.publish("object", CONTENT * 10)
    assert faults.times == 0
    assert storage.read("object") == CONTENT * 10


def test_an_object_created_although_the_answer_got_lost_is_ours(storage: Storage, faults: Faults) -> None:
    faults.arm(losing_the_answer, strikes=lambda method, path: method == "PUT")
    assert storage.publish_once("claim", b"mine")
    faults.arm(losing_the_answer, strikes=lambda method, path: method == "PUT")
    assert not storage.publish_once("claim", b"theirs")
    assert storage.read("claim") == b"mine"


def test_creating_is_tried_again_when_another_writer_is_in_the_way(storage: Storage, faults: Faults) -> None:
    faults.arm(refusing(409, "ConditionalRequestConflict"), times=2)
    assert storage.publish_once("claim", b"mine")
    assert faults.times == 0


def test_a_failed_upload_is_aborted(storage: Storage, faults: Faults, client: Any) -> None:
    def failing() -> Iterator[bytes]:
        for _ in range(5):
            yield bytes(10 * MIB)
        raise ZeroDivisionError("of the caller")

    with pytest.raises(ZeroDivisionError, match="of the caller"):
        storage.publish("object", failing())
    assert unfinished_uploads(client, storage) == []
    assert list(storage.list()) == []
    faults.arm(refusing(403, "AccessDenied"), times=100, strikes=lambda method, path: "partNumber=3" in path)
    with pytest.raises(StorageError, match="access denied"):
        storage.publish("object", (bytes(10 * MIB) for _ in range(5)))
    assert unfinished_uploads(client, storage) == []
    assert list(storage.list()) == []


def test_a_full_store_is_named_with_its_way_out(storage: Storage, faults: Faults) -> None:
    faults.arm(refusing(507, "XMinioStorageFull"), times=100)
    with pytest.raises(StorageError, match=rf"no space left on s3://{bucket_of(storage)}: .*what is finished is kept"):
        storage.publish("object", b"")


def test_a_disk_that_cannot_hold_a_download_is_not_blamed_on_s3(storage: Storage, tmp_path: Path) -> None:
    storage.publish("object", b"content")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/file/copy: .*a file stands where"):
        storage.fetch("object", tmp_path / "file" / "copy")


def test_deletions_put_off_for_some_keys_are_asked_for_again(storage: Storage, faults: Faults) -> None:
    for name in "abc":
        storage.publish(f"tree/{name}", b"")

    def partly(code: str) -> Callable[[Relay, bytes], None]:
        def fault(relay: Relay, body: bytes) -> None:
            key = f"<Key>prefix/tree/b</Key><Code>{code}</Code><Message>m</Message>"
            content = f"<?xml version='1.0'?><DeleteResult><Error>{key}</Error></DeleteResult>".encode()
            relay.send_response(200)
            relay.send_header("Content-Length", str(len(content)))
            relay.end_headers()
            relay.wfile.write(content)

        return fault

    faults.arm(partly("InternalError"), times=2, strikes=lambda method, path: method == "POST")
    storage.delete_tree("tree")
    assert [method for method, _, _ in faults.log] == ["GET", "POST", "POST", "POST"]
    assert [each.name for each in storage.list()] == ["tree/a", "tree/c"]
    faults.arm(partly("AccessDenied"), times=2, strikes=lambda method, path: method == "POST")
    with pytest.raises(StorageError, match=r"cannot delete .*/prefix/tree .*access denied"):
        storage.delete_tree("tree")


def test_thousands_of_objects_are_listed_and_deleted(storage: Storage, client: Any) -> None:
    connection = http.client.HTTPConnection(urlsplit(client.meta.endpoint_url).netloc)
    for number in range(1100):  # the server checks no signatures, and this is five times faster
        connection.request("PUT", f"/{bucket_of(storage)}/prefix/tree/{number:05d}", b"")
        connection.getresponse().read()
    connection.close()
    client.put_object(Bucket=bucket_of(storage), Key="prefix/tree/", Body=b"")
    client.put_object(Bucket=bucket_of(storage), Key="prefix/tree/bell\a", Body=b"")
    client.put_object(Bucket=bucket_of(storage), Key=f"prefix/tree/{temporary_name('probe')}", Body=b"")
    client.put_object(Bucket=bucket_of(storage), Key="prefix2/neighbour", Body=b"")
    assert [each.name for each in storage.list()] == [*(f"tree/{number:05d}" for number in range(1100)), "tree/bell\a"]
    storage.delete_tree("")
    left = client.list_objects_v2(Bucket=bucket_of(storage))["Contents"]
    assert [each["Key"] for each in left] == ["prefix2/neighbour"]
    with pytest.raises(StorageError, match="refusing"):
        open_storage(f"s3://{bucket_of(storage)}").delete_tree("")


def test_stale_uploads_under_the_prefix_are_aborted_and_fresh_or_foreign_ones_kept(
    storage: Storage, faults: Faults, client: Any
) -> None:
    for key in ("prefix/a", "prefix/b/c", "prefix2/d"):
        client.create_multipart_upload(Bucket=bucket_of(storage), Key=key)

    def hours_old(hours: int) -> Callable[[Relay, bytes], None]:
        """The server dates every upload 2010."""
        date = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
        return lambda relay, body: relay.answer(body, initiated=date.strftime("%Y-%m-%dT%H:%M:%S.000Z"))

    faults.arm(hours_old(23))
    assert storage.sweep() == 0
    faults.arm(hours_old(25))
    assert storage.sweep() == 2
    assert unfinished_uploads(client, storage) == ["prefix2/d"]


def test_a_policy_that_forbids_sweeping_does_not_stop_the_run(
    storage: Storage, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    faults.arm(refusing(403, "AccessDenied"))
    assert storage.sweep() == 0
    assert "AccessDenied" in caplog.text


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "AccessDenied", "access denied; check the credentials and the bucket's policy"),
        (403, "InvalidAccessKeyId", "the access key is not known there"),
        (403, "SignatureDoesNotMatch", "the secret key does not match"),
        (400, "ExpiredToken", "have expired; get new ones"),
        (403, "RequestTimeTooSkewed", "clock is wrong"),
        (418, "Teapot", r"answered Teapot \(HTTP 418\)"),
    ],
)
def test_refusals_are_told_before_work_begins_in_one_line_without_secrets(
    storage: Storage, faults: Faults, status: int, code: str, said: str
) -> None:
    faults.arm(refusing(status, code), times=100)
    started = time.monotonic()
    with pytest.raises(StorageError, match=said) as caught:
        storage.check_writable()
    assert time.monotonic() - started < 5
    assert storage.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "AKID" not in str(caught.value)


def test_a_bucket_that_does_not_exist_is_told_before_work_begins(s3_server: str) -> None:
    with pytest.raises(StorageError, match="the bucket does not exist; create it or correct the name"):
        open_storage("s3://no-such-bucket-here/x", s3_server).check_writable()
    with pytest.raises(StorageError, match="no valid bucket or object name"):
        open_storage("s3://No Such Bucket!/x", s3_server).check_writable()


def test_a_bucket_that_only_refuses_writing_fails_the_check(storage: Storage, faults: Faults) -> None:
    faults.arm(refusing(403, "AccessDenied"), times=100, strikes=lambda method, path: method == "PUT")
    with pytest.raises(StorageError, match=r"cannot create .*access denied"):
        storage.check_writable()


def test_a_store_that_ignores_conditional_puts_fails_the_check(storage: Storage, faults: Faults) -> None:
    def unconditional(relay: Relay, body: bytes) -> None:
        del relay.headers["If-None-Match"]
        relay.answer(body)

    faults.arm(unconditional, times=2, strikes=lambda method, path: method == "PUT")
    with pytest.raises(StorageError, match="ignores 'create only if absent'"):
        storage.check_writable()
    assert list(storage.list()) == []


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no-such-host.invalid", "https://127.0.0.1:9"])
def test_an_endpoint_that_is_not_there_is_told_within_seconds(s3_server: str, endpoint: str) -> None:
    started = time.monotonic()
    with pytest.raises(StorageError, match="no route to the endpoint; check") as caught:
        open_storage("s3://bucket/prefix", endpoint).check_writable()
    assert time.monotonic() - started < 20
    assert str(caught.value).startswith(f"cannot list s3://bucket/prefix at {endpoint}: ")


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:9000",
        "ftp://host",
        "http://",
        "http://user:secret@host",
        "http://bad host",
        "http://host\n",
    ],
)
def test_an_endpoint_that_is_no_url_is_refused_without_showing_passwords(endpoint: str) -> None:
    with pytest.raises(StorageError, match="endpoint") as caught:
        open_storage("s3://bucket/prefix", endpoint)
    assert "secret" not in str(caught.value)


def test_missing_credentials_are_told(s3_server: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "_clients", {})
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StorageError, match="no credentials found; set AWS_ACCESS_KEY_ID"):
        open_storage(f"s3://{s3_bucket}/x", s3_server).check_writable()
    monkeypatch.setattr(s3_client, "_clients", {})
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(StorageError, match=r"credentials cannot be loaded \(ProfileNotFound\); check AWS_PROFILE"):
        open_storage(f"s3://{s3_bucket}/x", s3_server).check_writable()


def test_the_endpoint_of_the_environment_travels_with_the_storage(
    s3_server: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    storage = open_storage(f"s3://{s3_bucket}/prefix")
    assert storage == open_storage(f"s3://{s3_bucket}/prefix", s3_server)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert open_storage(f"s3://{s3_bucket}/x") == open_storage(f"s3://{s3_bucket}/x", "http://127.0.0.1:9")
    storage.publish("object", b"content")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert open_storage(f"s3://{s3_bucket}/prefix") != storage


def test_keys_that_are_no_file_names_stay_out_of_local_copies(storage: Storage, client: Any) -> None:
    client.put_object(Bucket=bucket_of(storage), Key="prefix/tree//double", Body=b"")
    with pytest.raises(StorageError, match="no relative name"), storage.localize("tree"):
        pass


def test_clients_are_shared_within_a_process_but_not_across_endpoints(s3_server: str) -> None:
    first, second = open_storage("s3://bucket/a", s3_server), open_storage("s3://bucket/b", s3_server)
    assert first._client is second._client
    assert first._client is not open_storage("s3://bucket/a", s3_server + "/")._client


STREAMER = """
import re, sys
from pathlib import Path
from cluster.storage import open_storage
def peak():  # what getrusage says is inherited from the parent
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
storage = open_storage(sys.argv[1], sys.argv[2])
storage.publish("small", b"")
before = peak()
storage.publish("object", (bytes([number]) * (1 << 20) for number in range(200)))
with storage.open("object") as stream:
    assert sum(len(piece) for piece in iter(lambda: stream.read(1 << 20), b"")) == 200 << 20
print(peak() - before)
"""


def test_streaming_an_object_of_unknown_size_takes_bounded_memory(storage: Storage, faults: Faults) -> None:
    def slowly(relay: Relay, body: bytes) -> None:
        time.sleep(0.3)
        relay.answer(body)

    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to see the memory of a process")
    faults.arm(slowly, times=100, strikes=lambda method, path: "partNumber" in path)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", STREAMER, storage.url, faults.endpoint]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 160 * 1024
