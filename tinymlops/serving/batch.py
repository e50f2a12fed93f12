"""`predict_batch`: a table in, a Parquet or CSV file out, a chunk at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from tinymlops.errors import DataError, NotFoundError, near
from tinymlops.features.history.historical import features_for
from tinymlops.features.history.in_place import reading_once
from tinymlops.frames import Frame, require_no_nulls, times_to_micros, to_polars
from tinymlops.presence import require_whole_lines
from tinymlops.progress import progress
from tinymlops.serving.prediction import read_online
from tinymlops.serving.request import has_features, read_rows, require_columns
from tinymlops.stores.table_output import written_table
from tinymlops.table_files import read_csv, written_as_text
from tinymlops.times import parse_instant, to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.serving.model import Model

__all__ = ["BatchReport", "predict_batch"]

_CHUNK = 200_000
"""Rows of a chunk: each chunk arranges history for its keys again."""
_ANSWERS = ("prediction", "probability", "probabilities")

Served = Callable[[pl.DataFrame], pl.DataFrame]
"""Adds features to the rows of a request."""


class BatchReport(msgspec.Struct, frozen=True):
    """The result of a batch prediction, and its file."""

    model: str
    version: int
    rows: int
    path: str
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.rows:,} predictions of {self.model}:{self.version} in {self.path} ({self.seconds:.1f} s)"


def predict_batch(
    context: Context, model: Model, rows: Frame | str | Path, output: Path, *, timestamp: str | None
) -> BatchReport:
    """Predict for a whole table and write its columns, except features, together with the answers.

    Args:
        context: The workspace's state.
        model: The model.
        rows: A table, or a Parquet or CSV file: entity keys and request fields, or full rows of features.
        output: The Parquet or CSV file to write, by its suffix, complete or not at all; an existing one is replaced.
        timestamp: The column of prediction times, with a zone or as ISO 8601 text with an offset: features are those known
            then, as in training. Without it, they are those of now. Full rows of features are used as they are.

    Raises:
        DataError: If a column is missing, has the wrong type, or has the name of an answer; it names the column.
        NotFoundError: If the file, or the directory to write to, does not exist.
    """
    begun = time.perf_counter()
    table = _opened(model, rows, timestamp)
    total = table.select(pl.len()).collect().item()
    _check_columns(model, table.collect_schema().names(), timestamp)
    served = _by_time(context, model, timestamp) if timestamp is not None else _by_now(context, model)
    with reading_once(), written_table(output) as write, progress("predicting", total) as advance:
        first_row = 0
        for chunk in _chunks(table, total):
            write(_answered(model, chunk, served, first_row))
            first_row += chunk.height
            advance(chunk.height)
    return BatchReport(
        model.name, model.version, total, str(output), output.stat().st_size, time.perf_counter() - begun
    )


def _answered(model: Model, chunk: pl.DataFrame, served: Served, first_row: int) -> pl.DataFrame:
    """Return the columns that were sent, except features, and the answers."""
    sent = read_rows(model, chunk, first_row=first_row)
    if has_features(model.signature, sent.columns):
        answers = model.predict(sent)
        sent = sent.drop(_features(model))
    else:
        answers = model.predict(served(sent))
    return sent.hstack(answers) if sent.width else answers


def _by_now(context: Context, model: Model) -> Served:
    """Read features online, for all chunks as of the same time."""
    moment = context.clock()
    still = replace(context, scope=replace(context.scope, clock=lambda: moment))
    return lambda sent: read_online(still, model, sent).to_polars()


def _by_time(context: Context, model: Model, timestamp: str) -> Served:
    """Read features from history, as the training set did."""
    pinned, asked = model.context(context), model.training_set

    def served(sent: pl.DataFrame) -> pl.DataFrame:
        moments = _moments(sent[timestamp]).to_numpy()
        table = features_for(pinned, sent, moments, asked.features, spine_source=asked.spine)
        return pl.DataFrame(list(table.columns.values()))

    return served


def _moments(column: pl.Series) -> pl.Series:
    """Return prediction times as microseconds UTC."""
    name = column.name
    if column.dtype == pl.String:
        read = [None if text is None else to_micros(parse_instant(text, name=name)) for text in column]
        moments = pl.Series(name, read, dtype=pl.Int64)
    elif isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is None:
        raise DataError(
            f"{name!r} holds times without a time zone",
            hint=f'set one, such as frame.with_columns(pl.col("{name}").dt.replace_time_zone("UTC"))',
        )
    else:
        moments = times_to_micros(column, role="spine", tz=None, name=name)
    require_no_nulls(moments, name=name)
    return moments


def _opened(model: Model, rows: Frame | str | Path, timestamp: str | None) -> pl.LazyFrame:
    """Read a table, or open a file; a Parquet file is read a chunk at a time."""
    if not isinstance(rows, str | Path):
        require_columns(model, rows)
        return to_polars(rows).lazy()
    path = Path(rows)
    if not path.is_file():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise NotFoundError(f"there is no file {path}", hint=near(path.name, beside, otherwise="check the path"))
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            opened = pl.scan_parquet(path)
            opened.collect_schema()
            return opened
        if kind == ".csv":
            table = read_csv(path, _text_columns(model, timestamp))
            require_whole_lines(path, table)
            return table.lazy()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read: {error}", hint="rewrite it as Parquet") from error
    raise DataError(f"{path} is neither a Parquet nor a CSV file", hint="name it .parquet or .csv, or pass a frame")


def _text_columns(model: Model, timestamp: str | None) -> set[str]:
    """Return the columns of a CSV file that are read as text."""
    dtypes = {field.name: field.dtype for field in model.signature.request}
    dtypes |= {field.name: field.dtype for field in model.signature.features}
    return written_as_text(dtypes) | ({timestamp} if timestamp is not None else set())


def _check_columns(model: Model, columns: Sequence[str], timestamp: str | None) -> None:
    if timestamp is not None and timestamp not in columns:
        raise DataError(f"there is no time column {timestamp!r}", hint=near(timestamp, columns))
    taken = [name for name in columns if name in _ANSWERS and name not in _features(model)]
    if taken:
        raise DataError(f"the column {taken[0]!r} has the name of an answer", hint="rename it, or leave it out")


def _features(model: Model) -> list[str]:
    return [field.name for field in model.signature.features]


def _chunks(table: pl.LazyFrame, total: int) -> Iterator[pl.DataFrame]:
    """Yield the rows in order; a table without rows is one empty chunk with its columns."""
    for start in range(0, max(total, 1), _CHUNK):
        yield table.slice(start, _CHUNK).collect()
