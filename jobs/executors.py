"""The sandboxes of a run: the options that choose them, and the pool of actors that hold them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from jobs.command import BYTES, Number, stack

if TYPE_CHECKING:
    from actors.program_executor import Executors
    from actors.sandboxes.choice import SandboxChoice
    from actors.sandboxes.contract import Limits
    from cluster.session import Session

ISOLATIONS = ("auto", "bubblewrap", "docker", "process")
# A sandbox works for as long as a worker waits for it: together they take about one CPU.
CPUS = 0.5
LEAST_MEMORY, MOST_MEMORY = 1 << 20, 1 << 44  # bytes; no machine has as much

sandbox_options = stack(
    click.option(
        "--isolation",
        type=click.Choice(ISOLATIONS),
        default="auto",
        show_default=True,
        help="The box around programs; auto takes bubblewrap, else docker.",
    ),
    click.option("--docker-runtime", help="Docker's runtime, such as runsc for gVisor."),
    click.option("--unsafe-sandbox", is_flag=True, help="Allow --isolation process, which is for your own code alone."),
    click.option(
        "--program-packages",
        default="numpy",
        show_default=True,
        help="Installed packages that programs may import, with commas.",
    ),
    click.option(
        "--cpu-seconds",
        type=Number(0.01, 86_400),
        default=0.5,
        show_default=True,
        help="CPU time for each input; four times that on the clock.",
    ),
    click.option("--memory", type=BYTES, default="512MiB", show_default=True, help="What a program may take."),
)


def sandbox_choice(arguments: dict[str, Any]) -> tuple[SandboxChoice, Limits]:
    """Take the sandbox options out of a command's arguments."""
    from actors.sandboxes.choice import SandboxChoice
    from actors.sandboxes.contract import Limits

    isolation, is_unsafe = arguments.pop("isolation"), arguments.pop("unsafe_sandbox")
    if isolation == "process" and not is_unsafe:
        raise click.UsageError(
            "--isolation process keeps no program from reading your files; for your own code add --unsafe-sandbox"
        )
    runtime = arguments.pop("docker_runtime")
    if runtime and isolation != "docker":
        raise click.UsageError(f"--docker-runtime {runtime} is for --isolation docker: give that as well")
    packages = tuple(name.strip() for name in arguments.pop("program_packages").split(",") if name.strip())
    limits = Limits(cpu_seconds=arguments.pop("cpu_seconds"), memory=arguments.pop("memory"))
    if limits.memory < LEAST_MEMORY:
        raise click.UsageError(f"--memory {limits.memory} bytes is less than any program takes: give at least 1MiB")
    if limits.memory > MOST_MEMORY:
        raise click.UsageError(f"--memory {limits.memory} bytes is more than any machine has: give at most 16TiB")
    return SandboxChoice(isolation, packages, runtime, limits.memory), limits


@contextmanager
def executors(session: Session, choice: SandboxChoice) -> Iterator[Executors]:
    """A pool of sandboxes on the cluster, one for each worker, while the block lasts. Raises SandboxUnusable."""
    from actors.program_executor import Executors, ProgramExecutor
    from cluster.actor_pool import actor_pool

    name = f"gristmill-executor-{uuid4().hex[:12]}"
    size = max(1, session.workers)
    with actor_pool(name, "program executor", lambda: ProgramExecutor(choice), size, CPUS) as pool:
        asyncio.run(pool.call_all("prove"))
        yield Executors(pool)
