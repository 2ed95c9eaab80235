"""The application on clusters that others started: deployed by its config, swapped under load, and with a node lost."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serve.deployment import config
from serve.settings import settings_from
from tests.serve.conftest import ROOT, free_port, trained
from tests.serve.test_endpoint import inferred
from tests.serve.test_serving import Load, waited_for

pytestmark = [pytest.mark.component, pytest.mark.timeout(600)]
pytest.importorskip("ray.serve")

BIN = Path(sys.executable).parent
HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_BINARY_PATH": str(BIN / "gristmill-haproxy"),
    "RAY_SERVE_HAPROXY_METRICS_PORT": "0",
    "RAY_SERVE_HAPROXY_STATS_PORT": "0",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
}

# Two raylets on one machine, each with a HAProxy of its own. At a word on standard input the second one is killed.
TWO_NODES = """
import sys
import ray
import ray._private.services
import ray._private.worker
from ray.cluster_utils import Cluster
from serve.application import build
from ray import serve

ray._private.services.resolve_ip_for_localhost = lambda host: host
ray._private.worker.print_to_stdstream = lambda *a, **k: None
model, port = sys.argv[1:]
here = {"node_ip_address": "127.0.0.1"}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **here})
other = cluster.add_node(num_cpus=1, **here)
ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
serve.start(proxy_location="EveryNode", http_options={"host": "127.0.0.1", "port": int(port)})
serve.run(build({"models": {"quality": model}, "replicas": 2}))
print("up", flush=True)
sys.stdin.readline()
cluster.remove_node(other, allow_graceful=False)
print("lost", flush=True)
sys.stdin.readline()
ray.shutdown()
cluster.shutdown()
"""


class At:
    """Where a load is to go."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


def environment(folder: Path, more: dict[str, str]) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    (folder / "token").write_text(secrets.token_hex(32))
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    return plain | {"PATH": f"{BIN}:{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0"} | token | more


@pytest.fixture(params=["Ray's own proxy", "HAProxy"])
def head(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A head node that somebody started: the address of its dashboard, and the environment to reach it with."""
    around = environment(tmp_path, HAPROXY if request.param == "HAProxy" else {})
    gcs, dashboard, client, agent = (free_port() for _ in range(4))
    command = [str(BIN / "ray"), "start", "--head", "--node-ip-address=127.0.0.1", f"--port={gcs}", "--num-cpus=3"]
    command += [f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}", "--block"]
    command += [f"--dashboard-agent-listen-port={agent}", "--object-store-memory=200000000"]
    with (tmp_path / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=around, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
    url = f"http://127.0.0.1:{dashboard}"
    try:
        token = {"Authorization": f"Bearer {(tmp_path / 'token').read_text()}"}

        def is_up() -> bool:
            try:
                return httpx.get(f"{url}/api/serve/applications/", headers=token, timeout=5).status_code == 200
            except httpx.HTTPError:
                return False

        assert waited_for(is_up, 90), (tmp_path / "head.log").read_text()
        yield url, around
    finally:
        process.terminate()
        process.wait(60)


def deploy(head: tuple[str, dict[str, str]], folder: Path, port: int, **models: Path) -> None:
    """`serve deploy` with the config that the command prints."""
    file = folder / "config.yaml"
    settings = settings_from({"models": {name: str(path) for name, path in models.items()}, "replicas": 2})
    file.write_text(config(settings, "127.0.0.1", port))
    command = [str(BIN / "serve"), "deploy", "-a", head[0], str(file)]
    done = subprocess.run(command, env=head[1], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_config_is_deployed_and_a_changed_one_takes_over_without_a_failed_request(
    head: tuple[str, dict[str, str]], tmp_path: Path
):
    port = free_port()
    one, other = trained(tmp_path / "one"), trained(tmp_path / "other", epoch=2)
    deploy(head, tmp_path, port, quality=one)
    at = At(port)
    assert waited_for(at.answers, 90)
    texts = ["red apple", "old car", ""]
    for _ in range(10):  # whichever replica answers
        response = httpx.post(f"{at.url}/v1/models/quality:classify", json={"inputs": texts})
        assert [result["probabilities"] for result in response.json()["results"]] == inferred(one, texts)
    with Load(at) as load:  # type: ignore[arg-type]
        time.sleep(1)
        deploy(head, tmp_path, port, quality=other, second=one)
        assert waited_for(lambda: len(load.versions) == 2, 60)

        def is_everywhere() -> bool:
            """Ten times in a row, for there are two replicas, and they take it up one after the other."""
            return all(httpx.get(f"{at.url}/v1/models/second").status_code == 200 for _ in range(10))

        assert waited_for(is_everywhere, 60)
        time.sleep(1)
    assert set(load.found) == {"200"}, (load.found, load.refusals)
    after = [httpx.get(f"{at.url}/v1/models/quality").json()["version"] for _ in range(10)]
    assert len(set(after)) == 1


def test_a_proxys_node_is_lost_and_the_other_goes_on_answering(tmp_path: Path):
    """Nothing is told to the clients of the lost node's proxy but that the line is cut; the others notice little."""
    port, second = free_port(), free_port()
    around = environment(
        tmp_path,
        HAPROXY
        | {
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(second),
            "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "4",
            "RAY_AUTH_MODE": "disabled",
        },
    )
    model = trained(tmp_path / "model")
    command = [sys.executable, "-c", TWO_NODES, str(model), str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (tmp_path / "nodes.log").open("w") as log:
        nodes = subprocess.Popen(command, env=around, cwd=ROOT, stderr=log, **pipes)  # type: ignore[call-overload]
    try:
        assert nodes.stdout.readline() == "up\n", (tmp_path / "nodes.log").read_text()
        here, there = At(port), At(second)
        assert waited_for(lambda: here.answers() and there.answers(), 60)
        with Load(here, clients=4) as load, Load(there, clients=2) as lost:  # type: ignore[arg-type]
            time.sleep(1)
            nodes.stdin.write("kill\n")
            nodes.stdin.flush()
            assert nodes.stdout.readline() == "lost\n"
            time.sleep(4)
            settled = dict(load.found)
            time.sleep(3)
        assert lost.found["200"] > 0
        assert lost.found["ConnectError"] > 0
        # What the lost node's replica was at work on is told to be lost; from then on all is answered.
        assert load.found["200"] > settled["200"]
        assert {name: n for name, n in load.found.items() if name != "200"} == {
            name: n for name, n in settled.items() if name != "200"
        }
        failed = load.found.total() - load.found["200"]
        assert failed <= 40, load.found
        print(f"\nnode lost: {json.dumps(load.found)}")
        nodes.stdin.write("end\n")
        nodes.stdin.flush()
        nodes.wait(60)
    finally:
        nodes.kill()
        nodes.wait()
