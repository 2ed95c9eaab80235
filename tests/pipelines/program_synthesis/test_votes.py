from fractions import Fraction

import pytest

from pipelines.program_synthesis.votes import Ballot, joint_prediction, train_majority, weighted, without_transductive
from tests.synthesis_attempts import A, B, C, attempt, task


def ballot(number, prediction, right=0, pairs=2, transductive=False):
    return Ballot(number, joint_prediction([prediction]), right, pairs, transductive)


def ranked(groups):
    return [(group.grids[0], group.weight, group.attempts) for group in groups]


def test_an_attempt_weighs_one_and_a_thousand_times_its_training_accuracy():
    ballots = [ballot(1, A, 1), ballot(2, B), ballot(3, A), ballot(4, C, 2)]
    assert ranked(weighted(ballots)) == [(C, 1001.0, (4,)), (A, 502.0, (1, 3)), (B, 1.0, (2,))]


def test_one_attempt_right_in_training_outweighs_many_that_are_not():
    ballots = [*(ballot(number, A) for number in range(1, 8)), ballot(8, B, 1)]
    assert [grid for grid, _, _ in ranked(weighted(ballots))] == [B, A]


def test_ties_go_to_the_group_of_the_first_attempt_whatever_the_order_of_rows():
    ballots = [ballot(3, B, 1), ballot(2, A, 1), ballot(1, B), ballot(4, A)]
    assert ranked(weighted(ballots)) == [(B, 502.0, (1, 3)), (A, 502.0, (2, 4))]
    assert weighted(ballots) == weighted(ballots[::-1])


def test_equal_weights_are_equal_however_they_add_up():
    # In floating point, 1 + 1000 · 1/7 seven times is not 7 + 1000.
    sevenths = [ballot(number, A, 1, 7) for number in range(1, 8)]
    whole = [ballot(8, B, 7, 7), *(ballot(number, B, 0, 7) for number in range(9, 15))]
    assert sum(1 + 1000 * (1 / 7) for _ in range(7)) != 1007
    assert [group.weight for group in weighted(sevenths + whole)] == [1007.0, 1007.0]
    assert [group.attempts[0] for group in weighted(sevenths + whole)] == [1, 8]
    assert sevenths[0].train_accuracy == Fraction(1, 7)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        [[]],
        [[1], [1, 2]],
        [[10]],
        [[-1]],
        [[True]],
        [[1.0]],
        [["1"]],
        [[0]] * 31,
        [[0] * 31],
        "grid",
        {"a": 1},
    ],
)
def test_a_prediction_that_is_no_valid_grid_forms_no_group(value):
    ballots = [ballot(1, value, 2), ballot(2, value, 2), ballot(3, A)]
    assert ranked(weighted(ballots)) == [(A, 1.0, (3,))]
    assert ranked(train_majority(ballots)) == [(A, 1.0, (3,))]


def test_all_test_inputs_are_voted_on_together():
    def joint(number, *grids):
        return Ballot(number, joint_prediction(list(grids)), 0, 2)

    groups = weighted([joint(1, A, B), joint(2, A, C), joint(3, A, C), joint(4, A, None)])
    assert [group.grids for group in groups] == [[A, C], [A, B]]
    assert [group.attempts for group in groups] == [(2, 3), (1,)]


def test_train_majority_counts_only_the_best_in_training_one_vote_each():
    ballots = [ballot(1, A, 1), ballot(2, B, 2), ballot(3, C, 2), ballot(4, C, 2), ballot(5, A, 1), ballot(6, A, 1)]
    assert ranked(train_majority(ballots)) == [(C, 2.0, (3, 4)), (B, 1.0, (2,))]


def test_without_any_training_output_right_the_majority_is_of_all():
    assert ranked(train_majority([ballot(1, A), ballot(2, B), ballot(3, B)])) == [(B, 2.0, (2, 3)), (A, 1.0, (1,))]


def test_no_usable_attempt_gives_no_group():
    for vote in (weighted, train_majority):
        assert vote([]) == []
        assert vote([ballot(1, None, 2)]) == []


def test_transductive_attempts_can_be_left_out():
    ballots = [ballot(1, A, 2, transductive=True), ballot(2, B)]
    assert ranked(weighted(without_transductive(ballots))) == [(B, 1.0, (2,))]


def test_an_attempt_becomes_its_ballot():
    of = task("t")
    found = Ballot.of(attempt(of, 1, 4, train=[A, C], test=[B], transductive="a literal"))
    assert found == Ballot(4, b"[[[2,2]]]", 1, 2, True)
    assert Ballot.of(attempt(of, 1, 5)) == Ballot(5, None, 0, 0)
    assert Ballot.of(attempt(of, 1, 5)).train_accuracy == 0
