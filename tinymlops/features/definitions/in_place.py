"""Sources that are read where their rows are, `store=False`: what they may be declared with, and what they cannot be used for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DataError, DefinitionError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import SourceSpec

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import CheckSpec, ViewSpec

__all__ = [
    "in_place_under",
    "notes_on_history_only",
    "read_in_place",
    "refuse_quarantine",
    "require_online",
    "require_possible",
]

_HOW = {
    "function": (
        "is a Python function, and nothing tells which files it reads",
        "return SQL over the files, or name a connection; or leave store=False out",
    ),
    "push": ("takes pushes, which are nowhere else", "leave store=False out"),
}
_STORE_IT = "leave store=False out, apply, and ingest it"


def read_in_place(source: SourceSpec, known: str | None) -> SourceSpec:
    """Return a source that is read where its rows are: its rows count by their own times, final versions only.

    Args:
        source: With all other options.
        known: As the user gave it.

    Raises:
        DefinitionError: If nothing could tell what was read, or an option is about rows that are stored.
    """
    if source.via in _HOW:
        why, hint = _HOW[source.via]
        raise DefinitionError(f"source {source.name!r} has store=False and {why}", hint=hint)
    stored = {"cursor": source.cursor is not None, "snapshot_deletes": source.snapshot_deletes is True}
    given = [name for name, said in stored.items() if said]
    if known == "observed":
        raise DefinitionError(
            f"source {source.name!r} has store=False and known='observed': nothing is kept that a change could be seen by",
            hint="leave known out, name the column of when each row became known, created=..., or leave store=False out",
        )
    if given:
        raise DefinitionError(
            f"source {source.name!r} has store=False and {given[0]}, which is about rows that are stored",
            hint=f"leave {given[0]} out: every read is of all rows",
        )
    return msgspec.structs.replace(source, store=False, known=msgspec.UNSET)


def in_place_under(definitions: Definitions, source: str) -> list[str]:
    """Return the sources read in place that a source is, or is finally derived from, in order."""
    found = graph.base_sources(definitions, source)
    return sorted(name for name in found if definitions.get(SourceSpec, name).in_place)


def require_online(definitions: Definitions, view: ViewSpec) -> None:
    """Refuse the online features of a view whose rows are read in place.

    Raises:
        DataError: If they are.
    """
    found = in_place_under(definitions, view.source)
    if found:
        raise DataError(
            f"feature view {view.name!r} reads source {found[0]!r} in place (store=False): it has history only, and no "
            "features of now",
            hint=f"for online features {_STORE_IT}; for those of the past: ws.get_historical_features",
        )


def require_possible(definitions: Definitions) -> None:
    """Refuse what would need a copy of rows that are read in place: rebuilt transformations, and quarantine.

    Raises:
        DefinitionError: If something does.
    """
    for derived in definitions.of(SourceSpec).values():
        if derived.inputs and not derived.row_wise and (found := in_place_under(definitions, derived.name)):
            raise DefinitionError(
                f"transformation {derived.name!r} would store rows made of source {found[0]!r}, which is read in place",
                hint=f"make it row_wise=True, write it in the SQL of {found[0]!r}, or store that: {_STORE_IT}",
            )


def refuse_quarantine(spec: CheckSpec, definitions: Definitions, where: str) -> None:
    """Refuse to keep rows aside that are not ours.

    Raises:
        DefinitionError: If a check would.
    """
    if spec.action == "quarantine" and (found := in_place_under(definitions, spec.target)):
        raise DefinitionError(
            f"{where}: the rows of source {found[0]!r} are read in place, and nothing can keep some of them aside",
            hint='use action="warn" and ask with ws.checks.run(), or leave such rows out in its SQL',
        )


def notes_on_history_only(definitions: Definitions) -> list[str]:
    """Return a note for each source that is read in place."""
    return [
        f"source {source.name} is read in place: history only, nothing of it is stored"
        for source in definitions.of(SourceSpec).values()
        if source.in_place
    ]
