"""Questions to a server of MLflow: asked again where that can help, and every error is one of ours."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, BinaryIO

import httpx
import msgspec

from tinymlops.errors import AccessError, DataError, NotFoundError, TinyMLOpsError, UnavailableError
from tinymlops.secrets import read_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Asking"]

_API = "api/2.0/mlflow/"
_TRIES, _PAUSE, _SECONDS = 3, 0.2, 60.0
_AGAIN = frozenset({429, 502, 503, 504})


class Asking:
    """The connections to one server.

    Who asks is said by MLFLOW_TRACKING_TOKEN, or by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

    Args:
        uri: Such as "http://localhost:5000".
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")
        token, password = read_secret("MLFLOW_TRACKING_TOKEN"), read_secret("MLFLOW_TRACKING_PASSWORD")
        headers = {"authorization": f"Bearer {token.reveal()}"} if token is not None else {}
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
        auth = httpx.BasicAuth(user, password.reveal()) if password is not None and token is None else None
        try:
            self._http = httpx.Client(base_url=f"{self._uri}/", headers=headers, auth=auth, timeout=_SECONDS)
        except (httpx.InvalidURL, ValueError) as error:
            raise DataError(f"{uri!r} is not the address of a server", hint="such as http://localhost:5000") from error

    def close(self) -> None:
        """Close them."""
        self._http.close()

    def get(self, path: str, query: Mapping[str, Any], *, api: str = _API) -> dict[str, Any]:
        """Ask for one answer.

        Args:
            path: Below `api`.
            query: What is asked for.
            api: Below the server's address.

        Raises:
            UnavailableError: If there is no answer.
            TinyMLOpsError: If the server refuses.
        """
        return self._ask("GET", path, query, api)

    def pages(self, method: str, path: str, field: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Ask for page after page, and yield the entries of their list.

        Args:
            method: "GET" or "POST".
            path: Below `/api/2.0/mlflow/`.
            field: What the list is called.
            query: Parameters or body.
        """
        token: str | None = None
        while True:
            answer = self._ask(method, path, {**query, "page_token": token} if token else query)
            yield from answer.get(field) or []
            before, token = token, answer.get("next_page_token")
            if not token or token == before:
                return

    def download(self, path: str, query: Mapping[str, str], stream: BinaryIO, size: int | None) -> None:
        """Write a file to a stream.

        Args:
            path: Below the server's address.
            query: What is asked for.
            stream: To write to; nothing is asked again once it was written to.
            size: What the server said before.

        Raises:
            DataError: If it has another size than was said.
        """
        try:
            with self._http.stream("GET", path, params=query) as answer:
                if not answer.is_success:
                    answer.read()
                    raise self._refused(answer)
                written = sum(stream.write(piece) for piece in answer.iter_bytes())
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        if size is not None and written != size:
            raise DataError(f"{query.get('path', path)} has {size:,} bytes, and {written:,} came", hint="import again")

    def _ask(self, method: str, path: str, query: Mapping[str, Any], api: str = _API) -> dict[str, Any]:
        for turn in range(_TRIES):
            last = turn == _TRIES - 1
            try:
                answer = self._sent(method, api + path, query)
            except httpx.TransportError as error:
                if last:
                    raise self._silent(error) from error
            else:
                if answer.is_success:
                    return self._decoded(answer)
                if answer.status_code not in _AGAIN or last:
                    raise self._refused(answer)
            time.sleep(_PAUSE * 4**turn)
        raise AssertionError

    def _sent(self, method: str, path: str, query: Mapping[str, Any]) -> httpx.Response:
        if method == "GET":
            return self._http.get(path, params=dict(query))
        return self._http.request(method, path, json=dict(query))

    def _decoded(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise UnavailableError(
                f"{self._uri} does not answer as a server of MLflow does: {error}", hint="is that its address?"
            ) from error

    def _silent(self, error: httpx.HTTPError) -> UnavailableError:
        return UnavailableError(
            f"no answer from {self._uri}: {error}", hint="is it up? Import again: nothing comes twice"
        )

    def _refused(self, answer: httpx.Response) -> TinyMLOpsError:
        said = f"{self._uri} answers {answer.status_code}: {answer.text[:200]}"
        if answer.status_code in (401, 403):
            return AccessError(said, hint="set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD")
        if answer.status_code in _AGAIN:
            return UnavailableError(said, hint="import again later: nothing comes twice")
        return NotFoundError(said) if answer.status_code == 404 else DataError(said)
