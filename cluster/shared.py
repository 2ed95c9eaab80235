"""One object that all workers of a run share: a named Ray actor, restarted where it dies.

A call that its actor's death interrupts is made again once the actor is back, so every method has to be such that
calling it twice does no harm, and what must outlive the actor has to be kept by the object itself.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle

from cluster.errors import GristmillError


class SharedLost(GristmillError):
    """A shared object does not answer any more."""


class _Holder:
    """The actor: makes the object when it starts, and again when it is restarted."""

    def __init__(self, make: bytes) -> None:
        self.object = pickle.loads(make)()

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.object, method)(*arguments)


@dataclass(frozen=True, slots=True)
class Shared:
    """The way to a shared object, by its name; picklable. `what` is what the object is called in messages."""

    name: str
    what: str

    def actor(self) -> Any:
        """The actor's handle. Raises SharedLost where there is none."""
        import ray

        try:
            return ray.get_actor(self.name)
        except ValueError as error:
            raise self._lost(error) from error

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object, from a worker's event loop."""
        import ray

        try:
            return await self.actor().call.remote(method, *arguments)
        except ray.exceptions.RayActorError as error:
            raise self._lost(error) from error
        except ray.exceptions.RayTaskError as error:
            raise _told(error) from None

    def ask(self, method: str, *arguments: Any, seconds: float | None = None) -> Any:
        """Call a method and wait for what it returns, from the driver; None where that takes longer than `seconds`."""
        import ray

        try:
            return ray.get(self.actor().call.remote(method, *arguments), timeout=seconds)
        except ray.exceptions.GetTimeoutError:
            return None
        except ray.exceptions.RayActorError as error:
            raise self._lost(error) from error
        except ray.exceptions.RayTaskError as error:
            raise _told(error) from None

    def _lost(self, error: Exception) -> SharedLost:
        lines = str(error).strip().splitlines()
        # Where the object could not be made, the first line is about Ray's actor, and the last one says why.
        reason = lines[-1].strip() if "creation task" in lines[0] else lines[0]
        return SharedLost(f"the {self.what} is gone ({reason}); run the same command again to continue")


def _told(error: Any) -> Exception:
    """The object's own error where it is meant for a person, without the traceback of a remote call."""
    cause = error.cause
    return cause if isinstance(cause, GristmillError) else error


def share(name: str, what: str, make: Callable[[], Any]) -> tuple[Shared, Any]:
    """Start the actor around what `make` returns. It lives as long as the handle that comes second, on the driver."""
    import ray

    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Holder)
    handle = actor.options(name=name).remote(cloudpickle.dumps(make))
    return Shared(name, what), handle
