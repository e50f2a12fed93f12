"""The log of predictions: written in groups, within half a second, so that no answer waits for the disk."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.records import Prediction
    from tinymlops.stores.database import Database

__all__ = ["PredictionLog"]

_GROUP_SECONDS = 0.25
"""How long a group collects predictions before it is committed."""


class PredictionLog:
    """Appends predictions to the database from a thread of its own, begun with the first one.

    Args:
        database: The workspace's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._pending: list[Prediction] = []
        self._appended = 0
        self._committed = 0
        self._urgent = False
        self._closing = False
        self._error: BaseException | None = None
        self._writer: threading.Thread | None = None

    def append(self, predictions: Sequence[Prediction], *, sync: bool = False) -> None:
        """Add predictions.

        Args:
            predictions: With ids of their own.
            sync: Return only once they are durable.

        Raises:
            ConflictError: If the workspace is closed.
            TinyMLOpsError: If an earlier group could not be written.
        """
        with self._changed:
            self._require_usable()
            self._pending += predictions
            self._appended += len(predictions)
            if self._writer is None:
                self._writer = threading.Thread(target=self._run, name="tinymlops-predictions", daemon=True)
                self._writer.start()
            self._changed.notify_all()
        if sync:
            self.flush()

    def flush(self) -> None:
        """Wait until everything appended so far is durable."""
        with self._changed:
            wanted = self._appended
            self._urgent = True
            self._changed.notify_all()
            while self._committed < wanted and self._error is None:
                self._changed.wait()
            self._require_usable(closed_is_fine=True)

    def close(self) -> None:
        """Write what is pending and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._writer is not None:
            self._writer.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._pending and not self._closing:
                    self._changed.wait()
                if not self._pending:
                    return
                self._changed.wait_for(lambda: self._urgent or self._closing, timeout=_GROUP_SECONDS)
                group, self._pending = self._pending, []
                self._urgent = False
            self._commit(group)

    def _commit(self, group: list[Prediction]) -> None:
        error: BaseException | None = None
        try:
            with self._database.write(actor="local") as tx:
                tx.insert_many(group)
        except BaseException as raised:  # noqa: BLE001 - kept for whoever appends next
            error = raised
        with self._changed:
            self._error = self._error or error
            self._committed += len(group)
            self._changed.notify_all()

    def _require_usable(self, *, closed_is_fine: bool = False) -> None:
        if self._closing and not closed_is_fine:
            raise ConflictError("the workspace is closed", hint="connect to it again")
        error, self._error = self._error, None
        if error is not None:
            raise error
