"""One core's work, shared fairly: small requests are answered together, large ones in slices between them.

All work runs on the event loop, a slice of a few milliseconds at a time, with the network served in between: one
process fills one core, and threads that fight over the interpreter would only make it slower. What arrives while a
slice is worked on makes up the next one, so a batch never waits to be filled.

There are three lines, which take turns: small requests, large ones, and streams. None of them keeps the others
waiting for longer than a slice. In each line, who comes first is served first. A request that would wait for too
long is refused before anything is done for it; the wait is estimated from what is in its line, the number of lines
that are busy, and the speed of the last slices. One may always wait behind the one at work, and whatever fits
into the next slice. A stream is not refused on its way: it is read no faster than it is worked on.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from serve.models import ServedModel

Outputs = npt.NDArray[np.float32]

SLICE_BYTES = 64 << 10  # a few milliseconds of work
SLICE_TEXTS = 256
# What a text costs beside its characters, as if it were characters: its share of the calls.
TEXT_COST = 64
FIRST_SPEED = 2e6  # characters a second, until it has been measured
PLACE_KEPT_SECONDS = 0.5  # for a body that is on its way
SPEED_MEMORY = 0.1  # the least weight of the newest slice


class Overloaded(Exception):
    """There is more work in line than may be; `seconds` is when to come back."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the queue is full: {seconds:.2f} s of work are in line")
        self.seconds = seconds


def cost_of(texts: Sequence[str]) -> int:
    """What it costs to answer texts, in characters."""
    return sum(map(len, texts)) + TEXT_COST * len(texts)


@dataclass(eq=False)
class Work:
    """Texts of one request for one model, and how far it is."""

    model: ServedModel
    texts: Sequence[str]
    normalize: bool
    done: asyncio.Future[Outputs]
    began: float = 0.0  # when the first slice began, by the monotonic clock
    at: int = 0
    parts: list[Outputs] = field(default_factory=list)

    def next_slice(self, room: int, most: int) -> Sequence[str]:
        """The next texts, of about `room` characters, at least one and at most `most`."""
        end, size = self.at, 0
        limit = min(len(self.texts), self.at + most)
        while end < limit and (size == 0 or size < room):
            size += len(self.texts[end]) + TEXT_COST
            end += 1
        return self.texts[self.at : end]

    def asks_like(self, other: Work) -> bool:
        return self.model is other.model and self.normalize == other.normalize

    def answer(self, outputs: Outputs) -> None:
        """Take the outputs of the next texts."""
        self.parts.append(outputs)
        self.at += len(outputs)
        if self.at == len(self.texts) and not self.done.done():
            self.done.set_result(self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts))


@dataclass(eq=False)
class Line:
    """Those who wait for the same kind of turn. `cost` is of what is not done, in characters."""

    works: deque[Work] = field(default_factory=deque)
    cost: int = 0

    def next_batch(self) -> list[tuple[Work, Sequence[str]]]:
        """The next slice: from the head of the line on, what asks the same model in the same way."""
        batch: list[tuple[Work, Sequence[str]]] = []
        room, texts = SLICE_BYTES, 0
        while self.works and room > 0 and texts < SLICE_TEXTS:
            work = self.works[0]
            if work.done.done():  # its client has gone
                self.works.popleft()
                continue
            if batch and not work.asks_like(batch[0][0]):
                break
            part = work.next_slice(room, SLICE_TEXTS - texts)
            batch.append((work, part))
            room -= cost_of(part)
            texts += len(part)
            if work.at + len(part) < len(work.texts):
                break  # it stays at the head
            self.works.popleft()
        return batch


