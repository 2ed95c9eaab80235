"""The files that convert-to-fasttext wrote, as inputs of a run, and how their texts were prepared."""

from __future__ import annotations

import json

from actors.text_form import TextForm
from cluster.errors import GristmillError
from cluster.ledger import MANIFEST
from cluster.shards import SPLITS, Shard, labels_of
from cluster.storage import Entry, open_storage
from jobs.text_forms import common_form


class NoFastTextFiles(GristmillError):
    """A dataset that was not converted for fastText."""


def fasttext_files(urls: list[str], endpoint_url: str | None, needed: str = "train") -> list[Shard]:
    """The `{split}.txt` of each dataset. Raises NoFastTextFiles where the needed split has none."""
    found = []
    for url, label in zip(urls, labels_of(urls), strict=True):
        source = open_storage(url, endpoint_url)
        entries: dict[str, Entry] = {e.name: e for e in source.list() if e.name in {f"{s}.txt" for s in SPLITS}}
        if f"{needed}.txt" not in entries:
            raise NoFastTextFiles(
                f"{url}: no {needed}.txt here; make it with: gristmill convert-to-fasttext --input-dir {url} --output-dir …"
            )
        for entry in entries.values():
            name = f"{label}/{entry.name}" if label else entry.name
            found.append(Shard(source, entry.name, name, entry.size, entry.version))
    return found


def preparation(urls: list[str], endpoint_url: str | None) -> tuple[TextForm | None, int | None]:
    """The normal form of the files' texts and the length they were cut to, as the runs that wrote them recorded."""
    lengths = set()
    for url in urls:
        try:
            lengths.add(json.loads(open_storage(url, endpoint_url).read(MANIFEST))["config"].get("max_length"))
        except FileNotFoundError:
            lengths.add(None)
    if len(lengths) > 1:
        raise NoFastTextFiles(f"{', '.join(urls)} were cut to different lengths: use datasets of one --max-length")
    return common_form(urls, endpoint_url), lengths.pop()
