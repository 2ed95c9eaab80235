"""The system call filter, as the kernel's instructions."""

from __future__ import annotations

import builtins
import struct
from typing import Any

import pytest

from actors.sandboxes import seccomp
from actors.sandboxes.contract import SandboxUnusable

RETURN, ALLOW, ERRNO_EPERM = 6, 0x7FFF0000, 0x00050001


def test_the_filter_is_whole_and_ends_in_what_it_may_end_in() -> None:
    filter_ = seccomp.program_filter()
    instructions = list(struct.iter_unpack("<HBBI", filter_))
    assert 0 < len(instructions) < 4096
    returned = {value for code, _, _, value in instructions if code == RETURN}
    assert {ALLOW, ERRNO_EPERM} <= returned
    assert seccomp.program_filter() is filter_  # computed once


def test_no_name_is_there_twice_and_none_is_unknown() -> None:
    import pyseccomp

    assert len(set(seccomp.ALLOWED)) == len(seccomp.ALLOWED)
    for name in seccomp.ALLOWED:
        assert pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) != -1, name


@pytest.mark.parametrize(
    "name",
    [
        "open",
        "creat",
        "fork",
        "vfork",
        "execve",
        "execveat",
        "kill",
        "tkill",
        "tgkill",
        "socket",
        "connect",
        "bind",
        "ptrace",
        "mount",
        "unshare",
        "setns",
        "bpf",
        "memfd_create",
        "io_uring_setup",
        "userfaultfd",
        "perf_event_open",
        "keyctl",
        "prctl",
        "seccomp",
        "setrlimit",
        "shmget",
        "mq_open",
        "process_vm_readv",
        "pidfd_open",
        "pipe",
        "pipe2",
        "eventfd2",
        "epoll_create1",
        "fcntl",
        "openat",
        "clone",
        "clone3",
        "ioctl",
        "prlimit64",
    ],
)
def test_what_could_do_harm_is_not_allowed_whatever_its_arguments(name: str) -> None:
    assert name not in seccomp.ALLOWED


def test_without_libseccomp_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "pyseccomp":
            raise RuntimeError("Unable to find libseccomp")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SandboxUnusable, match="apt-get install libseccomp2"):
        seccomp.program_filter.__wrapped__()
