"""The options of run-tasks, and what they resolve to: tasks, sampling, the engine, and the run's configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from jobs.asking_options import (
    api_key_option,
    base_url_option,
    check_engine_options,
    limits,
    option,
    pace_options,
    prices_option,
    reasoning_effort_option,
    sampling_seed_option,
    service,
    service_tier_option,
    top_p_option,
    worker_engine_options,
)
from jobs.command import Number, seed_option, stack

if TYPE_CHECKING:
    from actors.engine_choice import EngineChoice
    from actors.engines.contract import Sampling
    from actors.sandboxes.contract import Limits
    from actors.synthesis.solver import Solving
    from actors.synthesis.task import Task

SEARCH = "search"
ENGINES = ("openai", "vllm", "sglang", "transformers", SEARCH)
MODES = ("independent", "feedback", "refine")
MIN_P = 0.05

task_options = stack(
    option("--dataset", required=True, help="arc-agi-1, arc-agi-2, a directory of ID.json files, or a .json file."),
    option("--subset", required=True, help="Such as all_training or shortest_training_30, or a file of ids."),
    option("--limit", type=click.IntRange(1), help="Only the first so many tasks of the subset."),
    option("-o", "--output-dir", help="Where the run goes. [default: runs/DATASET_SUBSET_MODEL, and the mode]"),
    option(
        "--max-attempts",
        type=click.IntRange(1, 1_000_000),
        default=8,
        show_default=True,
        help="Attempts at each task in each run.",
    ),
    option("--repeat-runs", type=click.IntRange(1), default=1, show_default=True, help="Runs over all tasks."),
    option(
        "--mode",
        type=click.Choice(MODES),
        default="independent",
        show_default=True,
        help="Samples; a conversation that shows what was wrong; or earlier programs to improve.",
    ),
    option(
        "--stop-when-solved/--keep-sampling",
        default=None,
        help="Whether a task in a run ends with a program right on training. [default: keep if independent, else stop]",
    ),
    seed_option,
)

solver_model_options = stack(
    option(
        "--model", "--model-name", "model_name", help="As its provider calls it, or a directory for engines in workers."
    ),
    option("--engine", type=click.Choice(ENGINES), help=f"Who answers. [default: openai with --model, else {SEARCH}]"),
    base_url_option,
    api_key_option,
    service_tier_option,
    worker_engine_options,
    option("--images", is_flag=True, help="Show the grids as pictures too, to models that see."),
    option("--no-think", is_flag=True, help="Tell the chat template enable_thinking = false."),
    reasoning_effort_option,
    option("--max-tokens", "--max-new-tokens", "max_new_tokens", type=click.IntRange(1), help="Of an answer at most."),
    option("--temperature", type=Number(0), default=1.0, show_default=True),
    option(
        "--min-p",
        type=Number(0, 1),
        help=f"Leave out tokens less likely than so much of the likeliest. [default: {MIN_P}; OpenAI's has none]",
    ),
    top_p_option,
    sampling_seed_option,
    prices_option,
    pace_options("--max-workers", tries="--max-tries"),
)


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is to do. `config` decides its output and is its manifest's; `tasks` are in the order of their ids."""

    tasks: tuple[Task, ...]
    solving: Solving
    choice: EngineChoice
    runs: int
    attempts: int
    config: dict[str, Any]

    @property
    def planned(self) -> int:
        return len(self.tasks) * self.runs * self.attempts


def ordered(
    arguments: Mapping[str, Any], sandbox_limits: Limits, packages: tuple[str, ...], endpoint: str | None
) -> Order:
    """Resolve the options; asks nobody and starts nothing.

    Raises click.UsageError, UnusableTasks, NoSubset, PriceError and EngineUnusable.
    """
    from actors.prices import prices_of
    from actors.synthesis.prompt import TaskPrompt
    from actors.synthesis.solver import Solving
    from pipelines.program_synthesis.subsets import choose
    from pipelines.program_synthesis.task_sets import load_tasks

    engine, model = engine_and_model(arguments)
    check_engine_options(engine, arguments)
    tasks = load_tasks(arguments["dataset"], endpoint)
    chosen = choose(tasks, arguments["subset"], endpoint)[: arguments["limit"]]
    stop = arguments["stop_when_solved"]
    solving = Solving(
        dataset=tasks.name,
        mode=arguments["mode"],
        sampling=_sampling(arguments, engine),
        images=arguments["images"],
        seed=arguments["seed"],
        stop_when_solved=arguments["mode"] != "independent" if stop is None else stop,
        limits=sandbox_limits,
    )
    named = {**arguments, "model_name": model}
    prices = prices_of(model, arguments["prices"]) if engine == "openai" else None
    choice = _choice(named, engine, prices)
    by_id = tuple(sorted(chosen, key=lambda task: task.id))
    prompt = TaskPrompt.load(arguments["mode"])
    config = _config(named, engine, solving, packages) | {
        "dataset_version": tasks.version,
        "prompt_version": prompt.version,
        "tasks": [task.id for task in by_id],
    }
    return Order(by_id, solving, choice, arguments["repeat_runs"], arguments["max_attempts"], config)


