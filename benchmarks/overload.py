"""The endpoint under ten times the load that it can answer: what is refused, and how long the rest takes.

Requests come when they come, whether the earlier ones are answered or not; each is some 60 ms of work for the one
replica: a thousand pieces of programs, compressed. The figure is the 99th percentile of the accepted requests
against twice that of an unloaded endpoint plus the longest wait that is allowed, so below 1 is within the promise.

    python -m benchmarks.overload [--seconds 60] [--times 10]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import orjson
import zstandard

from serve.settings import Limits

ALONE = 60  # requests, one after the other
TEXTS = 1_000


@dataclass(frozen=True, slots=True)
class Overload:
    """Latencies in seconds; `times` is the load that was offered, in what one replica can answer."""

    times: float
    statuses: dict[int, int]
    without_retry_after: int
    service: float
    p99_alone: float
    p99_accepted: float
    recovered: bool

    @property
    def share_of_promise(self) -> float:
        """The 99th percentile against twice that of an unloaded endpoint plus the allowed wait."""
        return self.p99_accepted / (2 * self.p99_alone + Limits().max_wait_ms / 1000)

    def __str__(self) -> str:
        return (
            f"{self.times:.1f} times what one replica can do: {self.statuses.get(200, 0)} accepted, "
            f"{self.statuses.get(503, 0)} refused; p99 {1000 * self.p99_alone:.0f} ms alone, "
            f"{1000 * self.p99_accepted:.0f} ms under load, {self.share_of_promise:.2f} of what is promised"
        )


async def overload(url: str, seconds: float, times: float = 10) -> Overload:
    """Offer the load to an unloaded endpoint. Raises TimeoutError where a request hangs."""
    import aiohttp

    from benchmarks.serving import pieces

    body = zstandard.compress(orjson.dumps({"inputs": pieces(TEXTS)}))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers={"Content-Encoding": "zstd"}
    ) as client:

        async def ask() -> tuple[int, bool, float]:
            began = time.monotonic()
            async with client.post(url, data=body) as response:
                await response.read()
                return response.status, "retry-after" in response.headers, time.monotonic() - began

        alone = sorted([(await ask())[2] for _ in range(ALONE)][5:])
        service = alone[len(alone) // 2]
        asked: list[asyncio.Task[tuple[int, bool, float]]] = []
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            asked += [asyncio.create_task(ask()) for _ in range(int(now * times / service) - len(asked))]
            await asyncio.sleep(service / times)
        answers = await asyncio.wait_for(asyncio.gather(*asked), 60)
        after = [(await ask())[0] for _ in range(20)]
    accepted = sorted(took for status, _, took in answers if status == 200) or [float("inf")]
    return Overload(
        len(answers) * service / seconds,
        dict(Counter(status for status, _, _ in answers)),
        sum(status == 503 and not told for status, told, _ in answers),
        service,
        alone[int(len(alone) * 0.99)],
        accepted[int(len(accepted) * 0.99)],
        set(after) == {200},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=10)
    options = parser.parse_args()
    from benchmarks.serving import endpoint, pieces, trained

    with tempfile.TemporaryDirectory() as folder, endpoint(trained(pieces(2_000), Path(folder))) as (_, port, _):
        url = f"http://127.0.0.1:{port}/v1/models/quality:classify"
        found = asyncio.run(overload(url, options.seconds, options.times))
    print(found)
    if not found.recovered:
        sys.exit("benchmarks.overload: the endpoint has not recovered")


if __name__ == "__main__":
    main()
