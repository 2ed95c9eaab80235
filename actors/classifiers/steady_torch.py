"""torch with a set number of threads, and model2vec's progress bars shown or not, for the time of a training.

Both are settings of the whole process and are put back afterwards.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator


@contextlib.contextmanager
def steady_torch(threads: int | None) -> Iterator[int]:
    """A set number of threads, on which the order of sums and so the last bits of a model depend."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield threads or before
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def bars(shown: bool) -> Iterator[None]:
    """model2vec's progress bars on standard error, or nothing there."""
    with contextlib.nullcontext() if shown else contextlib.redirect_stderr(io.StringIO()):
        yield
