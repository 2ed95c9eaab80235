"""The engine on real, tiny models: against transformers' own forward and generate, alone and in company."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from actors.engines import transformers_model
from actors.engines.chat import Chat
from actors.engines.contract import Category, Completion, EngineUnusable, Message, Request, RequestFailed, Sampling
from actors.engines.transformers_engine import TransformersEngine
from actors.engines.transformers_model import OutOfMemory, TransformersModel
from tests.tiny_models import CHATML, save_tiny_model

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
Found = TypeVar("Found")
CONTEXT = 256


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "llama": save_tiny_model(folder / "llama"),
        "qwen2": save_tiny_model(folder / "qwen2", "qwen2", seed=1, generation={"repetition_penalty": 1.3}),
    }


@pytest.fixture(params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest, models: dict[str, Path]) -> Path:
    return models[request.param]


def question(text: str, sample: int = 0, **sampling: Any) -> Request:
    sampling.setdefault("max_new_tokens", 24)
    sampling.setdefault("temperature", 0.0)
    return Request((Message("user", text),), Sampling(**sampling), sample=sample)


def using(model: Path, ask: Callable[[TransformersEngine], Awaitable[Found]], **options: Any) -> Found:
    """What `ask` finds with a started engine."""

    async def session() -> Found:
        engine = TransformersEngine(str(model), **options)
        await engine.start()
        try:
            return await ask(engine)
        finally:
            await engine.close()

    return asyncio.run(session())


def answers(model: Path, *requests: Request, **options: Any) -> list[Completion]:
    async def ask(engine: TransformersEngine) -> list[Completion]:
        return list(await asyncio.gather(*map(engine.generate, requests)))

    return using(model, ask, **options)


def plain(model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32).eval()


def logprobs_of(plainly: Any, ids: list[int], start: int) -> list[float]:
    """By a plain forward, of the tokens from `start` on."""
    with torch.no_grad():
        values = plainly(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [float(values[place - 1, ids[place]]) for place in range(start, len(ids))]


def pairs(count: int) -> list[tuple[list[int], list[int]]]:
    torch.manual_seed(7)
    lengths = torch.randint(1, 60, (count, 2)).tolist()
    return [tuple(torch.randint(3, 500, (length,)).tolist() for length in both) for both in lengths]  # type: ignore[misc]


TEXTS = ("Hi.", "What is the capital of the moon, and who may live there?", "Name three numbers.", "a" * 80, "")


# Scores


def test_scores_are_those_of_a_plain_forward_alone_and_in_company(model: Path) -> None:
    asked = pairs(12)

    async def ask(engine: TransformersEngine) -> tuple[list[Any], list[Any]]:
        together = await asyncio.gather(*(engine.score(*pair) for pair in asked))
        return together, [await engine.score(*pair) for pair in asked]

    together, alone = using(model, ask, batch_size=5)
    plainly = plain(model)
    for (prompt, response), found, single in zip(asked, together, alone, strict=True):
        assert len(found) == len(response)
        assert found == pytest.approx(logprobs_of(plainly, prompt + response, len(prompt)), abs=1e-5)
        assert found == pytest.approx(single, abs=1e-5)


def test_more_than_may_be_held_at_once_is_scored_in_turns(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = TransformersModel(str(models["llama"]))
    asked = [transformers_model.Pair(*pair) for pair in pairs(6)]
    whole = loaded.score(asked)
    runs: list[int] = []
    score = loaded._score
    monkeypatch.setattr(loaded, "_score", lambda some: (runs.append(len(some)), score(some))[1])
    monkeypatch.setattr(transformers_model, "SCORED_AT_ONCE", 512 * 100)
    in_turns = loaded.score(asked)
    assert len(runs) > 1 and sum(runs) == 6
    for one, other in zip(whole, in_turns, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_what_cannot_be_scored(models: dict[str, Path]) -> None:
    async def ask(engine: TransformersEngine) -> None:
        with pytest.raises(ValueError, match="at least one token"):
            await engine.score([], [1])
        with pytest.raises(ValueError, match="at least one token"):
            await engine.score([1], [])
        with pytest.raises(RequestFailed, match="300 tokens; llama takes 256"):
            await engine.score([5] * 200, [5] * 100)
        with pytest.raises(RequestFailed, match="a token that llama does not have"):
            await engine.score([5], [512])
        assert len(await engine.score([5], [511])) == 1

    using(models["llama"], ask)


# Answers


def test_greedy_answers_are_those_of_generate_alone_and_in_company(model: Path) -> None:
    requests = [question(text) for text in TEXTS]
    together = answers(model, *requests, batch_size=8)
    alone = answers(model, *requests, batch_size=1)
    chat, plainly = Chat(str(model)), plain(model)
    for request, one, single in zip(requests, together, alone, strict=True):
        prompt = chat.prompt_ids(request.messages)
        ids = torch.tensor([prompt])
        with torch.no_grad():
            whole = plainly.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        expected = whole[0, len(prompt) :].tolist()
        assert one.token_ids == single.token_ids == tuple(expected)
        assert one.text == single.text == chat.text_of(expected)
        assert one.usage.prompt_tokens == len(prompt) and one.usage.completion_tokens == len(expected)
        assert one.finish_reason == ("stop" if expected[-1] == 2 else "length")
        assert one.model == model.name and one.latency > 0


def test_logprobs_are_the_models_own_whatever_was_done_to_draw_the_tokens(model: Path) -> None:
    requests = [question(text, temperature=0.7, top_p=0.9, seed=3) for text in TEXTS]
    chat, plainly = Chat(str(model)), plain(model)
    for request, answer in zip(requests, answers(model, *requests), strict=True):
        assert answer.token_ids is not None and answer.logprobs is not None
        ids = chat.prompt_ids(request.messages)
        expected = logprobs_of(plainly, ids + list(answer.token_ids), len(ids))
        assert list(answer.logprobs) == pytest.approx(expected, abs=1e-4)


def test_a_seed_gives_the_same_answer_in_any_company(model: Path) -> None:
    ours = question("Say something.", temperature=1.0, seed=11)
    others = [question(text, temperature=1.0, seed=number) for number, text in enumerate(TEXTS)]
    first = answers(model, ours, *others)[0]
    second = answers(model, *others[:2], ours)[2]
    alone = answers(model, ours)[0]
    assert first.token_ids == second.token_ids == alone.token_ids


def test_samples_and_seeds_give_different_draws(models: dict[str, Path]) -> None:
    asked = [question("Say something.", number, temperature=1.5, seed=11) for number in range(4)]
    asked += [question("Say something.", temperature=1.5) for _ in range(4)]
    found = {answer.token_ids for answer in answers(models["llama"], *asked)}
    assert len(found) == 8


def test_what_a_request_leaves_open_the_model_decides(tmp_path: Path) -> None:
    model = save_tiny_model(
        tmp_path / "sampler", generation={"do_sample": True, "temperature": 5.0, "top_k": 40, "top_p": 0.95}
    )
    open_ = question("Go on.", temperature=None)
    drawn = {answer.token_ids for answer in answers(model, *[open_] * 6)}
    fixed = {answer.token_ids for answer in answers(model, *[question("Go on.")] * 6)}
    assert len(drawn) > 1 and len(fixed) == 1


def test_min_p_leaves_only_what_is_likely_enough(models: dict[str, Path]) -> None:
    flat = [question("Hi.", sample, temperature=20.0, seed=1, min_p=0.0) for sample in range(3)]
    sharp = [question("Hi.", sample, temperature=20.0, seed=1, min_p=1.0) for sample in range(3)]
    likeliest = question("Hi.", temperature=0.0)
    found = answers(models["llama"], *flat, *sharp, likeliest)
    assert len({each.token_ids for each in found[:3]}) == 3
    assert {each.token_ids for each in found[3:6]} == {found[6].token_ids}


def test_variables_of_the_template_and_pictures_are_taken_or_refused(tmp_path: Path) -> None:
    template = CHATML + "{% if enable_thinking is false %}<no thoughts>{% endif %}"
    model = save_tiny_model(tmp_path / "thinks", chat_template=template)
    plain, without = answers(
        model,
        question("Hi.", max_new_tokens=1),
        question("Hi.", max_new_tokens=1, chat_template_kwargs={"enable_thinking": False}),
    )
    assert without.usage.prompt_tokens > plain.usage.prompt_tokens
    with pytest.raises(EngineUnusable, match="pictures"):
        answers(model, Request((Message("user", "Look.", ("data:,a",)),)))


def test_an_answer_ends_before_a_stop_string(model: Path) -> None:
    whole = answers(model, question("Tell me."))[0].text
    assert len(whole) > 12
    stop = whole[6:9]
    cut, other = answers(model, question("Tell me.", stop=(stop,)), question("Tell me.", stop=("never said", "\0")))
    assert cut.text == whole[: whole.find(stop)] and cut.finish_reason == "stop"
    assert other.text == whole
    # The tokens are those that were drawn, up to the one that completed the stop string.
    assert cut.token_ids is not None and other.token_ids is not None
    assert len(cut.token_ids) < len(other.token_ids) and other.token_ids[: len(cut.token_ids)] == cut.token_ids
    assert stop in Chat(str(model)).text_of(cut.token_ids)


def test_limits_of_length(models: dict[str, Path]) -> None:
    model = models["llama"]
    short, long = answers(model, question("Talk.", max_new_tokens=3), question("Talk.", max_new_tokens=9))
    assert short.token_ids is not None and long.token_ids is not None
    assert (len(short.token_ids), short.finish_reason) == (3, "length")
    assert long.token_ids[:3] == short.token_ids
    # Near the end of the context the answer gets what room there is.
    text = "word " * 60
    room = CONTEXT - len(Chat(str(model)).prompt_ids((Message("user", text),)))
    assert 0 < room < 100
    (last,) = answers(model, question(text, max_new_tokens=500))
    assert last.finish_reason == "stop" or last.usage.completion_tokens == room


def test_a_prompt_longer_than_the_context_is_refused_alone(models: dict[str, Path]) -> None:
    async def ask(engine: TransformersEngine) -> None:
        long, short = await asyncio.gather(
            engine.generate(question("word " * 400)), engine.generate(question("Hi.")), return_exceptions=True
        )
        assert isinstance(long, RequestFailed) and long.category is Category.REJECTED
        assert "llama takes 255" in str(long) and isinstance(short, Completion)

    using(models["llama"], ask)


def test_a_cancelled_request_ends_and_the_next_is_answered(models: dict[str, Path]) -> None:
    async def ask(engine: TransformersEngine) -> Completion:
        asked = [
            asyncio.ensure_future(engine.generate(question("On.", max_new_tokens=200, temperature=9.0, seed=seed)))
            for seed in range(3)
        ]
        in_line = asyncio.ensure_future(engine.generate(question("Never.", temperature=0.5)))
        await asyncio.sleep(0.05)
        for task in (*asked[:2], in_line):
            task.cancel()
        answer = await engine.generate(question("Hi."))
        # The one beside the cancelled ones is not disturbed.
        assert (await asked[2]).usage.completion_tokens > 3
        assert all(task.cancelled() for task in (*asked[:2], in_line))
        return answer

    assert using(models["llama"], ask).token_ids == answers(models["llama"], question("Hi."))[0].token_ids


def test_nobody_wants_it_any_more_and_it_is_not_drawn_to_its_end(models: dict[str, Path]) -> None:
    loaded = TransformersModel(str(models["llama"]))
    ids = loaded.chat.prompt_ids((Message("user", "On."),))
    wanted = [True] * 4
    prompt = transformers_model.Prompt(
        ids, Sampling(max_new_tokens=100, temperature=3.0), 1, lambda: bool(wanted and wanted.pop())
    )
    (answer,) = loaded.generate([prompt])
    assert answer.usage.completion_tokens <= 5


def test_the_event_loop_is_not_held_up(models: dict[str, Path]) -> None:
    async def ask(engine: TransformersEngine) -> int:
        turns = 0
        asked = asyncio.gather(*(engine.generate(question(text, max_new_tokens=100)) for text in TEXTS * 3))
        while not asked.done():
            await asyncio.sleep(0.002)
            turns += 1
        await asked
        return turns

    # Held up, it would turn once a batch.
    assert using(models["llama"], ask, batch_size=16) > 10


# Faults


def test_a_lack_of_memory_halves_the_batch(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = TransformersModel._run

    def scarce(self: TransformersModel, ids: Any, *rest: Any) -> Any:
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return run(self, ids, *rest)

    expected = [answer.token_ids for answer in answers(models["llama"], *map(question, TEXTS))]
    monkeypatch.setattr(TransformersModel, "_run", scarce)
    found = answers(models["llama"], *map(question, TEXTS), batch_size=5)
    assert [answer.token_ids for answer in found] == expected
    assert sizes == [5, 2, 3, 1, 2]


def test_what_has_no_room_alone_is_refused(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*args: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(TransformersModel, "_run", none_left)

    async def ask(engine: TransformersEngine) -> list[Any]:
        asked = (engine.generate(question(text)) for text in TEXTS)
        return [*await asyncio.gather(*asked, return_exceptions=True), await engine.score([5], [6])]

    *failed, scored = using(models["llama"], ask)
    assert all(isinstance(each, RequestFailed) and each.category is Category.REJECTED for each in failed)
    assert "no memory for it on the device, alone: CUDA out of memory." in str(failed[0])
    assert len(scored) == 1


def test_a_broken_gpu_stops_the_run_and_a_defect_is_one(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Exception] = [RuntimeError("CUDA error: device-side assert triggered"), KeyError("a defect")]

    def fail(*args: Any) -> Any:
        raise raised.pop(0)

    monkeypatch.setattr(TransformersModel, "_run", fail)

    async def ask(engine: TransformersEngine) -> None:
        with pytest.raises(EngineUnusable, match="GPU failed under the model"):
            await engine.generate(question("Hi."))
        with pytest.raises(KeyError, match="a defect"):
            await engine.generate(question("Hi."))

    using(models["llama"], ask)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "float99"}, "dtype=float99: give auto, float32"),
        ({"dtype": "nn"}, "dtype=nn: give auto, float32"),
        ({"device": "cuda"}, "torch sees no GPU on this node"),
        ({"batch_size": 0}, "batch_size=0: give 1 or more"),
    ],
)
def test_options_that_cannot_be(models: dict[str, Path], options: dict[str, Any], said: str) -> None:
    if "device" in options and torch.cuda.is_available():
        pytest.skip("there is a GPU here")

    async def ask(engine: TransformersEngine) -> None:
        raise AssertionError("it started")

    with pytest.raises(EngineUnusable, match=said):
        using(models["llama"], ask, **options)


def test_weights_that_are_missing(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "hollow")
    (model / "model.safetensors").unlink()
    with pytest.raises(EngineUnusable, match="hollow cannot be loaded on cpu by transformers"):
        TransformersModel(str(model))


def test_a_closed_engine_says_so(models: dict[str, Path]) -> None:
    async def ask(engine: TransformersEngine) -> None:
        await engine.close()
        with pytest.raises(EngineUnusable, match="not started, or closed already"):
            await engine.generate(question("Hi."))

    using(models["llama"], ask)


def test_it_travels_before_it_starts(models: dict[str, Path]) -> None:
    import pickle

    engine = pickle.loads(pickle.dumps(TransformersEngine(str(models["llama"]), dtype="float32")))
    assert engine.identity()["engine"] == "transformers" and engine.identity()["dtype"] == "float32"
    assert engine.capabilities == {"generate", "score", "token_ids"}


def test_out_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(OutOfMemory), transformers_model._guarded():
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory")
    with pytest.raises(RuntimeError, match="other"), transformers_model._guarded():
        raise RuntimeError("other")
