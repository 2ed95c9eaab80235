from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.program_synthesis.pass_at_k import pass_at_k, powers_up_to


def test_the_estimate_is_that_of_drawing_without_replacement():
    # 1 − C(3, 2) / C(5, 2) = 1 − 3 / 10, and 1 − C(7, 4) / C(8, 4) = 1 − 35 / 70.
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7)
    assert pass_at_k(8, 1, 4) == pytest.approx(0.5)
    assert pass_at_k(8, 3, 1) == pytest.approx(3 / 8)


@given(st.integers(1, 60), st.data())
def test_it_agrees_with_the_binomials(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert pass_at_k(n, c, k) == pytest.approx(1 - comb(n - c, k) / comb(n, k))


def test_fewer_attempts_than_k_count_with_those_there_are():
    assert pass_at_k([3, 3, 0], [1, 0, 0], 8).tolist() == [1.0, 0.0, 0.0]


def test_arrays_are_estimated_elementwise():
    found = pass_at_k(np.array([[4, 4], [4, 2]]), np.array([[0, 1], [4, 1]]), 2)
    assert found == pytest.approx(np.array([[0.0, 0.5], [1.0, 1.0]]))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        pass_at_k(4, 1, 0)
    with pytest.raises(ValueError, match="more attempts are right"):
        pass_at_k([4, 1], [1, 2], 1)


def test_the_ks_are_powers_of_two_up_to_the_attempts():
    assert [powers_up_to(most) for most in (0, 1, 2, 7, 8)] == [[], [1], [1, 2], [1, 2, 4], [1, 2, 4, 8]]
