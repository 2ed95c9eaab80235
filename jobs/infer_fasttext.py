"""infer-fasttext: add a fastText model's label probabilities to each row."""

from __future__ import annotations

from typing import Any

from jobs.command import run, verb
from jobs.inference import classify, inference_options

EXAMPLES = """
gristmill infer-fasttext --model-dir models/m --input-dir data/raw --output-dir data/scored
gristmill infer-fasttext --model-dir models/m --input-dir data/raw --output-dir data/scored --column quality --num-workers 8
"""


@verb("infer-fasttext", EXAMPLES)
@inference_options
def command(**arguments: Any) -> Any:
    """Add a fastText model's probabilities to each row as {label: probability}; every other byte of the row stays.

    Texts are brought into the model's own normal form for the model; the row keeps its own text.
    """
    return classify("infer-fasttext", "fasttext", arguments)


if __name__ == "__main__":
    run(command)
