from __future__ import annotations

import os
from pathlib import Path

import pytest

from serve.api_keys import ApiKeyError, ApiKeys

ONE, OTHER = "0123456789abcdef", "fedcba9876543210"


def bearer(key: str) -> bytes:
    return f"Bearer {key}".encode()


def test_without_a_file_everybody_is_let_in():
    keys = ApiKeys(None)
    assert not keys.wanted
    assert keys.admit(None)


def test_the_keys_of_a_file_are_let_in_and_no_others(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text(f"# two\n{ONE}\r\n\n  {OTHER}  \n")
    keys = ApiKeys(str(file))
    assert keys.wanted
    assert keys.admit(bearer(ONE)) and keys.admit(bearer(OTHER)) and keys.admit(b"bearer " + OTHER.encode())
    for wrong in (None, b"", b"Bearer", b"Bearer ", bearer(ONE[:-1]), bearer(ONE + "0"), ONE.encode(), b"Bearer \xff"):
        assert not keys.admit(wrong)


def test_keys_that_change_are_taken_up_and_a_broken_file_keeps_the_old_ones(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text(ONE)
    keys = ApiKeys(str(file))
    file.write_text(f"{OTHER}\n")
    keys.reload()
    assert keys.admit(bearer(OTHER)) and not keys.admit(bearer(ONE))
    file.write_text("")
    with pytest.raises(ApiKeyError, match="holds no API key"):
        keys.reload()
    assert keys.admit(bearer(OTHER))


@pytest.mark.parametrize("text", ["abc123", "a key with blanks in it", "schlüssel-schlüssel", "", "# nothing\n"])
def test_keys_that_are_none_are_refused_without_showing_them(tmp_path: Path, text: str):
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ApiKeyError) as caught:
        ApiKeys(str(file))
    assert str(file) in str(caught.value)
    assert not text.strip("#\n ") or text.strip("#\n ") not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ApiKeyError, match=f"{os.sep}none cannot be read: No such file"):
        ApiKeys(str(tmp_path / "none"))


def test_no_key_is_held(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text(ONE)
    assert ONE not in repr(vars(ApiKeys(str(file))))
