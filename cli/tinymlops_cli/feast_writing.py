"""The definitions of a Feast repository, written as those of a project, with a line for each of what became of it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from keyword import iskeyword
from pathlib import Path
from typing import Any, NamedTuple

from tinymlops.errors import DataError
from tinymlops.times import format_duration
from tinymlops_cli.feast_functions import expressions_of
from tinymlops_cli.feast_names import chain_of
from tinymlops_cli.feast_reading import Found, Repository, UnreadableError, constant, timestamp_in

__all__ = ["Line", "Written", "write_project"]

_ORDER = (
    "Entity",
    "FileSource",
    "PushSource",
    "RequestSource",
    "FeatureView",
    "on_demand_feature_view",
    "FeatureService",
)
_WHY = {
    "LabelView": "labels that people give are a source that takes pushes, and a @project.label over it",
    "StreamFeatureView": "streams are pushed: declare a source that returns tm.Schema",
    "stream_feature_view": "streams are pushed: declare a source that returns tm.Schema",
    "batch_feature_view": "its function runs in an engine of Feast's: write it as a @project.transformation",
    "BatchFeatureView": "its function runs in an engine of Feast's: write it as a @project.transformation",
    "OnDemandFeatureView": "write it as a @project.on_demand of Polars expressions",
}


_SCHEMA = ("schema", "features")
_SOURCE = ("source", "batch_source", "input")
"""What an argument was called in one release of Feast's or another."""
_UNDERSTOOD = {
    "Entity": {"name", "join_keys", "join_key", "value_type"},
    "FileSource": {
        *("name", "path", "timestamp_field", "event_timestamp_column", "created_timestamp_column"),
        *("field_mapping", "file_format"),
    },
    "PushSource": {"name", "batch_source"},
    "RequestSource": {"name", "schema"},
    "FeatureView": {"name", "entities", "ttl", *_SCHEMA, *_SOURCE, "online"},
    "on_demand_feature_view": {"name", "sources", "schema", "mode"},
    "FeatureService": {"name", "features"},
}
"""Arguments of Feast's that are said here, or need not be: types are those of the data."""


class Line(NamedTuple):
    """What became of one definition."""

    place: str
    kind: str
    name: str
    outcome: str
    """`taken`, `changed` or `not possible`."""
    why: str = ""


class Written(NamedTuple):
    """A project's text."""

    features: str
    settings: str
    lines: list[Line]


class _View(NamedTuple):
    name: str
    """In the project."""
    fields: dict[str, str]
    """Field of Feast's to feature."""


class _OnDemand(NamedTuple):
    name: str
    reads: list[tuple[str, str]]
    """Views and features that it uses."""


def write_project(repository: Repository, directory: Path) -> Written:
    """Write what can be said.

    Args:
        repository: What was read.
        directory: Where the files will lie: paths are said from there.
    """
    writing = _Writing(repository, directory)
    found = sorted(repository.found, key=lambda one: _ORDER.index(one.kind) if one.kind in _ORDER else 99)
    for one in found:
        writing.add(one)
    for kind, place in repository.elsewhere:
        writing.lines.append(Line(place, kind, "", "not possible", "it stands in a function, a loop or another call"))
    name = _plain(repository.project)
    head = f'"""Definitions that were imported from the Feast project {name}."""\n\n'
    head += "import polars as pl\n\n" if writing.uses_polars else ""
    head += f"import tinymlops as tm\n\nproject = tm.Project({name!r})\n"
    settings = f'workspace = "{name}.tm"\nmodules = ["features"]\n'
    if not repository.root.is_relative_to(directory):
        settings += f"data_dirs = [{_quoted(os.path.relpath(repository.root, directory))}]\n"
    return Written(head + "".join(writing.parts), settings, writing.lines)


