"""The system calls that a program may make, as the kernel's filter: what computing needs, and nothing else.

A list of what is allowed, so that a call which nobody thought of is refused. No new process, no signal to anyone, no
socket, no file but for reading, no descriptor that holds memory outside of the memory limit. Refused calls fail with
EPERM, which a program sees as an exception.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from functools import cache

from actors.sandboxes.contract import SandboxUnusable

CLONE_THREAD = 0x00010000
# With a thread may come no namespace, no other parent, no tracer and no way around either.
CLONE_NOT = 0x7E82E080  # NEWNS NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET NEWTIME PARENT PTRACE VFORK UNTRACED
# Nothing that sends signals: F_SETOWN, F_SETSIG, F_SETLEASE and F_NOTIFY let a descriptor kill any process of the user.
FCNTL = (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL)
TCGETS, FIOCLEX = 0x5401, 0x5451

MEMORY = "brk madvise mmap mprotect mremap munmap"
DESCRIPTORS = (
    "close close_range dup dup2 dup3 fadvise64 fstat fstatfs lseek poll ppoll pread64 preadv preadv2 pselect6 "
    "pwrite64 pwritev pwritev2 read readv select write writev"
)
FILES = (
    "access chdir faccessat faccessat2 fchdir getcwd getdents getdents64 lstat newfstatat readlink readlinkat stat "
    "statfs statx umask"
)
TIME = "alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep pause setitimer time times"
SIGNALS = (
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait restart_syscall sigaltstack"
)
THREADS = (
    "arch_prctl futex futex_waitv get_robust_list gettid membarrier rseq sched_get_priority_max sched_get_priority_min "
    "sched_getaffinity sched_getparam sched_getscheduler sched_yield set_robust_list set_tid_address"
)
SELF = (
    "exit exit_group getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getrandom "
    "getresgid getresuid getrlimit getrusage getsid getuid sysinfo uname"
)
ALLOWED = " ".join((MEMORY, DESCRIPTORS, FILES, TIME, SIGNALS, THREADS, SELF)).split()


@cache
def program_filter() -> bytes:
    """The filter as the kernel's instructions (BPF, eight bytes each) for this machine.

    Raises SandboxUnusable where libseccomp or its binding is missing.
    """
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError, OSError) as error:
        raise SandboxUnusable(
            "the sandbox's system call filter needs libseccomp and pyseccomp: apt-get install libseccomp2, "
            f"pip install 'gristmill[sandbox]' ({error})"
        ) from error
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    with contextlib.suppress(OSError, ValueError):  # libseccomp before 2.5 makes a list of comparisons instead
        rules.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)  # a search tree: the kernel tries every call as it installs it
    for name in ALLOWED:
        if seccomp.resolve_syscall(seccomp.system_arch(), name) >= 0:  # another architecture may lack it
            rules.add_rule(seccomp.ALLOW, name)
    reading = seccomp.Arg(2, seccomp.MASKED_EQ, os.O_ACCMODE | os.O_CREAT | os.O_TRUNC, os.O_RDONLY)
    rules.add_rule(seccomp.ALLOW, "openat", reading)
    # Threads, not processes. clone3 hides its flags from a filter; glibc falls back to clone where there is none.
    rules.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD | CLONE_NOT, CLONE_THREAD))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    for command in FCNTL:
        rules.add_rule(seccomp.ALLOW, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    rules.add_rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, TCGETS))  # "is this a terminal?" of every open()
    rules.add_rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, FIOCLEX))
    rules.add_rule(seccomp.ALLOW, "prlimit64", seccomp.Arg(2, seccomp.EQ, 0))  # asking for a limit, not setting one
    with open(os.memfd_create("filter"), "w+b") as file:  # on no disk, which may be full
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
