"""What `test_vllm_engine` lets vLLM's own Python do: one engine, asked from a loop in a thread, as our actors run it.

python vllm_session.py MODEL QUESTIONS.json FINDINGS.json
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from actors.engines.contract import Completion, EngineUnusable, Message, Request, RequestFailed, Sampling
from actors.engines.vllm_engine import VllmEngine

Found = TypeVar("Found")
OPTIONS = {
    "dtype": "float32",
    "enforce_eager": "true",
    "max_model_len": "256",
    "max_num_seqs": 16,
    # A model that has learnt nothing would put blanks between two tokens for ever.
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}


def main(model: str, questions: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def run(coroutine: Coroutine[Any, Any, Found], seconds: float = 240) -> Found:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(seconds)

    found: dict[str, Any] = {
        "unknown option": run(failed(VllmEngine(model, {"nonsense": "1"}).start())),
        "unusable option": run(failed(VllmEngine(model, {"max_model_len": "100000"}).start())),
        "missing model": run(failed(VllmEngine("/nowhere/model").start())),
        "not started": run(failed(VllmEngine(model).score([1], [2]))),
    }
    engine = VllmEngine(model, OPTIONS)
    began = time.monotonic()
    run(engine.start())
    found["seconds to start"] = time.monotonic() - began
    found["identity"] = engine.identity()
    try:
        found |= run(asked(engine, questions))
        found["after its death"] = run(death(engine))
    finally:
        run(engine.close())
    return found


async def asked(engine: VllmEngine, questions: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    scores = await asyncio.gather(*(engine.score(*pair) for pair in questions["pairs"]))
    greedy = await asyncio.gather(*(engine.generate(request(text)) for text in questions["texts"]))
    alone = [await engine.generate(request(text)) for text in questions["texts"]]
    drawn = [await engine.generate(request("Say it.", number, temperature=1.0, seed=5)) for number in (0, 0, 1)]
    whole = greedy[0].text
    bound = await asyncio.gather(*(engine.generate(schema_request(questions, seed)) for seed in range(6)))
    return {
        "scores": scores,
        "greedy": [plain(answer) for answer in greedy],
        "alone": [plain(answer) for answer in alone],
        "drawn": [plain(answer) for answer in drawn],
        "stopped": plain(await engine.generate(request(questions["texts"][0], stop=(whole[4:7],)))),
        "short": plain(await engine.generate(request(questions["texts"][0], max_new_tokens=3))),
        "bound": [plain(answer) for answer in bound],
        "too long": await failed(engine.generate(request("word " * 400))),
        "too long to score": await failed(engine.score([5] * 300, [6])),
        "foreign token": await failed(engine.score([5], [5000])),
        "impossible schema": await failed(engine.generate(schema_request({"schema": {"type": "nonsense"}}, 0))),
        "empty score": await failed(engine.score([], [6])),
        "cancelled": await cancelled(engine),
        "seconds to answer": time.monotonic() - began,
    }


async def cancelled(engine: VllmEngine) -> bool:
    """A request that is given up leaves nothing behind, and others are answered."""
    task = asyncio.ensure_future(engine.generate(request("On.", temperature=2.0, seed=1, max_new_tokens=200)))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await engine.generate(request("Hi."))
    return task.cancelled() and engine._engine.get_num_unfinished_requests() == 0


async def death(engine: VllmEngine) -> str:
    """What a request hears whose engine is killed under it, and what the next one hears."""
    import psutil

    under_way = asyncio.ensure_future(engine.generate(request("On.", temperature=2.0, seed=2, max_new_tokens=200)))
    await asyncio.sleep(0.05)
    for child in psutil.Process().children(recursive=True):
        if "EngineCore" in child.name() or "EngineCore" in " ".join(child.cmdline()):
            child.kill()
    try:
        first = await asyncio.wait_for(failed(under_way), 60)
        return first + " | " + await asyncio.wait_for(failed(engine.generate(request("Hi."))), 60)
    except TimeoutError:
        return "nothing was heard for a minute"


async def failed(asked: Any) -> str:
    try:
        await asked
    except (EngineUnusable, RequestFailed, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing went wrong"


def request(text: str, sample: int = 0, **sampling: Any) -> Request:
    sampling = {"max_new_tokens": 24, "temperature": 0.0} | sampling
    return Request((Message("user", text),), Sampling(**sampling), sample=sample)


def schema_request(questions: dict[str, Any], seed: int) -> Request:
    sampling = Sampling(max_new_tokens=150, temperature=1.0, seed=seed)
    return Request((Message("user", "Grade it."),), sampling, questions["schema"])


def plain(answer: Completion) -> dict[str, Any]:
    return {
        "text": answer.text,
        "ids": answer.token_ids,
        "logprobs": answer.logprobs,
        "reason": answer.finish_reason,
        "usage": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
        "model": answer.model,
        "latency": answer.latency,
    }


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))))
