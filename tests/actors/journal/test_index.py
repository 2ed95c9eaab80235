"""The index in memory, held against a plain dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.journal import index as index_module
from actors.journal.index import Index
from actors.journal.index_records import RECORD, Locations, gaps, located, make_records, moved, valid


def key_of(number: int) -> bytes:
    return number.to_bytes(8, "big") + bytes(8)


def batch_of(numbers: list[int], segment: int) -> Locations:
    return located(make_records([key_of(number) for number in numbers], [1] * len(numbers)), segment)


@given(st.lists(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=6), max_size=3), max_size=12))
def test_it_answers_as_a_dict_of_lists_does(additions: list[list[list[int]]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "_SMALL", 4)
        patch.setattr(index_module, "_LARGEST_DICT", 5)
        index = Index()
        model: dict[int, list[tuple[int, int, int]]] = {}
        for segment, batches in enumerate(additions):
            before = len(model)
            for batch in batches:
                for offset, number in enumerate(batch):
                    model.setdefault(number, []).append((offset, 1, segment))
            assert index.add([batch_of(batch, segment) for batch in batches]) == len(model) - before
            assert len(index) == len(model)
    for number in range(32):
        assert (key_of(number) in index) == (number in model)
        assert [tuple(place) for place in index.candidates(key_of(number))] == model.get(number, [])


def test_arrays_stay_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_SMALL", 0)
    index = Index()
    for number in range(1000):
        index.add([batch_of([number], number)])
        assert len(index._runs) <= 7
    assert all(index.candidates(key_of(number))[0].segment == number for number in range(1000))


def test_keys_that_share_their_first_half_share_their_places() -> None:
    index = Index()
    keys = [key_of(7), key_of(7)[:8] + b"x" * 8]
    index.add([located(make_records(keys, [3, 4]), 0)])
    assert [place.length for place in index.candidates(keys[0])] == [3, 4]
    assert index.candidates(keys[0]) == index.candidates(keys[1])


def test_a_damaged_record_does_not_pass() -> None:
    records = moved(make_records([key_of(number) for number in range(3)], [10, 20, 30]), 1000)
    assert records["offset"].tolist() == [1000, 1010, 1030]
    assert valid(records).all()
    assert not valid(np.zeros(4, RECORD)).any()
    content = bytearray(records.tobytes())
    for at in range(RECORD.itemsize, 2 * RECORD.itemsize):
        content[at] ^= 1
        assert valid(np.frombuffer(bytes(content), RECORD)).tolist() == [True, False, True]
        content[at] ^= 1


def test_gaps_between_frames_are_seen() -> None:
    records = make_records([key_of(number) for number in range(4)], [10, 20, 30, 40])
    assert gaps(records, 0) == []
    assert gaps(records[[0, 2, 3]], 0) == [(10, 30)]
    assert gaps(records[[1, 3]], 0) == [(0, 10), (30, 60)]