def engine_and_model(arguments: Mapping[str, Any]) -> tuple[str, str]:
    """Who answers, by default by whether a model is named. Raises click.UsageError for what does not fit together."""
    model = arguments["model_name"]
    engine: str = arguments["engine"] or ("openai" if model else SEARCH)
    if engine != SEARCH and not model:
        raise click.UsageError(f"--engine {engine} needs --model")
    if engine == SEARCH and model:
        raise click.UsageError(f"--engine {SEARCH} has no model, and would not ask {model}: leave out one of the two")
    if arguments["base_url"] and engine not in ("openai", "sglang"):
        raise click.UsageError(f"--engine {engine} asks no server; --base-url is for openai and sglang")
    if engine == SEARCH and arguments["images"]:
        raise click.UsageError("--images: the search engine reads grids as text")
    return engine, model or SEARCH


def default_output(arguments: Mapping[str, Any]) -> str:
    """A name that says what the run is; the same command has the same one, and so goes on with it."""
    mode = arguments["mode"]
    parts = [arguments["dataset"], arguments["subset"], engine_and_model(arguments)[1]]
    parts += [] if mode == "independent" else [mode]
    return "runs/" + "_".join(re.sub(r"[^\w.-]+", "-", part.rstrip("/").rsplit("/", 1)[-1]) for part in parts)


def _sampling(arguments: Mapping[str, Any], engine: str) -> Sampling:
    from actors.engines.contract import Sampling

    min_p = arguments["min_p"]
    if min_p is None and not (engine == "openai" and _is_hosted(arguments["base_url"])):
        min_p = MIN_P
    return Sampling(
        max_new_tokens=arguments["max_new_tokens"],
        temperature=arguments["temperature"],
        top_p=arguments["top_p"],
        min_p=min_p,
        seed=arguments["sampling_seed"],
        reasoning_effort=arguments["reasoning_effort"],
        service_tier=arguments["service_tier"],
        chat_template_kwargs={"enable_thinking": False} if arguments["no_think"] else None,
    )


def _is_hosted(base_url: str | None) -> bool:
    """Whether OpenAI itself is asked, which refuses requests with min_p."""
    from actors.engines.openai_api import is_hosted

    return base_url is None or is_hosted(base_url)


def _choice(arguments: Mapping[str, Any], engine: Any, prices: Any) -> EngineChoice:
    from actors.engine_choice import EngineChoice

    return EngineChoice(
        kind=engine,
        model=arguments["model_name"],
        limits=limits(arguments, prices),
        prices=prices,
        chat_template=arguments["chat_template"],
        options=dict(arguments["engine_options"]),
    )


def with_service(choice: EngineChoice, arguments: Mapping[str, Any]) -> EngineChoice:
    """The engine as it is asked: with its server and its key, where it has one. Raises EngineUnusable."""
    from dataclasses import replace

    from jobs.engines import checked

    has_one = choice.kind == "openai" or bool(arguments["base_url"])
    choice = replace(choice, service=service(arguments)) if has_one else choice
    checked(choice)
    return choice


# Who and what of the options stands in the manifest as it was given; the rest is there as it was resolved, or is how a
# run is made and not what.
_AS_GIVEN = ("subset", "max_attempts", "repeat_runs", "chat_template")


def _config(arguments: Mapping[str, Any], engine: str, solving: Solving, packages: tuple[str, ...]) -> dict[str, Any]:
    import msgspec

    return {
        "dataset": solving.dataset,
        **{name: arguments[name] for name in _AS_GIVEN},
        "engine": engine,
        "engine_options": dict(arguments["engine_options"]),
        "model": arguments["model_name"],
        "mode": solving.mode,
        "images": solving.images,
        "seed": solving.seed,
        "stop_when_solved": solving.stop_when_solved,
        "sampling": msgspec.to_builtins(solving.sampling),
        "limits": msgspec.to_builtins(solving.limits),
        "packages": list(packages),
    }