class _Writing:
    """The text so far, and under which names its parts are found."""

    def __init__(self, repository: Repository, directory: Path) -> None:
        self.repository, self._directory = repository, directory
        self.parts: list[str] = []
        self.lines: list[Line] = []
        self.uses_polars = False
        self._taken: set[str] = {"project", "tm", "pl", "str", "dict"}
        self._entities: dict[Found | str, tuple[str, list[str]]] = {}
        """Definition, and name of Feast's, to the name here and the key."""
        self._pairs: dict[tuple[str, ...], str] = {}
        """Entities to the one that is made of them."""
        self._sources: dict[Found, str] = {}
        self._fields: dict[Found, list[str]] = {}
        self._views: dict[Found, _View] = {}
        self._on_demand: dict[Found, _OnDemand] = {}

    def add(self, found: Found) -> None:
        """Write one definition, or say why not."""
        name = found.variable
        try:
            if any(one.arg is None for one in found.call.keywords):
                raise UnreadableError("its arguments are known only when it runs")  # noqa: TRY301 - as below
            name = str(constant(found, found.argument("name", position=0)) or found.variable)
            writers: dict[str, Callable[[Found, str], list[str]]] = {
                "Entity": self._entity,
                "FileSource": self._file_source,
                "PushSource": self._push_source,
                "RequestSource": self._request,
                "FeatureView": self._feature_view,
                "on_demand_feature_view": self._on_demand_view,
                "FeatureService": self._service,
            }
            how = writers.get(found.kind)
            if how is None:
                why = _WHY.get(found.kind, "its rows do not lie in a file: export them as Parquet, or write a function")
                raise UnreadableError(why)  # noqa: TRY301 - one place says what is not possible
            changes = how(found, found.variable if found.function else name) + _left_out(found)
        except (UnreadableError, RecursionError) as error:  # two files may say a variable by each other
            self.lines.append(Line(found.place, found.kind, name, "not possible", str(error)))
        else:
            outcome = "changed" if changes else "taken"
            self.lines.append(Line(found.place, found.kind, name, outcome, "; ".join(changes)))

    def named(self, name: str) -> str:
        """Return a name that a definition can have, and that nothing else has yet."""
        plain = _plain(name)
        while plain in self._taken or iskeyword(plain):
            plain += "_"
        self._taken.add(plain)
        return plain

    def _entity(self, found: Found, name: str) -> list[str]:
        given = constant(found, found.argument("join_keys", "join_key")) or name
        keys = [given] if isinstance(given, str) else given
        here = self.named(name)
        self._entities[found] = self._entities[name] = (here, keys)
        key = repr(keys[0]) if len(keys) == 1 else repr(keys)
        self.parts.append(f"{here} = project.entity({here!r}, key={key})\n")
        return _renamed(name, here)

    def _file_source(self, found: Found, name: str) -> list[str]:
        def read(argument: str) -> Any:
            return constant(found, found.argument(argument))

        path, created = read("path"), read("created_timestamp_column")
        timestamp = read("timestamp_field") or read("event_timestamp_column")
        if not isinstance(path, str) or "://" in path:
            raise UnreadableError(f"path={path!r} is not a file on this machine: copy it, and name the copy")
        if found.argument("file_format") is not None and "Parquet" not in ast.unparse(found.argument("file_format")):  # type: ignore[arg-type]
            raise UnreadableError("it is not Parquet: write it as Parquet first")
        here = self.named(name)
        place = self.repository.root / path
        shown = place.relative_to(self._directory) if place.is_relative_to(self._directory) else None
        where = (shown or Path(os.path.relpath(place, self._directory))).as_posix()
        where += "/*.parquet" if place.is_dir() else ""
        mapping = read("field_mapping") or {}
        columns = (
            "*"
            if not mapping
            else f"* exclude ({', '.join(map(_quoted, mapping))}), "
            + ", ".join(f"{_quoted(old)} as {_quoted(new)}" for old, new in mapping.items())
        )
        told = timestamp or timestamp_in(place, created)
        options = [f"timestamp={mapping.get(told, told)!r}", 'tz="UTC"']
        options += [f"created={mapping.get(created, created)!r}"] if created else []
        sql = f"select {columns} from read_parquet('{where.replace(chr(39), 2 * chr(39))}')"
        self.parts.append(f"\n\n@project.source({', '.join(options)})\ndef {here}() -> str:\n    return {sql!r}\n")
        self._sources[found] = here
        late = ["a row counts from its created time on, which in Feast only breaks ties"] if created else []
        return [
            *_renamed(name, here),
            *late,
            *([] if timestamp else [f"its timestamp_field is {told!r}, as in the data"]),
        ]

    def _push_source(self, found: Found, _: str) -> list[str]:
        batch = found.argument("batch_source", position=1)
        if batch is None:
            raise UnreadableError(
                "without a batch source its columns are not known: declare one that returns tm.Schema"
            )
        self._sources[found] = self._source(batch, found)
        return [f"its views read the batch source {self._sources[found]!r}; what is pushed needs a tm.Schema source"]

    def _source(self, node: ast.expr, user: Found) -> str:
        found = self.repository.definition(user, node)
        if isinstance(node, ast.Call) and found is not None and found not in self._sources:
            name = str(constant(found, found.argument("name")) or found.variable)
            if found.kind == "FileSource":
                self._file_source(found, name)
            elif found.kind == "PushSource":
                self._push_source(found, name)
        if found is None or found not in self._sources:
            raise UnreadableError(f"its source {_short(node)} was not taken")
        return self._sources[found]

    def _request(self, found: Found, _: str) -> list[str]:
        fields = [*self._schema(found)]
        odd = [one for one in fields if not one.isidentifier() or iskeyword(one)]
        if odd:
            raise UnreadableError(f"{odd[0]!r} cannot be the name of a parameter")
        self._fields[found] = fields
        return ["its fields are parameters of the on-demand views that use them"]

    def _schema(self, found: Found) -> dict[str, str]:
        schema = self.repository.elements(found, found.argument(*_SCHEMA))
        if schema is None:
            raise UnreadableError(
                "its schema is not a list of fields: name its columns, Feast would look into the data"
            )
        fields: dict[str, str] = {}
        for one in schema:
            if not isinstance(one, ast.Call) or chain_of(one.func)[-1:] not in (["Field"], ["Feature"]):
                raise UnreadableError(f"its schema holds {_short(one)}")
            name = replace(found, call=one).argument("name", position=0)
            column = constant(found, name)
            plain = re.sub(r"[^a-z0-9_-]", "_", str(column).lower()).lstrip("_-0123456789") or "feature"
            if plain in fields.values():
                raise UnreadableError(f"two fields would be the feature {plain!r}")
            fields[str(column)] = plain
        return fields

    def _feature_view(self, found: Found, name: str) -> list[str]:
        entity, keys, changes = self._entity_of(found)
        source = found.argument(*_SOURCE)
        if source is None:
            raise UnreadableError("it has no source")
        fields = {column: feature for column, feature in self._schema(found).items() if column not in keys}
        if not fields:
            raise UnreadableError("its schema names no feature beside the key")
        rows = self._source(source, found)
        ttl = constant(found, found.argument("ttl"))
        given = [f"entity={entity}"]
        if not isinstance(ttl, timedelta | None) or (ttl is not None and ttl < timedelta()):
            raise UnreadableError(f"ttl={ttl!r} is not a duration")
        if ttl:
            given.append(f'ttl="{format_duration(ttl // timedelta(microseconds=1))}"')
        here = self.named(name)
        features = "".join(f"        {new!r}: {rows}[{old!r}].last(),\n" for old, new in fields.items())
        self.parts.append(
            f"\n\n@project.feature_view({', '.join(given)})\ndef {here}({rows}: tm.Rows) -> tm.Features:\n"
            f"    return {{\n{features}    }}\n"
        )
        self._views[found] = _View(here, fields)
        odd = [old for old, new in fields.items() if old != new]
        return [*_renamed(name, here), *changes, *([f"features in lower case: {', '.join(odd)}"] if odd else [])]

    def _entity_of(self, found: Found) -> tuple[str, list[str], list[str]]:
        nodes = self.repository.elements(found, found.argument("entities")) or []
        known = [self._entities.get(self.repository.definition(found, one) or _text(found, one)) for one in nodes]
        taken = [one for one in known if one is not None]
        if not taken or len(taken) < len(known):
            raise UnreadableError("it has no entity that was taken: here every view is of one")
        names, keys = tuple(name for name, _ in taken), list(dict.fromkeys(key for _, own in taken for key in own))
        if len(taken) == 1:
            return names[0], keys, []
        if names not in self._pairs:
            here = self._pairs[names] = self.named("_".join(names))
            self.parts.append(f"\n{here} = project.entity({here!r}, key={keys!r})\n")
        return self._pairs[names], keys, [f"its entities are one of {len(keys)} key columns"]

    def _on_demand_view(self, found: Found, name: str) -> list[str]:
        function, sources = found.function, self.repository.elements(found, found.argument("sources", "inputs"))
        if function is None or sources is None or not function.args.args:
            raise UnreadableError(_WHY["OnDemandFeatureView"])
        if constant(found, found.argument("mode")) not in (None, "pandas"):
            raise UnreadableError("its function is plain Python: write it as Polars expressions")
        columns: dict[str, tuple[str, str]] = {}
        for one in sources:
            read = self._columns_of(found, one)
            both = sorted(columns.keys() & read)
            if both:
                raise UnreadableError(f"two of its sources have {both[0]!r}")
            columns |= read
        used = dict[tuple[str, str], None]()
        said = None if found.argument(*_SCHEMA) is None else self._schema(found)
        values = expressions_of(function, columns, used, said)
        views = dict.fromkeys(view for view, _ in used if view)
        fields = dict.fromkeys(column for view, column in used if not view)
        both = sorted(views.keys() & fields)
        if both:
            raise UnreadableError(f"{both[0]!r} is the name of a view and of a request field")
        here = self.named(name)
        parameters = [f"{one}: tm.Inputs" for one in views] + [f"{one}: pl.Expr" for one in fields]
        body = "".join(f"        {feature!r}: {text},\n" for feature, text in values.items())
        self.parts.append(
            f"\n\n@project.on_demand\ndef {here}({', '.join(parameters)}) -> dict[str, pl.Expr]:\n    return {{\n{body}    }}\n"
        )
        self.uses_polars = True
        self._on_demand[found] = _OnDemand(here, [one for one in used if one[0]])
        return [*_renamed(name, here), "pandas became Polars expressions: read them over"]

    def _columns_of(self, found: Found, node: ast.expr) -> dict[str, tuple[str, str]]:
        """Return the columns that a source gives an on-demand view: of which view and called what there."""
        source = self.repository.definition(found, node)
        if source is not None and source.kind == "RequestSource" and isinstance(node, ast.Call):
            self._request(source, "")
        if source is not None and source in self._fields:
            return {one: ("", one) for one in self._fields[source]}
        view, chosen = self._view_of(found, node)
        return {one: (view.name, view.fields[one]) for one in chosen}

    def _view_of(self, found: Found, node: ast.expr) -> tuple[_View, list[str]]:
        """Return a view that was taken, and which of its columns are asked for."""
        whole = self.repository.definition(found, node.value if isinstance(node, ast.Subscript) else node)
        view = None if whole is None else self._views.get(whole)
        chosen = constant(found, node.slice) if isinstance(node, ast.Subscript) else [*(view.fields if view else ())]
        if view is None or not isinstance(chosen, list) or not all(one in view.fields for one in chosen):
            raise UnreadableError(f"it lists {_short(node)}, which was not taken")
        return view, chosen

    def _service(self, found: Found, name: str) -> list[str]:
        given = self.repository.elements(found, found.argument("features", position=1))
        if given is None:
            raise UnreadableError("its features are not a list")
        items: list[str] = []
        listed: set[tuple[str, str]] = set()
        for node in given:
            items += self._asked(found, node, listed)
        needed = [one for view in self._on_demand.values() if view.name in items for one in view.reads]
        more = [one for one in dict.fromkeys(needed) if one not in listed]
        items += [f"{view}[{feature!r}]" for view, feature in more]
        here = self.named(name)
        self.parts.append(f"\n\n{here} = project.service({here!r}, features=[{', '.join(items)}])\n")
        added = ", ".join(f"{view}:{feature}" for view, feature in more)
        return [*_renamed(name, here), *([f"lists what its on-demand views read as well: {added}"] if more else [])]

    def _asked(self, found: Found, node: ast.expr, listed: set[tuple[str, str]]) -> list[str]:
        source = self.repository.definition(found, node)
        if source is not None and source in self._on_demand:
            return [self._on_demand[source].name]
        view, chosen = self._view_of(found, node)
        features = [view.fields[one] for one in chosen]
        listed.update((view.name, one) for one in features)
        return [f"{view.name}[{one!r}]" for one in features] if isinstance(node, ast.Subscript) else [view.name]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", name.lower()).lstrip("_0123456789")[:50] or "imported"


def _short(node: ast.expr) -> str:
    return ast.unparse(node)[:60]


def _text(found: Found, node: ast.expr) -> str:
    return "" if isinstance(node, ast.Call) else str(constant(found, node))


def _left_out(found: Found) -> list[str]:
    """Say which arguments have no place here."""
    names = [str(one.arg) for one in found.call.keywords if one.arg not in _UNDERSTOOD[found.kind]]
    return [f"without {', '.join(names)}"] if names else []


def _renamed(name: str, here: str) -> list[str]:
    return [] if name == here else [f"is called {here!r} here"]


def _quoted(name: str) -> str:
    if '"' in name or "\\" in name:
        raise DataError(f"{name!r} has quotes or backslashes in it", hint="rename it in the Feast repository first")
    return f'"{name}"'
