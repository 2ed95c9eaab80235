"""The long run in short: ordinary programs among hostile ones, and nothing that grows."""

from __future__ import annotations

import pytest

from actors.program_executor import ProgramExecutor
from actors.sandboxes.choice import SandboxChoice
from benchmarks.mixed_programs import Mixture

pytestmark = pytest.mark.component


def test_every_ordinary_program_is_right_and_nothing_grows(bubblewrap_works: None) -> None:
    executor = ProgramExecutor(SandboxChoice("bubblewrap"), sandboxes=2)
    mixture = Mixture(executor, hostile=0.05)
    try:
        rows = list(mixture.run(1500, every=500, callers=2))
    finally:
        executor.close()
    assert mixture.wrong == [] and mixture.right == mixture.ordinary > 1300
    first, last = rows[0], rows[-1]
    assert last["descriptors"] <= first["descriptors"]
    assert last["threads"] <= first["threads"]
    assert last["processes"] <= 6  # of each sandbox the box, the server, and the child that waits
    assert last["servers MiB"] < first["servers MiB"] + 10
    assert last["host MiB"] < first["host MiB"] + 30
    assert mixture.inventory()["processes"] == 0
