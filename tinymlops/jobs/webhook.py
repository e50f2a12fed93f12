"""A message of the outbox as JSON, posted to a web address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.errors import DefinitionError
from tinymlops.jobs.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.records import OutboxMessage
    from tinymlops.secrets import Secret

__all__ = ["ADDRESS", "Webhook"]

ADDRESS = "TINYMLOPS_ALERTS_URL"
"""The variable of the environment with the address; with `_FILE` behind it, that of a private file that holds it."""
_SECONDS = 10.0
_CONNECTED = ("connection.connect_tcp.complete", "connection.start_tls.complete")


class Webhook:
    """Posts messages; the address may hold a secret, so it is never told.

    Args:
        address: Where to.

    Raises:
        DefinitionError: If the address is not one of HTTP.
    """

    receivers = ("webhook",)

    def __init__(self, address: Secret) -> None:
        if not address.reveal().startswith(("https://", "http://")):
            raise DefinitionError(f"{ADDRESS} is not an address", hint="write https://... or leave it out")
        self._address = address

    def send(self, message: OutboxMessage, receivers: Sequence[str]) -> Mapping[str, str | None]:
        """Post a message, and return why it was not taken; None if it was."""
        return dict.fromkeys(receivers, self._post(message))

    def _post(self, message: OutboxMessage) -> str | None:
        import httpx

        content = {
            "id": message.id,
            "kind": message.kind,
            "text": message.text,
            "at": message.created_at.isoformat(),
            **message.detail,
        }
        with Deadline(_SECONDS) as deadline:

            def watch(event: str, about: Mapping[str, Any]) -> None:
                if event in _CONNECTED:
                    deadline.watch(about["return_value"].get_extra_info("socket"))

            try:
                with (
                    httpx.Client(timeout=_SECONDS) as client,
                    client.stream(  # the body is not read: it may have no end
                        "POST",
                        self._address.reveal(),
                        json=content,
                        headers={"Idempotency-Key": message.id},
                        extensions={"trace": watch},
                    ) as answer,
                ):
                    code, is_taken = answer.status_code, answer.is_success
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                how = " in time" if deadline.is_over else f": {type(error).__name__}"
                return f"the address of {ADDRESS} does not answer{how}"
        return None if is_taken else f"the address of {ADDRESS} answers {code}"
