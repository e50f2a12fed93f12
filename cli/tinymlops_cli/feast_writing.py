"""The definitions of a Feast repository, written as those of a project, with a line for each of what became of it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from datetime import timedelta
from keyword import iskeyword
from pathlib import Path
from typing import Any, NamedTuple

from tinymlops.errors import DataError
from tinymlops.times import format_duration
from tinymlops_cli.feast_reading import Found, Repository, UnreadableError, constant

__all__ = ["Line", "Written", "write_project"]

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
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
    "BatchFeatureView": "its function runs in an engine of Feast's: write it as a @project.transformation",
    "OnDemandFeatureView": "write it as a @project.on_demand of Polars expressions",
}


_UNDERSTOOD = {
    "Entity": {"name", "join_keys", "value_type"},
    "FileSource": {"name", "path", "timestamp_field", "created_timestamp_column", "field_mapping", "file_format"},
    "PushSource": {"name", "batch_source"},
    "RequestSource": {"name", "schema"},
    "FeatureView": {"name", "entities", "ttl", "schema", "source", "online"},
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
    found = sorted(repository.found.values(), key=lambda one: _ORDER.index(one.kind) if one.kind in _ORDER else 99)
    for one in found:
        writing.add(one)
    for kind, place in repository.elsewhere:
        writing.lines.append(Line(place, kind, "", "not possible", "it stands in a function, a loop or another call"))
    name = writing.named(repository.project)
    head = f'"""Definitions that were imported from the Feast project {repository.project}."""\n\n'
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
        self._taken: set[str] = {"project", "tm", "pl"}
        self._entities: dict[str, tuple[str, list[str]]] = {}
        """Variable and name of Feast's to the name here and the key."""
        self._sources: dict[str, str] = {}
        self._fields: dict[str, list[str]] = {}
        self._views: dict[str, _View] = {}
        self._on_demand: dict[str, _OnDemand] = {}

    def add(self, found: Found) -> None:
        """Write one definition, or say why not."""
        name = found.variable
        try:
            if any(one.arg is None for one in found.call.keywords):
                raise UnreadableError("its arguments are known only when it runs")  # noqa: TRY301 - as below
            name = str(constant(self.repository, found.argument("name", 0)) or found.variable)
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
        except (UnreadableError, RecursionError) as error:  # a variable may be said by itself
            self.lines.append(Line(found.place, found.kind, name, "not possible", str(error)))
        else:
            outcome = "changed" if changes else "taken"
            self.lines.append(Line(found.place, found.kind, name, outcome, "; ".join(changes)))

    def named(self, name: str) -> str:
        """Return a name that a definition can have, and that nothing else has yet."""
        plain = re.sub(r"[^a-z0-9_]", "_", name.lower()).lstrip("_0123456789")[:50] or "imported"
        while plain in self._taken or iskeyword(plain):
            plain += "_"
        self._taken.add(plain)
        return plain

    def _entity(self, found: Found, name: str) -> list[str]:
        keys = constant(self.repository, found.argument("join_keys")) or [name]
        here = self.named(name)
        self._entities[found.variable] = self._entities[name] = (here, keys)
        key = repr(keys[0]) if len(keys) == 1 else repr(keys)
        self.parts.append(f"{here} = project.entity({here!r}, key={key})\n")
        return _renamed(name, here)

    def _file_source(self, found: Found, name: str) -> list[str]:
        def read(argument: str) -> Any:
            return constant(self.repository, found.argument(argument))

        path, timestamp, created = read("path"), read("timestamp_field"), read("created_timestamp_column")
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
        options = [f"timestamp={mapping.get(timestamp, timestamp)!r}", 'tz="UTC"'] if timestamp else ["static=True"]
        options += [f"created={mapping.get(created, created)!r}"] if created else []
        sql = f"select {columns} from read_parquet('{where.replace(chr(39), 2 * chr(39))}')"
        self.parts.append(f"\n\n@project.source({', '.join(options)})\ndef {here}() -> str:\n    return {sql!r}\n")
        self._sources[found.variable] = here
        late = ["a row counts from its created time on, which in Feast only breaks ties"] if created else []
        return [*_renamed(name, here), *late, *([] if timestamp else ["without timestamp_field its rows have no time"])]

    def _push_source(self, found: Found, _: str) -> list[str]:
        batch = found.argument("batch_source", 1)
        if batch is None:
            raise UnreadableError(
                "without a batch source its columns are not known: declare one that returns tm.Schema"
            )
        self._sources[found.variable] = self._source(batch, found)
        return [
            f"its views read the batch source {self._sources[found.variable]!r}; what is pushed needs a tm.Schema source"
        ]

    def _source(self, node: ast.expr, user: Found) -> str:
        if isinstance(node, ast.Name) and node.id in self._sources:
            return self._sources[node.id]
        kind = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if isinstance(node, ast.Call) and kind == "FileSource":
            inner = Found(kind, f"{user.variable} source", node, user.place)
            name = str(constant(self.repository, inner.argument("name")) or f"{user.variable}_rows")
            self._file_source(inner, name)
            return self._sources[inner.variable]
        raise UnreadableError(f"its source {ast.unparse(node)} was not taken")

    def _request(self, found: Found, _: str) -> list[str]:
        fields = [*self._schema(found)]
        odd = [one for one in fields if not one.isidentifier() or iskeyword(one)]
        if odd:
            raise UnreadableError(f"{odd[0]!r} cannot be the name of a parameter")
        self._fields[found.variable] = fields
        return ["its fields are parameters of the on-demand views that use them"]

    def _schema(self, found: Found) -> dict[str, str]:
        schema = found.argument("schema")
        if not isinstance(schema, ast.List):
            raise UnreadableError(
                "its schema is not a list of fields: name its columns, Feast would look into the data"
            )
        fields: dict[str, str] = {}
        for one in schema.elts:
            if not isinstance(one, ast.Call):
                raise UnreadableError(f"its schema holds {ast.unparse(one)}")
            name = Found("Field", "", one, "").argument("name", 0)
            column = constant(self.repository, name)
            plain = re.sub(r"[^a-z0-9_-]", "_", str(column).lower()).lstrip("_-0123456789") or "feature"
            if plain in fields.values():
                raise UnreadableError(f"two fields would be the feature {plain!r}")
            fields[str(column)] = plain
        return fields

    def _feature_view(self, found: Found, name: str) -> list[str]:
        entity, keys, changes = self._entity_of(found)
        source = found.argument("source")
        if source is None:
            raise UnreadableError("it has no source")
        fields = {column: feature for column, feature in self._schema(found).items() if column not in keys}
        if not fields:
            raise UnreadableError("its schema names no feature beside the key")
        rows = self._source(source, found)
        ttl = constant(self.repository, found.argument("ttl"))
        given = [f"entity={entity}"]
        if isinstance(ttl, timedelta) and ttl:
            given.append(f'ttl="{format_duration(ttl // timedelta(microseconds=1))}"')
        here = self.named(name)
        features = "".join(f"        {new!r}: {rows}[{old!r}].last(),\n" for old, new in fields.items())
        self.parts.append(
            f"\n\n@project.feature_view({', '.join(given)})\ndef {here}({rows}: tm.Rows) -> tm.Features:\n"
            f"    return {{\n{features}    }}\n"
        )
        self._views[found.variable] = self._views[name] = _View(here, fields)
        odd = [old for old, new in fields.items() if old != new]
        return [*_renamed(name, here), *changes, *([f"features in lower case: {', '.join(odd)}"] if odd else [])]

    def _entity_of(self, found: Found) -> tuple[str, list[str], list[str]]:
        given = found.argument("entities")
        nodes = given.elts if isinstance(given, ast.List) else []
        names = [one.id if isinstance(one, ast.Name) else str(constant(self.repository, one)) for one in nodes]
        known = [self._entities.get(one) for one in names]
        taken = [one for one in known if one is not None]
        if not taken or len(taken) < len(known):
            raise UnreadableError("it has no entity that was taken: here every view is of one")
        keys = [key for _, own in taken for key in own]
        if len(taken) == 1:
            return taken[0][0], keys, []
        both = "_".join(name for name, _ in taken)
        if both not in self._entities:
            here = self.named(both)
            self._entities[both] = (here, keys)
            self.parts.append(f"\n{here} = project.entity({here!r}, key={keys!r})\n")
        return self._entities[both][0], keys, [f"its entities are one of {len(keys)} key columns"]

    def _on_demand_view(self, found: Found, name: str) -> list[str]:
        function, sources = found.function, found.argument("sources")
        if function is None or not isinstance(sources, ast.List) or not function.args.args:
            raise UnreadableError(_WHY["OnDemandFeatureView"])
        columns: dict[str, tuple[str, str]] = {}
        for one in sources.elts:
            variable = one.id if isinstance(one, ast.Name) else ""
            if variable in self._views:
                view = self._views[variable]
                columns |= {old: (view.name, new) for old, new in view.fields.items()}
            elif variable in self._fields:
                columns |= {one: ("", one) for one in self._fields[variable]}
            else:
                raise UnreadableError(f"it reads {ast.unparse(one)}, which was not taken")
        inputs, used = function.args.args[0].arg, dict[tuple[str, str], None]()
        values = {feature: _expression(node, inputs, columns, used) for feature, node in _outputs(function)}
        if not values:
            raise UnreadableError("its function assigns no column: write it as Polars expressions")
        views = dict.fromkeys(view for view, _ in used if view)
        fields = dict.fromkeys(column for view, column in used if not view)
        here = self.named(name)
        parameters = [f"{one}: tm.Inputs" for one in views] + [f"{one}: pl.Expr" for one in fields]
        body = "".join(f"        {feature!r}: {text},\n" for feature, text in values.items())
        self.parts.append(
            f"\n\n@project.on_demand\ndef {here}({', '.join(parameters)}) -> dict[str, pl.Expr]:\n    return {{\n{body}    }}\n"
        )
        self.uses_polars = True
        self._on_demand[found.variable] = _OnDemand(here, [one for one in used if one[0]])
        return [*_renamed(name, here), "pandas became Polars expressions: read them over"]

    def _service(self, found: Found, name: str) -> list[str]:
        given = found.argument("features", 1)
        if not isinstance(given, ast.List):
            raise UnreadableError("its features are not a list")
        items: list[str] = []
        listed: set[tuple[str, str]] = set()
        for node in given.elts:
            items += self._asked(node, listed)
        needed = [one for view in self._on_demand.values() if view.name in items for one in view.reads]
        more = [one for one in dict.fromkeys(needed) if one not in listed]
        items += [f"{view}[{feature!r}]" for view, feature in more]
        here = self.named(name)
        self.parts.append(f"\n\n{here} = project.service({here!r}, features=[{', '.join(items)}])\n")
        added = ", ".join(f"{view}:{feature}" for view, feature in more)
        return [*_renamed(name, here), *([f"lists what its on-demand views read as well: {added}"] if more else [])]

    def _asked(self, node: ast.expr, listed: set[tuple[str, str]]) -> list[str]:
        if isinstance(node, ast.Name) and node.id in self._on_demand:
            return [self._on_demand[node.id].name]
        if isinstance(node, ast.Name) and node.id in self._views:
            view = self._views[node.id]
            listed.update((view.name, feature) for feature in view.fields.values())
            return [view.name]
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in self._views:
            view = self._views[node.value.id]
            columns = constant(self.repository, node.slice)
            if isinstance(columns, list) and all(one in view.fields for one in columns):
                chosen = [view.fields[one] for one in columns]
                listed.update((view.name, one) for one in chosen)
                return [f"{view.name}[{one!r}]" for one in chosen]
        raise UnreadableError(f"it lists {ast.unparse(node)}, which was not taken")


