"""Taking the answers of batches that have ended into the journal of their run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from actors.batch_format import BatchFormat
from actors.engines.openai_batches import OpenAIBatches
from actors.journal import Journal
from actors.prices import Prices
from jobs.batch_run import Order
from pipelines.annotation.batch_folder import BatchFolder
from pipelines.annotation.batches import Standing, take


def take_ended(
    order: Order, folder: BatchFolder, provider: OpenAIBatches, prices: Prices | None, found: Sequence[Standing]
) -> int:
    """Take what has ended and is not taken. Returns how many batches that were."""
    place = order.journal(folder)
    form = BatchFormat(provider.service, order.arguments["model_name"], prices)

    async def taking() -> int:
        journal = Journal.open(place, folder.run)
        try:
            return await take(folder, found, provider, form, journal)
        finally:
            await journal.close()

    return asyncio.run(taking())
