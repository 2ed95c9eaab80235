import numpy as np
import pytest

from pipelines.annotation.grades import Grades, encode_labels, hash_keys


def keys(number):
    return [f"k{place}" for place in range(number)]


def encode(*labels, is_ordinal=False):
    grades = [Grades(f"g{place}", keys(len(each)), each) for place, each in enumerate(labels)]
    scale, codes = encode_labels(grades, is_ordinal)
    return scale, [[scale.labels[code] if code >= 0 else None for code in each] for each in codes]


def test_numbers_are_one_label_however_they_are_written():
    scale, decoded = encode([3, 1.0, None], ["3", 1, 3.0])
    assert scale.labels == ("1", "3")
    assert decoded == [["3", "1", None], ["3", "1", "3"]]


def test_numbers_are_put_in_their_order_and_text_in_its_own():
    assert encode([10, 9, -1])[0].values == (-1.0, 9.0, 10.0)
    assert encode(["b", "a", 10])[0].labels == ("10", "a", "b")
    assert encode(["b", "a", 10])[0].values is None


def test_true_is_not_one():
    assert encode([True, 1])[1] == [["true", "1"]]


def test_an_array_of_labels_is_as_good_as_a_list():
    assert encode(np.array([2, 0, 2])) == encode([2, 0, 2])


def test_an_ordinal_label_must_be_a_number():
    with pytest.raises(ValueError, match="label 'high' of g1: an ordinal label must be a number"):
        encode([1, 2], [1, "high"], is_ordinal=True)
    with pytest.raises(ValueError, match="label 'nan'"):
        encode([1, "nan"], is_ordinal=True)


def test_a_list_is_no_label():
    with pytest.raises(ValueError, match="a label is a JSON list"):
        encode([[1], [2]])


def test_too_many_labels_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"201 different labels .* round or bin them"):
        encode(list(range(201)))


def test_misaligned_keys_and_labels_are_refused():
    with pytest.raises(ValueError, match=r"grades 'a': \[1, 2\]"):
        Grades("a", ["x"], [1, 2])


def test_hashes_depend_on_the_key_alone_and_take_any_text():
    first = hash_keys(["a", "é", "\ud800", ""])
    assert first.shape == (4, 2)
    assert len({tuple(row) for row in first.tolist()}) == 4
    assert (hash_keys(["é"]) == first[1]).all()
    assert hash_keys([]).shape == (0, 2)
