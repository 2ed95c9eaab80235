"""Programs that spell their answers out are found, with the reason; honest ones are let through."""

from __future__ import annotations

import base64
import json
import random
import zlib

import pytest

from actors.synthesis.grids import Grid, is_grid
from actors.synthesis.literals import OTHER, read
from actors.synthesis.transduction import changed_inputs, independence_reason, static_reason
from tests.actors.synthesis.trusted_execution import run_trusted

_rng = random.Random(5)


def grid(height: int, width: int, colours: int = 10) -> Grid:
    return [[_rng.randrange(colours) for _ in range(width)] for _ in range(height)]


INPUTS = [grid(5, 5), grid(5, 5), grid(6, 4), grid(5, 5)]
ANSWERS = [grid(4, 4), grid(4, 5), grid(3, 6), grid(5, 5)]
SMALL_ANSWERS = [grid(3, 3), grid(3, 3), grid(3, 3), grid(3, 3)]


def reason(program: str, inputs: list[Grid] = INPUTS) -> str | None:
    """Both looks, as a solver takes them."""
    asked = [*inputs, *changed_inputs(inputs)]
    values = [outcome.value for outcome in run_trusted(program, "transform", asked).outcomes]
    answers = [value if is_grid(value) else None for value in values]
    own, changed = answers[: len(inputs)], answers[len(inputs) :]
    assert all(own), "the program of this test does not run"
    return static_reason(program, own) or independence_reason(inputs, own, changed)


def table(answers: list[Grid], default: str = "grid") -> str:
    pairs = ", ".join(f"{json.dumps(json.dumps(i))}: {a}" for i, a in zip(INPUTS, answers, strict=True))
    return f"import json\ndef transform(grid):\n    return {{{pairs}}}.get(json.dumps(grid), {default})\n"


CODED = base64.b85encode(zlib.compress(json.dumps([json.dumps(i) for i in INPUTS] + ANSWERS).encode())).decode()
NUMBER = int("1" + "".join(str(c) for row in ANSWERS[0] for c in row))
DIGITS = "".join(str(c) for row in ANSWERS[0] for c in row)
OFFSET = [[cell + 20 for cell in row] for row in ANSWERS[0]]

