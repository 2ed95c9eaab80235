"""What annotating would ask for: questions and their tokens counted without asking anybody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.engines.contract import Request
from actors.engines.openai_api import encoded, most_prompt_tokens
from actors.journal import Journal, request_key
from actors.questions import Questions
from cluster.rows import Failure, Rows
from cluster.stage import Stage, Summarizer
from cluster.storage import Storage

CHARACTERS_PER_TOKEN = 4.0  # of English and code with the tokenizers in use; the approximation where none is given
TOKENS_AROUND_A_MESSAGE = 4


@dataclass(frozen=True)
class CountTokens:
    """Counts the tokens of a text: by a tokenizer.json's text, by tiktoken for a model it knows, else roughly."""

    tokenizer: str | None = None
    tiktoken_model: str | None = None
    characters_per_token: float = CHARACTERS_PER_TOKEN

    def counter(self) -> Callable[[str], int]:
        if self.tokenizer is not None:
            from tokenizers import Tokenizer

            loaded = Tokenizer.from_str(self.tokenizer)
            loaded.no_truncation()
            return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)
        if self.tiktoken_model is not None:
            import tiktoken

            encoding = tiktoken.encoding_for_model(self.tiktoken_model)
            return lambda text: len(encoding.encode_ordinary(text))
        return lambda text: round(len(text) / self.characters_per_token)


class EstimateRows(Stage):
    """Counts `questions`, those `in the journal`, and the `prompt tokens` of the others; the rows stay as they are.

    Tokens are counted about, by `tokens`, and `at most`, as requests are bounded where they are sent. `identity` is that
    of the engine that would answer, `sends_schema` says that it puts the schema in front of a prompt. A row without a
    question is quarantined, as it would be.
    """

    def __init__(
        self,
        questions: Questions,
        identity: Mapping[str, Any],
        journal: Storage | None,
        tokens: CountTokens,
        sends_schema: bool = True,
    ) -> None:
        self.questions, self.identity, self.journal, self.tokens = questions, identity, journal, tokens
        self.sends_schema = sends_schema

    def setup(self) -> None:
        self._count = self.tokens.counter()
        schema = self.questions.prompt.schema if self.sends_schema else None
        self._of_schema = 0 if schema is None else self._count(encoded(schema).decode())
        self._journal = None if self.journal is None else Journal.open(self.journal, "estimate")

    def process(self, rows: Rows) -> Rows:
        questions = self.questions.of(rows.lines)
        for question in questions:
            if not isinstance(question, Failure):
                self._take(question.request, rows)
        return rows.settle(
            [each if isinstance(each, Failure) else line for line, each in zip(rows.lines, questions, strict=True)]
        )

    def _take(self, request: Request, rows: Rows) -> None:
        rows.count("questions")
        if self._journal is not None and request_key(self.identity, request) in self._journal:
            rows.count("in the journal")
            return
        tokens = sum(self._count(message.content) + TOKENS_AROUND_A_MESSAGE for message in request.messages)
        rows.count("prompt tokens", tokens + self._of_schema)
        sent = request if self.sends_schema else msgspec.structs.replace(request, schema=None)
        rows.count("prompt tokens at most", most_prompt_tokens(sent))


class Nothing(Summarizer):
    """A sink that keeps nothing but the account."""

    def encode(self, rows: Rows) -> bytes:
        return b""
