"""A fork server that was started as a process of this machine, with a socket as its standard input and output."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from actors.sandboxes import fork_server as wire
from actors.sandboxes.contract import SandboxBroken, SandboxUnusable
from actors.sandboxes.warm import WarmSandbox

START_SECONDS = 60.0
END_SECONDS = 10.0  # that the processes of a killed box may take until the last one has gone


class SocketChannel:
    """A connected stream socket as a sandbox's channel."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, data: bytes, seconds: float) -> None:
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(data)
        except OSError as error:
            raise SandboxBroken(f"the fork server does not listen ({error})") from error

    def receive(self, size: int, seconds: float) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        deadline = time.monotonic() + seconds
        while view:
            try:
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                count = self._socket.recv_into(view)
            except OSError as error:
                raise SandboxBroken(f"the fork server does not answer ({error})") from error
            if not count:
                raise SandboxBroken("the fork server has ended")
            view = view[count:]
        return bytes(data)


class Box:
    """The processes of one sandbox, which end with this one. Raises OSError where the command cannot be run."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], connection: socket.socket, user: int | None
    ) -> None:
        begun: Future[subprocess.Popen[bytes]] = Future()
        self._ended = threading.Event()

        def keep() -> None:
            # The kernel ends a box with the thread that started it (bubblewrap asks for that), so this one stays.
            try:
                begun.set_result(_started(command, environment, connection, user))
            except BaseException as error:
                begun.set_exception(error)
            else:
                self._ended.wait()

        threading.Thread(target=keep, name="sandbox", daemon=True).start()
        self._process = begun.result()

    def said(self) -> str:
        """Kill the box; the last line that it wrote to its standard error."""
        self._process.kill()
        assert self._process.stderr is not None
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def end(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._ended.set()


def _started(
    command: Sequence[str], environment: dict[str, str], connection: socket.socket, user: int | None
) -> subprocess.Popen[bytes]:
    end = connection.fileno()
    return subprocess.Popen(
        command,
        stdin=end,
        stdout=end,
        stderr=subprocess.PIPE,
        env=environment,
        cwd="/",
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=None if user is None else (),
    )


def started(
    name: str,
    command: Sequence[str],
    environment: dict[str, str],
    user: int | None = None,
    explain: Callable[[str], str] = str,
) -> WarmSandbox:
    """Start a box and wait until its fork server is ready. As `user`, where this process may choose.

    Raises SandboxUnusable with what `explain` makes of the box's own message.
    """
    ours, theirs = socket.socketpair()
    try:
        box = Box(command, environment, theirs, user)
    except OSError as error:
        ours.close()
        raise SandboxUnusable(explain(str(error))) from error
    finally:
        theirs.close()

    def end() -> None:
        box.end()
        # The last process of the box has gone when the other end of the socket is closed.
        with contextlib.suppress(OSError):
            ours.settimeout(END_SECONDS)
            while ours.recv(1 << 16):
                pass
        ours.close()

    channel = SocketChannel(ours)
    try:
        ready = channel.receive(len(wire.READY), START_SECONDS)
    except SandboxBroken as error:
        said = box.said()
        end()
        raise SandboxUnusable(explain(said or str(error))) from error
    if ready != wire.READY:
        end()
        raise SandboxUnusable(explain("its fork server is another one"))
    return WarmSandbox(name, channel, end)