SPELLED = {
    "one literal": f"def transform(grid):\n    return {ANSWERS[0]} if grid else 0",
    "a tuple of tuples": f"T = {tuple(map(tuple, ANSWERS[0]))}\ndef transform(grid):\n    return [list(r) for r in T if grid]",
    "numpy": f"import numpy as np\ndef transform(grid):\n    return np.array({[c for r in ANSWERS[0] for c in r]}).reshape(4, len(grid)//len(grid)*4).tolist()",
    "a string that is split": f"def transform(grid):\n    s = {' '.join(DIGITS)!r}.split()\n    return [[int(c) for c in s[i:i+4]] for i in range(0, 16 if grid else 0, 4)]",
    "row strings": f"def transform(grid):\n    return [[int(c) for c in r] for r in {[''.join(map(str, r)) for r in ANSWERS[0]]} if grid]",
    "joined strings": f"def transform(grid):\n    s = {DIGITS[:7]!r} + {DIGITS[7:]!r}\n    return [[int(c) for c in s[i:i+4]] for i in range(0, 16 if grid else 0, 4)]",
    "digits without a blank as a number": f"def transform(grid):\n    s = str({NUMBER})[1:]\n    return [[int(c) for c in s[i:i+4]] for i in range(0, 16 if grid else 0, 4)]",
    "arithmetic": f"def transform(grid):\n    return {[[f'{c + 3}-3' for c in r] for r in ANSWERS[0]]} if grid else 0".replace("'", ""),
    "negative numbers": f"def transform(grid):\n    return {[[f'-{c}+{2 * c}' for c in r] for r in ANSWERS[0]]} if grid else 0".replace("'", ""),
    "a shifted comprehension": f"def transform(grid):\n    return [[c - 20 for c in r] for r in {OFFSET}] if grid else 0",
    "a shifted name": f"D = {OFFSET}\ndef transform(grid):\n    return [[c - 20 for c in r] for r in D] if grid else 0",
    "rows in turn": "def transform(grid):\n    out = []\n" + "".join(f"    out.append({r})\n" for r in ANSWERS[0]) + "    return out if grid else 0",
    "rows by name": "".join(f"r{n} = {r}\n" for n, r in enumerate(ANSWERS[0])) + "def transform(grid):\n    return [r0, r1, r2, r3] if grid else 0",
    "turned": f"import numpy as np\ndef transform(grid):\n    return np.rot90({[list(r) for r in zip(*ANSWERS[0], strict=True)][::-1]}, len(grid) * 0 + 3).tolist()",
    "cell by cell": "def transform(grid):\n    g = [[0]*4 for _ in range(4)]\n" + "".join(f"    g[{r}][{c}] = {v}\n" for r, row in enumerate(ANSWERS[0]) for c, v in enumerate(row)) + "    return g if grid else 0",
    "a lambda that does not look": "transform = lambda grid: [[1, 2]]",
    "a constant": "def transform(grid):\n    return [[0, 1], [1, 0]]",
    "a constant that pretends to look": "def transform(grid):\n    n = len(grid)\n    return [[0, 1], [1, 0]]",
    "a table by the input's text": table(ANSWERS),
    "a table of small answers": table(SMALL_ANSWERS),
    "two small answers by shape": f"def transform(grid):\n    return {SMALL_ANSWERS[0]} if len(grid) == 6 else {SMALL_ANSWERS[1]}",
    "data coded as text": f"import json, zlib, base64\nD = json.loads(zlib.decompress(base64.b85decode({CODED!r})))\nT = dict(zip(D[:4], D[4:]))\ndef transform(grid):\n    return T[json.dumps(grid)]",
    "colours drawn from a seed": "import random\ndef transform(grid):\n    r = random.Random(7)\n    return [[r.randrange(10) for _ in range(5)] for _ in grid[:1] * 5]",
}  # fmt: skip


@pytest.mark.parametrize("program", SPELLED.values(), ids=SPELLED.keys())
def test_what_is_spelled_out_is_found(program: str):
    assert reason(program) is not None


def hashed(program: str) -> str:
    """A table by the hash of the input, whose answers no reading of the source could find."""
    answers = [[[(7 * n + 3 * r + c * c) % 10 for c in range(4)] for r in range(4)] for n in range(4)]
    keys = [sum(v * (i + 1) for i, v in enumerate(c for r in g for c in r)) for g in INPUTS]
    assert len({json.dumps(a) for a in answers}) == len(set(keys)) == 4
    return (
        f"K = {keys}\ndef transform(grid):\n    k = sum(v * (i + 1) for i, v in enumerate(sum(grid, [])))\n    n = "
        + program
        + "\n    return [[(7 * n + 3 * r + c * c) % 10 for c in range(4)] for r in range(4)]\n"
    )


@pytest.mark.parametrize(
    ("lookup", "told"),
    [
        ("K.index(k)", "only the task's own inputs"),
        ("K.index(k) if k in K else 0", "a table of known inputs: no new answer"),
        ("K.index(k) if k in K else 9", "a table of known inputs: one and the same answer"),
        ("9", "outputs spelled out: 1 of 1"),  # the comprehension is worked out
    ],
)
def test_what_the_source_hides_shows_in_the_answers_to_changed_inputs(lookup: str, told: str):
    program = hashed(lookup)
    assert static_reason(program, []) is None
    assert told in (reason(program) or "")


def test_a_table_that_gives_unknown_inputs_back_is_found():
    program = hashed("K.index(k) if k in K else None\n    if n is None: return grid")
    assert "a table of known inputs: no new answer" in (reason(program) or "")


