"""Asking a model server: requests per second and CPU per request, against plainer clients of the same server.

The server (see tests/openai_server) answers each question after 50 ms and has a core of its own; each client has the
other. The questions are the same: a rubric over 2 kB of source, with its JSON schema. Clients take turns, and the median
of each client's rounds is compared. `gristmill` is the whole path under annotate-dataset, on a worker's event loop: the key,
the journal (a file on this disk, synced before an answer is used), the gate, the retries; `bare` is aiohttp as its manual shows it, with as
many requests under way and nothing else.

    python -m benchmarks.annotation [--requests 20000] [--rounds 3] [--memory]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.openai_server import serving

DELAY_SECONDS = 0.05
UNDER_WAY = 1_000
MODEL = "gpt-5-mini"
SLOW = {"openai SDK": 0.2, "lm-deluge": 0.2}  # of the requests: their speed shows in fewer
CLIENTS = ("bare aiohttp", "bare aiohttp, uvloop", "gristmill", "openai SDK", "lm-deluge")
PACKAGES = {"openai SDK": "openai", "lm-deluge": "lm_deluge"}


def bodies(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Questions that all differ, as the protocol has them."""
    from pipelines.annotation.prompt_library import system, task

    prompt, said = task("claude_rubric_code"), system("code_system").render({})
    source = Path(__file__).read_text()
    found = []
    for number in range(start, start + count):
        text = f"# {number}\n" + source[number % 997 : number % 997 + 2_000]
        messages = [{"role": "system", "content": said}, {"role": "user", "content": prompt.render({"text": text})}]
        schema = {"name": prompt.name, "schema": prompt.schema, "strict": True}
        form = {"type": "json_schema", "json_schema": schema}
        found.append({"model": MODEL, "messages": messages, "max_tokens": 2048, "response_format": form})
    return found


async def spread(count: int, ask: Callable[[int], Awaitable[Any]]) -> None:
    """All of `count` questions, UNDER_WAY at once."""
    numbers = iter(range(count))

    async def one_after_the_other() -> None:
        for number in numbers:
            await ask(number)

    await asyncio.gather(*(one_after_the_other() for _ in range(UNDER_WAY)))


async def bare(url: str, count: int) -> float:
    import aiohttp

    asked = bodies(count)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def ask(number: int) -> None:
            async with session.post(f"{url}/v1/chat/completions", json=asked[number]) as response:
                answer = await response.json()
                assert json.loads(answer["choices"][0]["message"]["content"])

        return await timed(count, ask)


async def gristmill(url: str, count: int) -> float:
    from actors.engine_choice import EngineChoice
    from actors.engines.contract import Message, Request, Sampling
    from actors.engines.openai_api import service_at
    from actors.prices import prices_of
    from actors.spend_limiter import Limits
    from cluster.storage import open_storage

    asked = [
        Request(
            tuple(Message(each["role"], each["content"]) for each in body["messages"]),
            Sampling(max_new_tokens=2048),
            body["response_format"]["json_schema"]["schema"],
            body["response_format"]["json_schema"]["name"],
        )
        for body in bodies(count)
    ]
    with tempfile.TemporaryDirectory() as folder:
        choice = EngineChoice(
            "openai",
            MODEL,
            Limits(concurrent_requests=UNDER_WAY),
            service_at(f"{url}/v1"),
            prices=prices_of(MODEL),
            journal=open_storage(folder),
            run="0123456789ab",
        )
        engine = await choice.started()

        async def ask(number: int) -> None:
            completion = await engine.generate(asked[number])
            assert json.loads(completion.text)

        seconds = await timed(count, ask)
        await engine.close()
        return seconds


async def openai_sdk(url: str, count: int) -> float:
    from openai import AsyncOpenAI

    asked = bodies(count)
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:

        async def ask(number: int) -> None:
            answer = await client.chat.completions.create(**asked[number])
            assert json.loads(answer.choices[0].message.content or "")

        return await timed(count, ask)


async def lm_deluge(url: str, count: int) -> float:
    from lm_deluge import Conversation, LLMClient
    from lm_deluge.models import register_model

    register_model(
        id="local",
        name=MODEL,
        api_base=f"{url}/v1",
        api_key_env_var="OPENAI_API_KEY",
        api_spec="openai",
        supports_json=True,
        regions=[],
    )
    client = LLMClient(
        "local",
        max_requests_per_minute=10_000_000,
        max_tokens_per_minute=10_000_000_000,
        max_concurrent_requests=UNDER_WAY,
        max_new_tokens=2048,
    )
    asked, schema = [], {}
    for body in bodies(count):
        schema = body["response_format"]["json_schema"]["schema"]
        said, question = (each["content"] for each in body["messages"])
        asked.append(Conversation().system(said).user(question))
    began = time.perf_counter()
    answers = await client.process_prompts_async(asked, show_progress=False, output_schema=schema)
    assert all(answer is not None and answer.completion for answer in answers)
    return time.perf_counter() - began


