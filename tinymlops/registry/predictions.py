"""Logged predictions and their outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.records import Outcome, Prediction
from tinymlops.stores.json_text import to_json
from tinymlops.stores.rows import codec_for
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = [
    "Found",
    "ServedRow",
    "ids_known",
    "ids_with_outcome",
    "log_predictions",
    "newest_predictions",
    "pages_of_served",
    "predictions_by_version",
    "sequences_read_at",
    "versions_logged",
    "without_outcome",
]

_PAGE = 20_000
_LARGEST = 2**63 - 1
_PREDICTIONS, _OUTCOMES = codec_for(Prediction), codec_for(Outcome)
_WIDTH = 1 + len(_PREDICTIONS.names) + 1
_OF_VERSION = f"""FROM {Prediction.table} p LEFT JOIN {Outcome.table} o ON o.prediction_id = p.id
    WHERE p.model = ? AND p.version = ?"""


class ServedRow(NamedTuple):
    """A logged prediction and what is stored of its outcome."""

    id: str
    at: int
    """Microseconds UTC."""
    rowid: int
    features: str
    output: str
    has_outcome: bool
    outcome: float | str | None


def log_predictions(database: Database, predictions: Iterable[Prediction]) -> None:
    """Store predictions in one commit, without an entry in the audit log.

    One whose id is there already is the same request, sent again: the first stays.
    """
    with database.write(actor=None) as tx:
        tx.insert_new(predictions)


def ids_known(tx: Transaction, ids: Iterable[str]) -> set[str]:
    """Return which of these ids are predictions; read from an index, because the result is only counted."""
    return _present(tx, Prediction.table, "id", ids)


def ids_with_outcome(tx: Transaction, ids: Iterable[str]) -> set[str]:
    """Return which of these predictions have an outcome; read from an index, as in `ids_known`."""
    return _present(tx, Outcome.table, "prediction_id", ids)


def without_outcome(
    database: Database, model: str, version: int, *, until: int, fields: Sequence[str]
) -> list[tuple[Prediction, tuple[Any, ...]]]:
    """Return the predictions of a version that have no outcome.

    Args:
        database: The workspace's database.
        model: The model's name.
        version: The version's number.
        until: Only predictions up to this time, microseconds UTC.
        fields: The fields of the request to return beside each prediction.

    Returns:
        Each prediction, and the values of these fields as SQLite reads them.
    """
    taken = "".join("json_extract(p.request, ?), " for _ in fields)
    found = database.rows(
        f"SELECT {taken}{_PREDICTIONS.columns_of('p')} {_OF_VERSION} AND p.at <= ? AND o.prediction_id IS NULL",
        (*(f'$."{field}"' for field in fields), model, version, until),
    )
    return [(_PREDICTIONS.decode(row[len(fields) :]), row[: len(fields)]) for row in found]


def versions_logged(database: Database, *, since: int) -> list[tuple[str, int, int]]:
    """Return (model, version, count) of the predictions from a time on that read features; read from an index."""
    sql = f"""SELECT model, version, count(*) FROM {Prediction.table} WHERE sequence IS NOT NULL AND at >= ?
        GROUP BY model, version ORDER BY model, version"""
    return [(model, version, count) for model, version, count in database.rows(sql, (since,))]


def predictions_by_version(database: Database) -> list[tuple[str, int, int]]:
    """Return (model, version, count) of all logged predictions: out of an index."""
    sql = f"SELECT model, version, count(*) FROM {Prediction.table} GROUP BY model, version ORDER BY model, version"
    return [(model, version, count) for model, version, count in database.rows(sql)]


def sequences_read_at(database: Database, model: str, version: int, *, since: int) -> list[int]:
    """Return the sequences at which a version's predictions from a time on read features, in order."""
    sql = f"""SELECT DISTINCT sequence FROM {Prediction.table}
        WHERE model = ? AND version = ? AND sequence IS NOT NULL AND at >= ? ORDER BY sequence"""
    return [sequence for (sequence,) in database.rows(sql, (model, version, since))]


def pages_of_served(
    database: Database, model: str, version: int, *, since: int, until: int
) -> Iterator[list[ServedRow]]:
    """Read a version's predictions in order of time, a page at a time.

    Args:
        database: The workspace's database.
        model: The model's name.
        version: The version's number.
        since: Predictions from this time on, microseconds UTC.
        until: Predictions before this time, microseconds UTC.

    Returns:
        Its pages.

    Raises:
        IntegrityError: If a row is not what was written.
    """
    sql = (
        f"SELECT p.rowid, {_PREDICTIONS.columns_of('p')}, {_OUTCOMES.columns_of('o')} {_OF_VERSION} "
        "AND p.at >= ? AND p.at < ? AND (p.at, p.rowid) > (?, ?) ORDER BY p.at, p.rowid LIMIT ?"
    )
    place = (since, -1)
    while rows := database.rows(sql, (model, version, since, until, *place, _PAGE)):
        page = [_served(row) for row in rows]
        yield page
        place = (page[-1].at, page[-1].rowid)


class Found(NamedTuple):
    """A prediction that was looked for, and where the ones before it begin."""

    prediction: Prediction
    place: tuple[int, int]
    """Time in microseconds UTC, and row number: predictions of one answer have one time."""


def newest_predictions(
    database: Database,
    model: str,
    version: int,
    *,
    before: tuple[int, int],
    limit: int,
    key: tuple[str, bool | float | str] | None = None,
    among: int = 5_000,
) -> list[Found]:
    """Return predictions of a version before a place, the newest first: by an index, without reading the others.

    Args:
        database: The workspace's database.
        model: The model's name.
        version: The version's number.
        before: As in `Found`.
        limit: The most to return.
        key: A field of the request and its value; there is no index of these.
        among: How many predictions are looked at for a key.
    """
    inner = (
        f"SELECT *, rowid AS place FROM {Prediction.table} WHERE model = ? AND version = ? AND (at, rowid) < (?, ?) "
        "ORDER BY at DESC, rowid DESC LIMIT ?"
    )
    bound: list[Any] = [model, version, *before, limit if key is None else among]
    condition = "1"
    if key is not None:
        field, value = key
        condition = "p.request ->> ? = ?" if isinstance(value, int | float) else "CAST(p.request ->> ? AS TEXT) = ?"
        if isinstance(value, int) and abs(value) > _LARGEST:  # SQLite has it as a float: compared as it is written
            condition, value = "p.request -> ? = ?", str(value)
        bound += [f'$."{field}"', value]
    sql = f"SELECT place, {_PREDICTIONS.columns_of('p')} FROM ({inner}) p WHERE {condition} ORDER BY at DESC, place DESC LIMIT ?"
    found = [(row[0], _PREDICTIONS.decode(row[1:])) for row in database.rows(sql, [*bound, limit])]
    return [Found(one, (to_micros(one.at), place)) for place, one in found]


def _served(row: tuple[Any, ...]) -> ServedRow:
    prediction = dict(zip(_PREDICTIONS.names, _PREDICTIONS.checked(row[1:_WIDTH]), strict=True))
    joined = row[_WIDTH] is not None
    value = _OUTCOMES.checked(row[_WIDTH:])[1] if joined else None
    return ServedRow(
        prediction["id"], prediction["at"], row[0], prediction["features"], prediction["output"], joined, value
    )


def _present(tx: Transaction, table: str, column: str, ids: Iterable[str]) -> set[str]:
    sql = f'SELECT "{column}" FROM "{table}" WHERE "{column}" IN (SELECT value FROM json_each(?))'
    return {row[0] for row in tx.execute(sql, (to_json(list(ids)),))}
