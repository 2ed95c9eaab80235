"""Sizes mean what their writers mean."""

import pytest

from pipelines.curation.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1GB", 1024**3),
        ("1GiB", 1024**3),
        ("1G", 1024**3),
        ("1gB", 1000**3),
        ("1gib", 1024**3),
        ("20kB", 20_000),
        ("20KB", 20 * 1024),
        ("1.5MB", 3 * 512 * 1024),
        ("1_000", 1000),
        ("7B", 7),
        (" 3 mb ", 3_000_000),
    ],
)
def test_a_prefix_is_a_power_of_1024_and_a_lower_case_one_of_1000(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1XB", "1e9", "one"])
def test_anything_else_is_refused_with_examples(text):
    with pytest.raises(ValueError, match="write 500MB"):
        parse_size(text)
