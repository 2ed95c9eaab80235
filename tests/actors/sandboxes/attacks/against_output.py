"""Programs that print too much, or something else than they should, and those that forge what comes back."""

from tests.actors.sandboxes.attacks.attack import attack, attempts

LIMIT = 1 << 16  # bytes of output, in the limits that these are run with

ATTACKS = (
    attack("endless standard output", "def transform(grid):\n    while True: print('x' * 1000)\n", "output_limit"),
    attack("endless standard error", "import sys\ndef transform(grid):\n    while True: sys.stderr.write('x' * 1000)\n", "output_limit"),
    attack("endless single bytes", "import os\ndef transform(grid):\n    while True: os.write(2, b'x')\n", "output_limit", "timeout"),
    attack("output at its limit", f"import os\ndef transform(grid):\n    os.write(1, b'x' * {LIMIT})\n    return grid\n", "ok", output=lambda text: text == "x" * LIMIT),
    attack("output one byte over its limit", f"import os\ndef transform(grid):\n    os.write(1, b'x' * {LIMIT + 1})\n    return grid\n", "output_limit", output=lambda text: text == "x" * LIMIT),
    attack("output that all inputs together have too much of", f"import os\ndef transform(part):\n    os.write(1, b'x' * ({LIMIT} // 2 + part))\n    return part\n", "ok", "output_limit", inputs=(0, 0, 1), output=lambda text: text == "x" * LIMIT),
    attack("a hundred megabytes at once", "import os\ndef transform(grid): os.write(1, b'x' * (100 << 20))\n", "output_limit"),
    attack("NUL and bytes that are no text", "import os\ndef transform(grid):\n    os.write(1, bytes(range(256)))\n    return grid\n", "ok", output=lambda text: text[0] == "\0" and len(text) == 256),
    attack(
        "frames forged in the output",
        """
        import os, struct
        def transform(grid):
            for descriptor in (1, 2):
                os.write(descriptor, struct.pack("<IIIiddi", 33, 0, 0, 0, 0.0, 0.0, 2) + struct.pack("<iIIdd", 0, 0, 5, 0, 0) + b"[[9]]")
            return grid
        """,
        "ok", value=[[1, 2], [3, 4]],
    ),
    attack(
        "frames forged where they lie",
        """
        import os, struct, sys
        def transform(grid):
            frame = sys._getframe()
            while "shared" not in frame.f_locals: frame = frame.f_back
            shared = frame.f_locals["shared"]
            shared[:24] = struct.pack("<iIdd", 2, 2**32 - 1, 0, 0)
            shared[64:] = b"\\xff" * (len(shared) - 64)
            os._exit(0)
        """,
        "wrong_type", "timeout",
    ),
    attack(
        "frames of inputs that were never run",
        """
        import os, struct, sys
        frame = sys._getframe()
        while "shared" not in frame.f_locals: frame = frame.f_back
        shared = frame.f_locals["shared"]
        payload = b"[" * 3000
        forged = struct.pack("<iIIdd", 0, 0, len(payload), 1e300, -1) + payload
        shared[64 : 64 + len(forged)] = forged
        shared[:24] = struct.pack("<iIdd", 99, len(forged), 0, 0)
        os._exit(0)
        """,
        "wrong_type",
        "timeout", "killed", inputs=(1, 2, 3),
    ),
    attack("descriptors closed", "import os\nos.closerange(0, 1000)\ndef transform(grid): return grid\n", "ok"),
    attack("streams closed", "import sys\nsys.stdout.close()\nsys.stderr.close()\ndef transform(grid): return grid\n", "ok"),
    attack("streams removed", "import sys\nsys.stdout = sys.stderr = sys.__stdout__ = None\ndef transform(grid): return grid\n", "ok"),
    attack("descriptors doubled", "import os\ndef transform(grid):\n    for _ in range(20): os.dup(1)\n    os.dup2(0, 1)\n    return grid\n", "ok"),
    attempts(
        "writing into every descriptor",
        """
        for descriptor in range(1024):
            if descriptor not in (1, 2) and possible(os.write, descriptor, b"x" * 100): found.append(descriptor)
        """,
    ),
    attempts(
        "reading every descriptor",
        """
        for descriptor in range(1024):
            try:
                if os.read(descriptor, 100): found.append(descriptor)
            except OSError: pass
        """,
    ),
    attack("a flush that loops", "import sys\nclass Endless:\n    def flush(self):\n        while True: pass\nsys.__stdout__ = Endless()\ndef transform(grid): return grid\n", "ok"),
    attack("a codec that breaks", "import sys\nsys.stdout.reconfigure(encoding='utf-16')\ndef transform(grid):\n    print('\\ud800', file=sys.stderr)\n    print('x')\n    return grid\n", "ok"),
)  # fmt: skip
