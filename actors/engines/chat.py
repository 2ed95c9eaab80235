"""Conversations as a model's tokens, and its tokens as text: tokenizer and chat template of one model.

Nothing of a model's code is run: a tokenizer that needs code of its own is refused by transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actors.engines.contract import Category, EngineUnusable, Message, RequestFailed
from actors.engines.model_files import model_directory, template_text

_PROBE = "gristmill-7f3a"
# Under these names the tokenizer's method takes something else than a variable of the template.
_TAKEN = frozenset(
    {
        *("conversation", "messages", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize"),
        *("padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask"),
        "tokenizer_kwargs",
    }
)
Turns = list[dict[str, str]]


class Chat:
    """The tokenizer of a model: a directory, or a name of the hub. Not for several threads at once.

    `chat_template` is a Jinja file in place of the model's own template. A model without either can be scored, not
    asked. Raises EngineUnusable.
    """

    def __init__(self, model: str, chat_template: str | None = None) -> None:
        self._model = model
        self._tokenizer = _tokenizer(model, model_directory(model))
        if chat_template is not None:
            self._tokenizer.chat_template = template_text(chat_template)
        # How long a prompt may be is the engine's to say; the tokenizer only warns.
        self._tokenizer.model_max_length = 1 << 62
        self._has_system: bool | None = None

    def prompt_ids(self, messages: Sequence[Message], variables: Mapping[str, Any] | None = None) -> list[int]:
        """The tokens of a conversation, with the opening of the answer; `variables` are the chat template's own.

        Raises RequestFailed, and EngineUnusable for pictures and for a variable that the template does not know.
        """
        if any(message.images for message in messages):
            raise EngineUnusable(
                f"the model {self._model} is given text alone here, and the conversation has pictures: leave out "
                "--images, or ask a server whose model takes them (--engine openai --base-url)"
            )
        given = self._known(variables or {})
        turns = [{"role": message.role, "content": encodable(message.content)} for message in messages]
        if any(turn["role"] == "system" for turn in turns) and not self._takes_system():
            turns = _system_in_front(turns)
        import jinja2

        try:
            encoded = self._apply(turns, tokenize=True, return_dict=True, **given)
        except jinja2.TemplateError as error:
            raise RequestFailed(Category.REJECTED, f"the chat template refuses the conversation: {error}") from error
        return [int(token) for token in encoded["input_ids"]]

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens, without the special ones."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    @property
    def special_tokens(self) -> frozenset[str]:
        """The tokens that mean something beyond their text, as they are written.

        Tokens that were added but are not special (runs of spaces, say) are text like any other.
        """
        added = self._tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special} | set(self._tokenizer.all_special_tokens)
        return frozenset(filter(None, special))

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that the tokenizer calls the end; the model's generation config may know more."""
        end = self._tokenizer.eos_token_id
        return frozenset() if end is None else frozenset((int(end),))

    @property
    def pad_id(self) -> int:
        """A token that may fill up a batch."""
        found = self._tokenizer.pad_token_id
        return next((int(token) for token in (found, self._tokenizer.eos_token_id) if token is not None), 0)

    def _apply(self, turns: Turns, **how: Any) -> Any:
        if not self._tokenizer.chat_template:
            raise EngineUnusable(
                f"the model {self._model} has no chat template, so it cannot be asked: give one with --chat-template "
                "FILE, or a model that was tuned on conversations"
            )
        return self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, **how)

    def _known(self, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """The variables; one that the template never reads would change nothing, without a word."""
        template = self._tokenizer.chat_template
        for name in variables:
            if name in _TAKEN or (isinstance(template, str) and not re.search(rf"\b{re.escape(name)}\b", template)):
                raise EngineUnusable(
                    f"the chat template of {self._model} has no variable {name!r}: leave it out (--no-think sets "
                    "enable_thinking), or give a template that has it with --chat-template FILE"
                )
        return variables

    def _takes_system(self) -> bool:
        """Some templates refuse the system's turn, others leave it out without a word."""
        if self._has_system is None:
            import jinja2

            turns = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "?"}]
            try:
                self._has_system = _PROBE in self._apply(turns, tokenize=False)
            except jinja2.TemplateSyntaxError as error:
                raise EngineUnusable(
                    f"the chat template of {self._model} is not valid: {error}; see --chat-template"
                ) from error
            except jinja2.TemplateError:
                self._has_system = False
        return self._has_system


def encodable(text: str) -> str:
    """The text; half of a surrogate pair, which no tokenizer takes, becomes the replacement character."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text up to the first of the strings, and whether one is there."""
    places = [place for place in (text.find(each) for each in stop if each) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _system_in_front(turns: Turns) -> Turns:
    """What the system says stands before the user's next words, in the same turn."""
    merged: Turns = []
    said: list[str] = []
    for turn in turns:
        if turn["role"] == "system":
            said.append(turn["content"])
        elif said and turn["role"] == "user":
            merged.append({"role": "user", "content": "\n\n".join([*said, turn["content"]])})
            said = []
        else:
            merged.append(turn)
    return [*merged, {"role": "user", "content": "\n\n".join(said)}] if said else merged


def _tokenizer(model: str, directory: Path | None) -> Any:
    if find_spec("transformers") is None:
        raise EngineUnusable("a model's tokenizer needs transformers: pip install 'gristmill[transformers]'")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(directory or model), trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        where = (
            "is no directory, and from the Hugging Face hub it cannot be had"
            if directory is None
            else "has no tokenizer that can be read"
        )
        raise EngineUnusable(f"the model {model} {where}: {reason}") from error
