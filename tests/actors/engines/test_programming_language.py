import pytest

from actors.engines.programming_language import READ, programming_language

PROGRAMS = {
    "python": "import os\n\ndef main():\n    print 'old Python'\n",
    "c": "#include <stdio.h>\nint main(void) { return 0; }\n",
    "java": "package a.b;\nimport java.util.List;\n\npublic class A {\n  private int x;\n}\n",
    "csharp": "using System;\nnamespace A\n{\n  public class B { public int C { get; set; } }\n}\n",
    "javascript": "import React from 'react';\nexport const a = (b) => { return b === 1; };\n",
    "go": "package main\n\nfunc main() {\n}\n",
    "rust": "use std::io;\n\npub fn main() -> Result<(), io::Error> {\n    let x = 1;\n}\n",
    "ruby": "require 'set'\nclass A < B\n  def m\n    @x = 1\n  end\nend\n",
    "php": "<?php\necho 1;\n",
    "shell": "#!/bin/sh\necho hello\n",
    "kotlin": "import a.b.C\n\ndata class A(val b: Int)\nfun main() {\n    val x = 1\n}\n",
    "swift": "import Foundation\nfunc f() -> Int {\n    guard let x = y else { return 1 }\n}\n",
    "scala": "object A {\n  def f(x: Int): Int = x\n  case class B(c: Int)\n  val d = 1\n}\n",
    "r": "library(stats)\nf <- function(x) {\n  y <- c(1, 2)\n}\n",
    "lua": "local a = require('b')\nlocal function f(x)\n  if x then\n  end\nend\n",
    "perl": "use strict;\nmy $x = 1;\nsub f { return $x->y; }\n",
    "sql": "CREATE TABLE a (b int);\nSELECT b\nFROM a\nWHERE b = 1;\n",
}
NO_PROGRAMS = [
    "",
    "The quick brown fox jumps over the lazy dog. If it rains, the dog stays at home.",
    '{"a": [1, 2, {"b": null}]}',
    "name: x\nversion: 1\nlist:\n  - a\n",
    "# Title\n\n```python\nimport os\ndef f():\n    pass\n```\n",
    "<!DOCTYPE html><html><script>const a = 1;\nlet b = 2;\nfunction f() { }</script></html>",
    "\x00\x01\x02" * 100,
]


@pytest.mark.parametrize(("name", "text"), PROGRAMS.items())
def test_a_program_is_recognised(name, text):
    found = programming_language(text)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("text", NO_PROGRAMS)
def test_what_is_no_program_is_not_guessed_at(text):
    assert programming_language(text) is None


def test_only_the_opening_is_read():
    assert programming_language("\n" * READ + PROGRAMS["c"]) is None