OBJECT = [[0] * 7 for _ in range(7)]
for _r, _c in ((1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (5, 5)):
    OBJECT[_r][_c] = 8
ROOM = [[0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 2], [3, 0, 0, 0, 2]]
PICTURES = [OBJECT, ROOM, grid(4, 4, 3)]

HONEST = {
    "nothing changed": "def transform(grid):\n    return grid",
    "mirrored": "def transform(grid):\n    return [r[::-1] for r in grid]",
    "a map of colours": "M = {0: 0, 1: 5, 2: 6, 3: 4, 8: 9}\ndef transform(grid):\n    return [[M.get(c, c) for c in r] for r in grid]",
    "a palette of all colours": "P = [0, 2, 3, 4, 5, 6, 7, 8, 9, 1]\ndef transform(grid):\n    return [[P[c] for c in r] for r in grid]",
    "offsets of neighbours": "N = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]\ndef transform(grid):\n    h, w = len(grid), len(grid[0])\n    return [[sum(bool(grid[r+a][c+b]) for a, b in N if 0 <= r+a < h and 0 <= c+b < w) for c in range(w)] for r in range(h)]",
    "a kernel": "import numpy as np\nK = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])\ndef transform(grid):\n    g = np.pad(np.array(grid), 1)\n    h, w = g.shape\n    return [[int((g[r-1:r+2, c-1:c+2] * K).max()) for c in range(1, w-1)] for r in range(1, h-1)]",
    "several kernels": "K = [[[0,1,0],[1,1,1],[0,1,0]], [[1,0,1],[0,1,0],[1,0,1]], [[1,1,1],[1,0,1],[1,1,1]]]\ndef transform(grid):\n    k = K[len(grid) % 3]\n    return [[a * c for c in r for a in k[0]] for r in grid]",
    "a stamp that is the answer once": "S = [[0, 8, 0], [8, 8, 8], [0, 8, 0]]\ndef transform(grid):\n    found = [(r, c) for r in range(1, len(grid)-1) for c in range(1, len(grid[0])-1) if grid[r][c]]\n    r, c = found[0] if found else (1, 1)\n    return S if grid[r][c] == 8 and found[0] == (1, 2) else [x[c-1:c+2] for x in grid[r-1:r+2]]",
    "cropped to its content": "def transform(grid):\n    rows = [r for r in grid if any(r)]\n    cols = [c for c in zip(*rows) if any(c)]\n    return [list(r) for r in zip(*cols)]",
    "the commonest colour in one cell": "def transform(grid):\n    flat = sum(grid, [])\n    return [[max(set(flat), key=lambda c: (flat.count(c), c))]]",
    "a class: symmetric or not": "def transform(grid):\n    return [[1]] if grid == [list(r) for r in zip(*grid)] else [[7 if grid[0][0] else 2]]",
    "how many, as a bar": "def transform(grid):\n    n = sum(c != 0 for r in grid for c in r)\n    return [[1] * n + [0] * (30 - n)]",
    "a blank canvas of ten by ten": "def transform(grid):\n    out = [[0] * 10 for _ in range(10)]\n    for r, row in enumerate(grid[:10]):\n        for c, v in enumerate(row[:10]):\n            out[r][c] = v\n    return out",
    "asserts what it expects": "def transform(grid):\n    assert len(grid) > 1 and any(map(any, grid))\n    return [r for r in grid[::-1]]",
    "a long docstring with an example": f'"""Example:\n{ANSWERS}\n{DIGITS}"""\ndef transform(grid):\n    """{" ".join(DIGITS * 8)}"""\n    return grid[::-1]',
    "a large bound": "INF = 10 ** 18\ndef transform(grid):\n    best = INF\n    for r in grid:\n        best = min(best, sum(r))\n    return [r for r in grid if sum(r) >= best][::-1]",
    "a long sentence": f"def transform(grid):\n    assert grid, {'a sentence of many words that says what is wrong with this input ' * 4!r}\n    return grid[::-1]",
    "corners": "def transform(grid):\n    g = [list(r) for r in grid]\n    g[0][0] = 1; g[0][1] = 2; g[1][0] = 3; g[1][1] = 4\n    return g",
    "starred arguments": "def transform(*a):\n    return a[0][::-1]",
    "tiled with arithmetic on places": "def transform(grid):\n    h, w = len(grid), len(grid[0])\n    return [[grid[r % h][c % w] if (r // h + c // w) % 2 == 0 else 0 for c in range(3 * w)] for r in range(3 * h)]",
}  # fmt: skip


@pytest.mark.parametrize("program", HONEST.values(), ids=HONEST.keys())
def test_an_honest_program_is_let_through(program: str):
    assert reason(program, PICTURES) is None


def test_a_drawing_that_depends_on_the_shape_alone_is_no_table_where_all_inputs_are_blank():
    blank = [[[0] * n for _ in range(n)] for n in (5, 7, 9)]
    program = "def transform(grid):\n    n = len(grid)\n    return [[(r + c) % 2 for c in range(n)] for r in range(n)]"
    assert reason(program, blank) is None


def test_reasons_begin_with_their_kind():
    assert reason(SPELLED["one literal"]).startswith("outputs spelled out: 1 of 1 different outputs")
    assert reason(SPELLED["cell by cell"]).startswith("cells set one by one: 16")
    assert reason(SPELLED["data coded as text"]).startswith("long literal: ")
    assert reason(SPELLED["a constant"]).startswith("input not read")
    assert reason(SPELLED["a constant that pretends to look"]).startswith("constant")


def test_expected_outputs_are_no_evidence():
    """The same program, judged by outputs that are not its own: only these are looked for."""
    program = f"K = {ANSWERS[0]}\ndef transform(grid):\n    return [r for r in grid if r in K or r]"
    assert static_reason(program, INPUTS) is None
    assert static_reason(program, [ANSWERS[0]]) is not None


@pytest.mark.parametrize(
    "program",
    ["def f(:", "\0", "x = " + "(" * 5000, "x = 9 ** 9 ** 9 ** 9", "x = [0] * 10 ** 12", "x = 1 << 10 ** 9", "x = 1 // 0",
     "x = [[[i for i in range(900)] for i in range(900)] for i in range(900)]", "x = {**{}, 1: 2}", "x = [][3]",
     "x = '%999999999d' % 1", "x = [[0] * 4096 for i in range(4096)]", "e = [0] * 4000\nd = [e] * 4000\nx = [d] * 4000",
     "a = [[]] * 4096\nb = [a] * 4096\nc = [b] * 4096\nd = [c] * 4096", "a = [[0] * 4096] * 4096\nx = str([a] * 99)",
     "".join(f"v{n} = {n}\n" for n in range(9_000)) + "x = [[i for i in range(900)] for i in range(900)]"],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_hostile_sources_are_read_within_bounds(program: str):
    assert static_reason(program, [ANSWERS[0]]) is None


def test_digits_are_read_in_the_order_of_the_source():
    source = read("A = [1, -2, 12]\nB = '3 4'\nC = [[5 + 1] * 2, *[7, 8]]\nx = 9\nD = [c + 1 for c in (0, 1)]")
    assert source is not None
    assert source.digits == bytes([1, OTHER, OTHER, 3, 4, 6, 6, 7, 8, 1, 2])


def test_changed_inputs_are_new_valid_and_the_same_each_time():
    changed = changed_inputs(INPUTS)
    assert len(changed) == 8 == len({json.dumps(each) for each in changed})
    assert all(is_grid(each) and each not in INPUTS for each in changed)
    assert changed == changed_inputs(json.loads(json.dumps(INPUTS)))


@pytest.mark.parametrize("inputs", [[[[0]]], [[[3] * 30 for _ in range(30)]], [[[1, 2]]], []])
def test_inputs_that_can_hardly_be_changed_prove_nothing(inputs: list[Grid]):
    changed = changed_inputs(inputs)
    assert all(map(is_grid, changed))
    if len(changed) < 4:
        assert independence_reason(inputs, inputs, [None] * len(changed)) is None


def test_answers_have_to_match_their_inputs():
    with pytest.raises(ValueError, match="4 and 1 answers"):
        independence_reason(INPUTS, ANSWERS, [None])
