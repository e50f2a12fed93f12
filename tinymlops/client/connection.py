"""The connections to a server: a request is sent again where that can help, and an error is one of ours."""

from __future__ import annotations

import os
import time
import warnings
from typing import TypeVar

import httpx
import msgspec

from tinymlops.client.answers import Problem
from tinymlops.errors import (
    AccessError,
    ConflictError,
    DataError,
    DefinitionError,
    IntegrityError,
    LeakageError,
    MissingDependencyError,
    NotFoundError,
    TinyMLOpsError,
    UnavailableError,
    UntrustedModelError,
)

__all__ = ["Connection"]

T = TypeVar("T")

_TRIES = 5
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
_CONNECT_SECONDS = 5.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CLASSES: dict[str, type[TinyMLOpsError]] = {
    cls.__name__: cls
    for cls in (
        *(AccessError, ConflictError, DataError, DefinitionError, IntegrityError, LeakageError),
        *(MissingDependencyError, NotFoundError, UntrustedModelError),
    )
}


class Connection:
    """The connections of one process to one server; safe for threads.

    Args:
        url: Where the server is.
        token: What it asks for; None for nothing.
        timeout: Seconds that one answer may take.

    Raises:
        DataError: If the URL cannot be one.
    """

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        self.url = _base(url)
        self._token = token
        self._timeout = timeout
        self._process = os.getpid()
        self._http = self._new()
        if token and self.url.scheme == "http" and self.url.host not in _LOOPBACK:
            warnings.warn(f"{self.url} is not encrypted: the network between sees the token", stacklevel=4)

    def close(self) -> None:
        """Close them."""
        self._http.close()

    def ask(self, method: str, path: str, kind: type[T], body: object = None) -> T:
        """Send a request, again where that can help, and return the answer.

        Args:
            method: "GET" or "POST".
            path: Below the server's URL.
            kind: The type of the answer.
            body: What is sent as JSON; None for nothing.

        Raises:
            UnavailableError: If there is no answer, or the server cannot answer now.
            TinyMLOpsError: Of the class that the server names.
        """
        content = None if body is None else msgspec.json.encode(body)
        pause, last = _FIRST_PAUSE, ""
        for turn in range(_TRIES):
            if turn:
                time.sleep(pause)
                pause = min(4 * pause, _LONGEST_PAUSE)
            try:
                response = self._connected().request(method, path.lstrip("/"), content=content)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                last = f"{type(error).__name__}: {error}"
                continue
            if response.is_success:
                return self._decoded(response, kind)
            if "retry-after" not in response.headers:
                raise _error(response)
            last = f"{response.status_code}: {_problem(response).error}"
            pause = min(max(pause, _seconds(response.headers["retry-after"])), _LONGEST_PAUSE)
        raise UnavailableError(
            f"no answer from {self.url} after {_TRIES} tries; the last: {last}",
            hint=f"is it up? curl {self.url}healthz",
        )

    def _decoded(self, response: httpx.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.MsgspecError as error:
            raise UnavailableError(
                f"{self.url} did not answer as a tinymlops server does: {error}", hint="is that its address?"
            ) from error

    def _connected(self) -> httpx.Client:
        """Return the connections of this process: a fork must not share those of its parent."""
        if self._process != os.getpid():
            self._process, self._http = os.getpid(), self._new()
        return self._http

    def _new(self) -> httpx.Client:
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._token:
            if not self._token.isascii() or not self._token.isprintable():
                raise AccessError("the token is not one", hint="it begins with tm_, and has no spaces or line ends")
            headers["authorization"] = f"Bearer {self._token}"
        return httpx.Client(
            base_url=self.url, headers=headers, timeout=httpx.Timeout(self._timeout, connect=_CONNECT_SECONDS)
        )


def _base(url: str) -> httpx.URL:
    try:
        found = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise DataError(
            f"{url!r} is not the address of a server: {error}", hint="such as http://localhost:8000"
        ) from error
    is_host = found.host and not any(mark.isspace() for mark in url)
    if found.scheme not in ("http", "https") or not is_host or found.query or found.fragment or found.userinfo:
        raise DataError(
            "the address of a server has a scheme, a host and perhaps a port and a prefix, and nothing more",
            hint="such as http://localhost:8000, and the token as token=...",
        )
    return found.copy_with(path=found.path.rstrip("/") + "/")


def _problem(response: httpx.Response) -> Problem:
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        return Problem(f"{response.status_code} {response.reason_phrase}")


def _error(response: httpx.Response) -> TinyMLOpsError:
    """Make the error that the server names."""
    said = _problem(response)
    cls = _CLASSES.get(said.type, TinyMLOpsError)
    if response.status_code == httpx.codes.UNAUTHORIZED:
        cls = AccessError
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        cls = UnavailableError
    return cls(said.error, hint=said.hint)


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() and len(text) < len("1000000") else 0.0
