"""Choosing among examined attempts, on tables made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.synthesis.candidates import RECORD
from actors.synthesis.row_writer import CHOSEN, chosen_name
from cluster.ledger import Chunks, Pass, StagedChunk, Tally
from cluster.storage import LocalStorage
from pipelines.program_synthesis.training_data import (
    Choice,
    Origin,
    Table,
    decide_training_data,
    is_validation,
    thinned,
)

ALL = Choice(balance=False, validation=0.0)


def record(task: int = 0, same: int = 1, right: bool = False, **values: Any) -> dict[str, Any]:
    return {"task": task, "same": (0, same), "is_right": right, "is_candidate": True, "is_cleaned": True} | values


def staged(place: Path, *shards: list[dict[str, Any]]) -> tuple[Pass, list[Chunks]]:
    """The examining pass of shards, two records to a chunk."""
    step = Pass(LocalStorage(str(place)), "examine", "r")
    chunks = []
    for number, shard in enumerate(shards):
        records = np.zeros(len(shard), RECORD)
        for line, (target, values) in enumerate(zip(records, shard, strict=True), 1):
            for name, value in {"line": line, "attempt": line, **values}.items():
                target[name] = value
        for index, start in enumerate(range(0, len(shard), 2)):
            step.stage(f"{number}.jsonl", index, StagedChunk(Tally(), b"", records[start : start + 2].tobytes()))
        chunks.append(Chunks(f"{number}.jsonl", -(-len(shard) // 2)))
    return step, chunks


def origin(tasks: int, **changes: Any) -> Origin:
    return Origin(**({"contents": list(range(tasks)), "families": [f"t{n}" for n in range(tasks)]} | changes))


def chosen(place: Path, choice: Choice, tasks: Origin, *shards: list[dict[str, Any]]) -> dict[str, list[int]]:
    """The chosen lines by output shard."""
    step, chunks = staged(place, *shards)
    plan = orjson.loads(decide_training_data(step, chunks, tasks, choice))
    names = [f"{side}/{number}.jsonl" for side, number in plan["outputs"]]
    return {n: np.frombuffer(step.output.read(chosen_name(step, n)), CHOSEN)["line"].tolist() for n in names}


def test_of_equal_programs_the_shortest_stays_then_the_smallest_hash_then_the_first(tmp_path):
    shard = [
        record(same=1, length=30, code=1),
        record(same=1, length=20, code=5),
        record(same=1, length=20, code=3),
        record(same=1, length=20, code=3),
        record(same=2, length=90),
        record(same=2, length=10, is_candidate=False),
    ]
    assert chosen(tmp_path, ALL, origin(1), shard) == {"train/0.jsonl": [3, 5]}


def test_right_and_other_programs_and_other_tasks_are_never_equal(tmp_path):
    shard = [record(0, 1), record(0, 1, right=True), record(1, 1), record(2, 1)]
    same_content = origin(3, contents=[0, 1, 0])
    assert chosen(tmp_path, ALL, same_content, shard) == {"train/0.jsonl": [1, 2, 3]}


def test_equal_programs_of_several_runs_are_found(tmp_path):
    assert chosen(tmp_path, ALL, origin(1), [record(length=2)], [record(length=1)]) == {"train/1.jsonl": [1]}


def test_at_most_so_many_of_a_task_and_right_ones_first(tmp_path):
    shard = [record(0, n, right=n in (4, 5)) for n in range(6)] + [record(1, 1)]
    found = chosen(tmp_path, Choice(3, balance=False, validation=0), origin(2), shard)["train/0.jsonl"]
    assert len(found) == 4 and {5, 6, 7} <= set(found)


def test_another_seed_chooses_others(tmp_path):
    shard = [record(0, n) for n in range(40)]
    found = [
        chosen(tmp_path / str(seed), Choice(5, balance=False, validation=0, seed=seed), origin(1), shard)
        for seed in (1, 2)
    ]
    assert found[0] != found[1]


def test_balance_takes_as_many_rows_of_either_kind_and_of_every_task_before_any_twice(tmp_path):
    solved = [record(task, n, right=n == 0) for task in (0, 1, 2) for n in range(5)]
    unsolved = [record(3, n) for n in range(4)]
    found = chosen(tmp_path, Choice(balance=True, validation=0), origin(4), solved + unsolved)["train/0.jsonl"]
    assert [line for line in found if line > 15] == [16, 17, 18, 19]
    tasks = [(line - 1) // 5 for line in found if line <= 15]
    assert len(tasks) == 4 and set(tasks) == {0, 1, 2}
    assert {1, 6, 11} <= set(found), "the right programs come first"


def test_each_split_is_balanced_by_itself(tmp_path):
    choice = Choice(balance=True, validation=0.5)
    families = [f"t{n}" for n in range(20)]
    sides = [is_validation(choice.seed, name, 0.5) for name in families]
    solved = [sides.index(True), sides.index(False)]
    shard = [record(task, n, right=task in solved and n == 0) for task in range(20) for n in range(3)]
    step, chunks = staged(tmp_path, shard)
    table = orjson.loads(decide_training_data(step, chunks, origin(20, families=families), choice))["table"]
    assert [row["rows"] for row in table] == [3, 3, 3, 3]
    assert all(row["right"] == (row["tasks"] == "with a right program") for row in table)


def test_there_is_nothing_to_balance_where_one_kind_is_missing(tmp_path):
    assert chosen(tmp_path, Choice(validation=0), origin(1), [record(0, n) for n in range(3)]) == {
        "train/0.jsonl": [1, 2, 3]
    }


def test_a_family_of_tasks_is_on_one_side(tmp_path):
    shard = [record(task, 1) for task in range(60)]
    families = [f"t{n // 3}" for n in range(60)]
    found = chosen(tmp_path, Choice(balance=False, validation=0.4), origin(60, families=families), shard)
    sides = {side: {families[line - 1] for line in lines} for side, lines in found.items()}
    assert len(sides) == 2 and not set.intersection(*sides.values())
    assert sorted(line for lines in found.values() for line in lines) == list(range(1, 61))


@given(st.text(max_size=8), st.integers(0, 9), st.floats(0, 1))
def test_a_side_depends_on_seed_and_name_and_grows_with_the_share(family: str, seed: int, share: float):
    assert not is_validation(seed, family, 0.0)
    assert is_validation(seed, family, 1.0)
    assert not is_validation(seed, family, share / 2) or is_validation(seed, family, share)


def test_about_the_share_asked_for_is_validation():
    assert 150 < sum(is_validation(7, f"task-{n}", 0.2) for n in range(1000)) < 250


def test_generations_count_ancestors_also_those_left_out_and_in_other_chunks(tmp_path):
    shard = [
        record(is_candidate=False),
        record(parent=1),
        record(parent=2),
        record(lineage=9, parent=1),
        record(parent=3),
        record(parent=2, same=2),
    ]
    step, chunks = staged(tmp_path, shard, [record(parent=0), record(parent=1)])
    assert Table(step, chunks, origin(1), 0).generations().tolist() == [0, 1, 2, 0, 3, 2, 0, 1]


def test_the_plan_adds_up_and_names_its_table(tmp_path):
    shard = [record(0, n, right=n < 2) for n in range(6)] + [record(0, 5)] + [record(1, n) for n in range(2)]
    step, chunks = staged(tmp_path, shard)
    plan = orjson.loads(decide_training_data(step, chunks, origin(2), Choice(4, True, 0.0)))
    assert (plan["duplicates"], plan["over_max_per_task"], plan["left_out_by_balance"]) == (1, 2, 2)
    assert plan["table"][:2] == [
        {"split": "train", "tasks": "with a right program", "number": 1, "candidates": 7, "different": 6, "rows": 2, "right": 2},
        {"split": "train", "tasks": "without one", "number": 1, "candidates": 2, "different": 2, "rows": 2, "right": 0},
    ]  # fmt: skip


def test_no_attempts_make_no_rows(tmp_path):
    assert chosen(tmp_path / "a", Choice(), origin(1), []) == {}
    assert chosen(tmp_path / "b", Choice(), origin(1), [record(task=-1, is_candidate=False)]) == {}


@pytest.mark.parametrize("limit", [0, 1, 3, 9])
def test_thinning_keeps_exactly_so_many(limit: int):
    kept = thinned(np.array([0, 1, 0, 2, 1]), np.array([5, 1, 4, 0, 2], np.uint64), limit)
    assert kept.sum() == min(limit, 5)
    if limit == 3:
        assert kept.tolist() == [True, True, True, False, False]
