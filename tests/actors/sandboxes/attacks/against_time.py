"""Programs that do not end."""

from tests.actors.sandboxes.attacks.attack import attack

ATTACKS = (
    attack("an endless loop", "def transform(grid):\n    while True: pass\n", "timeout"),
    attack("an endless loop at the top", "while True: pass\n", "timeout", inputs=(1, 2, 3)),
    attack("sleep", "import time\ndef transform(grid): time.sleep(10**6)\n", "timeout"),
    attack("a regular expression that explodes", "import re\ndef transform(grid): re.match('(a+)+$', 'a' * 40 + 'b')\n", "timeout"),
    attack("a power", "def transform(grid): return 10**10**8 % 7\n", "timeout", "memory"),
    attack(
        "signals swallowed",
        """
        import signal
        def transform(grid):
            for number in range(1, 65):
                try: signal.signal(number, lambda *_: None)
                except (OSError, ValueError): pass
            while True: pass
        """,
        "timeout",
    ),
    attack(
        "a bare except in a loop",
        """
        def transform(grid):
            while True:
                try:
                    while True: pass
                except: pass
        """,
        "timeout",
    ),
    attack(
        "alarms without end",
        """
        import signal
        def transform(grid):
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, 1e-5, 1e-5)
            while True: signal.pause()
        """,
        "timeout",
    ),
    attack(
        "a __del__ that loops",
        """
        class Endless:
            def __del__(self):
                while True: pass
        def transform(grid):
            Endless()
            return grid
        """,
        "timeout",
    ),
    attack(
        "a __del__ that would loop at the end",
        """
        class Endless:
            def __del__(self):
                while True: pass
        kept = Endless()
        def transform(grid): return grid
        """,
        "ok",
    ),
    attack(
        "an atexit that loops",
        """
        import atexit, threading
        def endless():
            while True: pass
        atexit.register(endless)
        threading._register_atexit(endless)
        def transform(grid): return grid
        """,
        "ok",
    ),
    attack(
        "an exception that loops as it is told",
        """
        class Endless(Exception):
            def __str__(self):
                while True: pass
        def transform(grid): raise Endless
        """,
        "timeout",
    ),
    attack(
        "a thread that loops on",
        """
        import threading
        def endless():
            while True: pass
        def transform(grid):
            threading.Thread(target=endless).start()
            return grid
        """,
        "ok",
    ),
    attack(
        "a garbage collection that loops",
        """
        import gc
        def endless(*_):
            while True: pass
        def transform(grid):
            gc.callbacks.append(endless)
            gc.collect()
        """,
        "timeout",
    ),
    attack(
        "a trace that loops",
        """
        import sys
        def transform(grid):
            def endless(*_):
                while True: pass
            sys.setprofile(endless)
            return grid
        """,
        "timeout",
    ),
    attack(
        "the clock's start forged",
        """
        import struct, sys
        def transform(grid):
            frame = sys._getframe()
            while "shared" not in frame.f_locals: frame = frame.f_back
            shared = frame.f_locals["shared"]
            while True:
                for forged in (1e300, float("nan"), float("inf"), -1e300):
                    shared[:24] = struct.pack("<iIdd", 2, 0, forged, forged)
        """,
        "timeout",
    ),
    attack(
        "the clock's start forged to lie ahead",
        """
        import struct, sys, time
        def transform(grid):
            frame = sys._getframe()
            while "shared" not in frame.f_locals: frame = frame.f_back
            frame.f_locals["shared"][:24] = struct.pack("<iIdd", 2, 0, 1e6, 1e6)
            time.sleep(1e6)
        """,
        "timeout",
    ),
    attack(
        "the limits forged before they are read",
        """
        import sys
        frame = sys._getframe()
        while "shared" not in frame.f_locals: frame = frame.f_back
        shared = frame.f_locals["shared"]
        shared[24:4096] = b"\\x7f" * (4096 - 24)
        def transform(grid):
            while True: pass
        """,
        "timeout",
    ),
)  # fmt: skip

ENDLESS_FOR_ONE_INPUT = "def transform(number):\n    while number == 2: pass\n    return number\n"

FORGED_CLOCK = """
import struct, sys
def transform(number):
    frame = sys._getframe()
    while "shared" not in frame.f_locals: frame = frame.f_back
    frame.f_locals["shared"][:24] = struct.pack("<iIdd", 2, 0, 1e6, 1e6)
    while True: pass
"""
