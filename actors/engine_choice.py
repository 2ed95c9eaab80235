"""Which engine answers, as plain data that travels to the workers; there it becomes an engine with its journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from actors.engines.contract import Engine, EngineUnusable
from actors.engines.journaled import JournaledEngine
from actors.engines.json_service import Service
from actors.gate import Gate, Visit, local_visit
from actors.prices import Prices
from actors.spend_limiter import Claim, Grant, Limits, SpendLimiter
from cluster.shared import Shared
from cluster.storage import Storage

NO_LIMITS = Limits()
# The options of our own engines; the others pass theirs on.
OWN_OPTIONS = {"search": ("depth",), "transformers": ("batch_size", "device", "dtype")}
Kind = Literal["openai", "vllm", "sglang", "transformers", "search", "journal"]


@dataclass(frozen=True)
class EngineChoice:
    """One model behind one engine.

    `service` is where a server is asked: always for openai, for sglang instead of a model in the worker. `limits` hold
    over all workers, by the `limiter` that they share (None: a limiter of the worker's own). `journal` keeps the
    answers, those of this run under the name `run`; None asks without one. `options` go to the model's own engine.
    The kind "journal" asks nobody: it has the answers of the journal alone (see `actors.engines.journal_only`).
    """

    kind: Kind
    model: str
    limits: Limits = NO_LIMITS
    service: Service | None = None
    limiter: Shared | None = None
    prices: Prices | None = None
    journal: Storage | None = None
    run: str = ""
    chat_template: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows_at_once(self) -> int:
        """Enough rows in a worker that every place is taken while others are read and written."""
        return self.limits.concurrent_requests * 5 // 4 + 64

    async def started(self) -> Engine:
        """The engine at work, on the running event loop. Raises EngineUnusable."""
        engine = await self._engine()
        if self.journal is not None:
            engine = JournaledEngine(engine, self.journal, self.run)
        await engine.start()
        return engine

    def special_tokens(self) -> frozenset[str]:
        """Those of the model's own tokenizer, where it is at hand; the known forms are broken in any case."""
        if self.kind in ("openai", "search", "journal"):
            return frozenset()
        from actors.engines.chat import Chat

        return Chat(self.model, self.chat_template).special_tokens

    def check_options(self) -> None:
        """Raise EngineUnusable for an option that the engine is known not to have; nothing is started."""
        from actors.engines.option_values import check_names

        if self.kind in OWN_OPTIONS:
            check_names(self.options, self.kind, OWN_OPTIONS[self.kind])

    async def _engine(self) -> Engine:
        if self.kind == "openai":
            from actors.engines.openai_api import OpenAIEngine

            assert self.service is not None
            return OpenAIEngine(self.service, self.model, await self._gate(), self.prices)
        if self.kind == "sglang":
            from actors.engines.sglang_engine import SglangEngine

            gate = None if self.service is None else await self._gate()
            return SglangEngine(self.model, self.options, self.service, gate, self.chat_template)
        if self.kind == "vllm":
            from actors.engines.vllm_engine import VllmEngine

            return VllmEngine(self.model, self.options, self.chat_template)
        if self.kind == "journal":
            from actors.engines.journal_only import JournalOnlyEngine

            return JournalOnlyEngine(self.model, **self.options)
        from actors.engines.option_values import option_values

        self.check_options()
        if self.kind == "search":
            from actors.engines.search.engine import SearchEngine

            return SearchEngine(self.model, **option_values(self.options))
        from actors.engines.transformers_engine import TransformersEngine

        try:
            return TransformersEngine(self.model, chat_template=self.chat_template, **option_values(self.options))
        except TypeError as error:
            raise EngineUnusable(f"--engine-option: {error}") from error

    async def _gate(self) -> Gate:
        gate = Gate(self.limits, self._visit())
        await gate.start()
        return gate

    def _visit(self) -> Visit:
        if self.limiter is None:
            return local_visit(SpendLimiter(self.limits))
        limiter = self.limiter

        async def visit(claim: Claim) -> Grant:
            grant: Grant = await limiter.call("visit", claim)
            return grant

        return visit
