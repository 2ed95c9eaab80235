"""Where engines run: what each worker needs, how many there are, and what is missing before any row is read."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from actors.engines.contract import EngineUnusable
from cluster.resources import Resources

if TYPE_CHECKING:
    from actors.engine_choice import EngineChoice
    from cluster.session import Session

# One asyncio client keeps so many requests under way without becoming the bottleneck.
REQUESTS_PER_WORKER = 500
_PACKAGES = {"openai": ("aiohttp", "tenacity"), "transformers": ("transformers", "torch")}
_EXTRAS = {"openai": "annotate", "transformers": "transformers"}


def checked(choice: EngineChoice) -> None:
    """Raise EngineUnusable for what can be known to be missing on this machine."""
    missing = [name for name in _PACKAGES.get(choice.kind, ()) if find_spec(name) is None]
    if missing:
        extra = _EXTRAS[choice.kind]
        raise EngineUnusable(f"--engine {choice.kind} needs {' and '.join(missing)}: pip install 'gristmill[{extra}]'")
    choice.check_options()
    if choice.chat_template is not None and not Path(choice.chat_template).is_file():
        raise EngineUnusable(f"--chat-template {choice.chat_template}: no such file")


def resources(choice: EngineChoice, session: Session, num_workers: int | None, gpus: float) -> Resources:
    """What each worker gets. Raises EngineUnusable where the cluster has no GPU for an engine that wants one."""
    if choice.service is not None:
        wanted = -(-choice.limits.concurrent_requests // REQUESTS_PER_WORKER)
        workers = num_workers or min(session.workers, wanted)
        # A client mostly waits; whole CPUs would keep a small machine from having two.
        return Resources(cpus=0.5, replicas=(workers, workers))
    if choice.kind == "search":
        workers = num_workers or session.workers
        return Resources(cpus=0.5, replicas=(workers, workers))
    if choice.kind == "transformers" and session.gpus == 0:
        workers = num_workers or 1
        return Resources(cpus=1, replicas=(workers, workers))
    if session.gpus < gpus:
        raise EngineUnusable(
            f"--engine {choice.kind} wants {gpus:g} GPU for each worker, and this Ray has {session.gpus:g}: run it on a "
            f"cluster with GPUs (--address), ask a server (--engine openai --base-url), or give --gpus-per-engine 0 "
            "for a build of it that runs on CPUs"
        )
    workers = num_workers or (max(1, int(session.gpus // gpus)) if gpus else 1)
    return Resources(cpus=1, gpus=gpus, replicas=(workers, workers))
