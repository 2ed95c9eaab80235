"""Programs that end in other ways than by returning."""

from tests.actors.sandboxes.attacks.attack import attack

ATTACKS = (
    attack("sys.exit", "import sys\ndef transform(grid): sys.exit(0)\n", "exception"),
    attack("sys.exit at the top", "import sys\nsys.exit(0)\n", "exception", inputs=(1, 2)),
    attack("os._exit", "import os\ndef transform(grid): os._exit(0)\n", "killed"),
    attack("os._exit at the top", "import os\nos._exit(0)\n", "killed", inputs=(1, 2)),
    *(attack(f"os._exit with the status {code}", f"import os\ndef transform(grid): os._exit({code})\n", "killed") for code in (100, 101, 102)),
    attack("abort", "import os\ndef transform(grid): os.abort()\n", "killed"),
    attack("a system call of another architecture", """
        import ctypes, mmap
        def transform(grid):
            code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            code.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20; int 0x80; ret
            ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        """, "killed"),
    attack("an illegal instruction", """
        import ctypes, mmap
        def transform(grid):
            code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            code.write(bytes.fromhex("0f0b"))
            ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        """, "killed"),
    attack("a subclass of SystemExit", "class Mine(SystemExit):\n    code = property(lambda self: 1 / 0)\ndef transform(grid): raise Mine\n", "exception"),
    attack("an exception whose text raises", "class Mine(Exception):\n    def __str__(self): raise KeyboardInterrupt\ndef transform(grid): raise Mine\n", "exception"),
    attack("an exception whose text is no text", "class Mine(Exception):\n    def __str__(self): return 7\ndef transform(grid): raise Mine\n", "exception"),
    attack("an exception whose text is huge", "def transform(grid): raise ValueError('x' * (10 << 20))\n", "exception"),
    attack("an exception with a huge name", "def transform(grid): raise type('x' * (1 << 20), (Exception,), {})\n", "exception"),
    attack("an exception that is no text at all", "def transform(grid): raise ValueError('\\ud800\\0\\x1b[2J\\u202e')\n", "exception"),
    attack("an exception that lies about its class", """
        class Mine(BaseException):
            __class__ = property(lambda self: 1 / 0)
            __traceback__ = property(lambda self: 1 / 0)
        def transform(grid): raise Mine
        """, "exception", "killed"),
    attack("KeyboardInterrupt", "def transform(grid): raise KeyboardInterrupt\n", "exception"),
    attack("GeneratorExit", "def transform(grid): raise GeneratorExit\n", "exception"),
    attack("a chain of exceptions", """
        def transform(grid):
            error = None
            for number in range(10**4):
                next_error = ValueError(number)
                next_error.__cause__ = next_error.__context__ = error
                error = next_error
            raise error
        """, "exception"),
    attack("no function", "x = 1\n", "exception"),
    attack("a function that is none", "transform = 7\n", "exception"),
    attack("no program", "def transform(grid:\n", "exception"),
    attack("a program of NUL", "\0\0\0", "exception"),
    attack("a program that is too deep to be read", "x = " + "(" * 10**5, "exception", "memory"),
    attack("a program that crashes the parser", "x = " + "-" * 10**6 + "1\ndef transform(grid): return 1\n", "exception", "memory", "killed"),
    attack("a huge program", "x = [" + "1, " * 10**6 + "]\ndef transform(grid): return len(x)\n", "ok", "timeout", "memory"),
    attack("a program in another encoding", "# coding: rot13\ndef transform(grid): return grid\n", "ok", "exception"),
)  # fmt: skip
