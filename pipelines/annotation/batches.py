"""Batches of a run from their submission to their answers, each step safe to be killed in and to be done again.

A part is submitted in two remote steps, upload and creation. Before each its intent is written, after each its outcome:
whoever finds an intent without an outcome asks the provider for the file by its name, or for the batch by its metadata,
before anything is made again. Answers go into the journal and failures beside it before a part counts as taken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import msgspec

from actors.batch_format import BatchFormat, NotOfTheFormat, failed, failure_line
from actors.engines.contract import Category, Completion, RequestFailed
from actors.engines.openai_batches import Batch, OpenAIBatches, Refused
from actors.journal import Journal
from pipelines.annotation.batch_folder import Account, BatchFolder, Round, State
from pipelines.annotation.batch_parts import Part, PartCutter, PartLimits

LOOKS_AT_ONCE = 8
LINES_AT_ONCE = 500  # of an output file, whose entries become durable together
# What a request is told that its batch never came to, by the status in which that ended.
_NEVER = {
    "expired": (Category.TIMEOUT, "the batch expired before this request was worked on"),
    "cancelled": (Category.SERVER_ERROR, "the batch was cancelled before this request was worked on"),
    "completed": (Category.SERVER_ERROR, "the batch has no line for this request"),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """A part and how it stands. `batch` is None before it is submitted, and what the provider last said after."""

    part: Part
    state: State
    batch: Batch | None

    @property
    def has_ended(self) -> bool:
        return self.state.step == "taken" or (self.batch is not None and self.batch.has_ended)


# Cutting


def cut_round(
    folder: BatchFolder,
    lines: Iterable[bytes],
    limits: PartLimits,
    counts: dict[str, int],
    wanted: frozenset[bytes] | None,
) -> Round:
    """Cut one more round of parts, and have it stand. Nothing of it is submitted before."""
    number, first = len(folder.rounds()), len(folder.parts())
    cutter = PartCutter(limits, wanted)
    parts = cutter.cut(lines, first, folder.publish_part)
    reason = f"the request has {{:,}} bytes, and a batch takes {limits.bytes:,}: --max-text-length"
    told = [(key, failed(Category.REJECTED, reason.format(size))) for key, size in cutter.oversized]
    if told:
        folder.save_failures(f"oversized-{number:04d}", [failure_line(*each) for each in told])
    found = Round(parts, len(told), counts)
    folder.save_round(number, found)
    return found


# Submitting


def submit(folder: BatchFolder, part: Part, provider: OpenAIBatches, window: Literal["24h"]) -> bool:
    """Bring a part to where it has a batch; whether that was not so before."""
    state = folder.state(part)
    if state.batch is None:
        state = _created(folder, part, _uploaded(folder, part, state, provider), provider, window)
        submitted = True
    else:
        submitted = False
    folder.output.delete(folder.part_file(part))
    return submitted


def _uploaded(folder: BatchFolder, part: Part, state: State, provider: OpenAIBatches) -> State:
    if state.step in ("uploaded", "creating"):
        return state
    in_doubt_since = state.at if state.step == "uploading" else None
    folder.save(part, State("uploading", time.time()))
    with folder.output.localize(folder.part_file(part)) as path:
        file = provider.upload(path, f"gristmill-{folder.run}-{part.name}.jsonl", in_doubt_since)
    return folder.save(part, State("uploaded", file=file))


def _created(folder: BatchFolder, part: Part, state: State, provider: OpenAIBatches, window: Literal["24h"]) -> State:
    assert state.file is not None
    in_doubt_since = state.at if state.step == "creating" else None
    folder.save(part, State("creating", time.time(), state.file))
    metadata = {"gristmill_run": folder.run, "gristmill_part": part.name}
    try:
        batch = provider.create(state.file, metadata, window, in_doubt_since)
    except Refused:
        # Nothing was made, and the file may be the reason (it is gone, say): the next attempt begins with a new one.
        folder.save(part, State())
        raise
    return folder.save(part, State("created", time.time(), state.file, batch.id))


# Looking


def standings(folder: BatchFolder, provider: OpenAIBatches) -> list[Standing]:
    """How all parts stand; the provider is asked about those whose answers are not taken."""
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as threads:
        return list(threads.map(lambda part: _standing(folder, part, provider), folder.parts()))


def _standing(folder: BatchFolder, part: Part, provider: OpenAIBatches) -> Standing:
    state = folder.state(part)
    if state.batch is None:
        return Standing(part, state, None)
    if state.step == "taken":
        answers = state.account.answers if state.account else 0
        return Standing(
            part,
            state,
            Batch(
                id=state.batch,
                status=state.status or "completed",
                total=part.requests,
                completed=answers,
                failed=part.requests - answers,
                created_at=int(state.at),
                problems=state.problems,
            ),
        )
    return Standing(part, state, provider.describe(state.batch))


def unanswered(folder: BatchFolder, found: Sequence[Standing], journal: Journal) -> frozenset[bytes]:
    """The keys that have no answer and are in no batch that may still give one."""
    ended = [each.part for each in found if each.has_ended]
    missing = {key for part in ended for key in folder.keys(part) if key not in journal}
    for each in found:
        if not each.has_ended:
            missing.difference_update(folder.keys(each.part))
    return frozenset(missing)


def never_asked(folder: BatchFolder, found: Sequence[Standing], journal: Journal) -> int:
    """How many requests have no answer because the provider refused their whole batch, the last that they were in."""
    last: dict[bytes, bool] = {}
    if any(each.batch and each.batch.status == "failed" for each in found):
        for each in found:
            refused = each.batch is not None and each.batch.status == "failed"
            last |= dict.fromkeys(folder.keys(each.part), refused)
    return sum(refused and key not in journal for key, refused in last.items())


# Taking


async def take(
    folder: BatchFolder, found: Sequence[Standing], provider: OpenAIBatches, form: BatchFormat, journal: Journal
) -> int:
    """Take the answers of every batch that has ended and is not taken. Returns how many batches that were."""
    taken = 0
    for each in found:
        if each.has_ended and each.state.step != "taken":
            assert each.batch is not None
            batch, file = each.batch, each.state.file
            account = await _take(folder, each.part, batch, provider, form, journal)
            done = State("taken", batch.created_at, file, batch.id, batch.status, batch.problems, account)
            folder.save(each.part, done)
            taken += 1
    return taken


async def _take(
    folder: BatchFolder, part: Part, batch: Batch, provider: OpenAIBatches, form: BatchFormat, journal: Journal
) -> Account:
    account, failures, waiting = Account(), {}, set(folder.keys(part))
    for lines in _blocks(batch, provider):
        puts = []
        for line in lines:
            try:
                key, answer = form.answer(line)
            except NotOfTheFormat:
                continue
            if key not in waiting:
                continue  # of nobody's request, or told twice
            if isinstance(answer, RequestFailed):
                failures[key] = answer
                continue
            waiting.discard(key)
            _add(account, answer)
            puts.append(_put(journal, key, answer))
        await asyncio.gather(*puts)
    folder.save_failures(part.name, _told(folder.keys(part), waiting, failures, batch))
    return account


def _blocks(batch: Batch, provider: OpenAIBatches) -> Iterator[list[bytes]]:
    for file in (batch.output_file, batch.error_file):
        if file is not None:
            lines = (line for line in provider.lines(file) if line.strip())
            while block := list(islice(lines, LINES_AT_ONCE)):
                yield block


async def _put(journal: Journal, key: bytes, answer: Completion) -> None:
    if await journal.lookup(key) is None:
        await journal.put(key, msgspec.json.encode(answer))


def _add(account: Account, answer: Completion) -> None:
    account.answers += 1
    account.prompt_tokens += answer.usage.prompt_tokens
    account.cached_tokens += answer.usage.cached_tokens
    account.completion_tokens += answer.usage.completion_tokens
    account.cost += answer.cost or 0
    account.unpriced += answer.cost is None


def _told(
    keys: list[bytes], waiting: set[bytes], failures: dict[bytes, RequestFailed], batch: Batch
) -> Iterator[bytes]:
    """The failures of a part, in the order of its requests."""
    if batch.status == "failed":
        never = failed(Category.REJECTED, f"the batch failed: {'; '.join(batch.problems) or 'without a reason'}")
    else:
        never = RequestFailed(*_NEVER[batch.status])
    for key in keys:
        if key in waiting:
            yield failure_line(key, failures.get(key, never))


def total(accounts: Iterable[Account | None]) -> Account:
    """The sum."""
    result = Account()
    for each in accounts:
        if each is not None:
            for name in Account.__struct_fields__:
                setattr(result, name, getattr(result, name) + getattr(each, name))
    return result
