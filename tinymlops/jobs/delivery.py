"""Messages of the outbox on their way: to the runner's own log, and to a web address if one is set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tinymlops.errors import DefinitionError, TinyMLOpsError

if TYPE_CHECKING:
    from tinymlops.records import OutboxMessage
    from tinymlops.registry.outbox import Outbox
    from tinymlops.secrets import Secret

__all__ = ["ADDRESS", "Delivery"]

ADDRESS = "TINYMLOPS_ALERTS_URL"
"""The variable of the environment with the address; with `_FILE` behind it, that of a private file that holds it."""
_TIMEOUT = 10.0


class Delivery:
    """Sends what is in the outbox.

    Args:
        outbox: The workspace's.
        tell: Takes a line.
        address: Where messages are posted; None for the log alone.

    Raises:
        DefinitionError: If the address is not one of HTTP.
    """

    def __init__(self, outbox: Outbox, tell: Callable[[str], object], address: Secret | None = None) -> None:
        if address is not None and not address.reveal().startswith(("https://", "http://")):
            raise DefinitionError(f"{ADDRESS} is not an address", hint="write https://... or leave it out")
        self._outbox, self._tell, self._address = outbox, tell, address
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Send what is due in a thread, unless one is at it."""
        if self._thread is None or not self._thread.is_alive():
            taken = self._outbox.take()
            if taken:
                self._thread = threading.Thread(target=self._send_all, args=(taken,), daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Wait for what is being sent, and send what else is due."""
        if self._thread is not None:
            self._thread.join()
        while taken := self._outbox.take():
            self._send_all(taken)

    def _send_all(self, messages: list[OutboxMessage]) -> None:
        for message in messages:
            error = self._post(message)
            again = "" if error is None else f" (not sent yet: {error})"
            self._tell(f"alert: {message.text}{again}")
            try:
                self._outbox.settle(message, error)
            except TinyMLOpsError as failure:  # it is sent again
                self._tell(f"error: {failure.message}")

    def _post(self, message: OutboxMessage) -> str | None:
        """Post a message; return why it was not taken. The address may hold a secret, so it is never told."""
        if self._address is None:
            return None
        import httpx

        content = {
            "id": message.id,
            "kind": message.kind,
            "text": message.text,
            "at": message.created_at.isoformat(),
            **message.detail,
        }
        try:
            answer = httpx.post(
                self._address.reveal(), json=content, headers={"Idempotency-Key": message.id}, timeout=_TIMEOUT
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return f"the address of {ADDRESS} does not answer: {type(error).__name__}"
        return None if answer.is_success else f"the address of {ADDRESS} answers {answer.status_code}"
