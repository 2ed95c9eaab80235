"""Programs that take memory, or go too deep."""

from tests.actors.sandboxes.attacks.attack import attack, attempts

ENDS = ("memory", "killed", "exception", "timeout")  # where the address space ends there is more than one way to go

ATTACKS = (
    attack("a list that grows", "def transform(grid):\n    found = []\n    while True: found.append([0] * 100000)\n", "memory"),
    attack("a huge string", "def transform(grid): return len('x' * (1 << 33))\n", "memory"),
    attack("a string that doubles", "def transform(grid):\n    text = 'x'\n    while True: text += text\n", "memory"),
    attack("numpy zeros", "import numpy\ndef transform(grid): return int(numpy.zeros(1 << 31).sum())\n", "memory"),
    attack(
        "numpy zeros, touched piece by piece",
        """
        import numpy
        def transform(grid):
            kept = []
            while True:
                kept.append(numpy.zeros(1 << 20))
                kept[-1][:] = 1
        """,
        "memory",
    ),
    attack("recursion", "def transform(grid): return transform(grid)\n", "exception"),
    attack(
        "recursion without Python's limit",
        "import sys\nsys.setrecursionlimit(2**31 - 1)\ndef transform(grid): return [transform(grid)]\n",
        *ENDS,
    ),
    attack(
        "recursion in C, repr",
        """
        import sys
        def transform(grid):
            sys.setrecursionlimit(2**31 - 1)
            nested = []
            for _ in range(10**6): nested = [nested]
            return len(repr(nested))
        """,
        *ENDS,
    ),
    attack(
        "recursion in C, json",
        "import json\ndef transform(grid): return len(json.loads('[' * 10**6 + ']' * 10**6))\n",
        "exception",
    ),
    attack(
        "a result that goes deep",
        "def transform(grid):\n    nested = []\n    for _ in range(10**5): nested = [nested]\n    return nested\n",
        "wrong_type",
    ),
    attempts(
        "shared memory by its paths",
        """
        for path in ("/dev/shm/attack", "/dev/mqueue/attack", "/tmp/attack", "/run/shm/attack"):
            if possible(os.open, path, os.O_CREAT | os.O_RDWR): found.append(path)
        from multiprocessing import shared_memory
        if possible(lambda: shared_memory.SharedMemory(create=True, size=1 << 20)): found.append("SharedMemory")
        """,
    ),
    attempts(
        "memory that no limit of a process counts",
        """
        if possible(os.memfd_create, "attack"): found.append("memfd_create")
        if possible(os.pipe): found.append("pipe")
        if possible(LIBC.shmget, 0, 1 << 20, 0o1600): found.append("shmget")
        if possible(LIBC.msgget, 0, 0o1600): found.append("msgget")
        if possible(LIBC.semget, 0, 100, 0o1600): found.append("semget")
        if possible(LIBC.syscall, 425, 4096, ctypes.create_string_buffer(120)): found.append("io_uring_setup")
        if possible(LIBC.mlockall, 3): found.append("mlockall")
        """,
    ),
    attack("a huge mapping", "import mmap\ndef transform(grid): mmap.mmap(-1, 1 << 40)\n", "exception", "memory"),
    attack(
        "many mappings",
        """
        import mmap
        kept = []
        def transform(grid):
            while True:
                kept.append(mmap.mmap(-1, 1 << 20))
                kept[-1][0] = 1
        """,
        *ENDS,
    ),
    attack(
        "memory taken and freed in a loop",
        """
        def transform(grid):
            while True:
                try: kept = bytearray(100 << 20)
                except MemoryError: pass
                kept = None
        """,
        "timeout",
    ),
    attack(
        "MemoryError swallowed",
        """
        kept = []
        def transform(grid):
            while True:
                try:
                    while True: kept.append(bytearray(1 << 20))
                except MemoryError: pass
        """,
        "timeout", "memory",
    ),
    attack(
        "the stacks of threads",
        """
        import threading
        threading.stack_size(256 << 20)
        def transform(grid):
            threading.Thread(target=print).start()
            threading.Thread(target=print).start()
        """,
        "exception",
        "timeout", "ok",
    ),
    attack("a read of no memory", "import ctypes\ndef transform(grid): ctypes.string_at(0)\n", "killed"),
    attack("a write to no memory", "import ctypes\ndef transform(grid): ctypes.memset(1, 1, 1 << 30)\n", "killed"),
    attack(
        "a read where the results are not backed",
        """
        import sys
        def transform(grid):
            frame = sys._getframe()
            while "shared" not in frame.f_locals: frame = frame.f_back
            shared = frame.f_locals["shared"]
            for at in range(0, len(shared), 4096): shared[at] = 1
            return len(shared) > 0
        """,
        "ok", "timeout", "wrong_type",
    ),
)  # fmt: skip
