"""Which isolation "auto" is on a machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from actors.sandboxes import bubblewrap
from actors.sandboxes.choice import SandboxChoice
from actors.sandboxes.contract import SandboxUnusable


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    forget = bubblewrap.is_allowed.cache_clear
    forget()
    yield
    forget()


@pytest.mark.parametrize(
    ("there", "is_allowed", "chosen"),
    [
        ({"bwrap"}, True, "bubblewrap"),
        ({"bwrap", "docker"}, True, "bubblewrap"),
        ({"bwrap", "docker"}, False, "docker"),  # Ubuntu's AppArmor, or a container
        ({"bwrap"}, False, "bubblewrap"),  # which says then what forbids it
        ({"docker"}, False, "docker"),
    ],
)
def test_auto_takes_what_works(there: set[str], is_allowed: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None)
    monkeypatch.setattr(bubblewrap, "is_allowed", lambda: is_allowed)
    assert SandboxChoice().resolved == chosen


def test_where_there_is_none_that_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SandboxUnusable, match="apt-get install bubblewrap"):
        _ = SandboxChoice().resolved


def test_a_bubblewrap_that_ends_with_an_error_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    assert not bubblewrap.is_allowed()


@pytest.mark.component
def test_a_bubblewrap_that_works_is_allowed(bubblewrap_works: None) -> None:
    assert bubblewrap.is_allowed()
