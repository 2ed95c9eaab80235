"""Real sandboxes for the tests: bubblewrap as it is here, and a Docker daemon of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from actors.sandboxes.contract import SandboxUnusable

DAEMON_SECONDS = 60


@cache
def without_bubblewrap() -> str:
    """Why bubblewrap cannot be had here; "" where it can."""
    from actors.sandboxes import bubblewrap

    try:
        bubblewrap.start().close()
    except SandboxUnusable as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def bubblewrap_works() -> None:
    if reason := without_bubblewrap():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def dockerd() -> Iterator[str]:
    """The address of a Docker daemon that has no network and keeps everything in a temporary folder.

    Not below the folder that other tests bind into boxes: nobody can bind what a container has mounted there.
    """
    if shutil.which("dockerd") is None or os.geteuid():
        pytest.skip("a Docker daemon for the tests needs dockerd (apt-get install docker.io) and root")
    folder = Path(tempfile.mkdtemp(prefix="gristmill-dockerd-", dir="/var/tmp"))
    address = f"unix://{folder}/docker.sock"
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(
            [
                "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", f"--data-root={folder}/data",
                f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", "-H", address,
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        if not _answers(address, daemon):
            said = (folder / "log").read_text(errors="replace").strip().splitlines()
            pytest.skip(f"dockerd does not start here: {said[-1] if said else 'it says nothing'}")
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("DOCKER_HOST", address)
            yield address
    finally:
        daemon.terminate()
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        _unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(address: str, daemon: subprocess.Popen[bytes]) -> bool:
    import docker
    from docker.errors import DockerException

    deadline = time.monotonic() + DAEMON_SECONDS
    while time.monotonic() < deadline and daemon.poll() is None:
        try:
            docker.DockerClient(base_url=address).close()
            return True
        except DockerException:
            time.sleep(0.1)
    return False


def _unmount_below(folder: Path) -> None:
    """What a daemon that ended leaves mounted, so that its folder can be removed."""
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((each for each in places if each.startswith(str(folder))), reverse=True):
        subprocess.run(["umount", "-l", place], check=False)
