"""The mailbox: asking again does no harm, and one that was lost and began anew is read from its beginning."""

from __future__ import annotations

from actors.synthesis.notices import Mailbox, Notice


def notices(*numbers: int) -> list[Notice]:
    return [Notice("t", 1, number, "wrong") for number in numbers]


def test_what_was_seen_is_not_told_again_and_what_was_not_is() -> None:
    mailbox = Mailbox()
    assert mailbox.after(0) == (0, [])
    mailbox.put(notices(1, 2))
    assert mailbox.after(0) == (2, notices(1, 2))
    assert mailbox.after(0) == (2, notices(1, 2))  # the first answer may have been lost
    mailbox.put(notices(3))
    assert mailbox.after(2) == (3, notices(3))
    assert mailbox.after(3) == (3, [])


def test_a_mailbox_that_began_anew_gives_all_it_has() -> None:
    mailbox = Mailbox()
    mailbox.put(notices(8, 9))
    assert mailbox.after(500) == (2, notices(8, 9))
    assert mailbox.after(2) == (2, [])


def test_an_attempt_that_is_done_again_has_the_same_key() -> None:
    assert Notice("t", 1, 2, "wrong", 0.1).key == Notice("t", 1, 2, "wrong", 0.2).key
    assert len({Notice("t", 1, 2, "wrong").key, Notice("t", 2, 1, "wrong").key, Notice("u", 1, 2, "wrong").key}) == 3
