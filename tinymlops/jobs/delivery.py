"""Messages of the outbox on their way: to the runner's own log, and to whoever else is to get them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from tinymlops.errors import TinyMLOpsError

if TYPE_CHECKING:
    from tinymlops.records import OutboxMessage
    from tinymlops.registry.outbox import Outbox

__all__ = ["Channel", "Delivery"]

_PATIENCE = 20.0
"""Seconds after which a runner that ends begins no other message; the next runner sends the rest."""


class Channel(Protocol):
    """A way on which messages are sent."""

    @property
    def receivers(self) -> Sequence[str]:
        """Who gets them on this way, by names that stay."""

    def send(self, message: OutboxMessage, receivers: Sequence[str]) -> Mapping[str, str | None]:
        """Send a message within ten seconds.

        Args:
            message: The message; who gets it twice knows it by its id.
            receivers: Those who have not taken it yet.

        Returns:
            For each of them why it has not taken it, without secrets; None if it has.
        """


class Delivery:
    """Sends what is in the outbox.

    Args:
        outbox: The workspace's.
        tell: Takes a line.
        channels: The ways on which it is sent; none for the log alone.
    """

    def __init__(self, outbox: Outbox, tell: Callable[[str], object], channels: Sequence[Channel] = ()) -> None:
        self._outbox, self._tell, self._channels = outbox, tell, channels
        self._thread: threading.Thread | None = None
        self._until = math.inf

    def begin(self) -> None:
        """Send what is due in a thread, unless one is at it."""
        if self._thread is None or not self._thread.is_alive():
            taken = self._outbox.take()
            if taken:
                self._thread = threading.Thread(target=self._send_all, args=(taken,), daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Wait for what is being sent, and send what else is due, as long as that takes no half minute."""
        self._until = time.monotonic() + _PATIENCE
        if self._thread is not None:
            self._thread.join()
        self._send_all([])
        self._until = math.inf

    def _send_all(self, messages: Sequence[OutboxMessage]) -> None:
        """Send messages that were taken, and then what else is due."""
        try:
            while messages or (messages := self._outbox.take()):
                for message in messages:
                    if time.monotonic() > self._until:
                        return
                    self._send(message)
                messages = []
        except TinyMLOpsError as failure:  # a full disk, say: it is sent again
            self._tell(f"error: {failure.message}")

    def _send(self, message: OutboxMessage) -> None:
        taken, errors = list(message.taken), []
        for channel in self._channels:
            left = [one for one in channel.receivers if one not in taken]
            found = channel.send(message, left) if left else {}
            taken += [one for one in left if found[one] is None]
            errors += [error for one in left if (error := found[one]) is not None]
        error = "; ".join(dict.fromkeys(errors)) or None
        again = "" if error is None else f" (not sent yet: {error})"
        self._tell(f"alert: {message.text}{again}")
        self._outbox.settle(message, error, taken=taken)
