import gzip
import json

import pytest

from pipelines.program_synthesis.pattern_learning import PatternLearning, pattern_learning

NOISE = [[(7 * row * row + 3 * column * row + column) % 10 for column in range(20)] for row in range(20)]


def size(residual):
    """By the standard library's own gzip."""
    return len(gzip.compress(json.dumps(residual, separators=(",", ":")).encode(), 9, mtime=0))


def test_the_residual_is_actual_minus_predicted_over_all_pairs_together():
    expected, predicted = [[[1, 2], [3, 4]], [[5]]], [[[1, 2], [3, 9]], [[4]]]
    found = pattern_learning(expected, predicted)
    assert found == PatternLearning(size([[[0, 0], [0, -5]], [[1]]]), size(expected))


def test_the_score_is_what_the_program_saves_of_the_null_baseline():
    assert PatternLearning(30, 40).score == pytest.approx(25)
    assert PatternLearning(40, 40).score == 0


def test_a_residual_larger_than_the_baseline_scores_nothing():
    zeros = [[0] * 20] * 20
    found = pattern_learning([zeros], [NOISE])
    assert found.residual_bytes > found.null_bytes
    assert found.score == 0


def test_a_right_program_scores_much_on_a_large_output_but_not_all():
    found = pattern_learning([NOISE], [NOISE])
    assert 50 < found.score < 100


@pytest.mark.parametrize("guess", [None, [[1, 2]], [[10]], [[1], [2, 3]]])
def test_a_prediction_that_cannot_be_subtracted_leaves_its_output_whole(guess):
    found = pattern_learning([NOISE, [[4]]], [guess, None])
    assert found.residual_bytes == found.null_bytes
    assert found.score == 0


def test_predicting_zeros_of_the_right_size_is_the_null_baseline():
    assert pattern_learning([NOISE], [[[0] * 20] * 20]).score == 0


def test_every_output_needs_its_prediction():
    with pytest.raises(ValueError):
        pattern_learning([NOISE], [])
