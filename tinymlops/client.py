"""The workspace of a server, over HTTP: the same words as `Workspace`, for what the server has.

This module stands on the errors alone, so that `tinymlops client write` can make one file of it, which needs only
`httpx` and `msgspec`.
"""

from __future__ import annotations

import builtins
import math
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from urllib.parse import quote, urlencode

import httpx
import msgspec

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

__all__ = ["Client", "Features", "Model", "Outcomes", "Predictions", "Pushed"]

T = TypeVar("T")
Row = dict[str, Any]

_TRIES = 5
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
_CONNECT_SECONDS = 5.0
_TOKEN = "TINYMLOPS_TOKEN"  # noqa: S105 - the name of a variable
_CLASSES: dict[str, type[TinyMLOpsError]] = {
    cls.__name__: cls
    for cls in (
        *(AccessError, ConflictError, DataError, DefinitionError, IntegrityError, LeakageError),
        *(MissingDependencyError, NotFoundError, UntrustedModelError),
    )
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Problem(msgspec.Struct, frozen=True):
    """The body of an answer that is an error."""

    error: str = ""
    hint: str = ""
    type: str = ""


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """Of when the rows of a rebuilt transformation are."""

    sequence: int
    age_seconds: float


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a version gets no new rows."""

    source: str
    sequence: int
    at: datetime


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """Features as of now: a row for each key, in order."""

    timestamp: datetime
    """The server's time of the read."""
    sequence: int
    """What the answer covers."""
    rows: list[Row]
    rebuilt: dict[str, Rebuild] = {}
    ended: dict[str, Ended] = {}

    def to_dict(self) -> dict[str, list[Any]]:
        """Return column name to values."""
        return {name: [row[name] for row in self.rows] for name in (self.rows[0] if self.rows else ())}


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    version: int
    timestamp: datetime
    sequence: int | None
    predictions: list[Row]


class Predictions(Sequence[Row]):
    """The answers, one dict for each row: `id`, `prediction`, `probability` or `probabilities`, and if requested `status`.

    Attributes:
        model: The model's name.
        version: Its version.
        timestamp: The server's time at which the features were read.
        sequence: What the features covered; None where full rows of features were sent.
    """

    def __init__(self, answer: _Answer) -> None:
        self.model, self.version = answer.model, answer.version
        self.timestamp, self.sequence = answer.timestamp, answer.sequence
        self._rows = answer.predictions

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<{len(self)} predictions of {self.model}:{self.version} at {self.timestamp.isoformat()}>"


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of pushed rows."""

    source: str
    rows_new: int
    rows_corrected: int
    rows_known: int
    sequence: int


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What became of reported outcomes."""

    outcomes: int
    replaced: int
    unknown: int


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model."""

    version: int
    run: str
    registered_at: datetime


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A model with its newest version and its aliases."""

    name: str
    newest: Version
    aliases: dict[str, int]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model, its versions, and what the version that answers by default takes and gives."""

    name: str
    version: int
    signature: dict[str, Any]
    aliases: list[dict[str, Any]]
    versions: list[Version]


class _Models(msgspec.Struct, frozen=True):
    models: list[ModelSummary]


class Models:
    """The registered models of the server's workspace."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> builtins.list[ModelSummary]:
        """List the models with their newest versions and aliases."""
        return self._client.ask("GET", "/v1/models", _Models).models

    def get(self, name: str) -> Model:
        """Return a model, its versions, and what it takes and gives.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        return self._client.ask("GET", f"/v1/models/{quote(name, safe='')}", Model)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change, as the audit log has it."""

    n: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Row


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """The reads of one actor in one minute that asked for the same."""

    minute: datetime
    actor: str
    consumer: str
    kind: str
    names: str
    calls: int


class _Entries(msgspec.Struct, frozen=True):
    entries: list[Entry]


class _Reads(msgspec.Struct, frozen=True):
    reads: list[Read]


class Audit:
    """Who changed what: needs a token of an auditor or an admin."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(
        self,
        *,
        subject: str | None = None,
        who: str | None = None,
        since: datetime | None = None,
        action: str | None = None,
        limit: int = 100,
    ) -> builtins.list[Entry]:
        """List entries, the newest first, as `ws.audit.list` does; at most 1,000."""
        asked = {"subject": subject, "who": who, "since": since, "action": action, "limit": limit}
        return self._client.ask("GET", f"/v1/audit{_query(asked)}", _Entries).entries


class Accesses:
    """Who read which features and asked which models: needs a token of an auditor or an admin."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(
        self, *, since: datetime | None = None, who: str | None = None, name: str | None = None, limit: int = 100
    ) -> builtins.list[Read]:
        """List reads, the newest minute first, as `ws.access.list` does; at most 1,000."""
        asked = {"since": since, "who": who, "name": name, "limit": limit}
        return self._client.ask("GET", f"/v1/access{_query(asked)}", _Reads).reads


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of rows that checks kept aside."""

    id: int
    source: str
    status: str
    rows: int
    at: datetime


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of rows that were released or dropped."""

    source: str
    rows_new: int = 0
    rows_corrected: int = 0
    rows_known: int = 0
    rows: int = 0


