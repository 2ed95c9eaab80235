"""The embedded Ray: a single node for one command, started lean, watched, and ended whole.

Ray starts a node as if a cluster and its operators were to use it. What only they would look at is left out here:
on two cores it takes longer to start than a small run takes. Nothing of it is missing on a real cluster, where the
same work runs with all of Ray's own parts.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import reduce
from typing import Any
from unittest.mock import patch

from cluster.errors import GristmillError
from cluster.leftovers import Watcher, ended_with_this

# Chunks stay in their actors; the object store carries reports of a few hundred bytes.
OBJECT_STORE_BYTES = 512 << 20
VITAL = ("gcs_server", "raylet")  # Ray's names for the processes without which nothing goes on
MARK = "GRISTMILL_EMBEDDED_RAY"  # in the environment of every process of this Ray
WATCH_SECONDS = 0.5
# Ray keeps events and metrics of every task for a dashboard; here nobody reads them.
UNREAD = {"RAY_enable_metrics_collection": "0", "RAY_task_events_report_interval_ms": "0", "RAY_event_stats": "0"}
START_SECONDS = 180.0  # Ray starts in seconds, on a crowded machine in a minute; now and then it never does
START_ATTEMPTS = 3
AGAIN = "run the same command again to continue"


class SessionError(GristmillError):
    """Ray could not be started or reached; the message says where and what to try."""


def died(part: str) -> str:
    return f"gristmill: Ray's {part} died on this machine (killed, or out of memory); {AGAIN}"


@contextmanager
def embedded_ray(cpus: int) -> Iterator[None]:
    """A Ray of our own, which dies with this process. A part that dies while it starts is tried again."""
    for name, value in UNREAD.items():
        os.environ.setdefault(name, value)
    mark = os.environ[MARK] = uuid.uuid4().hex
    with ended_with_this(f"{MARK}={mark}") as watcher:
        import ray

        try:
            with _started(cpus, mark, watcher):
                yield
        finally:
            ray.shutdown()
            os.environ.pop(MARK, None)


@contextmanager
def _started(cpus: int, mark: str, watcher: Watcher) -> Iterator[None]:
    import ray

    for attempt in range(1, START_ATTEMPTS + 1):
        parts = _Parts(mark, watcher)
        with _watched(parts) as started:
            try:
                with _lean_node():
                    init(_arguments(cpus))
            except Exception as error:  # Ray raises plain ones too
                if attempt == START_ATTEMPTS or parts.dead() is None:
                    raise SessionError(f"an embedded Ray could not start: {first_line(error)}") from error
                ray.shutdown()
                parts.end()
                continue
            started.set()
            watcher.ends_writers_below(session_folder())
            yield
            return


def init(arguments: dict[str, Any]) -> None:
    """`ray.init` without a word on standard output, which is ours: --json prints the summary there."""
    import ray
    import ray._private.worker as ray_worker

    ray_worker.print_to_stdstream = _to_log
    with _native_stderr_silenced():
        ray.init(**arguments, logging_level=logging.ERROR, log_to_driver=False)


def session_folder() -> str:
    """Where the Ray of this process keeps its files."""
    import ray._private.worker as ray_worker

    return str(ray_worker.global_worker.node.get_session_dir_path())


def first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


def _arguments(cpus: int) -> dict[str, Any]:
    return {
        "address": "local",
        "num_cpus": cpus + 1,  # one for tasks beside a full pool
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",  # nothing listens for other machines
    }


def _to_log(data: dict[str, Any], ignore_prefix: bool = False) -> None:
    """Takes what Ray would print: its remarks on workers that died, whose work it has started again already."""
    for line in data["lines"]:
        logging.getLogger("gristmill.ray").debug("%s: %s", data.get("pid"), line)


@contextmanager
def _native_stderr_silenced() -> Iterator[None]:
    """Ray's C++ core announces its log level on file descriptor 2; what goes wrong it raises as an exception."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def _replaced(replacements: dict[str, Any]) -> Iterator[None]:
    """Within, parts of Ray, named "module:Owner.name", are replaced; what this version does not have stays as it is."""
    with ExitStack() as stack:
        for place, replacement in replacements.items():
            module, _, path = place.partition(":")
            *owners, name = path.split(".")
            with suppress(ImportError, AttributeError):
                owner = reduce(getattr, owners, importlib.import_module(module))
                stack.enter_context(patch.object(owner, name, replacement))
        yield


def _lean_node() -> Any:
    """Within, a node starts without what serves operators: autoscaler monitor, dashboard, log monitor, full agent.

    It saves three processes, about two seconds of start-up and one of shutdown on two cores.
    """

    def nothing(*_: Any, **__: Any) -> None:
        """Start nothing."""

    return _replaced(
        {
            "ray._private.node:Node.start_monitor": nothing,
            "ray._private.node:Node.start_api_server": nothing,
            "ray._private.node:Node.start_log_monitor": nothing,
            # Ray takes this to mean that the dashboard's libraries are not there, and starts its agent without them.
            "ray._private.utils:get_dashboard_dependency_error": lambda: ImportError("not wanted"),
            # Ray would put the address of a network card in the place of 127.0.0.1, and listen on all of them.
            "ray._private.services:resolve_ip_for_localhost": lambda host: host,
        }
    )


