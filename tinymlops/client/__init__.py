"""The workspace of a server, over HTTP: the same words as `Workspace`, for what the server has.

These modules stand on the errors alone, so that `tinymlops client write` can make one file of them, which needs only
`httpx` and `msgspec`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tinymlops.client.answers import Answer, Features, Outcomes, Predictions, Pushed
from tinymlops.client.connection import Connection
from tinymlops.client.nouns import Accesses, Audit, Checks, Jobs, Models, Vectors
from tinymlops.client.rows import rows_of
from tinymlops.errors import DataError, UnavailableError

__all__ = ["Client"]

_VARIABLE = "TINYMLOPS_TOKEN"


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
        vectors: Rows that are nearest to a query: `list`, `search`.
        checks: Rows that checks kept aside: `quarantined`, `rows`, `release`, `drop`.
        jobs: What is done again and again: `list`, `history`, `logs`, `start`, `rerun`, `pause`.
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
        said = token if token is not None else os.environ.get(_VARIABLE)
        self._connection = Connection(url, said, timeout)
        self.models = Models(self._connection)
        self.vectors = Vectors(self._connection)
        self.checks = Checks(self._connection)
        self.jobs = Jobs(self._connection)
        self.audit = Audit(self._connection)
        self.access = Accesses(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<client of {str(self._connection.url).rstrip('/')}>"

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

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
        body = {"features": list(features), "keys": rows_of(keys), "details": details, "consumer": consumer}
        return self._connection.ask("POST", "/v1/features/online", Features, body)

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
            "rows": rows_of(rows),
            "details": details,
            "sync": sync,
            "consumer": consumer,
            "request_id": f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)[:15]}",
        }
        return Predictions(
            self._connection.ask("POST", f"/v1/models/{quote(reference, safe='')}/predict", Answer, body)
        )

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
        body = {"rows": rows_of(rows), "batch_id": batch_id or secrets.token_hex(16)}
        return self._connection.ask("POST", f"/v1/sources/{quote(source, safe='')}/push", Pushed, body)

    def log_outcomes(self, rows: Any) -> Outcomes:
        """Say what really happened; an outcome for a prediction that is not known yet is kept for it.

        Args:
            rows: `prediction_id` and `value`, as `keys` of `get_online_features`.
        """
        return self._connection.ask("POST", "/v1/outcomes", Outcomes, {"outcomes": rows_of(rows)})

    def ready(self) -> bool:
        """Return whether the server can answer: its models load, and its code is the code that was applied."""
        try:
            self._connection.ask("GET", "/readyz", dict[str, Any])
        except UnavailableError:
            return False
        return True
