"""Conversations as tokens, with real tokenizers; what a template lacks is said, or made up for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actors.engines.chat import Chat, cut_at_stop
from actors.engines.contract import Category, EngineUnusable, Message, RequestFailed
from actors.engines.model_files import READ_WHOLE, generation_defaults, model_digest, model_identity
from tests.tiny_models import SILENT_ABOUT_SYSTEM, SPECIAL, WITHOUT_SYSTEM, changed, save_tiny_model, tiny_tokenizer

pytest.importorskip("transformers")
ASKED = (Message("system", "Be brief."), Message("user", "How are you?"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("chat") / "tiny")


def templated(path: Path, template: str | None) -> Chat:
    tiny_tokenizer(template).save_pretrained(path)
    (path / "config.json").write_text("{}")
    return Chat(str(path))


def text_of(chat: Chat, messages: tuple[Message, ...]) -> str:
    """The conversation as it goes to the model, with its special tokens."""
    text: str = chat._tokenizer.decode(chat.prompt_ids(messages))
    return text


def test_a_conversation_is_opened_for_the_answer(model: Path) -> None:
    chat = Chat(str(model))
    assert text_of(chat, ASKED) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert all(type(token) is int for token in chat.prompt_ids(ASKED))


def test_an_answer_comes_back_as_text_without_special_tokens(model: Path) -> None:
    chat = Chat(str(model))
    said = "wörld  , 42 !\n\u65e5\u672c"
    ids = chat._tokenizer(said + "<|im_end|>")["input_ids"]
    assert chat.text_of(ids) == said


def test_the_special_tokens_are_known(model: Path) -> None:
    chat = Chat(str(model))
    assert chat.special_tokens == set(SPECIAL)
    assert chat.end_ids == {2} and chat.pad_id == 0


def test_half_a_surrogate_pair_is_replaced(model: Path) -> None:
    assert "a\ufffdb" in text_of(Chat(str(model)), (Message("user", "a\ud800b"),))


@pytest.mark.parametrize("template", [WITHOUT_SYSTEM, SILENT_ABOUT_SYSTEM], ids=["refuses", "leaves out"])
def test_what_the_system_says_stands_before_the_user_where_the_template_has_no_place(
    tmp_path: Path, template: str
) -> None:
    chat = templated(tmp_path, template)
    assert text_of(chat, ASKED) == ("<|im_start|>user\nBe brief.\n\nHow are you?<|im_end|>\n<|im_start|>assistant\n")
    alone = text_of(chat, ASKED[:1])
    assert alone == "<|im_start|>user\nBe brief.<|im_end|>\n<|im_start|>assistant\n"


def test_a_conversation_that_the_template_refuses_is_that_requests_failure(tmp_path: Path) -> None:
    chat = templated(tmp_path, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(RequestFailed, match="roles must alternate") as failed:
        chat.prompt_ids(ASKED[1:])
    assert failed.value.category is Category.REJECTED


def test_variables_reach_the_template(tmp_path: Path) -> None:
    chat = templated(tmp_path, "{% if enable_thinking is false %}[quick]{% endif %}{{ messages[0].content }}")
    quick = chat.prompt_ids(ASKED[1:], {"enable_thinking": False})
    assert chat._tokenizer.decode(quick) == "[quick]How are you?"
    assert text_of(chat, ASKED[1:]) == chat._tokenizer.decode(chat.prompt_ids(ASKED[1:], {})) == "How are you?"


@pytest.mark.parametrize("name", ["enable_thinking", "thinkin", "tokenize", "chat_template"])
def test_a_variable_that_would_change_nothing_is_refused(tmp_path: Path, name: str) -> None:
    chat = templated(tmp_path, "{{ thinking }}{{ tokenize }}{{ chat_template }}")
    with pytest.raises(EngineUnusable, match=f"no variable '{name}'.*--chat-template FILE"):
        chat.prompt_ids(ASKED[1:], {name: False})


def test_pictures_are_refused(model: Path) -> None:
    with pytest.raises(EngineUnusable, match=r"pictures.*--images.*--engine openai"):
        Chat(str(model)).prompt_ids((Message("user", "Look.", ("data:image/png;base64,AA==",)),))


def test_without_a_template_the_way_out_is_named_when_it_is_asked(tmp_path: Path) -> None:
    chat = templated(tmp_path, None)
    assert chat.special_tokens
    with pytest.raises(EngineUnusable, match=r"no chat template.*--chat-template FILE"):
        chat.prompt_ids(ASKED)


def test_a_template_of_ones_own(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}")
    assert text_of(Chat(str(model), str(file)), ASKED) == "[system] Be brief.\n[user] How are you?\n"
    with pytest.raises(EngineUnusable, match=r"--chat-template .*missing\.jinja cannot be read"):
        Chat(str(model), str(tmp_path / "missing.jinja"))
    file.write_text("{% for %}")
    with pytest.raises(EngineUnusable, match=r"is not valid.*--chat-template"):
        Chat(str(model), str(file)).prompt_ids(ASKED)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/nowhere/model", "model directory /nowhere/model does not exist on this node"),
        ("./nowhere", "does not exist on this node"),
        ("s3://bucket/model", "copy it to a directory"),
        ("nobody/has-this-model-7f3a", "no directory, and from the Hugging Face hub it cannot be had"),
    ],
)
def test_a_model_that_is_not_there(place: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EngineUnusable, match=said):
        Chat(place)


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(EngineUnusable, match=r"has no config\.json"):
        Chat(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EngineUnusable, match="has no tokenizer that can be read"):
        Chat(str(tmp_path))


def test_the_identity_is_the_models_not_the_places(model: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(model, tmp_path / "elsewhere" / "tiny")
    assert model_identity("vllm", str(copied)) == model_identity("vllm", str(model))
    # What training leaves behind is no part of it.
    (copied / "README.md").write_text("about")
    (copied / "optimizer.pt").write_bytes(b"state")
    assert model_digest(str(copied)) == model_digest(str(model))
    before = model_digest(str(copied))
    changed(copied, "generation_config.json", temperature=0.3)
    assert model_digest(str(copied)) != before


def test_the_identity_knows_the_template_and_the_settings_that_matter(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("one")
    first = model_identity("vllm", str(model), str(file), dtype=None)
    file.write_text("two")
    assert model_identity("vllm", str(model), str(file)) != first
    assert "dtype" not in first and model_identity("vllm", str(model), dtype="float16")["dtype"] == "float16"


def test_two_trainings_of_one_model_differ_though_their_files_are_equally_long(tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        directory = tmp_path / str(seed)
        directory.mkdir()
        (directory / "config.json").write_text("{}")
        weights = bytearray(READ_WHOLE + 100)
        # One matrix of it differs, a twentieth of the whole.
        weights[READ_WHOLE // 2 : READ_WHOLE // 2 + READ_WHOLE // 20] = bytes([seed]) * (READ_WHOLE // 20)
        (directory / "model.safetensors").write_bytes(weights)
        found.append(model_digest(str(directory)))
    assert found[0] != found[1]


def test_a_model_of_the_hub_is_known_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert model_identity("vllm", "owner/name") == {"engine": "vllm", "model": "owner/name", "digest": ""}
    folder = tmp_path / "models--owner--name"
    snapshot = folder / "snapshots" / ("ab" * 20)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("ab" * 20)
    (snapshot / "config.json").write_text("{}")
    assert model_digest("owner/name") == "ab" * 20
    assert generation_defaults("owner/name") == {}
    (snapshot / "generation_config.json").write_text('{"temperature": 0.6}')
    assert generation_defaults("owner/name") == {"temperature": 0.6}


def test_text_is_cut_at_the_first_stop() -> None:
    assert cut_at_stop("one two three", ("three", "two")) == ("one ", True)
    assert cut_at_stop("one two", ("four", "")) == ("one two", False)
