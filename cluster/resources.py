"""What one worker of a stage needs: processors, accelerators, memory, and how many such workers there may be.

Contradictions are refused when the object is made, hours before a scheduler would leave the work pending for
ever. It knows nothing of what a cluster has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Resources:
    """Needs of one worker.

    `gpus` is a share of one (such as 0.25) or a whole number; `memory` in bytes; `accelerator` a Ray
    accelerator type such as "H100"; `replicas` the least and the largest number of workers, None to let the
    pool decide. Raises `ValueError` for contradictions.
    """

    cpus: float = 1
    gpus: float = 0
    memory: int | None = None
    accelerator: str | None = None
    replicas: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for kind, amount in (("cpus", self.cpus), ("gpus", self.gpus)):
            if not math.isfinite(amount) or amount < 0:
                raise ValueError(f"{kind}={amount}: give 0 or more")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus={self.gpus}: Ray schedules a part of one GPU or whole ones; round it")
        if self.memory is not None and (self.memory != int(self.memory) or self.memory < 1):
            raise ValueError(f"memory={self.memory}: give a whole number of bytes, or leave it out")
        if self.accelerator is not None and not self.accelerator:
            raise ValueError("accelerator='': name a type such as 'H100', or leave it out")
        if self.accelerator is not None and self.gpus == 0:
            raise ValueError(f"accelerator={self.accelerator!r} without gpus: ask for gpus too, or leave it out")
        if self.replicas is not None:
            self._check_replicas(*self.replicas)

    @staticmethod
    def _check_replicas(least: int, most: int) -> None:
        if least < 1:
            raise ValueError(f"replicas=({least}, {most}): at least one worker is needed")
        if least > most:
            raise ValueError(f"replicas=({least}, {most}): the least is larger than the most; swap them")

    def ray_args(self) -> dict[str, Any]:
        """Keyword arguments of Ray's `remote` and `map_batches` (without the number of workers)."""
        wanted: dict[str, Any] = {"num_cpus": self.cpus}
        if self.gpus:
            wanted["num_gpus"] = self.gpus
        if self.memory is not None:
            wanted["memory"] = self.memory
        if self.accelerator is not None:
            wanted["accelerator_type"] = self.accelerator
        return wanted
