"""Programs that look for the answer, change what runs them, or leave something for the next one."""

from tests.actors.sandboxes.attacks.attack import attack, attempts

# A word that is in nothing that the host sends: it stands for an expected output, which never comes into a sandbox.
EXPECTED = "an expected output that nobody sends"

LOOK_FOR_STATE = """
import builtins, json, os, signal, sys, threading

def transform(grid):
    found = []
    if hasattr(builtins, "left_behind") or "left_behind" in sys.modules: found.append("a name")
    if json.JSONEncoder().encode([1]) != "[1]" or len("abc") != 3 or sum([1, 2]) != 3: found.append("a patched function")
    if os.getcwd() != "/": found.append("the folder")
    if "LEFT" in os.environ: found.append("the environment")
    if os.umask(0o22) == 0o777: found.append("the umask")
    if threading.active_count() != 1: found.append("a thread")
    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL: found.append("a signal's handler")
    if sys.getrecursionlimit() != 1000: found.append("the recursion limit")
    return found
"""

# Finds bytes in the memory of its own process: pages are tried with a system call that fails where there is none.
SCAN = """
import ctypes

LIBC = ctypes.CDLL(None, use_errno=True)

def pages():
    heap = {id(object()), id([0] * 5), id("x" * 9000), id(b"y" * 200000), id(ctypes.create_string_buffer(64))}
    for start in sorted({address >> 24 for address in heap}):
        for address in range((start - 1) << 24, (start + 2) << 24, 4096):
            ctypes.set_errno(0)
            LIBC.access(ctypes.c_void_p(address), 0)
            if ctypes.get_errno() != 14: yield address

def transform(halves):
    # The word itself is in no request: it is put together here, and never as one piece.
    first, second = (half.encode() for half in halves)
    hits = looked = 0
    for address in pages():
        page = ctypes.string_at(address, 4096)
        looked += 1
        at = page.find(first)
        while at >= 0:
            hits += page[at + len(first) : at + len(first) + len(second)] == second
            at = page.find(first, at + 1)
    return [hits, looked > 500]
"""
WORD = ("a word of the first ", "program's, kept for the second")
# Prints and returns the word; its source holds it too.
SPEAK = f"import sys\ndef transform(_):\n    word = {''.join(WORD)!r}\n    print(word * 50)\n    print(word * 50, file=sys.stderr)\n    return [word] * 100\n"

ATTACKS = (
    attack(
        "frames and objects searched for the answer",
        f"""
        import gc, sys
        def transform(grid):
            word = {EXPECTED[:12]!r} + {EXPECTED[12:]!r}
            seen, stack = 0, [sys._getframe(depth).f_locals for depth in range(4)] + gc.get_objects()
            for each in stack:
                seen += 1
                if isinstance(each, (list, dict, tuple)) and seen < 50000:
                    values = list(each.values()) if isinstance(each, dict) else each
                    for value in values:
                        if type(value) is str and value == word and value is not word: return "found"
            frame, names = sys._getframe(1), set()
            while frame:
                names |= set(frame.f_locals)
                frame = frame.f_back
            return sorted(names & {{"expected", "output", "outputs", "answer", "solution"}})
        """,
        "ok", "timeout", value=["output"],
    ),
    attack(
        "json, numpy and builtins patched",
        """
        import builtins, json, numpy, sys
        def transform(grid):
            json.JSONEncoder.encode = lambda *_: "[[9]]"
            json.dumps = lambda *_: "[[9]]"
            numpy.ndarray = list
            builtins.len = lambda _: 0
            builtins.sum = lambda _: 9
            builtins.type = lambda _: list
            builtins.isinstance = lambda *_: True
            sys.modules["__main__"].plain = lambda *_: [[9]]
            return grid
        """,
        "ok", "killed",
        "exception", "wrong_type", after=LOOK_FOR_STATE,
    ),
    attack(
        "the harness's own functions replaced",
        """
        import sys
        def transform(grid):
            main = sys.modules["__main__"]
            main.watch = main.serve_one = main.write_all = main.confine = main.call = lambda *_: None
            return grid
        """,
        "ok", after=LOOK_FOR_STATE,
    ),
    attack(
        "equality that is always true",
        "class Any(list):\n    __eq__ = lambda *_: True\ndef transform(grid): return Any()\n",
        "wrong_type",
    ),
    attack(
        "state left behind",
        """
        import builtins, os, signal, sys, threading, time, types
        def transform(grid):
            builtins.left_behind = sys.modules["left_behind"] = types.ModuleType("left_behind")
            os.environ["LEFT"] = "1"
            os.umask(0o777)
            os.chdir("/packages" if os.path.exists("/packages") else "/tmp")
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            sys.setrecursionlimit(5000)
            threading.Thread(target=time.sleep, args=(1000,)).start()
            return grid
        """,
        "ok", after=LOOK_FOR_STATE,
    ),
    attempts(
        "the parent's memory",
        """
        ways = {
            "mem": lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR),
            "mem to read": lambda: os.read(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY), 1),
            "process_vm_readv": lambda: LIBC.syscall(310, os.getppid(), None, 0, None, 0, 0),
            "process_vm_writev": lambda: LIBC.syscall(311, os.getppid(), None, 0, None, 0, 0),
            "ptrace": lambda: LIBC.ptrace(16, os.getppid(), 0, 0),
            "kcmp": lambda: LIBC.syscall(312, os.getpid(), os.getppid(), 0, 1, 1),
        }
        for name, way in ways.items():
            if possible(way): found.append(name)
        """,
    ),
)  # fmt: skip
