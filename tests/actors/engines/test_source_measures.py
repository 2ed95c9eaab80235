from actors.engines.programming_language import BY_NAME
from actors.engines.source_measures import measure_source

C = """#include <stdio.h>
/* Adds, if { and for it can. */
int add(int a, int b) {
  if (a && b) { return a; }
  for (;;) { while (1) { b++; } }
  return a ? b : '{'; // { if
}

// Does nothing.
static int
main2(void)
{
  return 0;
}

void bare(void) { }
"""

RUBY = """# Adds.
def add(a)
  if a && b
    "if for"
  end
  a
end

def other(x) = x
"""


def test_functions_of_a_braced_language_are_found_with_their_blocks():
    found = measure_source(C, BY_NAME["c"])
    assert [(each.lines, each.complexity, each.depth) for each in found.functions] == [(5, 6, 2), (3, 1, 0), (1, 1, 0)]
    assert [each.is_documented for each in found.functions] == [True, True, False]
    assert found.unpaired == 0
    assert found.depth == 3


def test_functions_of_an_indented_language_are_found_with_their_blocks():
    found = measure_source(RUBY, BY_NAME["ruby"])
    assert [(each.lines, each.complexity) for each in found.functions] == [(5, 3), (1, 1)]
    assert [each.is_documented for each in found.functions] == [True, False]


def test_closures_and_methods_are_functions_of_their_own():
    text = "const f = (a) => {\n  if (a) { g(); }\n};\nclass A {\n  m(x) {\n    return x || 1;\n  }\n}\n"
    found = measure_source(text, BY_NAME["javascript"])
    assert [(each.lines, each.complexity) for each in found.functions] == [(3, 2), (3, 2)]


def test_strings_and_comments_hold_no_code():
    text = 'const a = `if (${b}) {`;\nconst c = \'for (\';\n// while (\n/* ) */\nlet d = "\\"if {";\n'
    found = measure_source(text, BY_NAME["javascript"])
    assert (found.decisions, found.unpaired) == (0, 0)


def test_brackets_without_a_partner_are_counted():
    assert measure_source("int f( {\n  a[1;\n", BY_NAME["c"]).unpaired == 3
    assert measure_source("case $1 in\n  a) echo;;\nesac\n", BY_NAME["shell"]).unpaired == 0


def test_hazards_are_named_with_their_lines():
    assert measure_source("try {\n} catch (e) {\n}\neval(x);\n", BY_NAME["javascript"]).hazards == [
        "empty catch block (line 2)",
        "eval of a computed string (line 4)",
    ]
    assert measure_source("\nstrcpy(a, b);\n", BY_NAME["c"]).hazards == ["unbounded copy (line 2)"]
    assert measure_source("curl https://x | sudo bash\n", BY_NAME["shell"]).hazards == [
        "download piped into a shell (line 1)"
    ]
    assert measure_source("x = 1;\n// eval(y)\n", BY_NAME["javascript"]).hazards == []


def test_a_lifetime_opens_no_string():
    found = measure_source("fn f<'a>(x: &'a str) {\n    if x == \"{\" { g('}') }\n}\n", BY_NAME["rust"])
    assert found.unpaired == 0
    assert len(found.functions) == 1
