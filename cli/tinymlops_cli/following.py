"""`ingest --follow`: rows as they are appended to a file or come from a pipe, until a signal says to stop."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Literal

import msgspec

from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

__all__ = ["BadLines", "follow_lines"]


class BadLines(StrEnum):
    """What becomes of a line that is no row of the source."""

    STOP = "stop"
    SKIP = "skip"


class _Stop:
    """Whether a signal came."""

    said = False

    def __call__(self) -> bool:
        return self.said


def follow_lines(
    session: Session, source: str, lines: str, *, once: bool, bad_lines: Literal["stop", "skip"]
) -> Answer:
    """Push lines until they end or a signal comes; what was read by then is stored."""
    file = sys.stdin.buffer if lines == "-" else Path(lines).absolute()  # before the project's directory is entered
    with _stopped_by_signals() as stop:
        followed = session.workspace.follow(source, file, bad_lines=bad_lines, once=once, stop=stop)
    return Answer(msgspec.structs.asdict(followed), [str(followed)])


@contextmanager
def _stopped_by_signals() -> Iterator[_Stop]:
    """Let SIGINT and SIGTERM ask for an end; SIGINT a second time interrupts."""
    stop = _Stop()

    def ask(number: int, _: FrameType | None) -> None:
        if stop.said and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.said = True  # a lock could be held by the code that this interrupts

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
