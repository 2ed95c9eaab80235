"""What an endpoint counts, as Prometheus reads it: of one replica, and of all replicas together.

A scrape reaches one replica, whichever it is. So every replica leaves its counts with one small actor, the board,
and answers for all: counters are sums over all replicas that ever were, gauges over those that are alive.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

ALIVE_SECONDS = 15.0  # a replica that has not reported for so long has no queue any more
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# A metric on its way between processes: name, help, type, and its samples (name, labels, value).
Reported = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]


class Metrics:
    """The counts of one replica."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "gristmill_requests", "Requests answered.", ["operation", "model", "status"], registry=registry
        )
        self.seconds = Histogram(
            "gristmill_request_seconds",
            "From the request's head to its answer.",
            ["operation"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.texts = Counter("gristmill_texts", "Texts classified.", ["model"], registry=registry)
        self.characters = Counter("gristmill_characters", "Their characters.", ["model"], registry=registry)
        self.waited = Counter("gristmill_queue_seconds", "Seconds that requests waited in line.", registry=registry)
        self.in_line = Gauge("gristmill_queue_characters", "Characters that wait or are worked on.", registry=registry)
        self.held = Gauge("gristmill_held_bytes", "Bytes of request bodies in memory.", registry=registry)
        self.model_info = Gauge(
            "gristmill_model_info", "Replicas that serve this version.", ["model", "version"], registry=registry
        )

    def report(self) -> list[Reported]:
        """All counts, as plain values."""
        return [
            (
                metric.name,
                metric.documentation,
                metric.type,
                [
                    (sample.name, dict(sample.labels), sample.value)
                    for sample in metric.samples
                    if not sample.name.endswith("_created")
                ],
            )
            for metric in self.registry.collect()
        ]


class Board:
    """The counts of all replicas, by their ids. An actor in a cluster, a plain object in tests."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[float, list[Reported]]] = {}

    def put(self, replica: str, report: list[Reported]) -> None:
        """Take a replica's counts in the place of its earlier ones."""
        self._reports[replica] = (time.monotonic(), report)

    def text(self) -> bytes:
        """All counts together, in Prometheus' text format."""
        now = time.monotonic()
        reports = [(now - when < ALIVE_SECONDS, report) for when, report in self._reports.values()]
        return as_text(summed(reports))


def summed(reports: Iterable[tuple[bool, list[Reported]]]) -> list[Reported]:
    """Sum reports, each with whether its replica is alive; the gauges of dead ones are left out."""
    kinds: dict[str, tuple[str, str]] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for alive, report in reports:
        for name, help_text, kind, samples in report:
            kinds[name] = (help_text, kind)
            of_metric = sums.setdefault(name, {})
            for sample, labels, value in samples:
                key = (sample, tuple(sorted(labels.items())))
                if kind != "gauge" or alive:
                    of_metric[key] = of_metric.get(key, 0.0) + value
    return [
        (name, *kinds[name], [(sample, dict(labels), value) for (sample, labels), value in of_metric.items()])
        for name, of_metric in sums.items()
    ]


def as_text(report: list[Reported]) -> bytes:
    """Prometheus' text format of plain values."""
    text: bytes = generate_latest(_Plain(report))
    return text


class _Plain:
    """Plain values in the place of a registry."""

    def __init__(self, report: list[Reported]) -> None:
        self._report = report

    def collect(self) -> Iterator[Any]:
        for name, help_text, kind, samples in self._report:
            metric = Metric(name, help_text, kind)
            metric.samples = [Sample(sample, labels, value) for sample, labels, value in samples]
            yield metric
