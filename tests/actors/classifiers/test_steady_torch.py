from __future__ import annotations

import sys

import pytest

from actors.classifiers.steady_torch import bars, steady_torch


def test_threads_are_set_for_the_block_and_put_back():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), steady_torch(before + 1) as used:
        assert torch.get_num_threads() == used == before + 1
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_bars_are_hidden_unless_asked_for(capsys):
    for shown in (False, True):
        with bars(shown):
            print("bar", shown, file=sys.stderr)
    assert capsys.readouterr().err == "bar True\n"
