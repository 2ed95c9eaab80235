"""The normal form of texts, from the command line and from the runs that made a dataset (see actors.text_form)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from actors.text_form import FormMismatch, TextForm, same, steps_of
from cluster.ledger import MANIFEST
from cluster.storage import open_storage


def described(normalization: str | None, tokenizer: str | None) -> TextForm | None:
    """The form that a --normalization names, with its tokenizer's digest; None for `none`."""
    if normalization is None or normalization == "none":
        return None
    from actors.normalizers import normalizer

    return dict(normalizer(normalization, tokenizer).description)


def form_of(url: str, endpoint_url: str | None) -> TextForm | None:
    """The form of a dataset's texts, as the run that wrote it recorded; None for texts as they are."""
    try:
        manifest = json.loads(open_storage(url, endpoint_url).read(MANIFEST))
    except FileNotFoundError:
        return None
    form: TextForm | None = manifest.get("text_form")
    return form


def common_form(urls: Sequence[str], endpoint_url: str | None) -> TextForm | None:
    """The one form of several datasets. Raises FormMismatch where they differ."""
    forms = {url: form_of(url, endpoint_url) for url in urls}
    first = next(iter(forms), None)
    for url, form in forms.items():
        if first is not None and not same(steps_of(form), steps_of(forms[first])):
            one, two = ((found or {"name": "none"})["name"] for found in (forms[first], form))
            raise FormMismatch(
                f"{first} holds texts in the normal form {one}, {url} in {two}: use datasets of one form"
            )
    return forms[first] if first is not None else None
