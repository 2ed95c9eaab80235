"""vLLM's real engine, on its build for CPUs, in its own Python: against transformers in ours.

One session is held for all tests, by `vllm_session`. Where that Python is, GRISTMILL_VLLM_PYTHON says; else it is
looked for in `.venv-vllm`, here and beside the repository.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest

from actors.engines.chat import Chat
from actors.engines.contract import EngineUnusable, Message
from actors.engines.vllm_engine import VllmEngine
from tests.tiny_models import save_tiny_model

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[3]
TEXTS = ("Hi.", "What is the capital of the moon?", "Name three numbers.", "a" * 60)
SCHEMA = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["good", "bad", "unclear"]},
        "is_code": {"type": "boolean"},
        "criteria": {
            "type": "object",
            "properties": {"readable": {"type": "boolean"}, "score": {"enum": [0, 1, 2]}},
            "required": ["readable", "score"],
            "additionalProperties": False,
        },
    },
    "required": ["verdict", "is_code", "criteria"],
    "additionalProperties": False,
}
QUIET = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "OMP_NUM_THREADS": "1",
}


def vllm_python() -> str:
    places = [ROOT / ".venv-vllm", ROOT.parent / ".venv-vllm"]
    given = os.environ.get("GRISTMILL_VLLM_PYTHON")
    found = given or next((str(place / "bin/python") for place in places if (place / "bin/python").exists()), None)
    if found is None or not Path(found).exists():
        pytest.skip("no Python with vLLM: set GRISTMILL_VLLM_PYTHON, or make .venv-vllm")
    return found


def pairs() -> list[list[list[int]]]:
    torch.manual_seed(3)
    lengths = torch.randint(1, 80, (12, 2)).tolist()
    return [[torch.randint(3, 500, (length,)).tolist() for length in both] for both in lengths]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("vllm") / "tiny")


@pytest.fixture(scope="module")
def found(model: Path) -> dict[str, Any]:
    """What the session found."""
    python, folder = vllm_python(), model.parent
    (folder / "questions.json").write_text(json.dumps({"pairs": pairs(), "texts": TEXTS, "schema": SCHEMA}))
    script = Path(__file__).with_name("vllm_session.py")
    command = [python, str(script), str(model), str(folder / "questions.json"), str(folder / "found.json")]
    done = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-4000:]
    content: dict[str, Any] = json.loads((folder / "found.json").read_text())
    print({name: value for name, value in content.items() if name.startswith("seconds")})
    return content


@pytest.fixture(scope="module")
def plainly(model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32).eval()


def logprobs_of(plainly: Any, ids: list[int], start: int) -> list[float]:
    with torch.no_grad():
        values = plainly(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [float(values[place - 1, ids[place]]) for place in range(start, len(ids))]


@pytest.mark.component
def test_scores_are_those_of_transformers(found: dict[str, Any], plainly: Any) -> None:
    worst = 0.0
    for (prompt, response), scores in zip(pairs(), found["scores"], strict=True):
        expected = logprobs_of(plainly, prompt + response, len(prompt))
        assert len(scores) == len(expected)
        worst = max(worst, *(abs(one - other) for one, other in zip(scores, expected, strict=True)))
    print(f"vLLM and transformers differ by at most {worst:.1e}")
    assert worst < 1e-4


@pytest.mark.component
def test_greedy_answers_are_those_of_transformers(found: dict[str, Any], plainly: Any, model: Path) -> None:
    chat = Chat(str(model))
    for text, answer, alone in zip(TEXTS, found["greedy"], found["alone"], strict=True):
        prompt = chat.prompt_ids((Message("user", text),))
        ids = torch.tensor([prompt])
        with torch.no_grad():
            whole = plainly.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        expected = whole[0, len(prompt) :].tolist()
        assert answer["ids"] == alone["ids"] == expected
        # vLLM keeps back a character whose last bytes have not come.
        assert answer["text"] == chat.text_of(expected).rstrip("\ufffd")
        assert answer["logprobs"] == pytest.approx(logprobs_of(plainly, prompt + expected, len(prompt)), abs=1e-4)
        assert answer["usage"] == [len(prompt), len(expected)]
        assert answer["reason"] == ("stop" if expected[-1] == 2 else "length")
        assert answer["model"] == "tiny" and answer["latency"] > 0


@pytest.mark.component
def test_seeds_and_samples(found: dict[str, Any]) -> None:
    first, again, other = found["drawn"]
    assert first["ids"] == again["ids"] != other["ids"]


@pytest.mark.component
def test_stops_and_lengths(found: dict[str, Any]) -> None:
    whole = found["greedy"][0]["text"]
    assert found["stopped"]["text"] == whole[: whole.find(whole[4:7])]
    assert found["stopped"]["reason"] == "stop"
    assert len(found["short"]["ids"]) == 3 and found["short"]["reason"] == "length"


@pytest.mark.component
def test_answers_meet_the_schema_though_the_model_has_learnt_nothing(found: dict[str, Any]) -> None:
    import jsonschema

    answers = [json.loads(answer["text"]) for answer in found["bound"]]
    for answer in answers:
        jsonschema.validate(answer, SCHEMA)
    assert len({json.dumps(answer) for answer in answers}) > 1


@pytest.mark.component
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("unknown option", "EngineUnusable: --engine-option: vLLM does not take it: .*nonsense"),
        ("unusable option", "EngineUnusable: vLLM cannot run the model .*tiny: .*max_model_len"),
        ("missing model", "EngineUnusable: the model directory /nowhere/model does not exist on this node"),
        ("not started", "EngineUnusable: the model .*tiny is not started"),
        ("too long", "RequestFailed: rejected: .*maximum model length of 256"),
        ("too long to score", "RequestFailed: rejected: .*maximum model length of 256"),
        ("foreign token", "RequestFailed: rejected: .*5000.* vocabulary"),
        ("impossible schema", "RequestFailed: rejected: "),
        ("empty score", "ValueError: score needs at least one token"),
        ("after its death", r"EngineUnusable: vLLM's engine under .* has died.* \| EngineUnusable: vLLM's engine"),
    ],
)
def test_what_goes_wrong_is_told(found: dict[str, Any], what: str, said: str) -> None:
    import re

    assert re.search(said, found[what]), found[what]


@pytest.mark.component
def test_a_cancelled_request_leaves_nothing_behind(found: dict[str, Any]) -> None:
    assert found["cancelled"] is True


@pytest.mark.component
def test_the_identity_is_the_same_in_both_pythons(found: dict[str, Any], model: Path) -> None:
    from tests.actors.engines.vllm_session import OPTIONS

    assert found["identity"] == VllmEngine(str(model), OPTIONS).identity()
    assert found["identity"]["dtype"] == "float32" and found["identity"]["max_model_len"] == 256
    assert "enforce_eager" not in found["identity"]


# Without vLLM


def test_without_vllm_the_way_out_is_named(model: Path) -> None:
    import asyncio
    from importlib.util import find_spec

    if find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here")
    with pytest.raises(EngineUnusable, match="--engine vllm needs vLLM: pip install vllm"):
        asyncio.run(VllmEngine(str(model)).start())


def test_it_travels_before_it_starts(model: Path) -> None:
    engine = pickle.loads(pickle.dumps(VllmEngine(str(model), {"tensor-parallel-size": "2", "dtype": "bfloat16"})))
    assert engine._options == {"tensor_parallel_size": 2, "dtype": "bfloat16"}
    assert engine.identity()["dtype"] == "bfloat16"
    assert engine.capabilities == {"generate", "score", "schema", "token_ids"}
