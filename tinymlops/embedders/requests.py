"""One request to a provider, with all that is tried again, within one deadline."""

from __future__ import annotations

import email.utils
import json
import math
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from tinymlops.errors import AccessError, DefinitionError, NotFoundError, TinyMLOpsError, UnavailableError
from tinymlops.secrets import without_secrets

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence

    from tinymlops.embedders.addresses import Provider
    from tinymlops.secrets import Secret

__all__ = ["Refusal", "asking"]

_LARGEST = 64 * 1024 * 1024
"""Bytes of an answer."""
_QUOTED = 200
"""Characters of what the provider says."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
_REFUSED = (400, 413, 422)
_LATER = (408, 409, 425, 429)


class Refusal(NamedTuple):
    """The provider does not take these texts, or this request at all."""

    reason: str


class _Again(Exception):  # noqa: N818  # never leaves this module
    """The provider may answer later."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@contextmanager
def asking(
    provider: Provider, key: Secret | None, deadline: float, tls: ssl.SSLContext
) -> Iterator[Callable[[Sequence[str]], bytes | Refusal]]:
    """Give a function that asks for the vectors of texts, and returns the body of the answer or why it was refused.

    It works in an event loop of its own, because nothing else can end a request at a deadline, whatever it waits for. It tries
    again where the provider cannot answer now, follows no redirect, and takes no compressed answers, whose size nobody could
    bound.

    Args:
        provider: Who is asked.
        key: What is sent as its key, and is not told, whatever the provider says.
        deadline: Seconds for one call, with all that is tried again.
        tls: Whom to trust; it takes long to make.

    Raises:
        AccessError: If the key is refused.
        NotFoundError: If there is no such address or model.
        DefinitionError: If the provider sends elsewhere.
        UnavailableError: If there is no answer within the deadline.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key.reveal()}"
    client = httpx.AsyncClient(headers=headers, verify=tls, timeout=None, follow_redirects=False)  # noqa: S113  # see the deadline
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
        yield lambda texts: portal.call(_ask, client, provider, key, texts, deadline)


async def _ask(
    client: httpx.AsyncClient, provider: Provider, key: Secret | None, texts: Sequence[str], deadline: float
) -> bytes | Refusal:
    end, pause, reason = time.monotonic() + deadline, _FIRST_PAUSE, "no answer"
    told = {"model": provider.model, "input": list(texts), "encoding_format": "float"}
    body = json.dumps(told, ensure_ascii=False).encode()
    with anyio.move_on_after(deadline):
        while True:
            try:
                return await _once(client, provider, key, body)
            except _Again as again:
                reason, told_pause = str(again), again.pause
            wait = pause if told_pause is None else told_pause
            if time.monotonic() + wait >= end:
                ready = "" if told_pause is None else f"; it asks to wait for {told_pause:.0f} s"
                raise UnavailableError(f"{provider.url} cannot answer now: {reason}{ready}", hint=_TRY_LATER)
            await anyio.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)
    raise UnavailableError(f"{provider.url} did not answer in {deadline:g} s: {reason}", hint=_TRY_LATER)


async def _once(client: httpx.AsyncClient, provider: Provider, key: Secret | None, body: bytes) -> bytes | Refusal:
    try:
        async with client.stream("POST", provider.url, content=body) as answer:
            content = await _read(answer, provider)
    except httpx.TransportError as error:
        raise _Again(f"the connection failed ({type(error).__name__})") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise DefinitionError(
            f"{provider.url} cannot be asked ({type(error).__name__})", hint="see its address"
        ) from None
    status, said = answer.status_code, _said(content, key)
    if status == httpx.codes.OK:
        return content
    if status in _REFUSED:
        return Refusal(f"status {status}{said}")
    if status in _LATER or status >= 500:
        raise _Again(f"status {status}{said}", _seconds(answer.headers.get("Retry-After")))
    raise _error(provider, answer, said)


async def _read(answer: httpx.Response, provider: Provider) -> bytes:
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise DefinitionError(f"{provider.url} compresses its answers unasked", hint="see what is in front of it")
    pieces, size = [], 0
    async for piece in answer.aiter_raw():
        pieces.append(piece)
        size += len(piece)
        if size > _LARGEST:
            raise DefinitionError(f"{provider.url} answers more than {_LARGEST >> 20} MiB", hint="see its address")
    return b"".join(pieces)


def _error(provider: Provider, answer: httpx.Response, said: str) -> TinyMLOpsError:
    status = answer.status_code
    if status in (401, 403):
        return AccessError(
            f"{provider.url} refuses the key: status {status}{said}", hint='give the right one by key="env:NAME"'
        )
    if status in (404, 405):
        return NotFoundError(
            f"{provider.url} has no embeddings of {provider.model!r}: status {status}{said}",
            hint="see the address and the name of the model after #",
        )
    if 300 <= status < 400:
        place = answer.headers.get("Location", "").partition("?")[0].rpartition("@")[2][:_QUOTED]
        return DefinitionError(
            f"{provider.url} sends elsewhere, and is not followed: {place or 'no place is told'}",
            hint="write the address that is meant: the key and the texts go to no other",
        )
    return UnavailableError(f"{provider.url} answers with status {status}{said}", hint="see the provider's log")


def _said(content: bytes, key: Secret | None) -> str:
    """Return the message in the body of an error, without secrets."""
    try:
        found = json.loads(content[:65_536])
        found = found.get("error", found)
        text = found if isinstance(found, str) else found.get("message", "")
    except (ValueError, AttributeError, RecursionError):
        return ""
    if not isinstance(text, str) or not text:
        return ""
    if key is not None:
        text = text.replace(key.reveal(), "<secret>")
    return f" ({without_secrets(text)[:_QUOTED]})"


def _seconds(retry_after: str | None) -> float | None:
    """Return how long to wait, from a number of seconds or a date; None if nothing is told that can be read."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        date = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)


_TRY_LATER = "try again later; nothing of what was answered before is lost"
