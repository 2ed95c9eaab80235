"""The child process in which fastText trains: `python -P fasttext_training.py JOB`, with a JSON job and a JSON answer.

A process of its own, because fastText starts from memory that it does not clear (see `_clear_new_memory`), may end
a process by an abort or by running out of memory, and cannot be interrupted. It ends when its parent does. It only
needs the standard library and the `fasttext` package, and checks nothing that the parent can check before.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

_M_PERTURB = -6  # mallopt(3)


def _end_with_parent() -> None:
    """Standard input is a pipe that the parent never writes to: it ends when the parent does, however that was."""
    os.read(0, 1)  # not sys.stdin: a thread that waits in a buffered reader aborts the interpreter's shutdown
    os._exit(1)


def _clear_new_memory() -> bool:
    """Have malloc hand out zeros; says whether this C library can.

    With fewer than ten threads fastText gives random values to as many tenths of its input matrix, and leaves the
    rest as malloc returned it. A large matrix is fresh, zeroed memory from the kernel. A small one holds whatever was
    there before: every run then gives another model, or fails with "Encountered NaN".
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # glibc fills new memory with the complement of this byte.
    return mallopt is not None and mallopt(_M_PERTURB, 0xFF) == 1


def _train(job: dict[str, Any]) -> dict[str, Any]:
    import fasttext

    model = fasttext.train_supervised(**job["arguments"])
    model.save_model(job["model"])
    # Words of a file that is not UTF-8 have no exact spelling; leaving bytes out keeps `least_bytes` a lower bound.
    words, labels = model.get_words(on_unicode_error="ignore"), model.get_labels(True, "ignore")
    arguments = model.f.getArgs()
    names = [*words, *labels[0]]
    rows = len(names) + arguments.bucket
    return {
        "words": len(words),
        "labels": [[name, int(count)] for name, count in zip(*labels, strict=True)],
        "least_bytes": rows * arguments.dim * 4 + sum(len(name.encode()) + 10 for name in names),
        "tuned": {
            "learning_rate": arguments.lr,
            "dimension": arguments.dim,
            "word_ngrams": arguments.wordNgrams,
            "epoch": arguments.epoch,
            "bucket": arguments.bucket,
            "min_char_ngram": arguments.minn,
            "max_char_ngram": arguments.maxn,
        },
    }


def main(job_file: str) -> int:
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cleared = _clear_new_memory() if job["clear_memory"] else True
    try:
        answer = _train(job)
    except (RuntimeError, ValueError, MemoryError) as error:
        answer = {"error": str(error) or type(error).__name__}
    answer["cleared"] = cleared
    Path(job["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
