"""Events that change their key: the version before is taken back under the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["marked", "with_moves"]


def with_moves(
    rows: pl.DataFrame,
    touched: pl.Series,
    stored: Callable[[], pl.DataFrame],
    source: SourceSpec,
    keys: Sequence[str],
    *,
    whole: bool,
) -> pl.DataFrame:
    """Take events back under a key that the new version no longer has.

    The version before is taken back, unchanged except for the new one's event and created time: so it ends where the new
    one begins, in every mode of `known=`.
    """
    assert source.id is not None, "asked of rows with ids"
    keys = [name for name in keys if name in rows.columns]
    if not (keys or whole) or (not len(touched) and rows[source.id].n_unique() == rows.height):
        return rows
    again = pl.col(source.id).is_duplicated() | pl.col(source.id).is_in(touched.implode())
    later = rows.filter(again & pl.col(source.id).is_not_null())
    if not later.height:
        return rows
    before = stored() if len(touched) else rows.clear()
    chains = pl.concat([before.with_columns(__new=False), later.with_columns(__new=True)], how="diagonal")
    order = (source.id, "__new", "__created", "__event")
    chains = chains.sort(order, nulls_last=False, maintain_order=True)
    earlier = chains.shift(1)
    follows = chains[source.id].eq_missing(earlier[source.id]) & chains["__new"]
    follows &= ~earlier["__deleted"].fill_null(value=True)
    if not whole:
        differs = pl.DataFrame([chains[name].ne_missing(earlier[name]) for name in keys])
        follows &= differs.select(pl.any_horizontal(pl.all())).to_series()
    if not follows.any():
        return rows
    times = {source.timestamp, source.created, source.delay_column} - {None}
    moves = earlier.filter(follows).with_columns(
        *chains.filter(follows).select(*times, "__event", "__created").get_columns(),
        pl.lit(value=True).alias("__deleted"),
        pl.lit(value=True).alias("__moved"),
    )
    moves = marked(moves).select(*rows.columns, "__moved")
    return pl.concat([rows.with_columns(pl.lit(value=False).alias("__moved")), moves])


def marked(rows: pl.DataFrame) -> pl.DataFrame:
    """Mark deletes in the user's column too, if there is one."""
    if rows.schema.get("deleted") == pl.Boolean:
        return rows.with_columns(pl.lit(value=True).alias("deleted"))
    return rows
