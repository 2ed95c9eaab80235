"""Which token comes next, and when an answer ends: for every row of a batch by itself, whatever stands beside it.

The two classes hang in transformers' `generate`, which does the rest. A row's random numbers come from its own seed
alone, and are the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

# A stop string of n bytes is at most n tokens long; a token more on its left may hold the beginning of a character.
_MARGIN = 4


@dataclass(frozen=True, slots=True)
class Randomness:
    """How tokens are drawn; temperature 0 takes the likeliest. `top_k` 0, `top_p` 1 and `min_p` 0 keep all."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


class Draw:
    """A logits processor that settles every row's next token and keeps its log-probability.

    The log-probabilities are the model's own, before temperature, penalties and cuts, as vLLM gives them: `raw` returns
    the logits of the last step as they left the model. Used once.
    """

    def __init__(self, randomness: Randomness, seeds: Sequence[int], raw: Callable[[], Any]) -> None:
        self._how, self._raw = randomness, raw
        self._random = [Random(seed) for seed in seeds]
        self._logprobs: list[Any] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        if self._how.temperature <= 0:
            drawn = scores.argmax(-1, keepdim=True)
        else:
            uniform = torch.tensor([[row.random()] for row in self._random], dtype=torch.float32, device=scores.device)
            drawn = _drawn(scores, self._how, uniform)
            # All but the drawn token are out, so that whoever takes the likeliest takes this one.
            scores = torch.full_like(scores, float("-inf")).scatter(-1, drawn, 0.0)
        raw = self._raw().float()
        self._logprobs.append((raw.gather(-1, drawn) - raw.logsumexp(-1, keepdim=True)).squeeze(-1))
        return scores

    def logprobs(self) -> list[list[float]]:
        """By row, one for every step of the batch; those after a row's end mean nothing."""
        import torch

        found: list[list[float]] = torch.stack(self._logprobs, dim=-1).tolist()
        return found


def _drawn(scores: Any, how: Randomness, uniform: Any) -> Any:
    """One token for each row: the inverse of the distribution function at a uniform number."""
    scores, order = (scores / how.temperature).sort(dim=-1, descending=True, stable=True)
    if how.top_k:
        scores, order = scores[:, : how.top_k], order[:, : how.top_k]
    shares = scores.softmax(-1)
    # A token stays if those before it do not make up top_p yet; the first always does.
    shares = shares * (shares.cumsum(-1) - shares < how.top_p) * (shares >= how.min_p * shares[:, :1])
    reached = shares.cumsum(-1)
    place = (reached <= uniform * reached[:, -1:]).sum(-1, keepdim=True)
    # Rounding may put the number past the last token that has a share.
    place = place.minimum((shares > 0).sum(-1, keepdim=True) - 1)
    return order.gather(-1, place)


@dataclass(slots=True)
class Row:
    """One answer in the making. `length` and `reason` are set when it ends; `is_wanted` turns false when it may."""

    limit: int
    stop: tuple[str, ...] = ()
    is_wanted: Callable[[], bool] = field(default=lambda: True)
    length: int | None = None
    reason: str = "length"


class Ends:
    """A stopping criterion: a row ends with an end token, a stop string, its own limit, or when nobody wants it."""

    def __init__(
        self, rows: Sequence[Row], width: int, end_ids: frozenset[int], text_of: Callable[[list[int]], str]
    ) -> None:
        self.rows = rows
        self._width, self._end_ids, self._text_of = width, end_ids, text_of
        longest = max((len(stop.encode()) for row in rows for stop in row.stop), default=0)
        self._tail = longest + _MARGIN if longest else 1

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        import torch

        made = input_ids.shape[1] - self._width
        tails = input_ids[:, -min(made, self._tail) :].tolist()
        for row, tail in zip(self.rows, tails, strict=True):
            if row.length is None:
                self._look(row, tail, made)
        done = [row.length is not None for row in self.rows]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)

    def _look(self, row: Row, tail: list[int], made: int) -> None:
        if tail[-1] in self._end_ids or (row.stop and self._has_stop(row, tail)):
            row.length, row.reason = made, "stop"
        elif made >= row.limit or not row.is_wanted():
            row.length = made

    def _has_stop(self, row: Row, tail: list[int]) -> bool:
        text = self._text_of(tail)
        return any(stop in text for stop in row.stop)
