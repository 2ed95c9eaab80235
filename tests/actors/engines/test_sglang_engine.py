"""The engine against a local server that speaks SGLang's /generate; no SGLang runs on CPUs, so nothing here is SGLang.

The way in the process is held against a stand-in for sglang.Engine that returns what that server would.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

import orjson
import pytest

from actors.engines import sglang_engine
from actors.engines.chat import Chat
from actors.engines.contract import Category, EngineUnusable, Message, Request, RequestFailed, Sampling
from actors.engines.json_service import Service
from actors.engines.sglang_engine import SglangEngine, _signals_left_alone
from actors.gate import Gate, local_visit
from actors.spend_limiter import Limits, SpendLimiter
from tests.openai_server import Server, scoring, serving
from tests.openai_server.config import Config
from tests.openai_server.questions import said_to
from tests.tiny_models import changed, save_tiny_model

pytest.importorskip("aiohttp")
pytest.importorskip("transformers")
Found = TypeVar("Found")
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["good", "bad"]}, "note": {"type": "string"}},
    "required": ["verdict", "note"],
    "additionalProperties": False,
}
ASKED = (Message("system", "Be kind."), Message("user", "How are you?"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("sglang") / "tiny")


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    running.reset()
    yield running
    running.configure(faults={}, fault_script={}, path_faults={}, max_prompt_characters=None, api_key=None)


def using(
    model: Path,
    server: Server,
    ask: Callable[[SglangEngine], Awaitable[Found]],
    limits: Limits | None = None,
    **service: Any,
) -> Found:
    """What `ask` finds with an engine that asks the server."""

    async def session() -> Found:
        held = limits or Limits()
        gate = Gate(held, local_visit(SpendLimiter(held)))
        await gate.start()
        where = Service("the SGLang server", service.pop("base_url", server.url + "/v1"), **service)
        engine = SglangEngine(str(model), service=where, gate=gate)
        try:
            await engine.start()
            return await ask(engine)
        finally:
            await engine.close()
            await gate.close()

    return asyncio.run(session())


def sent(server: Server) -> dict[str, Any]:
    """The body of the only question so far."""
    (digest,) = server.stats()["digests"]
    body: dict[str, Any] = server.get(f"/_requests/{digest}")
    return body


def expected_scores(prompt: list[int], response: list[int]) -> list[float]:
    return scoring.logprobs(prompt + response)[len(prompt) :]


def test_an_answer_with_its_tokens(model: Path, server: Server) -> None:
    answer = using(model, server, lambda engine: engine.generate(Request(ASKED)))
    ids = Chat(str(model)).prompt_ids(ASKED)
    assert answer.text and answer.finish_reason == "stop" and answer.model == "tiny" and answer.latency > 0
    # The end of the text is one of the tokens.
    assert answer.token_ids == (*scoring.ids_of(answer.text), scoring.END_OF_TEXT)
    assert answer.logprobs == tuple(scoring.logprobs(ids + list(answer.token_ids))[len(ids) :])
    assert answer.usage.prompt_tokens == len(ids) and answer.usage.completion_tokens == len(answer.token_ids)
    assert sent(server) == {
        "input_ids": ids,
        "sampling_params": {"max_new_tokens": 512},
        "return_logprob": True,
    }


def test_sampling_as_sglang_names_it(model: Path, server: Server) -> None:
    sampling = Sampling(max_new_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop=("a", "b"), min_p=0.05)
    using(model, server, lambda engine: engine.generate(Request(ASKED, sampling, SCHEMA, sample=2)))
    params = sent(server)["sampling_params"]
    assert orjson.loads(params.pop("json_schema")) == SCHEMA
    drawing = {"temperature": 0.5, "top_p": 0.9, "min_p": 0.05, "sampling_seed": 5}
    assert params == {"max_new_tokens": 7, "stop": ["a", "b"]} | drawing


def test_what_a_request_leaves_open_the_models_own_config_says(tmp_path: Path, server: Server) -> None:
    model = save_tiny_model(tmp_path / "own")
    changed(model, "generation_config.json", do_sample=True, temperature=0.6, top_k=20, top_p=0.95)
    using(model, server, lambda engine: engine.generate(Request(ASKED, Sampling(temperature=0.1))))
    params = sent(server)["sampling_params"]
    assert params == {"max_new_tokens": 512, "temperature": 0.1, "top_k": 20, "top_p": 0.95}


def test_an_answer_bound_to_a_schema(model: Path, server: Server) -> None:
    import jsonschema

    answer = using(model, server, lambda engine: engine.generate(Request(ASKED, schema=SCHEMA)))
    jsonschema.validate(orjson.loads(answer.text), SCHEMA)


def test_an_answer_that_is_cut_off(model: Path, server: Server) -> None:
    answer = using(model, server, lambda engine: engine.generate(Request(ASKED, Sampling(max_new_tokens=2))))
    assert answer.finish_reason == "length" and answer.token_ids is not None and len(answer.token_ids) == 2


@pytest.mark.parametrize("lengths", [(1, 1), (1, 40), (40, 1), (30, 30)])
def test_scores_are_of_the_response_alone(model: Path, server: Server, lengths: tuple[int, int]) -> None:
    prompt, response = ([3 + (7 * place) % 500 for place in range(length)] for length in lengths)
    found = using(model, server, lambda engine: engine.score(prompt, response))
    assert found == pytest.approx(expected_scores(prompt, response))
    body = sent(server)
    assert body["logprob_start_len"] == len(prompt) - 1 and body["sampling_params"]["max_new_tokens"] == 0


def test_nothing_to_score(model: Path, server: Server) -> None:
    async def ask(engine: SglangEngine) -> None:
        with pytest.raises(ValueError, match="at least one token"):
            await engine.score([], [1])

    using(model, server, ask)


def test_faults_of_the_server_are_asked_again(model: Path, server: Server) -> None:
    server.configure(faults={"error_503": 0.2, "not_json": 0.2, "reset_mid_body": 0.2})

    async def ask(engine: SglangEngine) -> list[list[float]]:
        return list(await asyncio.gather(*(engine.score([5, 6], [number, 9]) for number in range(10, 40))))

    found = using(model, server, ask)
    assert found == [pytest.approx(expected_scores([5, 6], [number, 9])) for number in range(10, 40)]
    assert server.stats()["outcomes"]["ok"] == 30 and len(server.stats()["outcomes"]) > 1


def test_what_the_server_refuses(model: Path, server: Server) -> None:
    server.configure(max_prompt_characters=10)

    async def ask(engine: SglangEngine) -> None:
        with pytest.raises(RequestFailed, match="maximum context length") as failed:
            await engine.generate(Request(ASKED))
        assert failed.value.category is Category.REJECTED

    using(model, server, ask)


def test_a_server_that_wants_a_key(model: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.configure(api_key="right")
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    with pytest.raises(EngineUnusable, match="does not accept the API key"):
        using(model, server, lambda engine: engine.generate(Request(ASKED)))


def test_limits_count_prompt_and_answer(model: Path, server: Server) -> None:
    seen: list[int] = []

    async def ask(engine: SglangEngine) -> None:
        assert engine._service is not None
        enter = engine._service.gate.enter

        async def watched(bound: int = 0, tokens: int = 0) -> None:
            seen.append(tokens)
            await enter(bound, tokens)

        engine._service.gate.enter = watched  # type: ignore[method-assign]
        await engine.generate(Request(ASKED, Sampling(max_new_tokens=9)))
        await engine.score([5] * 4, [6] * 3)

    using(model, server, ask)
    assert seen == [len(Chat(str(model)).prompt_ids(ASKED)) + 9, 7]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda meta: meta.update(finish_reason={"type": "abort", "message": "out of memory"}), "gave the request up"),
        (lambda meta: meta.update(input_token_logprobs=None), "are of other tokens"),
        (lambda meta: meta["input_token_logprobs"][-1].__setitem__(1, 77), "are of other tokens"),
        (lambda meta: meta["input_token_logprobs"][-1].__setitem__(0, None), "no log-probability of token 9"),
    ],
    ids=["aborted", "none", "another token", "no value"],
)
def test_answers_that_make_no_sense(
    model: Path, in_process: list[Any], spoil: Callable[[dict[str, Any]], Any], said: str
) -> None:
    in_process.append(spoil)

    async def ask(engine: SglangEngine) -> None:
        with pytest.raises(RequestFailed, match=said) as failed:
            if "gave" in said:
                await engine.generate(Request(ASKED))
            await engine.score([5, 6], [7, 9])
        assert failed.value.category is Category.SERVER_ERROR

    in_this_process(model, ask)


# In the process


class StandIn:
    """What SGLang's documentation says of sglang.Engine, with the local server's answers."""

    def __init__(self, **options: Any) -> None:
        self.options, self.thread, self.is_shut = options, threading.current_thread(), False
        if "nonsense" in options:
            raise TypeError("ServerArgs.__init__() got an unexpected keyword argument 'nonsense'")
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)

    async def async_generate(self, **body: Any) -> dict[str, Any]:
        assert set(body) <= {"input_ids", "sampling_params", "return_logprob", "logprob_start_len"}
        if len(body["input_ids"]) > 100:
            raise ValueError("The input (101 tokens) is longer than the model's context length (100 tokens).")
        question = scoring.read_generate(orjson.dumps(body), Config())
        found = scoring.generated(question, said_to(question, None, Config()), 0.1)
        for spoil in SPOILS:
            spoil(found["meta_info"])
        return found

    def shutdown(self) -> None:
        self.is_shut = True


SPOILS: list[Any] = []


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A stand-in for SGLang, and a GPU; in the list stands what is to be done to its answers."""
    import importlib.machinery

    import torch

    module = ModuleType("sglang")
    module.__spec__ = importlib.machinery.ModuleSpec("sglang", None)
    module.Engine = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sglang", module)
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: True))
    SPOILS.clear()
    yield SPOILS
    SPOILS.clear()