def lean_data() -> Any:
    """Within, Ray Data runs a pipeline without its three service actors, each a process that takes a second to start.

    They keep statistics for the dashboard, ask an autoscaler for nodes, and remember which node an actor is on:
    there is no dashboard, and there is one node.
    """

    def unseen(*_: Any, **__: Any) -> None:
        """Nobody looks at these."""

    nowhere = _NoTracker()
    internal = "ray.data._internal"
    replacements: dict[str, Any] = {
        f"{internal}.stats:_StatsManager.{name}": staticmethod(unseen) for name in _STATISTICS
    } | {
        f"{internal}.{module}:get_or_create_actor_location_tracker": lambda: nowhere
        for module in ("execution.operators.actor_pool_map_operator", "utils.cached_ray_internals")
    }
    with suppress(ImportError):
        one_node = _one_node()
        replacements[f"{internal}.execution.streaming_executor:create_cluster_autoscaler"] = lambda *_, **__: one_node
    return _replaced(replacements)


_STATISTICS = ("update_execution_metrics", "update_iteration_metrics", "register_dataset_to_stats_actor")


class _NoTracker:
    """Stands in for the handle of Ray Data's actor that tracks locations: one node needs none."""

    @property
    def update_actor_location(self) -> _NoTracker:
        return self

    @property
    def get_actor_locations(self) -> _NoTracker:
        return self

    def remote(self, *_: Any) -> Any:
        import ray

        return ray.put({})


def _one_node() -> Any:
    """An autoscaler for a cluster that has one node and never another."""
    import ray
    from ray.data._internal.cluster_autoscaler.base_cluster_autoscaler import ClusterAutoscaler
    from ray.data._internal.execution.interfaces.execution_options import ExecutionResources

    class OneNode(ClusterAutoscaler):  # type: ignore[misc]
        def try_trigger_scaling(self) -> None:
            """There is nothing to scale to."""

        def on_executor_shutdown(self) -> None:
            """Nothing was asked for."""

        def get_total_resources(self) -> Any:
            return ExecutionResources.from_resource_dict(ray.cluster_resources())

    return OneNode()


@contextmanager
def _watched(parts: _Parts) -> Iterator[threading.Event]:
    """End this process, with one line, when a vital part of the Ray that it starts dies, or does not start.

    Left alone Ray waits for a dead part, a minute and more, and then ends the process without a word, or, where it was
    about to speak to the raylet, ends it at once: then the watcher of leftovers has the word. For the answer to a lost
    registration it waits for ever. The caller sets the event once Ray has started.
    """
    import ray._private.worker as ray_worker

    started, over = threading.Event(), threading.Event()
    deadline = time.monotonic() + START_SECONDS

    def trouble() -> str | None:
        dead = parts.dead()
        # Until Ray knows its node, ray.init itself notices that the raylet died, and is called again.
        if dead is not None and not (dead == "raylet" and ray_worker._global_node is None):
            return died(dead)
        late = not started.is_set() and time.monotonic() > deadline
        return f"gristmill: Ray did not start on this machine within {START_SECONDS:.0f} s; {AGAIN}" if late else None

    def end(words: str) -> None:
        parts.watcher.say(words)
        parts.end()
        os._exit(1)

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            if (found := trouble()) is not None and not over.is_set():
                end(found)

    thread = threading.Thread(target=watch, name="ray-watch", daemon=True)
    thread.start()
    try:
        yield started
    except Exception as error:
        deadline = time.monotonic() + 2 * WATCH_SECONDS
        while _may_tell_of_a_death(error) and time.monotonic() < deadline:
            if (found := trouble()) is not None:
                end(found)
            time.sleep(WATCH_SECONDS / 10)
        raise
    finally:
        over.set()
        thread.join()
        parts.watcher.misses_nothing()


def _may_tell_of_a_death(error: BaseException) -> bool:
    """Whether it is, or comes of, what Ray says when it does not reach its own parts."""
    from ray.exceptions import RayError, RayTaskError

    if isinstance(error, OSError):
        return True
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    return any(isinstance(each, RayError) and not isinstance(each, RayTaskError) for each in chain)


class _Parts:
    """The processes of a Ray that this process starts from now on: they inherit the mark in their environment."""

    def __init__(self, mark: str, watcher: Watcher) -> None:
        import ray  # noqa: F401  # makes its own psutil importable
        import psutil  # type: ignore[import-untyped,unused-ignore]  # isort: skip

        self.psutil = psutil
        self.mark, self.watcher = mark, watcher
        self.known = {child.pid for child in psutil.Process().children()}
        self.watched: dict[str, Any] = {}

    def dead(self) -> str | None:
        """The name of a vital one that has died."""
        if len(self.watched) < len(VITAL):
            self._look_for_new()
        return next((name for name, process in self.watched.items() if not self._alive(process)), None)

    def end(self) -> None:
        """Kill them all: without a raylet its workers and agents would stay for up to a minute."""
        killed = []
        for process in self.psutil.process_iter():
            with suppress(self.psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == self.mark:
                    process.kill()
                    killed.append(process)
        self.psutil.wait_procs(killed, timeout=10)

    def _look_for_new(self) -> None:
        for child in self.psutil.Process().children():
            if child.pid not in self.known:
                with suppress(self.psutil.NoSuchProcess):
                    # Between fork and exec a child still bears our own name; it is looked at again.
                    if child.name() in VITAL and child.name() not in self.watched:
                        self.watched[child.name()] = child
                        self.watcher.misses(child.pid, died(child.name()))

    def _alive(self, process: Any) -> bool:
        try:
            return bool(process.is_running() and process.status() != self.psutil.STATUS_ZOMBIE)
        except self.psutil.NoSuchProcess:
            return False
