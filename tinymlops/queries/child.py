"""The program of a query's process: it loads, waits for one question, answers it, and ends."""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING

import msgspec

from tinymlops.queries.confinement import confine, end_at_end_of, end_with, step_back

if TYPE_CHECKING:
    from tinymlops.queries.messages import Question

__all__ = ["IDLE", "LENGTH", "answer_of", "main"]

IDLE = 300.0
"""Seconds that it waits for its question."""
LENGTH = 8
"""Bytes of the length before a message."""
_GRACE = 1.0
"""Seconds beyond the time of a query, in which it tells that the time is over."""


def main(parent: int) -> None:
    """Answer one question.

    Args:
        parent: The process that started this one.
    """
    end_with(parent)
    step_back()
    out = os.dup(sys.stdout.fileno())
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):  # what users' code prints is no part of an answer
        os.dup2(nothing, stream)
    questions = os.dup(0)
    os.dup2(nothing, 0)
    from tinymlops.kernels.beside import start_none
    from tinymlops.queries.answering import preload
    from tinymlops.queries.messages import Question

    start_none()
    preload()
    if not select.select([questions], [], [], IDLE)[0]:
        os._exit(0)
    question = msgspec.msgpack.decode(_read(questions), type=Question)
    end_at_end_of(questions)
    confine(seconds=question.bounds.seconds + _GRACE, memory=question.bounds.memory)
    head, content = answer_of(question)
    _write(out, len(head).to_bytes(LENGTH, "big") + head)
    _write(out, content)
    os._exit(0)


def answer_of(question: Question) -> tuple[bytes, bytes]:
    """Return the reply to a question as it is sent, and the bytes of its file.

    Args:
        question: What is asked.
    """
    from tinymlops.queries.answering import answered
    from tinymlops.queries.messages import too_large

    try:
        done = answered(question)
        return msgspec.msgpack.encode(done.reply), done.content
    except MemoryError:
        return msgspec.msgpack.encode(too_large(question)), b""


def _read(pipe: int) -> bytes:
    """Read one message; end where the other side is gone."""
    size = int.from_bytes(_exactly(pipe, LENGTH), "big")
    return _exactly(pipe, size)


def _exactly(pipe: int, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        part = os.read(pipe, count - len(found))
        if not part:
            os._exit(0)
        found += part
    return bytes(found)


def _write(pipe: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(pipe, view) :]
