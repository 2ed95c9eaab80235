"""From a row to the question that is put to a model: its text cut and made harmless, in the prompt, as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from actors.engines.contract import Message, Request, Sampling
from actors.expressions import Expression
from actors.prompt import Prompt, RenderFailed
from actors.special_tokens import neutralize_value
from actors.texts import text_of
from actors.truncation import Unit, Where, truncate
from cluster.rows import Failure

AS_IT_COMES = Sampling()


@dataclass(frozen=True, slots=True)
class Question:
    """A request and what was done to the row's text on the way. `truncated` is `_meta`'s account of a cut text."""

    request: Request
    truncated: dict[str, Any] | None = None
    neutralized: int = 0


@dataclass(frozen=True)
class Questions:
    """How rows become questions. `fields` overrides the prompt's own jq programs, by name.

    `max_text_length` is in `unit`, characters or tokens of `tokenizer` (the text of a tokenizer.json); it holds for the
    text and not for fields. Raises ExpressionError for a program that jq does not compile.
    """

    prompt: Prompt
    system: Prompt | None = None
    sampling: Sampling = AS_IT_COMES
    text_expression: str = ".text"
    fields: Mapping[str, str] = field(default_factory=dict)
    max_text_length: int | None = None
    where: Where = "head"
    unit: Unit = "characters"
    tokenizer: str | None = None
    special_tokens: frozenset[str] = frozenset()

    def of(self, lines: Sequence[bytes]) -> list[Question | Failure]:
        """A question for each row, or why there is none."""
        columns = {name: expression.values(lines) for name, expression in self._expressions.items()}
        return [self._question({name: column[i] for name, column in columns.items()}) for i in range(len(lines))]

    @cached_property
    def _expressions(self) -> dict[str, Expression]:
        programs = {**self.prompt.fields, **self.fields}
        if self.prompt.uses_text:
            programs["text"] = self.text_expression
        return {name: Expression(program) for name, program in programs.items()}

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        if self.tokenizer is None:
            return None
        loaded = Tokenizer.from_str(self.tokenizer)
        loaded.no_truncation()
        loaded.no_padding()
        return loaded

    @cached_property
    def unwanted(self) -> frozenset[str]:
        """What a row's text must not contain: tokens that open a turn, tags that end the place where the text stands."""
        return self.special_tokens | self.prompt.delimiters

    @cached_property
    def _opening(self) -> tuple[Message, ...]:
        return () if self.system is None else (Message("system", self.system.render({})),)

    def _question(self, values: dict[str, Any]) -> Question | Failure:
        truncated, neutralized = None, 0
        for name, value in values.items():
            if name == "text":
                value = text_of(value, self.text_expression)
            if isinstance(value, Failure):
                return value
            if name == "text" and self.max_text_length is not None:
                cut = truncate(value, self.max_text_length, self.where, self.unit, self._tokenizer)
                value, truncated = cut.text, cut.meta()
            values[name], found = neutralize_value(value, self.unwanted)
            neutralized += found
        try:
            message = Message("user", self.prompt.render(values))
        except RenderFailed as error:
            return Failure(str(error))
        request = Request(
            (*self._opening, message),
            self.sampling,
            self.prompt.schema,
            self.prompt.name,
            is_strict=self.prompt.is_strict,
        )
        return Question(request, truncated, neutralized)
