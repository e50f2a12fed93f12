"""The order in which the rows of one read follow each other: that of their sequence."""

from __future__ import annotations

import polars as pl

from tinymlops.schema import schema_of

__all__ = ["HASHES", "SEEDS", "in_order", "own_schema", "row_hashes"]

SEEDS = (0x7D1, 0x2013)
HASHES = [f"__h{i}" for i in range(len(SEEDS))]


def own_schema(frame: pl.DataFrame) -> dict[str, str]:
    """Return the user's columns and their dtypes."""
    return {name: dtype for name, dtype in schema_of(frame).items() if not name.startswith("__")}


def in_order(rows: pl.DataFrame, *, after: pl.DataFrame | None = None) -> pl.DataFrame:
    """Sort rows in the order of their sequence: event time, created time, deletes last, then their content.

    Args:
        rows: Rows with their times; a row taken back because its key changed, `__moved`, comes before the new row.
        after: Rows that come first, in their present order.
    """
    keys = rows.select(name for name in ("__event", "__created") if rows[name].null_count() < rows.height)
    if not keys.width:
        keys = pl.DataFrame({"__event": pl.Series([None]).new_from_index(0, rows.height)})
    order = keys.select(pl.arg_sort_by(keys.columns, nulls_last=False, maintain_order=True)).to_series()
    ordered = keys[order]
    as_before = pl.all_horizontal(pl.all().eq_missing(pl.all().shift(1))) & (pl.int_range(pl.len()) > 0)
    same = ordered.select(as_before).to_series()
    tied = (same | same.shift(-1, fill_value=False)).arg_true()
    if len(tied):  # the content matters only for these
        moved = pl.col("__moved").fill_null(value=False) if "__moved" in rows.columns else pl.lit(value=False)
        among = rows[order[tied]].with_columns(rank=pl.when(moved).then(0).when("__deleted").then(2).otherwise(1))
        among = row_hashes(among, sorted(own_schema(rows))).with_columns(
            run=(~same).cum_sum()[tied], rank=among["rank"]
        )
        decided = among.select(pl.arg_sort_by("run", "rank", *HASHES, maintain_order=True)).to_series()
        order = order.scatter(tied, order[tied][decided])
    rows = rows[order].drop("__moved", strict=False)
    if after is not None and after.height:
        rows = pl.concat([after, rows], how="diagonal")
    return rows.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__ordinal"))


def row_hashes(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Return a 128-bit hash of each row; only ever compared within this process."""
    values = frame.select(columns)
    return pl.DataFrame([values.hash_rows(seed).alias(name) for name, seed in zip(HASHES, SEEDS, strict=True)])
