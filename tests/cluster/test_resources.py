"""Needs of a worker: what is accepted, what is refused, and what Ray is told."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cluster.resources import Resources


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({}, {"num_cpus": 1}),
        ({"cpus": 0}, {"num_cpus": 0}),
        ({"cpus": 1.5, "memory": 1 << 30}, {"num_cpus": 1.5, "memory": 1 << 30}),
        ({"gpus": 0.25}, {"num_cpus": 1, "num_gpus": 0.25}),
        (
            {"cpus": 4, "gpus": 2, "accelerator": "H100", "replicas": (1, 8)},
            {"num_cpus": 4, "num_gpus": 2, "accelerator_type": "H100"},
        ),
        ({"replicas": (3, 3)}, {"num_cpus": 1}),
    ],
)
def test_ray_is_told_exactly_what_was_asked(wanted: dict[str, Any], told: dict[str, Any]) -> None:
    assert Resources(**wanted).ray_args() == told


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"cpus": -1}, "cpus=-1"),
        ({"cpus": float("nan")}, "cpus=nan"),
        ({"gpus": float("inf")}, "gpus=inf"),
        ({"gpus": -0.5}, "gpus=-0.5"),
        ({"gpus": 1.5}, "gpus=1.5"),
        ({"memory": 0}, "memory=0"),
        ({"memory": 1.5}, "memory=1.5"),
        ({"accelerator": "H100"}, "accelerator='H100' without gpus"),
        ({"gpus": 1, "accelerator": ""}, "accelerator=''"),
        ({"replicas": (0, 2)}, r"replicas=\(0, 2\)"),
        ({"replicas": (3, 2)}, r"replicas=\(3, 2\)"),
    ],
)
def test_contradictions_are_refused_by_name(wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Resources(**wanted)


def test_resources_are_values() -> None:
    assert Resources(gpus=1) == Resources(gpus=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Resources().cpus = 2  # type: ignore[misc]
