"""What the processes of an embedded Ray do as they start, when Ray Serve runs in it.

Named internals of Ray Serve are replaced, as `cluster.embedded` does with Ray's. On a cluster nothing is replaced.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

HOOK_VARIABLE = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"  # Ray's: names what each of its processes calls first


def prepare() -> None:
    """Called by Ray in each of its processes, before it knows what it will be."""
    _listen_on_loopback()
    import_serve()  # the processes do it at the same time, while the command does; it takes each a second
    _start_no_last_resort()
    _look_for_haproxy_often()


def import_serve() -> Any:
    """Ray Serve without pandas, for which it only looks whether it is there: a third of the time, 40 MB a process."""
    absent = "pandas" not in sys.modules
    if absent:
        sys.modules["pandas"] = None  # type: ignore[assignment]  # an import of it fails at once
    try:
        from ray import serve
    finally:
        if absent:
            sys.modules.pop("pandas", None)
    return serve


def _listen_on_loopback() -> None:
    """Replicas would take calls, pickles without a password, on all interfaces. Before Ray Serve is imported."""
    from ray._common import tls_utils

    on_all_interfaces = tls_utils.add_port_to_grpc_server

    def on_loopback(server: Any, address: str) -> int:
        return int(on_all_interfaces(server, address.replace("[::]", "127.0.0.1")))

    tls_utils.add_port_to_grpc_server = on_loopback


def _start_no_last_resort() -> None:
    """Ray starts a second proxy, in Python, for requests that no replica takes; our HAProxy refuses those."""
    from ray.serve._private.proxy_state import ProxyStateManager

    def nothing(*_: Any) -> None:
        """Start nothing."""

    ProxyStateManager._start_fallback_proxy_if_needed = nothing


def _look_for_haproxy_often() -> None:
    """Ray looks every half second whether a new HAProxy is there: at the start, and whenever replicas change."""
    from ray.serve._private.haproxy import HAProxyApi

    with_patience = HAProxyApi._wait_for_hap_availability

    async def at_once(self: Any, process: Any, **arguments: Any) -> None:
        for _ in range(20):
            if process.returncode is None and await self._get_running_pid() == process.pid:
                return
            await asyncio.sleep(0.03)
        await with_patience(self, process, **arguments)

    HAProxyApi._wait_for_hap_availability = at_once
