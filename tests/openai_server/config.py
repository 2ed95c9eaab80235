"""What a test says to the server: one flat set of keys, given at the start and merged into while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from tests.openai_server.faults import KINDS, script_steps


@dataclass
class Config:
    """Every key of the configuration; the defaults are a server without faults that answers at once."""

    # Who may ask, and for what.
    api_key: str | None = None  # other keys are answered with 401; None takes any, or none
    models: list[str] | None = None  # other models are answered with 404; None takes any
    model_path: str = "test/model"  # what /get_model_info and /v1/models name
    max_prompt_characters: int | None = None  # longer prompts are answered with context_length_exceeded
    unsupported_parameters: list[str] = field(default_factory=list)  # answered with unsupported_parameter
    strict_parameters: bool = True  # parameters OpenAI does not know are answered with unknown_parameter
    strict_schemas: bool = True  # schemas that strict mode does not take are answered with 400

    # How it answers.
    delay_seconds: float | list[float] = 0.0  # fixed, or [low, high] drawn for each question
    drip_seconds: float = 0.0  # above 0, every body is written in pieces over so long
    reasoning_tokens: int = 0  # hidden tokens, in front of every answer
    cached_share: float = 0.0  # of prompts from 1 024 tokens on, the part that is said to be cached
    requests_per_minute: float | None = None  # a true limit: a bucket that is full at the start
    tokens_per_minute: float | None = None  # likewise, of prompt and max tokens

    # Faults.
    seed: int = 0
    faults: dict[str, float] = field(default_factory=dict)  # kind -> probability
    fault_script: dict[str, list[Any]] = field(default_factory=dict)  # substring of the messages -> kinds by attempt
    path_faults: dict[str, list[Any]] = field(default_factory=dict)  # such as "GET /v1/batches/*" -> kinds by request
    retry_after_seconds: float = 1.0
    slow_tokens_seconds: float = 2.0

    # Batches.
    batch_seconds: float = 0.5  # from creation to completion
    batch_error_rate: float = 0.0  # lines answered with status 500
    batch_expire_rate: float = 0.0  # lines that the completion window ends before
    max_batch_requests: int = 50_000
    max_batch_bytes: int = 200_000_000
    max_enqueued_tokens: int | None = None  # of all batches at work; above it a batch fails

    # Bookkeeping.
    keep_bodies: int = 20_000  # questions whose last body is kept

    def merge(self, changes: dict[str, Any]) -> None:
        """Take these keys over; raises ValueError, with nothing changed, where one is not right."""
        known = {each.name for each in fields(self)}
        if unknown := set(changes) - known:
            raise ValueError(f"unknown keys {sorted(unknown)}; there are {sorted(known)}")
        _check_faults(changes.get("faults") or {})
        for scripts in (changes.get("fault_script"), changes.get("path_faults")):
            for steps in (scripts or {}).values():
                script_steps(steps)
        for name, value in changes.items():
            setattr(self, name, value)


def _check_faults(faults: dict[str, float]) -> None:
    if unknown := set(faults) - set(KINDS):
        raise ValueError(f"unknown faults {sorted(unknown)}; there are {sorted(KINDS)}")
    if sum(faults.values()) > 1 + 1e-9 or any(share < 0 for share in faults.values()):
        raise ValueError("the probabilities of faults are at least 0 and together at most 1")
