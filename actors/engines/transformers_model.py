"""A causal language model on one device: answers and log-probabilities for whole batches, with transformers.

It is synchronous and for one thread. What a row gets does not depend on the rows beside it, save for the last bits of
sums: in half precision these can turn a tie between two tokens, in float32 they do not in practice.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from actors.engines.chat import Chat, cut_at_stop
from actors.engines.contract import Category, Completion, EngineUnusable, RequestFailed, Sampling, Usage
from actors.engines.drawn_tokens import Draw, Ends, Randomness, Row
from actors.engines.model_files import model_directory, shown_name

NEW_TOKENS = 512  # where a request names no limit
# Logits that are held at once when answers are scored: 2 GiB in float32.
SCORED_AT_ONCE = 1 << 29


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as tokens. All of a batch share the sampling, but for the seed."""

    ids: list[int]
    sampling: Sampling
    seed: int | None = None
    is_wanted: Callable[[], bool] = field(default=lambda: True)


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer to be scored, with what came before it."""

    prompt: list[int]
    response: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.response


class OutOfMemory(Exception):
    """The device has no room for this batch; a smaller one may fit."""


class TransformersModel:
    """A loaded model. Raises EngineUnusable."""

    def __init__(self, model: str, device: str = "auto", dtype: str = "auto", chat_template: str | None = None) -> None:
        self.name = shown_name(model)
        self.chat = Chat(model, chat_template)
        self._model = _loaded(model, device, dtype)
        config = self._model.config.get_text_config()
        self.context = int(getattr(config, "max_position_embeddings", None) or 1 << 30)
        self._vocabulary = int(self._model.get_input_embeddings().weight.shape[0])
        # The model's own way of drawing is kept apart; the tokens are drawn here.
        self._defaults = copy.deepcopy(self._model.generation_config)
        self._end_ids = _ids(self._defaults.eos_token_id) | self.chat.end_ids

    def check(self, ids: Sequence[int], more: int = 0) -> None:
        """Raises RequestFailed for tokens that the model does not take; `more` are still to come."""
        if len(ids) + more > self.context:
            raise RequestFailed(
                Category.REJECTED,
                f"{len(ids):,} tokens; {self.name} takes {self.context - more:,}: see --max-text-length",
            )
        if ids and not (min(ids) >= 0 and max(ids) < self._vocabulary):
            # On a GPU such a token would break the whole process.
            raise RequestFailed(
                Category.REJECTED, f"a token that {self.name} does not have (0 to {self._vocabulary - 1:,})"
            )

    # Answers

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """An answer to each. Raises OutOfMemory."""
        import torch

        width = max(len(prompt.ids) for prompt in prompts)
        padding = [width - len(prompt.ids) for prompt in prompts]
        # A penalty on tokens that were there already looks at the padding too, so this repeats what the prompt has.
        filled = [prompt.ids[:1] * space + prompt.ids for space, prompt in zip(padding, prompts, strict=True)]
        ids = torch.tensor(filled)
        mask = torch.tensor([[0] * space + [1] * (width - space) for space in padding])
        rows = [self._row(prompt) for prompt in prompts]
        ends = Ends(rows, width, self._end_ids, self.chat.text_of)
        with _guarded(), torch.inference_mode():
            drawn, logprobs = self._run(ids, mask, prompts, ends)
        return [
            self._completion(prompt, row, tokens[width:], values)
            for prompt, row, tokens, values in zip(prompts, rows, drawn, logprobs, strict=True)
        ]

    def _run(
        self, ids: Any, mask: Any, prompts: Sequence[Prompt], ends: Ends
    ) -> tuple[list[list[int]], list[list[float]]]:
        latest: list[Any] = [None]

        def keep(module: Any, args: Any, output: Any) -> None:
            latest[0] = output.logits[:, -1]

        seeds = [random.getrandbits(63) if prompt.seed is None else prompt.seed for prompt in prompts]
        draw = Draw(self._randomness(prompts[0].sampling), seeds, lambda: latest[0])
        hook = self._model.register_forward_hook(keep)
        try:
            found = self._model.generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                generation_config=self._settings(max(row.limit for row in ends.rows)),
                logits_processor=[draw],
                stopping_criteria=[ends],
            )
        finally:
            hook.remove()
        return found.tolist(), draw.logprobs()

    def _row(self, prompt: Prompt) -> Row:
        room = self.context - len(prompt.ids)
        return Row(min(prompt.sampling.max_new_tokens or NEW_TOKENS, room), prompt.sampling.stop, prompt.is_wanted)

    def _settings(self, limit: int) -> Any:
        """The model's generation config (its penalties, say) with the drawing taken out."""
        settings = copy.deepcopy(self._defaults)
        # The criterion knows all ends; transformers fills up rows that end earlier by the same list.
        settings.update(do_sample=False, num_beams=1, num_return_sequences=1, max_length=None, max_new_tokens=limit)
        settings.update(temperature=None, top_p=None, top_k=None, min_p=None, use_cache=True)
        settings.update(return_dict_in_generate=False, output_scores=False, output_logits=False)
        settings.update(eos_token_id=sorted(self._end_ids) or None, pad_token_id=self.chat.pad_id)
        return settings

    def _randomness(self, sampling: Sampling) -> Randomness:
        """What a request leaves open is the model's own generation config's to say."""
        own = self._defaults
        if sampling.temperature is None:
            temperature = (1.0 if own.temperature is None else own.temperature) if own.do_sample else 0.0
        else:
            temperature = sampling.temperature
        own_top_p = 1.0 if own.top_p is None else own.top_p
        return Randomness(
            float(temperature),
            float(own_top_p if sampling.top_p is None else sampling.top_p),
            int(own.top_k or 0) if own.do_sample else 0,
            float((own.min_p or 0.0) if sampling.min_p is None else sampling.min_p),
        )

    def _completion(self, prompt: Prompt, row: Row, tokens: list[int], logprobs: list[float]) -> Completion:
        length = row.length or 0
        text, is_stopped = cut_at_stop(self.chat.text_of(tokens[:length]), prompt.sampling.stop)
        return Completion(
            text=text,
            finish_reason="stop" if is_stopped else row.reason,
            usage=Usage(prompt_tokens=len(prompt.ids), completion_tokens=length),
            model=self.name,
            token_ids=tuple(tokens[:length]),
            logprobs=tuple(logprobs[:length]),
        )

    # Log-probabilities

    def score(self, pairs: Sequence[Pair]) -> list[list[float]]:
        """For each pair, the log-probability of every token of its response. Raises OutOfMemory."""
        found: list[list[float]] = []
        rest = list(pairs)
        while rest:
            together = self._that_fit(rest)
            found += self._score(rest[:together])
            rest = rest[together:]
        return found

    def _that_fit(self, pairs: Sequence[Pair]) -> int:
        """So many of the first that their logits may be held at once; one at least."""
        for count in range(2, len(pairs) + 1):
            first, last = _span(pairs[:count])
            if count * (last - first) * self._vocabulary > SCORED_AT_ONCE:
                return count - 1
        return len(pairs)

    def _score(self, pairs: Sequence[Pair]) -> list[list[float]]:
        import torch

        first, last = _span(pairs)
        width = last + 1
        # Padding on the right: no token sees what comes after it, so it changes nothing and needs no mask.
        ids = torch.tensor([pair.ids + [self.chat.pad_id] * (width - len(pair.ids)) for pair in pairs])
        with _guarded(), torch.inference_mode():
            ids = ids.to(self._model.device)
            logits = self._logits(ids, first, last)
            return [_of_response(logits[row], ids[row], pair, first) for row, pair in enumerate(pairs)]

    def _logits(self, ids: Any, first: int, last: int) -> Any:
        """Those of the columns from `first` up to `last`; only these are made where the model can do that."""
        import inspect

        import torch

        if "logits_to_keep" not in inspect.signature(self._model.forward).parameters:
            return self._model(input_ids=ids, use_cache=False).logits[:, first:last]
        columns = torch.arange(first, last, device=ids.device)
        return self._model(input_ids=ids, use_cache=False, logits_to_keep=columns).logits


