"""The test at start: programs that try to get out of a sandbox, through the sandbox itself.

Each is run as any program is, and once more without the system call filter, so that the box around it is proved by
itself: either of them alone has to hold. The process isolation has no box; of it only the limits and the filter are
proved.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.sandboxes import probes
from actors.sandboxes.bubblewrap import ENVIRONMENT
from actors.sandboxes.contract import Limits, Outcome, SandboxBroken, SandboxUnusable
from actors.sandboxes.warm import WarmSandbox

LIMITS = Limits(cpu_seconds=10.0, memory=256 << 20)  # enough for the stacks of all the threads
ENDLESS = Limits(cpu_seconds=0.05)
# Of these a box has to take care alone, of the others the filter may.
OF_THE_BOX = ("network", "files", "processes", "privileges", "secrets", "threads", "forks")
OF_ANY = ("memory", "secrets", "forbidden")
# What Docker and bubblewrap set by themselves.
THEIR_ENVIRONMENT = ("HOME", "HOSTNAME", "PATH", "PWD")


def prove(sandbox: WarmSandbox) -> None:
    """Have the sandbox prove that it isolates. Raises SandboxUnusable with what a program could do in it."""
    has_box = sandbox.name != "process"
    try:
        with tempfile.NamedTemporaryFile() as secret, socket.create_server(("127.0.0.1", 0)) as listener:
            Path(secret.name).chmod(0o644)  # so that nothing but the box keeps it from being read
            given: dict[str, Any] = {
                "port": listener.getsockname()[1],
                "out_of_reach": [str(Path(secret.name).resolve()), str(Path(probes.__file__).resolve())],
                "environment": [*ENVIRONMENT, *THEIR_ENVIRONMENT],
                "memory": LIMITS.memory,
                "threads": LIMITS.threads,
            }
            of_the_filter = tuple(dict.fromkeys((*OF_ANY, *OF_THE_BOX))) if has_box else OF_ANY
            _try_all(sandbox, of_the_filter, given, is_filtered=True)
            if has_box:
                _try_all(sandbox, OF_THE_BOX, given, is_filtered=False)
        ended = _run(sandbox, ("endless",), {}, ENDLESS, True)[0]
    except SandboxBroken as error:
        raise SandboxUnusable(f"{sandbox.name} breaks while it is tested: {error}") from error
    except OSError as error:
        raise SandboxUnusable(
            f"{sandbox.name} cannot be tested ({error}): that takes a folder for temporary files, and a port of 127.0.0.1"
        ) from error
    if ended.status != "timeout":
        raise SandboxUnusable(f"{sandbox.name} does not isolate: an endless program ended with {ended.status}")


def _try_all(sandbox: WarmSandbox, tried: Sequence[str], given: dict[str, Any], is_filtered: bool) -> None:
    where = "" if is_filtered else " without the system call filter"
    outcomes = _run(sandbox, tried, given | {"is_filtered": is_filtered}, LIMITS, is_filtered)
    for probe, outcome in zip(tried, outcomes, strict=True):
        if outcome.status != "ok":
            raise SandboxUnusable(
                f"{sandbox.name} is not proved: the probe of its {probe}{where} ended with {outcome.status} "
                f"({outcome.message})"
            )
        if outcome.value:
            raise SandboxUnusable(f"{sandbox.name} does not isolate: a program could{where} {'; '.join(outcome.value)}")


def _run(
    sandbox: WarmSandbox, tried: Sequence[str], given: dict[str, Any], limits: Limits, is_filtered: bool
) -> Sequence[Outcome]:
    program = Path(probes.__file__).read_text()
    inputs = [given | {"probe": probe} for probe in tried]
    return sandbox.execute(program, "attempt", inputs, limits, unfiltered=not is_filtered).outcomes