def in_this_process(model: Path, ask: Callable[[SglangEngine], Awaitable[Found]], **options: Any) -> Found:
    async def session() -> Found:
        engine = SglangEngine(str(model), options)
        await engine.start()
        try:
            return await ask(engine)
        finally:
            await engine.close()

    return asyncio.run(session())


def test_in_the_process_the_answers_are_the_same(model: Path, server: Server, in_process: list[Any]) -> None:
    request = Request(ASKED, Sampling(max_new_tokens=40, temperature=0.0), SCHEMA)

    async def ask(engine: SglangEngine) -> tuple[Any, list[float]]:
        return await engine.generate(request), await engine.score([5, 6], [7, 9])

    (here, scores), (there, others) = in_this_process(model, ask), using(model, server, ask)
    assert (here.text, here.token_ids, here.logprobs, here.usage) == (
        there.text,
        there.token_ids,
        there.logprobs,
        there.usage,
    )
    assert scores == others


def test_in_the_process_options_signals_and_the_end(model: Path, in_process: list[Any]) -> None:
    async def ask(engine: SglangEngine) -> StandIn:
        with pytest.raises(RequestFailed, match="longer than the model's context") as failed:
            await engine.generate(Request((Message("user", "word " * 200),)))
        assert failed.value.category is Category.REJECTED
        found: StandIn = engine._engine
        assert not found.is_shut
        return found

    stand_in = in_this_process(model, ask, **{"mem-fraction-static": "0.8", "dtype": "bfloat16"})
    assert stand_in.options == {"model_path": str(model), "mem_fraction_static": 0.8, "dtype": "bfloat16"}
    # It was made in a thread, where signal handlers may not be set.
    assert stand_in.thread is not threading.main_thread() and stand_in.is_shut
    with pytest.raises(EngineUnusable, match=r"--engine-option: SGLang does not take it: .*nonsense"):
        in_this_process(model, ask, nonsense="1")


