"""Find which stored rows of a source a definition reads: a generation is a set of rows read and dated alike.

Rows keep the event times and ids that their definition gave them when they were stored. When the definition changes,
`ingest(rebuild=True)` begins another generation: the earlier rows end at its sequence, and stay for reads as of an
earlier sequence and for models pinned to the earlier definition.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.errors import DataError
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.records import Definition, Generation, RenamedSource, SourceState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = [
    "Judgement",
    "Span",
    "dating_of",
    "generations_of",
    "how_to_rebuild",
    "inputs_of",
    "judge",
    "place_of",
    "query_of",
    "reads_others",
    "span_of",
]

_LOCAL = ("tz", "ambiguous", "date_means")
"""Options that matter only for dates and times without a zone."""


class Span(NamedTuple):
    """The part of a source's history that a definition reads."""

    begins: int
    """Its rows have greater sequences."""
    ends: int | None
    """They were in force before this sequence; None for the live generation."""


class Judgement(NamedTuple):
    """How a definition differs from the live generation of its source."""

    dating: tuple[str, ...]
    """The options that would date or identify the stored rows differently."""
    query: bool
    """Whether its query or function differs from that of the last rows."""


def place_of(database: Database | Transaction, name: str) -> str:
    """Return the name that a source's rows are stored under: the first that it had."""
    renamed = database.get(RenamedSource, name=name)
    return name if renamed is None else renamed.place


def query_of(source: SourceSpec) -> str:
    """Return the digest of the SQL or the function of a source; empty for a source of pushes."""
    if source.sql is not None:
        return hashlib.sha256(source.sql.encode()).hexdigest()
    if isinstance(source.query, str):
        return hashlib.sha256(source.query.encode()).hexdigest()
    return "" if source.code is None else source.code.digest


def dating_of(source: SourceSpec, columns: Mapping[str, str]) -> str:
    """Return the options that date and identify a source's rows, as JSON.

    Args:
        source: The definition.
        columns: The columns of its rows and their dtypes: a zone says nothing about times that carry one.
    """
    said: dict[str, object] = {"timestamp": source.timestamp, "id": source.id, "created": source.created}
    if any(_is_local(columns.get(name, "")) for name in (source.timestamp, source.created) if name):
        said |= {name: getattr(source, name) for name in _LOCAL}
    return msgspec.json.encode(said).decode()


def inputs_of(definitions: Definitions, source: SourceSpec) -> str:
    """Return the digest of the row-wise transformations between a rebuilt one and stored rows; empty if there are none."""
    found = sorted(map(specs.fingerprint, graph.row_wise_inputs(definitions, source)))
    return hashlib.sha256("".join(found).encode()).hexdigest() if found else ""


def reads_others(definitions: Definitions, source: SourceSpec, live: Generation | None) -> bool:
    """Return whether the row-wise transformations that a rebuilt one reads have changed since it was computed."""
    return live is not None and bool(live.inputs) and live.inputs != inputs_of(definitions, source)


def _is_local(dtype: str) -> bool:
    return dtype == "Date" or (dtype.startswith("Datetime") and "," not in dtype)


def generations_of(database: Database | Transaction, place: str, state: SourceState | None) -> list[Generation]:
    """Return the generations of a source's rows, oldest first; none if it has no rows.

    Rows of schema 2 and earlier are one generation, dated by the definition that was in force at their last ingest.
    """
    found = database.list(Generation, where={"source": place}, order="number")
    if found or state is None:
        return found
    where = {"kind": "source", "fingerprint": state.definition}
    known = database.list(Definition, where=where, order="-version", limit=1)
    if not known or state.ingested_at is None:
        return []
    spec = specs.decode(msgspec.json.encode(known[0].spec))
    assert isinstance(spec, SourceSpec), "its kind says so"
    dating, queries = dating_of(spec, state.columns), [query_of(spec)]
    return [Generation(source=place, number=0, dating=dating, queries=queries, begins=0, at=state.ingested_at)]


def judge(source: SourceSpec, live: Generation | None, columns: Mapping[str, str]) -> Judgement:
    """Compare a definition with the one that its stored rows were read and dated by."""
    if live is None:
        return Judgement((), query=False)
    before, now = msgspec.json.decode(live.dating), msgspec.json.decode(dating_of(source, columns))
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return Judgement(tuple(differing), query=live.queries[-1:] != [query_of(source)])


def span_of(
    database: Database, source: SourceSpec, place: str, state: SourceState | None, *, as_of: int | None = None
) -> Span:
    """Return the generation that a definition reads.

    It is the newest one that was read and dated by the definition; as of a sequence, only those begun by then count. If
    there is none, it is the one in force then.

    Raises:
        DataError: If no stored rows were dated by the definition.
    """
    found = generations_of(database, place, state)
    if not found or state is None or (not state.rows and len(found) == 1):
        return Span(0, None)
    stood = found if as_of is None else [one for one in found if one.begins <= as_of]
    dating, query = dating_of(source, state.columns), query_of(source)
    alike = [one for one in stood if one.dating == dating]
    if not alike and stood and stood[-1].ends is not None:
        return Span(stood[-1].begins, stood[-1].ends)
    if not alike:
        raise _needs_rebuild(source, judge(source, found[-1], state.columns).dating)
    exact = [one for one in alike if query in one.queries]
    # A query that has not read anything yet belongs to the live definition: the next ingest judges it.
    chosen = exact[-1] if exact else alike[-1]
    return Span(chosen.begins, chosen.ends)


def _needs_rebuild(source: SourceSpec, differing: tuple[str, ...]) -> DataError:
    said = f"the rows of source {source.name!r} were stored under another {' and '.join(differing)}"
    if source.inputs:
        return DataError(said, hint="recompute them: tinymlops ingest")
    return DataError(said, hint=how_to_rebuild(source.name))


def how_to_rebuild(name: str) -> str:
    """Return the hint on how to rebuild a source."""
    return f"read and date them again: tinymlops ingest {name} --rebuild, or ws.ingest({name!r}, rebuild=True)"
