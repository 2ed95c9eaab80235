"""Where a normalizer's tokenizer.json comes from: a file, a directory that holds one, or the Hugging Face hub."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import GristmillError

HUB_IDS = {"ultra_fineweb": "openbmb/Ultra-FineWeb-classifier", "dolma2": "allenai/dolma2-tokenizer"}
"""The tokenizers that normalizers need, and where each is published."""

_FILE = "tokenizer.json"
# Where a repository does not keep it at its root.
_FILE_OF = {"openbmb/Ultra-FineWeb-classifier": "local_tokenizer/tokenizer.json"}
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


class TokenizerMissing(GristmillError):
    """The tokenizer that a normalizer needs is not there; the message says how to get it."""


class TokenizerUnusable(GristmillError):
    """There is a file, but the normalizer cannot work with it."""


@dataclass(frozen=True, slots=True)
class TokenizerFile:
    """A tokenizer as it was asked for (`source`), its file on this machine, and the SHA-256 of its bytes."""

    source: str
    path: Path
    sha256: str


def locate(source: str, kind: str) -> TokenizerFile:
    """Find the tokenizer file that `source` names: a path, or else a hub id, which may mean a download.

    `kind` is the key of `HUB_IDS` for the message of `TokenizerMissing`.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / _FILE
    if not path.exists() and _HUB_ID.fullmatch(source):
        path = _from_hub(source, kind)
    if not path.is_file():
        raise TokenizerMissing(f"no tokenizer at {path}; {how_to_get(kind)}")
    return TokenizerFile(source, path, hashlib.sha256(path.read_bytes()).hexdigest())


def how_to_get(kind: str) -> str:
    """What to do to have the tokenizer, in half a sentence."""
    hub_id = HUB_IDS[kind]
    return (
        f"the {kind} tokenizer is published as {hub_id}: pass --tokenizer {hub_id}, "
        f"or the path of its {_FILE} after `hf download {hub_id} {_FILE_OF.get(hub_id, _FILE)}`"
    )


def _from_hub(hub_id: str, kind: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(hub_id, _FILE_OF.get(hub_id, _FILE)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TokenizerMissing(
            f"tokenizer {hub_id} cannot be had from the hub ({reason}); {how_to_get(kind)}"
        ) from None
