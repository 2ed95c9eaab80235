"""The Ray Serve application: replicas of the endpoint, and the board on which they leave their counts.

`build` is what `gristmill serve` runs and what `import_path: serve.application:build` in a Serve config names. The
settings (`serve.settings`) are the user_config of its deployment `classifiers`, so a change of them reaches the
replicas where they are: a model is loaded beside the one that answers, which it then replaces.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from cluster.errors import GristmillError
from serve.api_keys import ApiKeys
from serve.endpoint import Endpoint
from serve.metrics import Board
from serve.problems import Problem
from serve.settings import DEPLOYMENT, LOGGER, plain_settings, settings_from

REPORT_SECONDS = 2.0
# The endpoint refuses by its own estimate of the wait; this is only the number that Ray lets through to it.
ONGOING_REQUESTS = 1000
# One process fills one core: see serve.batcher. Libraries with threads of their own would fight over it. A model is
# read here and there all over its memory: in huge pages fastText is a fifth faster (where the C library is not
# glibc, or older than 2.35, this is passed over).
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}

log = logging.getLogger(LOGGER)


@cache
def _endpoint_of_this_process() -> Endpoint:
    return Endpoint()


def endpoint() -> Endpoint:
    """The endpoint of this process: a replica has one. Ray Serve asks for it, and wants a plain function."""
    return _endpoint_of_this_process()


class Classifiers:
    """One replica."""

    def __init__(self, board: DeploymentHandle[Board]) -> None:
        self._board = board
        self._replica = serve.get_replica_context().replica_id.unique_id
        self._tasks: list[asyncio.Task[None]] = []
        self._endpoint = endpoint()
        self._endpoint.merged = self._merged

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Take new settings, while requests go on. Raises GristmillError where there is no model to answer with."""
        settings = settings_from(config)
        keys = ApiKeys(settings.api_keys_file)
        self._endpoint.models.endpoint_url = settings.endpoint_url
        await self._endpoint.models.take(settings.models)
        self._endpoint.keys = keys
        self._endpoint.set_limits(settings.limits)
        for task in self._tasks:
            task.cancel()
        self._tasks = [asyncio.create_task(_every(REPORT_SECONDS, self._report))]
        if settings.reload_seconds:
            self._tasks.append(asyncio.create_task(_every(settings.reload_seconds, self._refresh)))

    async def check_health(self) -> None:
        """Have every model answer something; Ray replaces a replica whose models do not."""
        for model in list(self._endpoint.models.current.values()):
            try:
                self._endpoint.probe(model)
            except Problem as problem:
                raise RuntimeError(problem.detail) from problem

    async def _refresh(self) -> None:
        self._endpoint.keys.reload()
        await self._endpoint.models.refresh()

    async def _report(self) -> None:
        await self._board.put.remote(self._replica, self._endpoint.report())

    async def _merged(self) -> bytes:
        await self._report()
        text: bytes = await self._board.text.remote()
        return text


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work again and again; what goes wrong is logged and tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except GristmillError as error:
            log.error("%s", error)
        except Exception:
            log.exception("tried again in %s s", seconds)


def build(args: dict[str, Any]) -> serve.Application:
    """The application. Settings may be given here too, or not at all: then the config's user_config has to bring them.

    Raises SettingsError.
    """
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    board = serve.deployment(Board).options(name="board", ray_actor_options={"num_cpus": 0}, logging_config=quiet)
    classifiers = serve.deployment(serve.ingress(endpoint)(Classifiers)).options(
        name=DEPLOYMENT,
        num_replicas=settings_from(args).replicas if args else 1,
        user_config=plain_settings(settings_from(args)) if args else None,
        max_ongoing_requests=ONGOING_REQUESTS,
        max_queued_requests=ONGOING_REQUESTS,
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=20,
        graceful_shutdown_wait_loop_s=1,
        ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": ENVIRONMENT}},
        logging_config=quiet,
    )
    return classifiers.bind(board.bind())