async def timed(count: int, ask: Callable[[int], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await spread(count, ask)
    return time.perf_counter() - began


def client(name: str, url: str, count: int) -> dict[str, float]:
    """One round in this process."""
    import uvloop

    from cluster.overlap import Overlap

    os.environ.setdefault("OPENAI_API_KEY", "none")
    role = {"bare": bare, "gristmill": gristmill, "openai": openai_sdk, "lm-deluge": lm_deluge}[
        name.split(" ")[0].rstrip(",")
    ]
    before = time.process_time()
    if role is gristmill:
        seconds = Overlap(count).run(role(url, count))  # as in a worker
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if "uvloop" in name else None) as runner:
            seconds = runner.run(role(url, count))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rate": count / seconds, "cpu_ms": 1000 * (time.process_time() - before) / count, "peak_mib": peak}


def in_a_process(name: str, url: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.annotation", "--client", name, "--url", url, "--requests", str(count)]
    if os.cpu_count() and hasattr(os, "sched_setaffinity"):
        command = ["taskset", "-c", "0", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the client {name} failed: {done.stderr[-500:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(count: int, rounds: int) -> None:
    names = [name for name in CLIENTS if name not in PACKAGES or find_spec(PACKAGES[name]) is not None]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with serving(delay_seconds=DELAY_SECONDS) as server:
        os.sched_setaffinity(server.process.pid, {max(os.sched_getaffinity(0))})
        for _ in range(rounds):
            for name in names:
                server.reset()
                results[name].append(in_a_process(name, server.url, int(count * SLOW.get(name, 1))))
    base = statistics.median(each["rate"] for each in results["bare aiohttp"])
    print(f"{UNDER_WAY:,} requests under way, answers after {1000 * DELAY_SECONDS:.0f} ms, {rounds} rounds")
    print(f"{'client':<24}{'requests/s':>12}{'to bare':>9}{'CPU ms':>9}{'peak MiB':>10}")
    for name, rounds_of in results.items():
        rate, cpu, peak = (statistics.median(each[key] for each in rounds_of) for key in ("rate", "cpu_ms", "peak_mib"))
        print(f"{name:<24}{rate:>12,.0f}{rate / base:>9.2f}{cpu:>9.3f}{peak:>10.0f}")


def memory() -> None:
    """The peak of a client after so many requests: questions are made as they are asked."""
    with serving(delay_seconds=DELAY_SECONDS) as server:
        for count in (10_000, 100_000, 200_000):
            found = in_a_process("steady", server.url, count)
            print(f"{count:>8,} requests: peak {found['peak_mib']:.0f} MiB")


async def steady(url: str, count: int) -> None:
    """The path of annotate-dataset, fed as it goes."""
    from actors.engine_choice import EngineChoice
    from actors.engines.contract import Message, Request, Sampling
    from actors.engines.openai_api import service_at
    from actors.spend_limiter import Limits
    from cluster.storage import open_storage

    body = bodies(1)[0]
    question = body["messages"][1]["content"]
    schema = body["response_format"]["json_schema"]["schema"]
    with tempfile.TemporaryDirectory() as folder:
        service, journal = service_at(f"{url}/v1"), open_storage(folder)
        limits = Limits(concurrent_requests=UNDER_WAY)
        engine = await EngineChoice("openai", MODEL, limits, service, journal=journal, run="0123456789ab").started()

        async def ask(number: int) -> None:
            messages = (Message("user", f"{number} {question}"),)
            await engine.generate(Request(messages, Sampling(max_new_tokens=2048), schema))

        await spread(count, ask)
        await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="peaks after 10 000, 100 000 and 200 000 requests")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client == "steady":
        from cluster.overlap import Overlap

        Overlap(UNDER_WAY).run(steady(given.url, given.requests))
        print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
    elif given.client:
        print(json.dumps(client(given.client, given.url, given.requests)))
    elif given.memory:
        memory()
    else:
        compare(given.requests, given.rounds)


if __name__ == "__main__":
    main()
