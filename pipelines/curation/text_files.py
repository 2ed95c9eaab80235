"""Putting the lines that a pass kept together into one plain text file, in the order of the input."""

from __future__ import annotations

from collections.abc import Iterator

import zstandard

from cluster.ledger import Chunks, Pass


def publish_text(step: Pass, chunks: list[Chunks], name: str) -> bytes:
    """Publish the lines of these chunks as the file `name`, atomically; one chunk is in memory at a time."""
    decompressor = zstandard.ZstdDecompressor()

    def lines() -> Iterator[bytes]:
        for _, payload in step.payloads(chunks):
            if payload:
                yield decompressor.decompress(payload)

    step.output.publish(name, lines())
    return b"published"
