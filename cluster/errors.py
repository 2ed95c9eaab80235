"""The base of every error that a person can put right: its text names the thing, the place and the way out."""

from __future__ import annotations

import pickle


class GristmillError(Exception):
    """Shown as it is, without a traceback; anything else is a defect."""


class Halt(GristmillError):
    """An error that stops a run in good order: what is under way is finished and kept, nothing new is begun."""


def portable(error: Exception) -> Exception:
    """The error itself if another process can read it, else one that says the same."""
    import cloudpickle

    try:
        pickle.loads(cloudpickle.dumps(error))
    except Exception:  # whatever an error's own pickling may raise
        same = GristmillError(str(error)) if isinstance(error, GristmillError) else None
        return same or RuntimeError(f"{type(error).__name__}: {error}")
    return error
