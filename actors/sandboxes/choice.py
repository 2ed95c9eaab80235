"""Which isolation programs run in, as plain data that travels to the workers."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, get_args

from actors.sandboxes.contract import DEFAULT_LIMITS, SandboxUnusable
from actors.sandboxes.warm import WarmSandbox

Isolation = Literal["auto", "bubblewrap", "docker", "process"]
ISOLATIONS: tuple[str, ...] = get_args(Isolation)


@dataclass(frozen=True, slots=True)
class SandboxChoice:
    """`packages` are the distributions that programs may import; `runtime` is a Docker runtime such as runsc.

    `memory` is the most, in bytes, that the limits of a program will ask for: a container's own bound follows from it.

    "auto" is bubblewrap where there is one that works, else docker; never process, which isolates from nothing.
    """

    isolation: Isolation = "auto"
    packages: tuple[str, ...] = ("numpy",)
    runtime: str | None = None
    memory: int = DEFAULT_LIMITS.memory

    @property
    def resolved(self) -> str:
        """The isolation by its name on this machine. Raises SandboxUnusable where "auto" finds none."""
        if self.isolation != "auto":
            return self.isolation
        has_docker = shutil.which("docker") or shutil.which("dockerd") or os.environ.get("DOCKER_HOST")
        if shutil.which("bwrap") and (not has_docker or import_module("actors.sandboxes.bubblewrap").is_allowed()):
            return "bubblewrap"
        if has_docker:
            return "docker"
        raise SandboxUnusable(
            "there is no sandbox for programs here: apt-get install bubblewrap, or install Docker; for your own code "
            "alone, --isolation process --unsafe-sandbox"
        )

    def start(self) -> WarmSandbox:
        """A warm sandbox. Raises SandboxUnusable with the way out."""
        kind = self.resolved
        sandbox: WarmSandbox
        if kind == "docker":
            sandbox = import_module("actors.sandboxes.docker").start(self.packages, self.runtime, self.memory)
        else:
            sandbox = import_module(f"actors.sandboxes.{kind}").start(self.packages)
        return sandbox

    def prove(self, sandbox: WarmSandbox) -> None:
        """Have the sandbox prove that it isolates. Raises SandboxUnusable with what a program could do in it."""
        from actors.sandboxes.self_test import prove

        prove(sandbox)