class Batcher:
    """The lines of one replica. `wait_seconds` is the longest wait that a new request may meet."""

    def __init__(self, wait_seconds: float) -> None:
        self.wait_seconds = wait_seconds
        self.speed = FIRST_SPEED
        self._small, self._large, self._streams = self._lines = (Line(), Line(), Line())
        self._announced: list[float] = []
        self._grinding: asyncio.Task[None] | None = None

    @property
    def in_line(self) -> int:
        """Characters that wait or are worked on."""
        return sum(line.cost for line in self._lines)

    def check_room(self, cost: int) -> None:
        """Raise Overloaded if a request of this cost that came now would wait for too long before it is begun."""
        line = self._line_of(cost)
        if len(line.works) + (self._on_their_way() if line is self._large else 0) < 2:
            return  # one at work and one behind it, however long they are: else the core would stand still in between
        if line.cost + cost <= SLICE_BYTES:
            return  # it is answered with the next slice, whatever the last one, which may have been disturbed, took
        busy = sum(other.cost > 0 for other in self._lines if other is not line) + 1
        on_their_way = cost * self._on_their_way() if line is self._large else 0  # taken to be as long as this one
        if (wait := (line.cost + on_their_way) * busy / self.speed) > self.wait_seconds:
            raise Overloaded(wait)

    def announce(self, cost: int) -> float:
        """A large request is on its way: keep its place until `arrived`. Raises Overloaded. Returns its ticket.

        Without it all would be let in, read and decoded that come while the one before them is still on its way.
        """
        self.check_room(cost)
        ticket = time.monotonic()
        self._announced.append(ticket)
        return ticket

    def arrived(self, ticket: float) -> None:
        """The announced request stands in line, or will not come. May be called again."""
        with suppress(ValueError):
            self._announced.remove(ticket)

    def _on_their_way(self) -> int:
        """Those who were announced lately: a slow client keeps no place."""
        now = time.monotonic()
        return sum(now - ticket < PLACE_KEPT_SECONDS for ticket in self._announced)

    async def outputs(
        self, model: ServedModel, texts: Sequence[str], normalize: bool = True, stream: bool = False
    ) -> tuple[Outputs, float]:
        """The model's outputs for at least one text, and the seconds that they waited in line.

        Cancelling it takes what is not done out of the line. Raises what the model raises.
        """
        loop = asyncio.get_running_loop()
        work = Work(model, texts, normalize, loop.create_future())
        line = self._streams if stream else self._line_of(cost_of(texts))
        came = time.monotonic()
        line.cost += cost_of(texts)
        line.works.append(work)
        if self._grinding is None or self._grinding.done():
            self._grinding = loop.create_task(self._grind())
        try:
            return await work.done, max(0.0, work.began - came)
        finally:
            line.cost -= cost_of(texts[work.at :])

    def _line_of(self, cost: int) -> Line:
        return self._small if cost <= SLICE_BYTES else self._large

    async def _grind(self) -> None:
        while any(line.works for line in self._lines):
            for line in self._lines:
                if batch := line.next_batch():
                    self._work_on(batch, line)
                    await asyncio.sleep(0)  # the network's turn

    def _work_on(self, batch: list[tuple[Work, Sequence[str]]], line: Line) -> None:
        began = time.monotonic()
        first, texts = batch[0]
        if len(batch) > 1:
            texts = [text for _, part in batch for text in part]
        try:
            outputs = first.model.outputs(texts, first.normalize)
        except Exception as error:  # whatever a model raises is the answer to those who asked
            for work, _ in batch:
                if not work.done.done():
                    work.done.set_exception(error)
            return
        at = 0
        for work, part in batch:
            work.began = work.began or began
            work.answer(outputs[at : at + len(part)])
            at += len(part)
        cost = cost_of(texts)
        line.cost -= cost
        self._measure(cost, time.monotonic() - began)

    def _measure(self, cost: int, seconds: float) -> None:
        """Averaged over time and not over slices: a tiny slice says little about the speed."""
        weight = min(1.0, SPEED_MEMORY + 10 * seconds)
        self.speed = 1 / ((1 - weight) / self.speed + weight * max(seconds, 1e-6) / cost)