def test_signals_are_as_before() -> None:
    before = signal.signal

    def elsewhere() -> None:
        with _signals_left_alone():
            signal.signal(signal.SIGQUIT, signal.SIG_IGN)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert signal.signal is before and signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL


def test_without_sglang_the_way_out_is_named(model: Path) -> None:
    async def ask(engine: SglangEngine) -> None:
        raise AssertionError("it started")

    with pytest.raises(EngineUnusable, match=r"--engine sglang needs SGLang: pip install .*--base-url"):
        in_this_process(model, ask)


def test_without_a_gpu_the_way_out_is_named(
    model: Path, in_process: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    async def ask(engine: SglangEngine) -> None:
        raise AssertionError("it started")

    with pytest.raises(EngineUnusable, match="needs a GPU in the worker, and torch sees none"):
        in_this_process(model, ask)


def test_it_travels_before_it_starts(model: Path) -> None:
    engine = pickle.loads(pickle.dumps(SglangEngine(str(model), {"dtype": "bfloat16", "tp_size": "2"})))
    assert engine.identity()["dtype"] == "bfloat16" and "tp_size" not in engine.identity()
    with pytest.raises(EngineUnusable, match="is not started, or closed already"):
        asyncio.run(engine.score([1], [2]))
    with pytest.raises(ValueError, match="through a gate"):
        SglangEngine(str(model), service=Service("it", "http://localhost"))


def test_an_answer_keeps_its_place_until_it_is_written_down(model: Path, server: Server) -> None:
    async def ask(engine: SglangEngine) -> None:
        engine.hold_places()
        await engine.generate(Request(ASKED))
        second = asyncio.ensure_future(engine.generate(Request((Message("user", "And you?"),))))
        assert not (await asyncio.wait([second], timeout=0.5))[0]
        engine.kept()
        await asyncio.wait_for(second, 20)

    using(model, server, ask, Limits(concurrent_requests=1))
    assert server.stats()["answered"] == 2


@pytest.mark.parametrize("kind", ["generate", "score"])
def test_an_answer_of_no_use_holds_no_place(
    model: Path, server: Server, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody writes it down: its place would be lost for good, and after a few of them all."""
    useless = {"meta_info": {"finish_reason": {"type": "abort", "message": "no"}}}
    read = sglang_engine._read
    monkeypatch.setattr(sglang_engine, "_read", lambda content: read(orjson.dumps(useless)))

    async def ask(engine: SglangEngine) -> None:
        engine.hold_places()
        for _ in range(3):
            asking = engine.generate(Request(ASKED)) if kind == "generate" else engine.score([1, 2], [3])
            with pytest.raises(RequestFailed):
                await asyncio.wait_for(asking, 10)

    using(model, server, ask, Limits(concurrent_requests=1))
