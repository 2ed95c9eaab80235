"""The normal form of a dataset's texts, as it travels with the data and with the models trained on it.

A model is only as good as the match between the texts it was trained on and those it is asked about. So every run
records which normalizers its texts went through, models keep what their training texts went through, and inference
does what is left to do. A form is None (texts as they are), the description of one normalizer, or
`{"name": "plsfix, ultrafine", "steps": [...]}` for several, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.errors import GristmillError

TextForm = dict[str, Any]


class FormMismatch(GristmillError):
    """Texts in one normal form are offered where another one is needed, and there is no way back."""


def steps_of(form: TextForm | None) -> list[TextForm]:
    """The normalizers of a form, in the order in which they are applied."""
    if form is None:
        return []
    steps: list[TextForm] = form.get("steps", [form])
    return steps


def form_of_steps(steps: list[TextForm]) -> TextForm | None:
    """The form that these normalizers make."""
    if len(steps) < 2:
        return steps[0] if steps else None
    return {"name": ", ".join(step["name"] for step in steps), "steps": steps}


def extended(form: TextForm | None, step: TextForm | None) -> TextForm | None:
    """The form after one more normalizer; the same one twice in a row is applied once."""
    steps = steps_of(form)
    if step is None or (steps and same([steps[-1]], [step])):
        return form
    return form_of_steps([*steps, step])


def same(one: list[TextForm], other: list[TextForm]) -> bool:
    """Whether the steps are the same. Where a tokenizer lies does not matter, what is in it does."""
    return [_key(step) for step in one] == [_key(step) for step in other]


def _key(step: TextForm) -> tuple[str, str | None]:
    return step["name"], step.get("tokenizer_sha256")


def needed(wanted: TextForm | None, found: TextForm | None, model: str, dataset: str) -> TextForm | None:
    """What brings texts in the form `found` into the form `wanted`. Raises FormMismatch where nothing can."""
    target, done = steps_of(wanted), steps_of(found)
    if same(target[: len(done)], done):
        return form_of_steps(target[len(done) :])
    raise FormMismatch(
        f"{dataset} holds texts in the normal form {found['name'] if found else 'none'}, {model} needs "
        f"{wanted['name'] if wanted else 'texts as they are'}: use the dataset as it was before normalize-dataset"
    )


def applier(form: TextForm | None, tokenizer: str | None = None) -> Callable[[list[str]], list[str]]:
    """A function that brings texts into a form. `tokenizer` says where the last step's tokenizer is, if it moved."""
    from actors.normalizers import restored

    steps = steps_of(form)
    made = [restored(step, tokenizer if step is steps[-1] else None) for step in steps]

    def apply(texts: list[str]) -> list[str]:
        for normalize in made:
            texts = normalize(texts)
        return texts

    return apply
