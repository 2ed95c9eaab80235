"""The Docker sandbox: one warm container around the fork server, of an image that holds one Python and nothing else.

The container has no network, no capability, no writable path, an unprivileged user, and bounds of its own on memory and
processes. The image is made from the tree of `runtime`, so no registry is asked. `DOCKER_HOST` says which daemon.

A container ends when its host closes the connection, dead or alive. What a daemon's crash leaves behind is removed at
the next start, by the label that names its owner.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import struct
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from actors.sandboxes import fork_server as wire
from actors.sandboxes import runtime as python_tree
from actors.sandboxes.bubblewrap import ENVIRONMENT, NOBODY, OWN_PROCESSES, PYTHON_OPTIONS
from actors.sandboxes.contract import DEFAULT_LIMITS, SandboxBroken, SandboxUnusable
from actors.sandboxes.local_box import START_SECONDS, SocketChannel
from actors.sandboxes.owner import is_dead, owner
from actors.sandboxes.seccomp import program_filter
from actors.sandboxes.warm import SHARED_BYTES, WarmSandbox

if TYPE_CHECKING:
    from docker import APIClient

REPOSITORY = "gristmill-sandbox"
LABEL = "gristmill.sandbox"  # on every container; its value is the owner's word
API_SECONDS = 120
# Python itself, the results that wait in shared memory, and the kernel's part.
OWN_MEMORY = (256 << 20) + SHARED_BYTES
STDOUT, STDERR = 1, 2
ERRORS = 4096  # bytes of standard error that are kept
_HEADER = struct.Struct(">BxxxI")  # of a piece of a container's output: which stream, how many bytes


def start(
    packages: Sequence[str] = ("numpy",), runtime: str | None = None, memory: int = DEFAULT_LIMITS.memory
) -> WarmSandbox:
    """A warm sandbox. `runtime` is one that the daemon knows, such as runsc; `memory` bounds that of any program.

    Raises SandboxUnusable with the way out.
    """
    tree = python_tree.runtime(packages)
    with _errors_explained():
        client = _connected()
        try:
            remove_orphans(client)
            image = _image(client, tree)
            name = f"{REPOSITORY}-{uuid4().hex}"
            client.create_container(**_description(client, image, name, packages, runtime, memory))
            return _started(client, name)
        except BaseException:
            client.close()
            raise


def remove_orphans(client: APIClient) -> int:
    """Remove the containers whose owners on this machine are dead; returns how many there were."""
    import docker.errors

    removed = 0
    for found in client.containers(all=True, filters={"label": LABEL}):
        if is_dead(found["Labels"].get(LABEL, "")):
            with contextlib.suppress(docker.errors.NotFound):
                _remove(client, found["Id"])
                removed += 1
    return removed


class DockerChannel:
    """A container's attached socket as a sandbox's channel: both output streams come in pieces on the one socket."""

    def __init__(self, connection: Any) -> None:
        self._stream = SocketChannel(connection)
        self._left = 0  # bytes of standard output before the next header
        self.errors = b""  # the last of standard error

    def send(self, data: bytes, seconds: float) -> None:
        self._stream.send(data, seconds)

    def receive(self, size: int, seconds: float) -> bytes:
        data = bytearray()
        deadline = time.monotonic() + seconds
        while len(data) < size:
            while not self._left:
                self._next_piece(deadline)
            part = self._stream.receive(min(self._left, size - len(data)), deadline - time.monotonic())
            self._left -= len(part)
            data += part
        return bytes(data)

    def _next_piece(self, deadline: float) -> None:
        stream, size = _HEADER.unpack(self._stream.receive(_HEADER.size, deadline - time.monotonic()))
        if stream == STDOUT:
            self._left = size
        elif stream == STDERR:
            while size:
                part = self._stream.receive(min(size, ERRORS), deadline - time.monotonic())
                self.errors = (self.errors + part)[-ERRORS:]
                size -= len(part)
        else:
            raise SandboxBroken("what Docker passes on is not a container's output")


@contextmanager
def _errors_explained() -> Iterator[None]:
    """Make Docker's errors SandboxUnusable."""
    try:
        import docker.errors
        import requests
    except ImportError as error:
        raise SandboxUnusable(
            "Docker's client for Python is not installed: pip install 'gristmill[sandbox]', or --isolation bubblewrap"
        ) from error
    try:
        yield
    except docker.errors.APIError as error:
        reason = " ".join(str(error.explanation or error).split())
        raise SandboxUnusable(f"Docker does not start a sandbox: {reason}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise SandboxUnusable(
            f"there is no Docker daemon to be reached here ({error}): start one, set DOCKER_HOST, let this user into "
            "the group docker, or --isolation bubblewrap"
        ) from error


