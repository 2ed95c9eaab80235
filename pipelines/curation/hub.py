"""A dataset of the Hugging Face hub, downloaded and prepared by the `datasets` library into its own cache.

No code of a dataset is run. A dataset that is in the cache already needs no network.
"""

from __future__ import annotations

from pathlib import Path

from cluster.errors import GristmillError
from cluster.storage import Entry, LocalStorage
from pipelines.curation.dataset_files import DatasetFiles
from pipelines.curation.tables import TableFile


class HubFailed(GristmillError):
    """A dataset that could not be had from the hub."""


def download(name: str, subset: str | None, quiet: bool) -> DatasetFiles:
    """The Arrow files of every split of a hub dataset. Raises HubFailed."""
    try:
        import datasets
    except ImportError:
        raise HubFailed(
            f"{name} is no local path, and the hub needs a library: pip install 'gristmill[huggingface]'"
        ) from None
    if quiet:
        datasets.disable_progress_bars()
        datasets.utils.logging.set_verbosity_error()
    try:
        builder = datasets.load_dataset_builder(name, name=subset)
        builder.download_and_prepare()
        prepared = builder.as_dataset()
    except Exception as error:  # the libraries below raise whatever they meet: HTTP, file system, Arrow, their own
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise HubFailed(f"{name} is no local path, and could not be had from the Hugging Face hub: {reason}") from error
    found = DatasetFiles(None)
    for split, data in prepared.items():
        found.tables[str(split)] = [_table(Path(file["filename"])) for file in data.cache_files]
    return found


def _table(path: Path) -> TableFile:
    status = path.stat()
    entry = Entry(path.name, status.st_size, str(status.st_mtime_ns))
    return TableFile(LocalStorage(str(path.parent)), entry, "arrow")
