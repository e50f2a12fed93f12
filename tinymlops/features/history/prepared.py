"""A source's rows as a view needs them: from a join image where rows are many, else arranged from history for this read.

The main costs of reading a large source are decoding its segments and sorting its rows by the entity's key. Both are
done once: the arranged rows are kept as an image (`tinymlops.stores.images`), named by everything that it was made
from, and mapped into memory by the next read. A source that has changed has another name, and so another image.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import DataError, near
from tinymlops.features.compute.arranged import Array, History, arrange_rows, history_of, key_columns
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.expressions import columns_of
from tinymlops.features.history import reading_notes
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.reading_notes import rows_of
from tinymlops.features.history.stored import newest_sequence, segments_of, stored_rows
from tinymlops.kernels.compiling import frozen
from tinymlops.kernels.records import Records
from tinymlops.keys import encode
from tinymlops.registry.pushes import extent_of_pushed
from tinymlops.stores import images

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EntitySpec, SourceSpec
    from tinymlops.frames import Role

__all__ = ["history_from_store"]

_FORMAT = 4
"""Raised when an image's meaning changes: images of another format have another name."""


def history_from_store(
    context: Context,
    source: SourceSpec,
    entity: EntitySpec,
    spine_keys: Sequence[pl.Series],
    columns: Collection[str],
    *,
    outcome: bool = False,
    as_of: int | None = None,
) -> History:
    """Return a source's rows arranged for the keys of a spine.

    Args:
        context: The workspace's state.
        source: The source.
        entity: The entity whose key they are looked up by.
        spine_keys: The spine's key columns, m rows each.
        columns: The columns that will be read.
        outcome: Read as a label does; see `history_of`.
        as_of: Only rows with a sequence up to this one; None for all.

    Raises:
        NotFoundError: If the source was never ingested.
        DataError: If a key column is missing, or its type is not the spine's.
    """
    key = context.definitions.key_columns(entity, source)
    origin = graph.origin(context.definitions, source)
    if rows_of(context, origin, segments_of(context, origin)) >= reading_notes.MANY_ROWS and _has_all_by(
        context, source, as_of
    ):
        tables = _image(context, source, entity, key, columns, outcome=outcome)
        if _has_all_by(context, source, as_of):  # even so: no later row can be in the image
            return _opened(tables, origin, key, spine_keys)
    rows = stored_rows(context, source.name, as_of=as_of, role=_role(outcome=outcome))
    if origin.in_place:
        _require_columns(rows, source, columns)
    return history_of(rows, origin, key, spine_keys, outcome=outcome)


def _require_columns(rows: pl.DataFrame, source: SourceSpec, columns: Collection[str]) -> None:
    """Refuse rows that lack a column: what is read in place may have changed since `apply` looked at it."""
    missing = sorted({*columns} - {*rows.columns})
    if missing:
        raise DataError(
            f"source {source.name!r} has no column {missing[0]!r} where it is read now, which features or a label read",
            hint=near(missing[0], [name for name in rows.columns if not name.startswith("__")]),
        )


def _role(*, outcome: bool) -> Role:
    """Return the role of event times: rounding must not move an outcome after its spine row."""
    return "spine" if outcome else "feature"


def _has_all_by(context: Context, source: SourceSpec, as_of: int | None) -> bool:
    """Return whether a source has no row with a greater sequence."""
    newest = newest_sequence(context, source.name) if as_of is not None else None
    return as_of is None or (newest is not None and newest <= as_of)


def _image(
    context: Context,
    source: SourceSpec,
    entity: EntitySpec,
    key: Sequence[str],
    columns: Collection[str],
    *,
    outcome: bool,
) -> dict[str, pl.DataFrame]:
    """Return the image of all of a source's rows, made if needed."""
    origin = graph.origin(context.definitions, source)
    wanted = sorted(_columns_in_force(context, source, entity) | set(columns))
    # One image is kept for each purpose; a column's name cannot be a file name.
    purpose = hashlib.sha256(msgspec.json.encode((key, outcome))).hexdigest()[:16]
    directory = context.environment.path / "images" / source.name / purpose
    name = _name(context, source, key, wanted, outcome=outcome)
    tables = images.load(directory, name)
    if tables is None:
        tables = _arranged(context, source, origin, key, wanted, outcome=outcome)
        is_current = name == _name(context, source, key, wanted, outcome=outcome)  # nothing was committed meanwhile
        if is_current and not context.environment.only_reads:
            images.store(directory, name, tables, context.environment.tmp)
    return tables


