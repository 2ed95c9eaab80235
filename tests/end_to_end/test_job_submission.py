"""A verb submitted to a running cluster, and run against it by --address."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
pytestmark = [pytest.mark.component, pytest.mark.timeout(600)]


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head node on ports of its own: (gcs address, dashboard URL, environment)."""
    gcs, dashboard, client, agent = free_ports(4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    command = [str(BIN / "ray"), "start", "--head", "--node-ip-address=127.0.0.1", f"--port={gcs}", "--num-cpus=3"]
    command += [f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}", "--block"]
    command += [f"--dashboard-agent-listen-port={agent}", "--object-store-memory=200000000"]
    log = tmp_path_factory.mktemp("ray") / "head.log"
    with log.open("w") as out:
        head = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait = [str(BIN / "ray"), "job", "list", "--address", f"http://127.0.0.1:{dashboard}"]
        for _ in range(60):
            if subprocess.run(wait, env=environment, capture_output=True, check=False).returncode == 0:
                break
        else:
            pytest.fail(f"the head node did not come up: {log.read_text()}")
        yield f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", environment
    finally:
        head.terminate()
        head.wait(60)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "in" / "train").mkdir(parents=True)
    rows = [json.dumps({"id": number, "text": f"Héllo\n\nWorld {number}"}) for number in range(1000)]
    (folder / "in" / "train" / "a.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def normalized(folder):
    lines = (folder / "train" / "a.jsonl").read_text().splitlines()
    return [json.loads(line)["text"] for line in lines] == [f"hello¶world {number}" for number in range(1000)]


def test_a_submitted_job_does_the_work(cluster, dataset):
    _, dashboard, environment = cluster
    verb = [
        "python",
        "-m",
        "jobs.normalize_dataset",
        "-i",
        str(dataset / "in"),
        "-o",
        str(dataset / "submitted"),
        "-n",
        "potion",
    ]
    submit = [str(BIN / "ray"), "job", "submit", "--address", dashboard, "--working-dir", ".", "--", *verb]
    done = subprocess.run(submit, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1,000 in = 1,000 out" in done.stdout
    assert normalized(dataset / "submitted")


def test_an_address_sends_the_work_to_the_cluster(cluster, dataset):
    address, _, environment = cluster
    command = [str(BIN / "gristmill"), "normalize-dataset", "--address", address, "-n", "potion", "--json"]
    command += ["-i", str(dataset / "in"), "-o", str(dataset / "addressed")]
    done = subprocess.run(command, cwd=dataset, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["rows_out"] == 1000
    assert normalized(dataset / "addressed")


def test_an_address_where_nobody_answers_is_one_line(dataset):
    (port,) = free_ports(1)
    command = [str(BIN / "gristmill"), "normalize-dataset", "--address", f"127.0.0.1:{port}", "-n", "potion"]
    command += ["-i", str(dataset / "in"), "-o", str(dataset / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert f"no Ray cluster could be reached at 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
