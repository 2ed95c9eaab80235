from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serve.occlusion import MAX_PIECES, effects, pieces_of, without_each


@given(st.text(max_size=3000))
def test_pieces_join_to_the_text(text: str):
    pieces = pieces_of(text)
    assert "".join(pieces) == text
    assert sum(not piece.isspace() for piece in pieces) <= MAX_PIECES


def test_words_signs_and_blanks_are_pieces():
    assert pieces_of("def f(x):\n  pass") == ["def", " ", "f", "(", "x", "):", "\n  ", "pass"]
    assert pieces_of("") == []


def test_neighbours_are_left_out_together_when_there_are_many():
    pieces = pieces_of("word " * 10_000)
    assert len(pieces) <= MAX_PIECES
    assert len({len(piece) for piece in pieces[:-1]}) == 1


def test_effects_stand_at_their_pieces():
    places, texts = without_each(["a", " ", "b"])
    assert (places, texts) == ([0, 2], [" b", "a "])
    assert effects(0.75, np.array([0.5, 1.0], np.float32), places, 3) == [0.25, None, -0.25]
