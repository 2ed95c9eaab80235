from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from serve import metrics
from serve.metrics import Board, Metrics


def values(text: bytes) -> dict[tuple[str, tuple], float]:
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def counted(requests: int, in_line: int) -> Metrics:
    replica = Metrics()
    replica.requests.labels("classify", "quality", "200").inc(requests)
    replica.seconds.labels("classify").observe(0.003)
    replica.in_line.set(in_line)
    replica.model_info.labels("quality", "v1").set(1)
    return replica


def test_the_board_adds_up_all_replicas_and_keeps_what_the_dead_ones_counted(monkeypatch):
    board, now = Board(), [0.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    board.put("a", counted(1, 10).report())
    board.put("b", counted(2, 20).report())
    board.put("b", counted(5, 30).report())
    key = ("gristmill_requests_total", (("model", "quality"), ("operation", "classify"), ("status", "200")))
    info = ("gristmill_model_info", (("model", "quality"), ("version", "v1")))
    found = values(board.text())
    assert (found[key], found["gristmill_queue_characters", ()], found[info]) == (6, 40, 2)
    assert found["gristmill_request_seconds_bucket", (("le", "0.005"), ("operation", "classify"))] == 2
    now[0] = 10
    board.put("a", counted(3, 11).report())
    now[0] = 20  # b has been silent for too long
    found = values(board.text())
    assert (found[key], found["gristmill_queue_characters", ()], found[info]) == (8, 11, 1)
