"""Batches of a dataset as PyTorch tensors; PyTorch is loaded only here, and need not be installed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops.errors import DataError, MissingDependencyError
from tinymlops.features.history.batching import in_batches
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

__all__ = ["torch_dataset"]

Array = np.ndarray[Any, Any]
_MOST = 2**63 - 1
_EXACT = 2**53
"""Up to here every integer is a float64."""


def torch_dataset(paths: Sequence[str], dtypes: Mapping[str, str], nulls: Collection[str], batch_size: int) -> Any:
    """Return an `IterableDataset` over Parquet files; it can be sent to a worker process.

    Args:
        paths: The files, in order.
        dtypes: Column to dtype, of those that are read.
        nulls: Columns that have a null anywhere.
        batch_size: Rows of each item.

    Raises:
        MissingDependencyError: If PyTorch is not installed.
        DataError: If a column cannot be a tensor.
    """
    for name, dtype in dtypes.items():
        _require_numbers(name, parse_dtype(dtype))
    return _class()(list(paths), dict(dtypes), set(nulls), batch_size)


@cache
def _class() -> Any:
    """Make the class, whose base is only there if PyTorch is."""
    try:
        import torch
        from torch.utils.data import IterableDataset, get_worker_info
    except ImportError as error:
        raise MissingDependencyError("PyTorch is not installed", hint="pip install torch") from error

    class Batches(IterableDataset):  # type: ignore[misc]
        """Batches of some columns, as tensors."""

        def __init__(self, paths: list[str], dtypes: dict[str, str], nulls: set[str], batch_size: int) -> None:
            self.arguments = (paths, dtypes, nulls, batch_size)

        def __reduce__(self) -> tuple[Any, ...]:
            return torch_dataset, self.arguments

        def __iter__(self) -> Iterator[dict[str, Any]]:
            paths, dtypes, nulls, size = self.arguments
            worker = get_worker_info()
            mine = paths if worker is None else paths[worker.id :: worker.num_workers]
            frames = (pl.read_parquet(path, glob=False).select([*dtypes]) for path in mine)
            for batch in in_batches(frames, size):
                if batch.height:
                    yield {column.name: torch.from_numpy(_numbers(column, nulls)) for column in batch}

    return Batches


def _require_numbers(name: str, dtype: pl.DataType) -> None:
    if isinstance(dtype, pl.Array) and (dtype.inner.is_numeric() or dtype.inner == pl.Boolean):
        return
    if dtype.is_numeric() or dtype == pl.Boolean:
        return
    hint = "name the columns that are numbers: to_torch(columns=[...])"
    if isinstance(dtype, pl.List):
        hint = "its lists may differ in length: make it an Array, such as List.list.to_array(8), or name other columns"
    raise DataError(f"column {name!r} is {dtype}, and a tensor holds numbers", hint=hint)


def _numbers(column: pl.Series, nulls: Collection[str]) -> Array:
    """Return a column as an array of its own that PyTorch takes."""
    if isinstance(column.dtype, pl.Array):
        return _matrix(column, column.dtype.size)
    if column.dtype in (pl.Float32, pl.Float64):
        return np.array(column.fill_null(float("nan")).to_numpy())
    if column.dtype.is_decimal() or column.name in nulls:
        return np.array(_floats(column.name, column).fill_null(float("nan")).to_numpy())
    if column.dtype == pl.Boolean:
        return np.array(column.to_numpy())
    numbers = column.cast(pl.Int64, strict=False)
    if numbers.null_count():
        raise DataError(
            f"column {column.name!r} holds {column.max()!r}, and a tensor holds integers up to {_MOST}",
            hint="name other columns, or make it a float in the source",
        )
    return np.array(numbers.to_numpy())


def _floats(name: str, column: pl.Series, kind: type[pl.DataType] = pl.Float64) -> pl.Series:
    """Return numbers as floats, integers only where these are the same numbers.

    Raises:
        DataError: If an integer has no float.
    """
    floats = column.cast(kind)
    if column.dtype.is_integer():
        inexact = column.filter(column.cast(pl.Int128).abs() > _EXACT)
        if len(inexact):
            raise DataError(
                f"column {name!r} has nulls or is an Array, so that it becomes floats, and {inexact[0]} has no float",
                hint="name other columns, or make it a float in the source",
            )
    return floats


def _matrix(column: pl.Series, width: int) -> Array:
    """Return float[rows, width]; a row that is null, and a null inside of one, is NaN."""
    there = column.drop_nulls()
    inner = there.explode() if width and len(there) else pl.Series([], dtype=pl.Float64)
    kind = pl.Float32 if inner.dtype == pl.Float32 else pl.Float64
    values = _floats(column.name, inner, kind).fill_null(float("nan")).to_numpy().reshape(len(there), width)
    found = np.full((len(column), width), np.nan, values.dtype)
    found[column.is_not_null().to_numpy()] = values
    return found
