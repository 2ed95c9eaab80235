"""The one contract of every model engine: conversations in, completions out; token ids in, log-probabilities out.

An engine is asynchronous and takes as many requests at once as it is given: it batches, paces and retries by itself.
What it cannot answer for one request it raises as a `RequestFailed` with a category, and the row goes to quarantine;
what makes every further request pointless (a wrong key, no such model, nobody listening) it raises as an
`EngineUnusable`, and the run stops with that line and continues later.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from cluster.errors import Halt


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation. `images` are pictures that go with the text, as data: URLs."""

    role: Literal["system", "user", "assistant"]
    content: str
    images: tuple[str, ...] = ()


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an answer is drawn. None leaves the choice to the engine; `max_new_tokens` counts reasoning tokens too.

    `min_p` leaves out the tokens that are less likely than so much of the likeliest one. `chat_template_kwargs` are
    variables of the model's chat template, as {"enable_thinking": False}; what they mean is the template's to say.
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    reasoning_effort: str | None = None
    service_tier: str | None = None
    min_p: float | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question. `schema` is a JSON schema the answer has to meet, `schema_name` its name towards providers.

    `is_strict` says that the schema keeps to what providers demand of one by which they bind an answer. `sample` tells apart draws that are otherwise the same question.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    schema: dict[str, Any] | None = None
    schema_name: str = "answer"
    sample: int = 0
    is_strict: bool = True


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens as the engine counted them. `cached_tokens` are part of the prompt's, `reasoning_tokens` of the answer's."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class Completion(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer, whole.

    `finish_reason` is "stop", "length", "content_filter", "refusal" or what else the engine says; `cost` is in
    nano-dollars (1e-9 USD), None where no price is known; `latency` in seconds from sending to the last byte;
    `model` is the name by which the engine says it answered. `token_ids` and `logprobs` are of the answer's tokens.
    `is_reused` says that the answer was in the journal before this run.
    """

    text: str
    finish_reason: str = "stop"
    usage: Usage = Usage()
    cost: int | None = None
    latency: float = 0.0
    model: str = ""
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    refusal: str | None = None
    is_reused: bool = False


class Category(enum.StrEnum):
    """Why a request has no usable answer."""

    RATE_LIMITED = "rate limited"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server error"
    REFUSED = "refused"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    REJECTED = "rejected"  # the engine does not take this request (too long, say)


class RequestFailed(Exception):
    """One request has no answer, and asking again will not help. `detail` is one line for the person."""

    def __init__(self, category: Category, detail: str) -> None:
        super().__init__(category, detail)
        self.category, self.detail = category, detail

    def __str__(self) -> str:
        return f"{self.category}: {self.detail}"


class EngineUnusable(Halt):
    """No request to this engine can succeed as things are; the message names the engine, the reason and the way out."""


class BudgetSpent(Halt):
    """--max-cost leaves no room for another request. What is answered is kept."""


Capability = Literal["generate", "score", "schema", "token_ids"]


class Engine:
    """A model that can be asked. Made anywhere, picklable until `start`, which is awaited once on the loop that uses it.

    `capabilities` says what it can do: "generate", "score", "schema" (answers are bound to a JSON schema while they
    are drawn), "token_ids" (completions carry them). What is missing raises NotImplementedError.
    """

    name: str
    capabilities: frozenset[Capability] = frozenset()

    async def start(self) -> None:
        """Load the model, open the connections. Raises EngineUnusable."""

    async def close(self) -> None:
        """Let go of what `start` holds."""

    def hold_places(self) -> None:
        """From now on an answer counts as under way until `kept` is called for it, where the engine counts at all.

        So what a kill can lose of answers that have arrived is bounded by the limit of requests at once, however slowly
        they are written down.
        """

    def kept(self) -> None:
        """One answer is written down, or turned out to be of no use, so that nobody will write it."""

    def identity(self) -> dict[str, Any]:
        """What of this engine decides its answers (its kind, the model), for the journal's key: no address, no key."""
        raise NotImplementedError

    async def generate(self, request: Request) -> Completion:
        """Answer one conversation. Raises RequestFailed, EngineUnusable or BudgetSpent."""
        raise NotImplementedError(f"{self.name} does not generate")

    async def score(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[float]:
        """Teacher-forced log-probabilities (natural log) of `response_ids` after `prompt_ids`, one for each.

        Raises RequestFailed or EngineUnusable, ValueError where either is empty.
        """
        raise NotImplementedError(f"{self.name} does not score")