class _Quarantines(msgspec.Struct, frozen=True):
    quarantines: list[Quarantine]


class _Waiting(msgspec.Struct, frozen=True):
    rows: list[Row]


class Checks:
    """The rows that checks on data kept aside."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def quarantined(
        self, source: str | None = None, *, status: str | None = None, limit: int = 100
    ) -> builtins.list[Quarantine]:
        """List batches of rows, in the order in which they came; at most 1,000."""
        asked = {"source": source, "status": status, "limit": limit}
        return self._client.ask("GET", f"/v1/checks/quarantines{_query(asked)}", _Quarantines).quarantines

    def rows(self, number: int, *, limit: int = 100) -> builtins.list[Row]:
        """Return the rows of a batch that wait, with `__row` and the rules that they did not pass in `__rules`."""
        path = f"/v1/checks/quarantines/{int(number)}/rows{_query({'limit': limit})}"
        return self._client.ask("GET", path, _Waiting).rows

    def release(self, number: int, *, rows: Sequence[int] | None = None, replace_newer: bool = False) -> Settled:
        """Let rows of a batch go in, all of them or those with these `__row`.

        Raises:
            ConflictError: If newer versions of them are stored and `replace_newer` is not set.
        """
        body = {"rows": None if rows is None else list(rows), "replace_newer": replace_newer}
        return self._client.ask("POST", f"/v1/checks/quarantines/{int(number)}/release", Settled, body)

    def drop(self, number: int, *, rows: Sequence[int] | None = None) -> Settled:
        """Give up rows of a batch, all of them or those with these `__row`; their values are removed."""
        body = {"rows": None if rows is None else list(rows)}
        return self._client.ask("POST", f"/v1/checks/quarantines/{int(number)}/drop", Settled, body)


class Client:
    """The workspace of a server. Made by `tm.connect("http://...")`; a context manager; safe for threads.

    A request that gets no answer, or is told to come back, is sent again, up to five times: a push and a prediction carry an id,
    so that what arrives twice counts once.

    Args:
        url: Where the server is, such as "https://ml.example.com" or "http://localhost:8000/prefix".
        token: What `tinymlops token create` printed; by default the environment's TINYMLOPS_TOKEN, or none.
        timeout: Seconds that one answer may take.

    Attributes:
        models: The registered models: `list`, `get`.
        checks: Rows that checks kept aside: `quarantined`, `rows`, `release`, `drop`.
        audit: Who changed what: `list`.
        access: Who read which features and asked which models: `list`.

    Raises:
        DataError: If the URL cannot be one.

    Example:
        >>> with Client("http://localhost:8000") as client:
        ...     client
        <client of http://localhost:8000>
    """

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 30.0) -> None:
        self._url = _base(url)
        self._token = token if token is not None else os.environ.get(_TOKEN)
        self._timeout = timeout
        self._process = os.getpid()
        self._http = self._new()
        self.models = Models(self)
        self.checks = Checks(self)
        self.audit = Audit(self)
        self.access = Accesses(self)
        if self._token and self._url.scheme == "http" and self._url.host not in _LOOPBACK:
            warnings.warn(f"{self._url} is not encrypted: the network between sees the token", stacklevel=2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<client of {str(self._url).rstrip('/')}>"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get_online_features(
        self, features: Sequence[str], keys: Any, *, details: bool = False, consumer: str | None = None
    ) -> Features:
        """Read features as of now, by the server's clock: a row for each key.

        Args:
            features: Views, on-demand views and services, such as "spending", or single features, such as "spending:last".
            keys: Entity keys and request fields: dicts, a dict of columns, or a Polars, pandas or Arrow table.
            details: Add `<feature>_status` and `<feature>_event_time`.
            consumer: Who reads, such as "billing", for lineage.

        Raises:
            NotFoundError: If a feature is unknown.
            DataError: If a key is missing or has the wrong type.
        """
        if isinstance(features, str):
            raise DataError(f"features={features!r} is not a list", hint=f"write features=[{features!r}]")
        body = {"features": list(features), "keys": _rows(keys), "details": details, "consumer": consumer}
        return self.ask("POST", "/v1/features/online", Features, body)

    def predict(
        self, reference: str, rows: Any, *, details: bool = False, sync: bool = False, consumer: str | None = None
    ) -> Predictions:
        """Predict as of now; the answers are logged with the features they were made from.

        Args:
            reference: "delay" for the champion or else the newest version, "delay@alias" or "delay:3".
            rows: Entity keys and request fields, or full rows of features: as `keys` of `get_online_features`.
            details: Add the status of each feature.
            sync: Answer only once the predictions are durable; otherwise they are within half a second.
            consumer: Who asks, such as "billing", for lineage.

        Raises:
            NotFoundError: If there is no such model or version.
            DataError: If a column is missing or has the wrong type.
        """
        body = {
            "rows": _rows(rows),
            "details": details,
            "sync": sync,
            "consumer": consumer,
            "request_id": f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)[:15]}",
        }
        return Predictions(self.ask("POST", f"/v1/models/{quote(reference, safe='')}/predict", _Answer, body))

    def push(self, source: str, rows: Any, *, batch_id: str | None = None) -> Pushed:
        """Add rows to a source that takes pushes; they are durable on return.

        Args:
            source: Its name.
            rows: As `keys` of `get_online_features`.
            batch_id: Names the batch, so that it counts once however often it is sent; by default one is made up for this call.

        Raises:
            NotFoundError: If there is no such source.
            DataError: If a row cannot be accepted; none is then.
            ConflictError: If the batch was sent before with other rows.
        """
        body = {"rows": _rows(rows), "batch_id": batch_id or secrets.token_hex(16)}
        return self.ask("POST", f"/v1/sources/{quote(source, safe='')}/push", Pushed, body)

    def log_outcomes(self, rows: Any) -> Outcomes:
        """Say what really happened; an outcome for a prediction that is not known yet is kept for it.

        Args:
            rows: `prediction_id` and `value`, as `keys` of `get_online_features`.
        """
        return self.ask("POST", "/v1/outcomes", Outcomes, {"outcomes": _rows(rows)})

    def ready(self) -> bool:
        """Return whether the server can answer: its models load, and its code is the code that was applied."""
        try:
            self.ask("GET", "/readyz", dict[str, Any])
        except UnavailableError:
            return False
        return True

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
            f"no answer from {self._url} after {_TRIES} tries; the last: {last}",
            hint=f"is it up? curl {self._url}healthz",
        )

    def _decoded(self, response: httpx.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.MsgspecError as error:
            raise UnavailableError(
                f"{self._url} did not answer as a tinymlops server does: {error}", hint="is that its address?"
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
            base_url=self._url, headers=headers, timeout=httpx.Timeout(self._timeout, connect=_CONNECT_SECONDS)
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


def _query(asked: Mapping[str, object]) -> str:
    said = {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in asked.items()
        if value is not None
    }
    return f"?{urlencode(said)}" if said else ""


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


def _rows(table: Any) -> list[Row]:
    """Return rows of any kind as dicts of values that JSON can carry.

    Raises:
        DataError: If it is no table, or a value has no JSON that says the same; it names the row and the column.
    """
    nan_is_null = False
    rows: Any
    if isinstance(table, Mapping):
        rows = _of_columns(table)
    elif hasattr(table, "to_dicts"):
        rows = table.to_dicts()
    elif hasattr(table, "to_pylist"):
        rows = table.to_pylist()
    elif hasattr(table, "to_dict") and hasattr(table, "columns"):
        rows, nan_is_null = table.to_dict(orient="records"), True  # pandas says NaN where nothing is known
    else:
        rows = table
    if isinstance(rows, str | bytes) or not isinstance(rows, Sequence):
        raise DataError(f"a {type(table).__name__} is no table", hint="send dicts, a dict of columns, or a data frame")
    return [_row(row, place, nan_is_null=nan_is_null) for place, row in enumerate(rows)]


def _of_columns(table: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a dict of columns; a dict of single values is one row."""
    columns = {name: _listed(values) for name, values in table.items()}
    if not any(isinstance(values, list) for values in columns.values()):
        return [columns]
    lengths = {name: len(values) for name, values in columns.items() if isinstance(values, list)}
    if len(set(lengths.values())) > 1 or len(lengths) < len(columns):
        raise DataError(f"the columns do not have one length: {lengths}", hint="send as many values in each")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _listed(values: Any) -> Any:
    tolist: Callable[[], Any] | None = getattr(values, "tolist", None) or getattr(values, "to_list", None)
    return tolist() if tolist is not None else list(values) if isinstance(values, tuple) else values