def _span(pairs: Sequence[Pair]) -> tuple[int, int]:
    """The columns whose logits say something of a response: those in front of its tokens."""
    return min(len(pair.prompt) for pair in pairs) - 1, max(len(pair.ids) for pair in pairs) - 1


def _of_response(logits: Any, ids: Any, pair: Pair, first: int) -> list[float]:
    start, end = len(pair.prompt), len(pair.ids)
    values = logits[start - 1 - first : end - 1 - first].float().log_softmax(-1)
    found: list[float] = values.gather(-1, ids[start:end, None]).squeeze(-1).tolist()
    return found


def _ids(ends: Any) -> frozenset[int]:
    if ends is None:
        return frozenset()
    return frozenset(map(int, ends)) if isinstance(ends, list | tuple) else frozenset((int(ends),))


class _guarded:
    """Tells a lack of memory from other errors, by its own name."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is not None and _is_lack_of_memory(error):
            # Without the traceback, which holds every tensor of the batch.
            raise OutOfMemory(" ".join(str(error).split())[:200]) from None


def _is_lack_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _loaded(model: str, device: str, dtype: str) -> Any:
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise EngineUnusable(
            f"the engine transformers needs {' and '.join(missing)}: pip install 'gristmill[transformers]'"
        )
    import torch
    from transformers import AutoModelForCausalLM

    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise EngineUnusable(
            f"--engine-option device={device}: torch sees no GPU on this node; leave device out, or give cpu"
        )
    # Half precision is slow on CPUs, and a model's own dtype is half in most cases.
    wanted = "float32" if dtype == "auto" and device == "cpu" else dtype
    kind = wanted if wanted == "auto" else getattr(torch, wanted, None)
    if kind is None or not (kind == "auto" or isinstance(kind, torch.dtype)):
        raise EngineUnusable(f"--engine-option dtype={dtype}: give auto, float32, bfloat16 or float16")
    try:
        place = str(model_directory(model) or model)
        found = AutoModelForCausalLM.from_pretrained(place, dtype=kind, trust_remote_code=False)
        return found.to(device).eval()
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise EngineUnusable(f"the model {model} cannot be loaded on {device} by transformers: {reason}") from error