def _outputs(function: ast.FunctionDef) -> list[tuple[str, ast.expr]]:
    """Return the columns that a function assigns, if it does nothing else."""
    found: list[tuple[str, ast.expr]] = []
    for statement in function.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if (
            isinstance(statement, ast.Assign)
            and isinstance(target, ast.Subscript)
            and isinstance(target.slice, ast.Constant)
        ):
            found.append((str(target.slice.value), statement.value))
        elif not (isinstance(statement, ast.Return) or _is_new_frame(statement) or _is_text(statement)):
            raise UnreadableError(f"its function does more than arithmetic ({ast.unparse(statement)[:60]})")
    return found


def _is_new_frame(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.value).endswith("DataFrame()")


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _expression(
    node: ast.expr, inputs: str, columns: dict[str, tuple[str, str]], used: dict[tuple[str, str], None]
) -> str:
    """Write arithmetic of input columns and numbers as that of Polars expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return repr(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = (_expression(one, inputs, columns, used) for one in (node.left, node.right))
        return f"({left} {_OPERATORS[type(node.op)]} {right})"
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == inputs:
        column: Any = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if column in columns:
            view, feature = columns[column]
            used[view, feature] = None
            return f"{view}[{feature!r}]" if view else feature
    raise UnreadableError(f"its function does more than arithmetic ({ast.unparse(node)[:60]})")


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