def _row(row: Any, place: int, *, nan_is_null: bool) -> Row:
    if not isinstance(row, Mapping):
        raise DataError(f"row {place} is a {type(row).__name__}, not a dict", hint="send a dict of column to value")
    made = {}
    for name, value in row.items():
        if not isinstance(name, str):
            raise DataError(f"row {place} has the column name {name!r}, which is not text", hint="use text")
        try:
            made[name] = _value(value, nan_is_null=nan_is_null)
        except _NoJsonError as error:
            raise DataError(f"row {place}, column {name!r}: {error}", hint=error.hint) from None
    return made


class _NoJsonError(Exception):
    """A value that JSON cannot carry."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _value(value: Any, *, nan_is_null: bool) -> Any:
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        if nan_is_null and math.isnan(value):
            return None
        raise _NoJsonError(f"{value} has no JSON", "send None where nothing is known")
    if isinstance(value, int):
        return int(value)
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise _NoJsonError(f"{value} has no time zone", "say which: value.replace(tzinfo=UTC)")
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_value(one, nan_is_null=nan_is_null) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _value(one, nan_is_null=nan_is_null) for name, one in value.items()}
    tolist = getattr(value, "tolist", None)  # NumPy's scalars and arrays
    if tolist is not None:
        return _value(tolist(), nan_is_null=nan_is_null)
    raise _NoJsonError(
        f"a {type(value).__name__} has no JSON that says the same", "send text, a number, a list or a time"
    )