def _connected() -> APIClient:
    import docker

    client: APIClient = docker.from_env(timeout=API_SECONDS).api
    return client


def _image(client: APIClient, tree: Path) -> str:
    """The image of the tree, imported where the daemon does not have it."""
    import docker.errors

    tag = tree.name.removeprefix("gristmill-python-")
    image = f"{REPOSITORY}:{tag}"
    with open(tree / python_tree.SERVER.lstrip("/"), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # one process of this machine imports it, and the others wait
        try:
            client.inspect_image(image)
        except docker.errors.ImageNotFound:
            _import(client, tree, tag)
    return image


def _import(client: APIClient, tree: Path, tag: str) -> None:
    def by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(tree, arcname="/", filter=by_root)
        file.seek(0)
        client.import_image_from_data(file, repository=REPOSITORY, tag=tag, changes=[f"LABEL {LABEL}=python"])


def _description(
    client: APIClient, image: str, name: str, packages: Sequence[str], runtime: str | None, memory: int
) -> dict[str, Any]:
    """What the daemon is asked for."""
    from docker.types import LogConfig, Ulimit

    given = {
        "filter": base64.b64encode(program_filter()).decode(),
        # Processes are counted for each user of the machine, over all containers: the container's own bound holds here.
        "processes": None,
        "shared_bytes": SHARED_BYTES,
        "path": [python_tree.PACKAGES],
        "packages": python_tree.modules(packages),
    }
    bounds = client.create_host_config(
        auto_remove=True,
        cap_drop=["ALL"],
        # Docker mounts a queue of messages that anyone may write to; this takes its place.
        tmpfs={"/dev/mqueue": "ro,nosuid,nodev,noexec,size=4096"},
        ipc_mode="none",
        log_config=LogConfig(type="none"),
        mem_limit=memory + OWN_MEMORY,
        memswap_limit=memory + OWN_MEMORY,
        network_mode="none",
        pids_limit=OWN_PROCESSES + DEFAULT_LIMITS.threads,
        read_only=True,
        runtime=runtime,
        security_opt=["no-new-privileges:true"],
        ulimits=[Ulimit(name=kind, soft=0, hard=0) for kind in ("core", "memlock", "msgqueue")],
    )
    return {
        "image": image,
        "name": name,
        "command": [python_tree.PYTHON, *PYTHON_OPTIONS, python_tree.SERVER, json.dumps(given)],
        "environment": ENVIRONMENT,
        "host_config": bounds,
        "labels": {LABEL: owner()},
        "network_disabled": True,
        "stdin_open": True,  # until the one that is attached goes
        "user": f"{NOBODY}:{NOBODY}",
        "working_dir": "/",
    }


def _started(client: APIClient, name: str) -> WarmSandbox:
    """The sandbox of a container that was made. It is attached to before it starts, so that no byte is missed."""
    streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    attached = None

    def end() -> None:
        if attached is not None:
            attached.close()
        _remove(client, name)
        client.close()

    try:
        attached = client.attach_socket(name, params=streams)
        channel = DockerChannel(getattr(attached, "_sock", attached))
        client.start(name)
        ready = channel.receive(len(wire.READY), START_SECONDS)
        if ready != wire.READY:
            raise SandboxUnusable("Docker's sandbox does not start: its fork server is another one")
    except SandboxBroken as error:
        said = channel.errors.decode(errors="replace").strip().splitlines()
        end()
        raise SandboxUnusable(f"Docker's sandbox does not start: {said[-1] if said else error}") from error
    except BaseException:
        end()
        raise
    return WarmSandbox("docker", channel, end)


def _remove(client: APIClient, container: str) -> None:
    """Kill and remove a container, and wait until it has gone. A daemon that has gone itself is left alone."""
    import docker.errors
    import requests

    try:
        client.remove_container(container, force=True, v=True)
    except docker.errors.APIError as error:
        if error.status_code == 409:  # it ended by itself and is being removed
            with contextlib.suppress(docker.errors.APIError, requests.RequestException):
                client.wait(container, timeout=API_SECONDS, condition="removed")
    except (OSError, requests.RequestException):
        pass
