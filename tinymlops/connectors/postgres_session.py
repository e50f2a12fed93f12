"""A session of PostgreSQL: connected by ADBC, and waited for so that Ctrl-C ends it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from tinymlops.connectors.postgres_errors import not_reached
from tinymlops.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tinymlops.connectors.addresses import Address

__all__ = ["Session", "driver", "rows_of"]

R = TypeVar("R")
_LOOK = 0.1
"""Seconds between two looks for Ctrl-C."""

_SETTINGS = {
    "application_name": "tinymlops",
    "connect_timeout": "10",
    # A server that loses power answers nothing, and nobody would notice for hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}


class Session:
    """Connections to one database, one at a time.

    Args:
        address: Where it is.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._open: Any = None

    def aside(self, work: Callable[[], R]) -> R:
        """Do what waits for the server in a thread, and let Ctrl-C end it there too.

        In the main thread the driver would take Ctrl-C for itself, tell it as a failure of the statement, and leave a
        handler behind that does not wake other waits.
        """
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(work)
            try:
                while not wait([done], _LOOK).done:
                    pass
            except KeyboardInterrupt:
                while not wait([done], _LOOK).done:  # it may be between two statements
                    self._cancel()
                raise
        return done.result()

    def _cancel(self) -> None:
        cursor = self._open
        if cursor is not None:
            with suppress(driver().Error):
                cursor.adbc_cancel()

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """Connect, and close the connection whatever happens; each statement commits unless one begins a transaction."""
        dbapi, failed = driver(), None
        try:
            connection = dbapi.connect(_with_settings(self._address.url.reveal()), autocommit=True)
        except dbapi.Error as error:
            failed = not_reached(self._address, str(error))
        if failed is not None:
            raise failed  # outside, so that a traceback does not show the driver's own words
        cursor = connection.cursor()
        try:
            self._open = cursor
            yield cursor
        finally:
            self._open = None
            for one in (cursor, connection):
                with suppress(dbapi.Error):
                    one.close()


def driver() -> Any:
    """Return the driver.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    try:
        import adbc_driver_postgresql.dbapi as found
    except ImportError as error:
        raise MissingDependencyError(
            "PostgreSQL is reached by adbc-driver-postgresql, which is not installed",
            hint="pip install 'tinymlops[postgres]'",
        ) from error
    return found


def rows_of(cursor: Any, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a statement."""
    cursor.execute(sql)
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _with_settings(url: str) -> str:
    """Add what libpq should do unless the URL says it."""
    query = urlsplit(url).query
    said = {part.partition("=")[0] for part in query.split("&")}
    added = urlencode({name: value for name, value in _SETTINGS.items() if name not in said})
    return f"{url}{'&' if query else '' if url.endswith('?') else '?'}{added}"
