"""Executing again what was executed before: limits that a busy machine does not decide, and what the workers need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.sandboxes.contract import Limits
    from cluster.resources import Resources
    from cluster.session import Session

# Times the CPU time, on the clock. A program is held to the CPU time that it had before; that many others run beside
# it must not make it answer otherwise than it did.
WALL_FACTOR = 40.0


def patient(limits: Limits) -> Limits:
    """The limits, with all the time on the clock that a program may have to wait for its CPU time."""
    import msgspec

    return msgspec.structs.replace(limits, wall_factor=WALL_FACTOR)


def waiting(session: Session) -> Resources:
    """The workers that ask for executions. They mostly wait; the sandboxes need the CPUs."""
    from cluster.resources import Resources

    return Resources(cpus=0.5, replicas=(session.workers, session.workers))


def limits_config(limits: Limits, packages: tuple[str, ...]) -> dict[str, Any]:
    """What of the sandbox a run's result depends on."""
    return {"cpu_seconds": limits.cpu_seconds, "memory": limits.memory, "program_packages": list(packages)}
