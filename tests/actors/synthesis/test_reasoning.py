"""What a model wrote before its program."""

from __future__ import annotations

import pytest

from actors.synthesis.reasoning import reasoning_of


@pytest.mark.parametrize(
    ("response", "reasoning"),
    [
        ("It flips.\n\n```python\nx\n```\nDone.", "It flips."),
        ("```python\nx\n```", None),
        ("no block", None),
        ("first\n```python\ndraft\n```\nbetter:\n~~~py\nx\n~~~", "first\n```python\ndraft\n```\nbetter:"),
        ("<think>hm</think>\nso\n  ```Python\nx", "<think>hm</think>\nso"),
        ("data:\n```text\n1 2\n```\nthus\n```python\nx\n```", "data:\n```text\n1 2\n```\nthus"),
    ],
)
def test_reasoning_is_what_stands_before_the_last_python_block(response: str, reasoning: str | None):
    assert reasoning_of(response) == reasoning
