"""Programs that make processes, or end those of others."""

from tests.actors.sandboxes.attacks.attack import attack, attempts

# Attacks of the list, and once more without the filter, which keeps programs from having children at all.
DAEMON = """
import os, time
def transform(grid):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(1000)
        os._exit(0)
    return grid
"""
HOLDER = """
import os, time
def transform(grid):
    if os.fork() == 0: time.sleep(1000)
    return grid
"""
ZOMBIES = """
import os
def transform(grid):
    for _ in range(8):
        if os.fork() == 0: os._exit(0)
    return grid
"""

ATTACKS = (
    attack("a fork bomb", "import os\ndef transform(grid):\n    while True: os.fork()\n", "exception", safe_without_a_box=False),
    attack(
        "a fork bomb that does not give up",
        """
        import os
        def transform(grid):
            while True:
                try: os.fork()
                except OSError: pass
        """,
        "timeout",
        safe_without_a_box=False,
    ),
    attempts(
        "a process, in every way",
        """
        import multiprocessing, pty, subprocess
        ways = {
            "fork": os.fork,
            "forkpty": pty.fork,
            "posix_spawn": lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", "0"], {}),
            "subprocess": lambda: subprocess.run([sys.executable, "-c", "0"]),
            "system": lambda: -1 if os.system("exit 7") in (-1, 127 << 8, 256, 32512) else 0,
            "multiprocessing": lambda: multiprocessing.get_context("fork").Process(target=print).start(),
            "execv": lambda: os.execv(sys.executable, [sys.executable, "-c", "0"]),
            "vfork": LIBC.vfork,
            "clone": lambda: LIBC.syscall(56, 17, 0, 0, 0, 0),
            "clone with memory shared": lambda: LIBC.syscall(56, 0x100 | 17, 0, 0, 0, 0),
            "clone3": lambda: LIBC.syscall(435, (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17), 88),
            "clone into namespaces": lambda: LIBC.syscall(56, 0x10000000 | 0x20000000 | 17, 0, 0, 0, 0),
            "clone as a thread with a namespace": lambda: LIBC.syscall(56, 0x10000 | 0x800 | 0x100 | 0x2000000, 0, 0, 0, 0),
        }
        for name, way in ways.items():
            if possible(way): found.append(name)
        """,
        safe_without_a_box=False,
    ),
    attack("a double fork and a session of its own", DAEMON, "exception", safe_without_a_box=False),
    attack("a child that holds the pipe open", HOLDER, "exception", safe_without_a_box=False),
    attack("zombies", ZOMBIES, "exception", safe_without_a_box=False),
    attack(
        "daemon threads",
        """
        import threading, time
        def transform(grid):
            while True: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        """,
        "exception", "memory",
    ),
    attack(
        "threads that are started without end",
        """
        import _thread, time
        def more():
            while True:
                try: _thread.start_new_thread(more, ())
                except RuntimeError: pass
        def transform(grid): more()
        """,
        "timeout", "memory", "killed",
    ),
    attempts(
        "signals to others",
        """
        ways = {
            "kill all": lambda: os.kill(-1, signal.SIGKILL),
            "kill the parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
            "stop the parent": lambda: os.kill(os.getppid(), signal.SIGSTOP),
            "kill the first process": lambda: os.kill(1, signal.SIGKILL),
            "kill the group": lambda: os.killpg(0, signal.SIGKILL),
            "kill the parent's group": lambda: os.killpg(os.getpgid(os.getppid()), signal.SIGKILL),
            "tgkill": lambda: LIBC.syscall(234, os.getppid(), os.getppid(), 9),
            "tkill": lambda: LIBC.syscall(200, os.getppid(), 9),
            "rt_sigqueueinfo": lambda: LIBC.syscall(129, os.getppid(), 9, ctypes.create_string_buffer(128)),
            "pidfd_open": lambda: os.pidfd_open(os.getppid()),
            "pidfd_getfd": lambda: LIBC.syscall(438, 3, 0, 0),
        }
        for name, way in ways.items():
            if possible(way): found.append(name)
        """,
        safe_without_a_box=False,
    ),
    attempts(
        "a descriptor that sends signals to others",
        """
        import fcntl
        ways = {
            "own": lambda: fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid()),
            "own a group": lambda: fcntl.fcntl(1, fcntl.F_SETOWN, -os.getpgid(os.getppid())),
            "own, extended": lambda: fcntl.fcntl(1, 15, (ctypes.c_int * 2)(1, os.getppid())),
            "signal": lambda: fcntl.fcntl(1, 10, signal.SIGKILL),
            "asynchronous": lambda: fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_ASYNC),
            "asynchronous by ioctl": lambda: fcntl.ioctl(1, 0x5452, b"\\1\\0\\0\\0"),
            "lease": lambda: fcntl.fcntl(os.open("/", os.O_RDONLY), 1024, 0),
            "notice of changes": lambda: fcntl.fcntl(os.open("/", os.O_RDONLY), 1026, 0x80000004),
        }
        for name, way in ways.items():
            if possible(way): found.append(name)
        """,
        safe_without_a_box=False,
    ),
    attack(
        "itself killed",
        "import os, signal\ndef transform(grid):\n    os.kill(os.getpid(), signal.SIGKILL)\n    return grid\n",
        "exception",
    ),
    attempts(
        "the machine's order of work",
        """
        ways = {
            "nice": lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19),
            "nice oneself": lambda: os.nice(-5),
            "affinity of the parent": lambda: os.sched_setaffinity(os.getppid(), {0}),
            "scheduler": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
            "limits of the parent": lambda: __import__("resource").prlimit(os.getppid(), 7, (3, 3)),
            "io": lambda: LIBC.syscall(251, 1, 0, 0),
        }
        for name, way in ways.items():
            if possible(way): found.append(name)
        """,
        safe_without_a_box=False,
    ),
)  # fmt: skip
