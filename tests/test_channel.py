"""What comes over a channel: nobody vouches for it."""

from __future__ import annotations

import socket

from workbench.channel import Channel


def test_text_arrives_fit_to_print() -> None:
    """It ends up in reports, where it must neither move a cursor nor begin a line."""
    ours, theirs = map(Channel, socket.socketpair())
    theirs.send({"raised": {"message": "a\x1b[2Jb\nrelu2 passed", "kinds": ["E\r"]}, "\u202e": 1})
    body, _ = ours.receive()
    assert body == {"raised": {"message": "a�[2Jb�relu2 passed", "kinds": ["E�"]}, "�": 1}


def test_half_a_character_is_none() -> None:
    ours, theirs = map(Channel, socket.socketpair())
    theirs.send({"message": "\ud800"})
    assert ours.receive()[0] == {"message": "�"}
