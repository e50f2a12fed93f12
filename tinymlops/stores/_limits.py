"""Work in a thread of its own, which a time limit or Ctrl-C ends."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tinymlops.errors import DataError
from tinymlops.times import format_duration
from tinymlops.waiting import result_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Limits", "within"]

T = TypeVar("T")

_PATIENCE = 5.0
"""Seconds that stopped work has to end; then it is left to run, and ends with the process at the latest."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a query; None for no limit."""

    rows: int | None = None
    bytes: int | None = None
    """The size of the result in memory; at most a quarter of the machine's, for making one frame of it takes as much again."""
    time: int | None = None
    """Microseconds."""
    memory: int | None = None
    """Bytes that DuckDB may use; by default half of the machine's."""
    setting: str = "timeout"
    """The setting of the time under [sql] in tinymlops.toml, for the error."""


def within(limits: Limits, work: Callable[[], T], *, stop: Callable[[], None]) -> T:
    """Do work in a thread of its own and wait for it.

    Args:
        limits: Only the time counts here.
        work: What to do.
        stop: Makes `work` raise soon; may be called at any time and often.

    Returns:
        What `work` returns.

    Raises:
        DataError: If the time is over.
        KeyboardInterrupt: If Ctrl-C was pressed while waiting.
        Exception: What `work` raises.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
            done.set_exception(error)

    threading.Thread(target=run, name="tinymlops-sql", daemon=True).start()
    try:
        return result_of(done, timeout=None if limits.time is None else limits.time / 1e6)
    except TimeoutError:
        if done.done():  # its own
            raise
        _end(done, stop)
        raise DataError(
            f"the SQL was stopped after {format_duration(limits.time or 0)}",
            hint=f"read fewer rows, or set {limits.setting} under [sql] in tinymlops.toml",
        ) from None
    except KeyboardInterrupt:
        _end(done, stop)
        raise


def _end(done: Future[T], stop: Callable[[], None]) -> None:
    until = time.monotonic() + _PATIENCE
    while not done.done() and time.monotonic() < until:
        stop()
        try:
            done.exception(0.05)
        except TimeoutError:
            continue
