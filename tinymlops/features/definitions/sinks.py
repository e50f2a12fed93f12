"""Sinks as definitions: made by `project.sink`, and what can be told of them without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.connectors.queries import files_of, table_of
from tinymlops.errors import DefinitionError, near
from tinymlops.features.definitions.specs import EntitySpec, SinkSpec, ViewSpec

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions

__all__ = ["COMPUTED_AT", "Sink", "check_sink", "require_sinks"]

COMPUTED_AT = "computed_at"
"""The column beside features: when the values of a row last became what they are."""
_PREDICTIONS = ("id", "model", "version", "at", "sequence", "request", "features", "output")
_OUTCOMES = ("prediction_id", "value", "value_text", "at", "origin")


class Sink:
    """A table in a database of others that rows are written to; made by `project.sink`.

    Attributes:
        spec: The definition as data.
    """

    def __init__(self, spec: SinkSpec) -> None:
        self.spec = spec

    def __repr__(self) -> str:
        what = f"{self.spec.writes} {self.spec.of}".strip()
        return f"<sink {self.spec.name}: {what} to {self.spec.table} of {self.spec.connection}>"


def check_sink(spec: SinkSpec) -> None:
    """Check what a sink says of itself.

    Raises:
        DefinitionError: If its table is not one table's name, or two columns would have one name.
    """
    where = f"sink {spec.name!r}"
    if not isinstance(spec.table, str) or files_of(spec.table) or table_of(spec.table) is None:
        raise DefinitionError(
            f"{where} writes to {spec.table!r}, which is not the name of a table",
            hint='write table="scores" or table="ml.scores"',
        )
    names = list(spec.columns.values())
    if not all(isinstance(name, str) and name and "\x00" not in name for name in [*spec.columns, *names]):
        raise DefinitionError(
            f"columns={spec.columns!r} of {where} are not names", hint='write columns={"at": "scored_at"}'
        )
    if spec.writes != "features":
        _require_columns(spec, _PREDICTIONS if spec.writes == "predictions" else _OUTCOMES)


def require_sinks(definitions: Definitions) -> None:
    """Check sinks against the definitions beside them.

    Raises:
        NotFoundError: If there is no such feature view.
        DefinitionError: If two sinks write to one table, or `columns=` names what is not written.
    """
    known: dict[tuple[str, tuple[str, ...] | None], str] = {}
    for sink in definitions.of(SinkSpec).values():
        place = (sink.connection, table_of(sink.table))
        if place in known:
            raise DefinitionError(
                f"sinks {known[place]!r} and {sink.name!r} write to the same table {sink.table!r}",
                hint="a table is written by one sink: give one of them another",
            )
        known[place] = sink.name
        if sink.writes == "features":
            view = definitions.get(ViewSpec, sink.of, used_by=f"sink {sink.name!r}")
            entity = definitions.get(EntitySpec, view.entity)
            _require_columns(sink, (*entity.key, *view.features, COMPUTED_AT))


def _require_columns(spec: SinkSpec, names: tuple[str, ...]) -> None:
    unknown = [name for name in spec.columns if name not in names]
    if unknown:
        raise DefinitionError(
            f"columns= of sink {spec.name!r} names {unknown[0]!r}, which is not written", hint=near(unknown[0], names)
        )
    written = [spec.columns.get(name, name) for name in names]
    twice = [name for name in written if written.count(name) > 1]
    if twice:
        raise DefinitionError(
            f"sink {spec.name!r} would write two columns {twice[0]!r}",
            hint=f'give one of them another name: columns={{"{twice[0]}": "..."}}',
        )
