"""The test at start: it passes where the box is whole, and names what is possible where one wall of it is missing."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.sandboxes import bubblewrap, docker, process, self_test
from actors.sandboxes.choice import SandboxChoice
from actors.sandboxes.contract import Execution, Limits, Outcome, SandboxBroken, SandboxUnusable, returned

WHOLE = bubblewrap.options
ALLOW_EVERYTHING = struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)  # one instruction: return SECCOMP_RET_ALLOW


class Answering:
    """A sandbox in which each probe ends as told; "ok" with nothing possible where nothing is told."""

    def __init__(self, told: dict[str, Outcome], name: str = "bubblewrap") -> None:
        self.told, self.name = told, name
        self.runs: list[tuple[bool, list[str]]] = []

    def execute(
        self, program: str, function: str, inputs: Sequence[Any], limits: Limits, unfiltered: bool = False
    ) -> Execution:
        names = [value["probe"] for value in inputs]
        self.runs.append((unfiltered, names))
        usual = {"endless": Outcome("timeout")}
        return Execution(tuple(self.told.get(name, usual.get(name, returned([]))) for name in names))

    def close(self) -> None:
        """Nothing to end."""


def prove(sandbox: Any) -> None:
    self_test.prove(sandbox)


def test_the_box_is_proved_with_the_filter_and_by_itself() -> None:
    sandbox = Answering({})
    prove(sandbox)
    assert sandbox.runs == [
        (False, ["memory", "secrets", "forbidden", "network", "files", "processes", "privileges", "threads", "forks"]),
        (True, ["network", "files", "processes", "privileges", "secrets", "threads", "forks"]),
        (False, ["endless"]),
    ]


def test_of_a_process_without_a_box_the_limits_and_the_filter_are_proved() -> None:
    sandbox = Answering({}, "process")
    prove(sandbox)
    assert sandbox.runs == [(False, ["memory", "secrets", "forbidden"]), (False, ["endless"])]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"files": returned(["create a file in /"])}, "create a file in /"),
        ({"memory": Outcome("killed", message="SIGSEGV")}, "the probe of its memory ended with killed"),
        ({"endless": returned([])}, "an endless program ended with ok"),
    ],
)
def test_what_was_possible_is_told(told: dict[str, Outcome], message: str) -> None:
    with pytest.raises(SandboxUnusable, match=message):
        prove(Answering(told))


def test_a_sandbox_that_breaks_is_not_usable() -> None:
    class Breaking(Answering):
        def execute(self, *_: Any, **__: Any) -> Execution:
            raise SandboxBroken("the fork server has ended")

    with pytest.raises(SandboxUnusable, match="the fork server has ended"):
        prove(Breaking({}))


# Real boxes


@pytest.mark.component
@pytest.mark.parametrize("kind", ["bubblewrap", "docker", "process"])
def test_every_isolation_proves_itself(kind: Any, request: pytest.FixtureRequest) -> None:
    if kind != "process":
        request.getfixturevalue({"bubblewrap": "bubblewrap_works", "docker": "dockerd"}[kind])
    choice = SandboxChoice(kind)
    sandbox = choice.start()
    try:
        choice.prove(sandbox)
    finally:
        sandbox.close()


def without(*names: str) -> Callable[[Path], list[str]]:
    return lambda tree: [option for option in WHOLE(tree) if option not in names]


def also(*options: str) -> Callable[[Path], list[str]]:
    return lambda tree: [*WHOLE(tree), *options]


def instead(old: Sequence[str], new: Sequence[str]) -> Callable[[Path], list[str]]:
    def changed(tree: Path) -> list[str]:
        whole = WHOLE(tree)
        at = next(index for index in range(len(whole)) if whole[index : index + len(old)] == list(old))
        return [*whole[:at], *new, *whole[at + len(old) :]]

    return changed


NAMESPACES_BUT_PID = ("--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-user")


@pytest.mark.component
@pytest.mark.parametrize(
    ("options", "possible"),
    [
        pytest.param(also("--share-net"), "connect to a port of this machine", id="the host's network"),
        pytest.param(also("--tmpfs", "/tmp"), "create a file in /tmp", id="a writable tmpfs"),
        pytest.param(also("--dev", "/dev"), "create a file in /dev", id="a writable /dev"),
        pytest.param(
            also("--bind", "{writable}", "/tmp"), "create a file in /tmp", id="a writable folder of the host's"
        ),
        pytest.param(
            also("--tmpfs", "/tmp", "--ro-bind", "{writable}", "{writable}", "--remount-ro", "/tmp"),
            "read /",
            id="a readable folder of the host's",
        ),
        pytest.param(
            lambda tree: [option for option in instead(["--unshare-all"], NAMESPACES_BUT_PID)(tree) if option != "--as-pid-1"],
            "see the machine's own process numbers",
            id="the host's processes",
        ),
        pytest.param(also("--ro-bind", "/proc", "/proc"), "see the process .* in /proc", id="the host's /proc"),
        pytest.param(also("--setenv", "AWS_SECRET_ACCESS_KEY", "x"), "AWS_SECRET_ACCESS_KEY", id="a secret"),
        pytest.param(instead(["--cap-drop", "ALL"], ["--cap-add", "CAP_NET_ADMIN"]), "use capabilities", id="a capability"),
        pytest.param(instead(["--uid", "65534"], ["--uid", "0"]), "be root", id="root"),
    ],
)  # fmt: skip
def test_a_box_with_a_hole_is_refused(
    bubblewrap_works: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: Callable[[Path], list[str]],
    possible: str,
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o777)
    monkeypatch.setattr(
        bubblewrap,
        "options",
        lambda tree: [str(tmp_path) if option == "{writable}" else option for option in options(tree)],
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where the file lies that must not be read
    sandbox = bubblewrap.start()
    try:
        with pytest.raises(SandboxUnusable, match=possible):
            prove(sandbox)
    finally:
        sandbox.close()


@pytest.mark.component
@pytest.mark.parametrize("module", [bubblewrap, process], ids=["bubblewrap", "process"])
def test_a_filter_that_allows_everything_is_refused(
    bubblewrap_works: None, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    monkeypatch.setattr(module, "program_filter", lambda: ALLOW_EVERYTHING)
    sandbox = module.start()
    try:
        with pytest.raises(SandboxUnusable, match="make a socket"):
            prove(sandbox)
    finally:
        sandbox.close()


@pytest.mark.component
@pytest.mark.parametrize(
    ("given", "possible"),
    [({"processes": None}, "start (more than 16 threads|processes without end)"), ({"processes": 0}, "start only")],
    ids=["without a bound on processes", "with a bound that is too narrow"],
)
def test_a_bound_on_processes_that_does_not_hold_is_refused(
    bubblewrap_works: None, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], possible: str
) -> None:
    whole = bubblewrap.json.dumps  # type: ignore[attr-defined]
    monkeypatch.setattr(bubblewrap.json, "dumps", lambda value: whole(value | given))  # type: ignore[attr-defined]
    sandbox = bubblewrap.start()
    monkeypatch.undo()
    try:
        with pytest.raises(SandboxUnusable, match=possible):
            prove(sandbox)
    finally:
        sandbox.close()


@pytest.mark.component
@pytest.mark.parametrize(
    ("change", "possible"),
    [
        ({"network_mode": "host"}, "see the network interface|connect to a port of this machine"),
        ({"read_only": False, "user": "0:0"}, "be root"),
        ({"tmpfs": {"/scratch": "rw,mode=1777"}}, "create a file in /scratch"),
        ({"ipc_mode": "private"}, "create a file in /dev/shm"),
        ({"pid_mode": "host"}, "see the machine's own process numbers"),
        ({"pids_limit": 1000}, "start more than 16 threads"),
        ({"environment": {"API_KEY": "x"}}, "API_KEY"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_a_container_with_a_hole_is_refused(
    dockerd: str, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], possible: str
) -> None:
    from docker import APIClient

    make_bounds, create = APIClient.create_host_config, APIClient.create_container
    of_container = {name: value for name, value in change.items() if name in ("user", "environment")}
    of_bounds = {name: value for name, value in change.items() if name not in of_container}
    monkeypatch.setattr(APIClient, "create_host_config", lambda self, **given: make_bounds(self, **given | of_bounds))

    def create_changed(self: APIClient, **given: Any) -> Any:
        given["network_disabled"] = "network_mode" not in change
        return create(self, **given | of_container)

    monkeypatch.setattr(APIClient, "create_container", create_changed)
    sandbox = docker.start()
    try:
        with pytest.raises(SandboxUnusable, match=possible):
            prove(sandbox)
    finally:
        sandbox.close()
