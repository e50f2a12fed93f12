"""A time limit for all that is said on a connection, however slowly the other side talks."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["Deadline"]

_CLOSE = 0.01
"""Seconds: what a kernel's timeout may be early."""


class Deadline:
    """A context manager that cuts a connection off once its time is over.

    A timeout of a socket starts anew with every byte, so a server that sends one now and then would hold its client for ever.

    Args:
        seconds: The time for everything.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._watched: socket.socket | None = None
        self._is_cut = False

    def __enter__(self) -> Self:
        self._end = time.monotonic() + self._seconds
        self._timer = threading.Timer(self._seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._timer.join()

    @property
    def is_over(self) -> bool:
        """Whether the time is over; a socket's own timeout may see it a moment before the connection is cut off."""
        return self._is_cut or time.monotonic() >= self._end - _CLOSE

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to the first address of a host that answers, and watch the connection.

        Raises:
            OSError: If none does in time.
        """
        problem: OSError = TimeoutError("timed out")
        for _, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            left = self._end - time.monotonic()
            if left <= 0:
                break
            try:
                return self.watch(socket.create_connection((str(address[0]), int(address[1])), timeout=left))
            except OSError as error:
                problem = error
        raise problem

    def watch(self, connection: socket.socket) -> socket.socket:
        """Let a connection be the one that is cut off, also in place of the one that it was made from.

        Raises:
            TimeoutError: If the time is over.
        """
        with self._lock:
            self._watched = connection
            if self._is_cut:
                connection.close()
                raise TimeoutError("timed out")
        return connection

    def _cut(self) -> None:
        with self._lock:
            self._is_cut = True
            if self._watched is not None:
                with suppress(OSError):  # it may be closed already
                    # That of the class: an SSL socket would also forget its keys, which a reader may be using.
                    socket.socket.shutdown(self._watched, socket.SHUT_RDWR)
