"""A label has one name, however it is spelled."""

import pytest

from actors.expressions import Expression
from actors.labels import label_names
from cluster.rows import Failure


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"1", "1"),
        (b"1.0", "1"),
        (b"1e0", "1"),
        (b"0.5", "0.5"),
        (b"1" + b"0" * 400, "1" + "0" * 400),
        (b'"1"', "1"),
        (b'"pos"', "pos"),
        (b"true", "true"),
        (b"-0.0", "0"),
        (b"[1,2]", "[1,2]"),
        (b'{"b":1,"a":2}', '{"a":2,"b":1}'),
    ],
)
def test_a_label_is_named(text, name):
    assert label_names(Expression(".score"), [b'{"score":' + text + b"}"]) == [name]


def test_true_and_one_are_different_labels():
    assert label_names(Expression(".s"), [b'{"s":true}', b'{"s":1}']) == ["true", "1"]


def test_null_is_no_label():
    (found,) = label_names(Expression(".score"), [b"{}"])
    assert found == Failure("no label: .score gives null")


def test_a_label_that_holds_a_number_of_any_size_has_a_name():
    big = b"1180591620717411303424"
    assert label_names(Expression(".s"), [b'{"s":[' + big + b"]}"]) == ["[1180591620717411303424]"]
