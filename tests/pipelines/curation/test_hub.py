"""Datasets of the hub, from the cache of the datasets library; nothing here needs a network."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.curation.hub import HubFailed, download
from pipelines.curation.tables import units_of


@pytest.fixture
def offline(tmp_path: Path, monkeypatch) -> Path:
    """The datasets library with an empty cache and without a network; the cache's folder."""
    datasets = pytest.importorskip("datasets")
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def remember(cache: Path, name: str, folder: Path) -> None:
    """Put a dataset into the cache as if it had been downloaded under that name."""
    import datasets

    files = {split: str(folder / f"{split}.parquet") for split in ("train", "validation")}
    builder = datasets.load_dataset_builder("parquet", data_files=files, cache_dir=str(cache / "made"))
    builder.download_and_prepare()
    prepared = Path(builder.cache_dir)
    target = cache / name.replace("/", "___") / "default" / prepared.parent.name / prepared.name
    target.parent.mkdir(parents=True)
    shutil.copytree(prepared, target)
    short = name.rsplit("/", 1)[-1]
    for file in target.glob("parquet-*.arrow"):
        file.rename(file.with_name(file.name.replace("parquet-", f"{short}-", 1)))
    info = target / "dataset_info.json"
    info.write_text(info.read_text().replace(f'"{builder.config.name}"', '"default"'))


def test_a_dataset_in_the_cache_is_found_without_a_network(offline: Path, tmp_path: Path):
    for split, rows in (("train", 5), ("validation", 3)):
        pq.write_table(pa.table({"text": [f"{split} {row}" for row in range(rows)]}), tmp_path / f"{split}.parquet")
    remember(offline, "acme/corpus", tmp_path)
    found = download("acme/corpus", None, quiet=True)
    rows = {split: sum(u.rows for f in files for u in units_of(f)[0]) for split, files in found.tables.items()}
    assert rows == {"train": 5, "validation": 3}
    assert all(shard.size > 0 and shard.version.isdigit() for shard in found.inputs())


def test_a_dataset_that_cannot_be_reached_is_one_line(offline: Path):
    with pytest.raises(
        HubFailed, match=r"^acme/nowhere is no local path, and could not be had .* hub: .*acme/nowhere"
    ) as caught:
        download("acme/nowhere", None, quiet=True)
    assert "\n" not in str(caught.value)


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(HubFailed, match=r"acme/corpus is no local path.*pip install 'gristmill\[huggingface\]'"):
        download("acme/corpus", None, quiet=True)