def _columns_in_force(context: Context, source: SourceSpec, entity: EntitySpec) -> set[str]:
    """Return the columns that the definitions in force read by this key, so that one image serves them all."""
    views = graph.views_reading(context.definitions, source.name)
    labels = graph.labels_reading(context.definitions, source.name)
    expressions = [one for view in views if view.entity == entity.name for one in view.features.values()]
    expressions += [label.expression for label in labels if label.entity == entity.name]
    return set().union(*map(columns_of, expressions))


def _name(context: Context, source: SourceSpec, key: Sequence[str], columns: Sequence[str], *, outcome: bool) -> str:
    """Return the digest of all that an image is made from."""
    lineage = graph.lineage(context.definitions, source)
    origin = lineage[-1]
    database = context.environment.database
    pushed = extent_of_pushed(database, place_of(database, origin.name))
    content = (
        _FORMAT,
        [specs.fingerprint(one) for one in lineage],
        [(segment.sha256, segment.base) for segment in segments_of(context, origin)],
        [pushed],
        key,
        columns,
        outcome,
    )
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]


def _arranged(
    context: Context,
    source: SourceSpec,
    origin: SourceSpec,
    key: Sequence[str],
    columns: Sequence[str],
    *,
    outcome: bool,
) -> dict[str, pl.DataFrame]:
    """Arrange a source's rows by all their keys."""
    rows = stored_rows(context, source.name, role=_role(outcome=outcome))
    keys = pl.DataFrame(key_columns(rows, origin, key)).unique().drop_nulls().sort(pl.all())
    of_keys, of_rows, _ = encode(keys.get_columns(), key_columns(rows, origin, key), key)
    codes = _places(of_keys, of_rows)
    records, order = arrange_rows(rows, origin, codes, max(1, keys.height), outcome=outcome)
    values = rows.select(name for name in columns if name in rows.columns)[order]
    times = {name: pl.Series(getattr(records, name)) for name in ("event", "visible_from", "visible_to", "kind")}
    if np.array_equal(records.event, records.visible_from):
        del times["visible_from"]  # a search reads half as much memory
    return {
        "values": values,
        "records": pl.DataFrame(times),
        "keys": keys,
        "offsets": pl.DataFrame({"offset": records.offsets}),
        "monotone": pl.DataFrame({"monotone": records.monotone.view(np.uint8)}),
    }


def _opened(
    tables: dict[str, pl.DataFrame], origin: SourceSpec, key: Sequence[str], spine_keys: Sequence[pl.Series]
) -> History:
    of_spine, of_keys, _ = encode(spine_keys, tables["keys"].get_columns(), key)
    times = {name: column.to_numpy() for name, column in tables["records"].to_dict().items()}
    records = Records(
        offsets=frozen(tables["offsets"]["offset"].to_numpy(), np.int64),
        event=frozen(times["event"], np.int64),
        visible_from=frozen(times.get("visible_from", times["event"]), np.int64),
        visible_to=frozen(times["visible_to"], np.int64),
        kind=frozen(times["kind"], np.uint8),
        monotone=frozen(tables["monotone"]["monotone"].to_numpy().view(np.bool_), np.bool_),
    )
    return History(origin, records, tables["values"], None, _places(of_keys, of_spine))


def _places(known: Array, codes: Array) -> Array:
    """Return the position of each code among the known ones.

    Args:
        known: int64[k] codes, each once; -1 for a key that is not looked for.
        codes: int64[m] codes, -1 for a null key.

    Returns:
        int64[m]: 0 to k-1, k for an unknown code, -1 for a null key.
    """
    place = np.full(max(int(known.max(initial=-1)), int(codes.max(initial=-1))) + 2, known.size, np.int64)
    place[known] = np.arange(known.size)
    place[-1] = -1  # that of an unknown code, which is the last entry
    places: Array = place[codes]
    return places
