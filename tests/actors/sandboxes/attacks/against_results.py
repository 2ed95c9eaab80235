"""Programs that return something else than a plain value, and values at the edge."""

from tests.actors.sandboxes.attacks.attack import attack

RESULT = 1 << 16  # bytes of a result, in the limits that these are run with


def returns(name, expression, *ends, before="", **rest):
    return attack(
        name, f"import numpy, math, random\n{before}\ndef transform(grid): return {expression}\n", *ends, **rest
    )


ATTACKS = (
    returns("a list with a lying length", "Mine([[1]])", "wrong_type", before="class Mine(list):\n    def __len__(self): return 10**9"),
    returns("a list with a lying iterator", "Mine([[1]])", "wrong_type", before="class Mine(list):\n    def __iter__(self):\n        while True: yield 1"),
    returns("a list that equals everything", "Mine([[1]])", "wrong_type", before="class Mine(list):\n    def __eq__(self, other): return True"),
    returns("a list of such", "[Mine([1])]", "wrong_type", before="class Mine(list):\n    def __iter__(self): return iter([[9]])"),
    returns("a type that equals every type", "Mine()", "wrong_type", "exception", before="class Meta(type):\n    __eq__ = lambda self, other: True\n    __hash__ = type.__hash__\n    __module__ = 'numpy'\nclass Mine(metaclass=Meta): pass"),
    returns("a text of its own", "Mine('x')", "wrong_type", before="class Mine(str): pass"),
    returns("a number of its own", "Mine(7)", "wrong_type", before="class Mine(int):\n    __repr__ = lambda self: '[[9]]'"),
    returns("a true value of numpy's that lies", "Mine(7)", "wrong_type", before="class Mine(numpy.int64):\n    item = lambda self: object()"),
    returns("a circle", "circle", "wrong_type", before="circle = []\ncircle.append(circle)"),
    returns("a generator", "(row for row in grid)", "wrong_type"),
    returns("an endless generator", "iter(int, 1)", "wrong_type"),
    returns("true", "[[True]]", "ok", value=[[True]]),
    returns("a fraction", "[[1.5]]", "ok", value=[[1.5]]),
    returns("no number", "[[math.nan]]", "wrong_type"),
    returns("an infinite number", "[[math.inf]]", "wrong_type"),
    returns("a ragged grid", "[[1], [2, 3]]", "ok", value=[[1], [2, 3]]),
    returns("an empty grid", "[]", "ok", value=[]),
    returns("nothing", "None", "ok", value=None),
    returns("31 rows of 31", "[[0] * 31] * 31", "ok", value=[[0] * 31] * 31),
    returns("a huge integer", "10 ** 5000", "wrong_type"),
    returns("an integer of 65 bits", "[1 << 64]", "wrong_type"),
    returns("the greatest integers", "[(1 << 64) - 1, -(1 << 63)]", "ok", value=[(1 << 64) - 1, -(1 << 63)]),
    returns("numbers of numpy's", "[numpy.int8(3), numpy.uint64(4), numpy.float32(0.5), numpy.bool_(True)]", "ok", value=[3, 4, 0.5, True]),
    returns("an array", "numpy.array(grid)", "ok", value=[[1, 2], [3, 4]]),
    returns("rows that are arrays", "[numpy.array(row) for row in grid]", "ok", value=[[1, 2], [3, 4]]),
    returns("an array of objects", "numpy.array([object()])", "wrong_type"),
    returns("an array of no number", "numpy.array([math.nan])", "wrong_type"),
    returns("an array of dates", "numpy.array(['2020-01-01'], dtype='datetime64[D]')", "wrong_type"),
    returns("an array that is one everywhere", "numpy.broadcast_to(numpy.int8(1), (1 << 40,))", "output_limit"),
    returns("an array without size", "numpy.empty((1 << 40, 0))", "output_limit", "memory", "wrong_type", "timeout"),
    returns("a matrix", "numpy.matrix(grid)", "wrong_type"),
    returns("bytes", "b'x'", "wrong_type"),
    returns("a set", "{1}", "wrong_type"),
    returns("a complex number", "1j", "wrong_type"),
    returns("an object with __reduce__", "Mine()", "wrong_type", before="class Mine:\n    def __reduce__(self): return (print, ('reduced',))"),
    returns("an object that looks like JSON", "Mine()", "wrong_type", before="class Mine:\n    __json__ = tolist = item = to_json = lambda self: [[9]]"),
    returns("keys that are numbers", "{1: 2}", "wrong_type"),
    returns("broken text", "'\\ud800'", "wrong_type"),
    returns("text of all kinds", "'\\0\\u2028\\U0001f600'", "ok", value="\0\u2028\U0001f600"),
    returns("a result at its limit", f"'x' * {RESULT - 2}", "ok"),
    returns("a result over its limit", f"'x' * {RESULT - 1}", "output_limit"),
    returns("a result of many values", "[[]] * (1 << 30)", "output_limit", "memory"),
    returns("a result that repeats itself", "nested", "output_limit", "memory", before="nested = [0]\nfor _ in range(60): nested = [nested, nested]"),
    returns("its input, changed", "grid.clear() or grid", "ok", value=[]),
    returns("another answer each time", "numpy.random.default_rng().random()", "ok"),
    attack("a result that changes while it is written", """
        import threading
        def transform(grid):
            rows = [[0] * 1000 for _ in range(30)]
            def change():
                while True:
                    rows[0].append(object())
                    rows[0].clear()
            threading.Thread(target=change, daemon=True).start()
            return rows
        """, "ok", "wrong_type", "output_limit", "exception"),
)  # fmt: skip
