"""Whether the owner of something still lives, told from a word."""

from __future__ import annotations

import subprocess
import sys

import pytest

from actors.sandboxes.owner import is_dead, owner


def word_of_another() -> tuple[str, subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", "from actors.sandboxes.owner import owner; print(owner(), flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process.stdout.readline().strip(), process


def test_this_process_lives() -> None:
    assert owner() == owner() and not is_dead(owner())
    assert "/" not in owner() and " " not in owner()


def test_another_process_is_dead_once_it_has_ended_even_before_it_is_reaped() -> None:
    word, process = word_of_another()
    assert word != owner() and not is_dead(word)
    process.kill()
    process.stdout.read()  # type: ignore[union-attr]
    assert [is_dead(word) for _ in range(2)][-1] or (process.wait() and is_dead(word))
    process.wait()
    assert is_dead(word)


def test_a_number_that_was_given_again_is_not_the_owner() -> None:
    numbering, _, tick = owner().rpartition("-")
    assert is_dead(f"{numbering}-{int(tick) - 1}")


@pytest.mark.parametrize("change", [lambda word: "x" + word, lambda word: word.replace("-", "_"), lambda word: ""])
def test_a_word_from_elsewhere_is_not_judged(change) -> None:  # type: ignore[no-untyped-def]
    assert not is_dead(change(owner()))
    assert not is_dead("python")


def test_a_word_of_another_boot_or_namespace_is_not_judged() -> None:
    boot, _, rest = owner().rpartition("-")[0].rpartition("-")[0].rpartition("-")
    assert not is_dead(f"{boot}-{int(rest) + 1}-999999-1")
    assert is_dead(f"{boot}-{rest}-4194999-1")
