import ast
import sysconfig
import warnings
from pathlib import Path

import pytest
from radon.visitors import ComplexityVisitor

from actors.engines.python_measures import measure_python


def measure(source):
    return measure_python(ast.parse(source))


def radon_functions(blocks):
    for block in blocks:
        yield (block.name, block.lineno), block.complexity
        yield from radon_functions(getattr(block, "closures", []))


def radon_complexities(module):
    visitor = ComplexityVisitor.from_ast(module)
    classes, functions = list(visitor.classes), list(visitor.functions)
    while classes:
        found = classes.pop()
        functions += found.methods
        classes += found.inner_classes
    return dict(radon_functions(functions))


def test_complexity_is_radons_on_the_standard_library():
    compared = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::4]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(path.read_bytes())
        ours = {(each.name, each.line): each.complexity for each in measure_python(module).functions}
        for function, complexity in radon_complexities(module).items():
            assert ours[function] == complexity, (path.name, function)
            compared += 1
    assert compared > 500


def test_depth_counts_blocks_and_takes_elif_for_the_same_block():
    source = "def f(a):\n if a:\n  pass\n elif a > 1:\n  for b in a:\n   pass\n elif a > 2:\n  pass\n"
    assert measure(source).functions[0].depth == 2
    assert measure("def f():\n def g():\n  if 1:\n   pass\n").functions[0].depth == 0


def test_docstrings_are_counted_on_the_module_and_what_is_public():
    found = measure('"""m"""\nclass A:\n "a"\n def m(self): pass\n def _p(self): pass\nclass _B:\n def m(self): pass\n')
    assert (found.documentable, found.documented) == (3, 2)
    assert found.has_module_docstring


def test_hints_leave_out_self_and_the_return_of_init():
    found = measure(
        "class A:\n def __init__(self, a: int, *b): pass\n def m(self) -> int: pass\ndef f(c, *, d: int): pass\n"
    )
    assert (found.hintable, found.hinted) == (6, 3)


def test_names_are_judged_by_pep_8():
    found = measure(
        "class bad_name: pass\nclass Good: pass\ndef camelCase(): pass\ndef visit_Name(): pass\nCONSTANT = x = 1\nLoud = 2"
    )
    assert set(found.poor_names) == {"bad_name", "camelCase", "Loud"}
    assert measure("l = O = 1; i = 2").cryptic_names == 2


def test_handlers_that_hide_errors_are_found():
    source = "try: pass\nexcept: pass\ntry: pass\nexcept Exception: pass\ntry: pass\nexcept ValueError: pass\ntry: pass\nexcept:\n raise\n"
    found = measure(source)
    assert found.bare_handlers == [2]
    assert found.silent_handlers == [2, 4]


def test_slips_are_found_with_their_lines():
    found = measure("from os import *\n\ndef f(a=[], *, b={}): pass\n")
    assert found.wildcard_imports == [1]
    assert found.mutable_defaults == [3, 3]


def test_stubs_are_told_from_functions_that_do_something():
    source = 'def a(): ...\ndef b():\n "text"\n raise NotImplementedError("x")\ndef c(): return 1\n'
    assert {each.name: each.is_stub for each in measure(source).functions} == {"a": True, "b": True, "c": False}


def test_literal_data_at_module_level_is_counted_in_lines():
    assert measure("A = [\n 1,\n 2,\n]\nB = f()\n").data_lines == 4


@pytest.mark.parametrize("source", ["x = " + "-" * 900 + "1", "x = " + "+".join(["1"] * 900), "x" + "[0]" * 900])
def test_nesting_that_the_parser_accepts_is_walked_without_recursion(source):
    assert measure(source).nodes > 900


def test_every_kind_of_statement_is_walked():
    source = """
async def f():
    async with a() as b, c:
        async for d in e: yield d
    match b:
        case {"k": [1, *_]} if d: pass
        case A(x=1) | None: return
        case _: pass
    try: pass
    except* ValueError as error: del error
    else: nonlocal_ = 1
    finally: assert b, c
    while True:
        break
    else:
        x: int = (y := 1)
    with open(b): x += await c
    global z
    return [lambda q: q if q else 1 for q in b if q if x] and {**b} or f"{x!r:>{y}}"
"""
    (function,) = measure(source).functions
    assert (
        function.complexity == radon_complexities(ast.parse(source))[("f", 2)] + 2
    )  # radon leaves except* and else out
