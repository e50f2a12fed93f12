"""The graph of everything in a workspace: definitions, builds, runs, model versions and who reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import NotFoundError, TinyMLOpsError, near
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.definitions import in_words, kind_of
from tinymlops.features.definitions.lineage import Graph, Node, add_definitions, features_in
from tinymlops.features.definitions.on_demand import FEATURE, expressions_of, inputs_of
from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec, TrainingSetSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.in_place import columns_in_place
from tinymlops.features.law.lineage_answer import Lineage
from tinymlops.records import (
    LoggedModel,
    ModelAlias,
    ModelVersion,
    OpaqueVersion,
    Reader,
    RunRow,
    SourceState,
    TrainingSetBuild,
)
from tinymlops.references import is_number

if TYPE_CHECKING:
    from tinymlops.features.context import Context

__all__ = [
    "Affected",
    "AffectedModel",
    "affected_by",
    "graph_of_definitions",
    "inputs_of_model",
    "lineage",
    "lineage_table",
    "nodes_read_by",
    "whole_graph",
]

_GONE = "not among the definitions any more"
_KEY = "lineage of definitions"
_KINDS = (
    *(
        "source",
        "feature_view",
        "on_demand",
        "label",
        "training_set",
        "service",
        "check",
        "sink",
        "embedding",
        "model",
        "reader",
        "entity",
        "run",
        "build",
    ),
    "file",
)
"""In the order in which a bare name is looked for."""


class AffectedModel(msgspec.Struct, frozen=True):
    """A model version that stands on something."""

    name: str
    version: int
    aliases: list[str]
    earlier: list[str]
    """Definitions that it stands on in an earlier version, such as `feature_view:spending`: it reads them as they were."""

    def __str__(self) -> str:
        return f"{self.name}:{self.version}" + "".join(f" @{alias}" for alias in self.aliases)


class Affected(msgspec.Struct, frozen=True):
    """What is made of something, by kind and name: what a change of it touches."""

    transformations: list[str]
    views: list[str]
    on_demand: list[str]
    labels: list[str]
    training_sets: list[str]
    services: list[str]
    checks: list[str]
    sinks: list[str]
    embeddings: list[str]
    builds: list[str]
    models: list[AffectedModel]
    readers: list[str]

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__struct_fields__)


def lineage(
    context: Context, reference: str | None = None, *, downstream: bool = False, upstream: bool = False
) -> Lineage:
    """Return what is made of something, and what it is made of.

    Args:
        context: The workspace's state.
        reference: Such as "orders", "orders.amount", "spending:last", "delay:3", "delay@champion", or with its kind
            "training_set:delay"; None for everything there is.
        downstream: Only what is made of it.
        upstream: Only what it is made of.

    Raises:
        NotFoundError: If there is no such thing, with the near match.
    """
    whole = whole_graph(context)
    if reference is None:
        return Lineage(whole, None, whole.nodes, whole.nodes)
    starts = _find(whole, context, reference)
    both = downstream == upstream
    after = whole.reached(starts, downstream=True) if downstream or both else []
    before = whole.reached(starts, downstream=False) if upstream or both else []
    return Lineage(whole, starts, after, before)


def affected_by(context: Context, changed: Iterable[tuple[str, str, str]]) -> Affected:
    """Return all that is made of definitions: what a change of them touches.

    Args:
        context: The workspace's state, by the definitions in force.
        changed: Kind, name and part of each, such as `("source", "orders", "")`, `("source", "orders", "amount")` or
            `("feature_view", "spending", "last")`; an empty part is the whole. One that the graph does not have touches
            nothing.

    Returns:
        The names of what stands on any of them; these themselves are not among it.
    """
    whole = whole_graph(context)
    starts = {Node(*one) for one in changed}
    reached = whole.reached([node for node in starts if node in whole], downstream=True)
    named = {node.whole for node in starts}
    found: dict[str, dict[str, None]] = {}
    for node in reached:
        if node.whole not in named:
            found.setdefault(node.kind, {})[node.name] = None
    return Affected(
        transformations=list(found.get("source", ())),
        views=list(found.get("feature_view", ())),
        on_demand=list(found.get("on_demand", ())),
        labels=list(found.get("label", ())),
        training_sets=list(found.get("training_set", ())),
        services=list(found.get("service", ())),
        checks=list(found.get("check", ())),
        sinks=list(found.get("sink", ())),
        embeddings=list(found.get("embedding", ())),
        builds=list(found.get("build", ())),
        models=[one for one in _models(context) if f"{one.name}:{one.version}" in found.get("model", ())],
        readers=list(found.get("reader", ())),
    )


def lineage_table(context: Context) -> dict[str, list[str]]:
    """Return the edges of the whole graph as columns of text, for SQL."""
    edges = whole_graph(context).edges
    return {
        "from_kind": [edge.source.kind for edge in edges],
        "from": [str(edge.source) for edge in edges],
        "to_kind": [edge.target.kind for edge in edges],
        "to": [str(edge.target) for edge in edges],
        "type": [edge.kind for edge in edges],
        "subtype": [edge.subtype for edge in edges],
    }


def whole_graph(context: Context) -> Graph:
    """Return the graph of a workspace."""
    found = graph_of_definitions(context).copy()
    _add_builds(found, context)
    _add_models(found, context)
    _add_readers(found, context)
    return found


def graph_of_definitions(context: Context) -> Graph:
    """Return the part of the graph that is worked out from definitions, again only where these or their columns changed."""
    columns = _columns(context)
    stands_on = (columns, set(context.functions))
    known = context.definitions.plans.get(_KEY)
    if isinstance(known, tuple) and known[0] == stands_on:
        graph_of: Graph = known[1]
        return graph_of
    found = Graph()
    add_definitions(found, context.definitions, columns, lambda spec: _reads(context, spec))
    context.definitions.plans[_KEY] = (stands_on, found)
    return found


def _columns(context: Context) -> dict[str, Sequence[str]]:
    """Return the columns of each source whose rows were read by its definition, in order."""
    database = context.environment.database
    states = {state.source: state for state in database.list(SourceState)}
    found: dict[str, Sequence[str]] = {}
    for source in context.definitions.of(SourceSpec).values():
        state = states.get(place_of(database, source.name))
        if source.via == "push":
            found[source.name] = list(source.columns)
        elif source.in_place and source.sql is not None:
            with suppress(TinyMLOpsError):  # its files may not be here
                found[source.name] = list(columns_in_place(context, source))
        elif state is not None and state.definition == specs.fingerprint(source):
            found[source.name] = list(state.columns)
    return found


def _reads(context: Context, spec: OnDemandSpec) -> Mapping[str, Iterable[Node]] | None:
    """Return what each feature of an on-demand view reads, by its expressions; None where its code is not at hand."""
    try:
        requests = graph.views_under(context.definitions, spec)
        function = context.function(spec)
        expressions = expressions_of(spec, function, inputs_of(spec, requests, context.definitions))
        reads = {name: expression.meta.root_names() for name, expression in expressions.items()}
    except Exception:  # noqa: BLE001 - the user's code: what it does instead is `plan`'s to say
        return None
    named: dict[str, list[Node]] = {}
    for request in requests:
        for feature in context.definitions.features_of(request):
            column = f"{FEATURE}{request.prefix}{feature}"
            named.setdefault(column, []).append(Node("feature_view", request.view, feature))
    return {name: [node for root in roots for node in named.get(root, ())] for name, roots in reads.items()}


def _add_builds(into: Graph, context: Context) -> None:
    for build in context.environment.database.list(TrainingSetBuild, order="created_at"):
        node, made_of = Node("build", build.id), Node("training_set", build.name)
        if made_of not in into:
            into.notes[into.add(made_of)] = _GONE
        into.titles[node] = f"build {build.name} {build.id[:8]} (Q={build.sequence}, {build.rows:,} rows)"
        into.connect(made_of, node, "DIRECT", "built")


def _add_models(into: Graph, context: Context) -> None:
    database = context.environment.database
    runs = {run.id: run for run in database.list(RunRow, order="started_at")}
    for run in runs.values():
        if run.training_set is not None:
            node = Node("run", run.id)
            into.titles[node] = f"run {run.name} {run.id[:8]}"
            into.connect(Node("build", run.training_set), node, "DIRECT", "trained on")
    asked = _asked_by_build(into, context)
    logged = {(one.run, one.name): one for one in database.list(LoggedModel)}
    pinned = {f"{one.name}:{one.version}": one for one in _models(context)}
    for version in database.list(ModelVersion, order="version"):
        node, model = Node("model", f"{version.name}:{version.version}"), logged.get((version.run, version.logged_name))
        into.titles[into.add(node)] = f"model {pinned[node.name]}"
        into.titles.setdefault(Node("run", version.run), f"run {runs[version.run].name} {version.run[:8]}")
        into.connect(Node("run", version.run), node, "DIRECT", "logged")
        if pinned[node.name].earlier:
            into.notes[node] = f"stands on an earlier {', '.join(pinned[node.name].earlier)}"
        if model is None:
            continue
        by_training_set = asked.get(model.training_set or "", frozenset())
        for feature in inputs_of_model(model):
            if by_training_set.isdisjoint((feature, feature.whole)):
                if feature not in into:
                    into.notes[into.add(feature)] = _GONE
                into.connect(feature, node, "DIRECT", "identity")
    for opaque in database.list(OpaqueVersion, order="version"):
        if opaque.run in runs and runs[opaque.run].training_set is not None:
            node = Node("model", f"{opaque.name}:{opaque.version}")
            into.titles[into.add(node)] = f"model {node.name} of MLflow"
            into.connect(Node("run", opaque.run), node, "DIRECT", "logged")


def _asked_by_build(into: Graph, context: Context) -> dict[str, frozenset[Node]]:
    """Return of each build the features that its training set asks for by now."""
    sets = context.definitions.of(TrainingSetSpec)
    asked = {name: frozenset(features_in(into, context.definitions, spec)) for name, spec in sets.items()}
    builds = context.environment.database.list(TrainingSetBuild)
    return {build.id: asked.get(build.name, frozenset()) for build in builds}


def inputs_of_model(model: LoggedModel) -> list[Node]:
    """Return the features that a model takes."""
    origins = [field.source.partition(":") for field in model.signature.features]
    views = [(view, feature) for view, _, feature in origins if feature]
    on_demand = {key.partition(":")[2] for key in model.definitions if key.startswith("on_demand:")}
    return [Node("on_demand" if view in on_demand else "feature_view", view, feature) for view, feature in views]


def _models(context: Context) -> list[AffectedModel]:
    """Return every model version, with its aliases and the definitions that have changed since."""
    database = context.environment.database
    aliases: dict[tuple[str, int], list[str]] = {}
    for alias in database.list(ModelAlias, order="alias"):
        aliases.setdefault((alias.name, alias.version), []).append(alias.alias)
    logged = {(one.run, one.name): one for one in database.list(LoggedModel)}
    now = (
        {f"{kind_of(spec)}:{spec.name}": specs.fingerprint(spec) for spec in context.definitions.all} if logged else {}
    )
    found = []
    for version in database.list(ModelVersion, order="version"):
        model = logged.get((version.run, version.logged_name))
        pinned = {} if model is None else model.definitions
        newest = {key: fingerprint for key, fingerprint in pinned.items() if "@" not in key}
        earlier = [key for key, fingerprint in newest.items() if now.get(key) != fingerprint]
        names = aliases.get((version.name, version.version), [])
        found.append(AffectedModel(version.name, version.version, names, earlier))
    return found


def _add_readers(into: Graph, context: Context) -> None:
    for reader in context.environment.database.list(Reader):
        node = into.add(Node("reader", reader.consumer))
        for read in nodes_read_by(into, reader):
            if read not in into:
                into.notes[into.add(read)] = _GONE
            into.connect(read, node, "DIRECT", f"read ({reader.kind})")


def nodes_read_by(into: Graph, reader: Reader) -> list[Node]:
    """Return what a reader reads: of a whole view each of its features."""
    if reader.kind == "model":
        return [Node("model", reader.name)]
    name, _, feature = reader.name.partition(":")
    kind = "on_demand" if Node("on_demand", name) in into else "feature_view"
    if feature:
        return [Node(kind, name, feature)]
    return into.parts(Node(kind, name)) or [Node(kind, name)]


# What a reference means


def _find(whole: Graph, context: Context, reference: str) -> list[Node]:
    kind, mark, rest = reference.partition(":")
    asked = [(kind, rest)] if mark and kind in _KINDS else []
    asked += [(one, reference) for one in _KINDS]
    for one, name in asked:
        found = _named(whole, context, one, name)
        if found:
            return found
    raise _unknown(whole, reference)


def _named(whole: Graph, context: Context, kind: str, name: str) -> list[Node]:
    """Return the nodes of a kind that a name means; none if there is none."""
    if Node(kind, name) in whole:
        return [Node(kind, name)]
    if kind in ("run", "build"):
        return [node for node in whole.nodes if node.kind == kind and _is_meant(whole, node, name)]
    if kind == "model":
        return _models_named(whole, context, name)
    if kind == "file":
        return [node for node in whole.nodes if node.kind == kind and str(node) == name]
    for mark in ":.":
        before, found, part = name.partition(mark)
        if found and Node(kind, before, part) in whole:
            return [Node(kind, before, part)]
    return []


def _is_meant(whole: Graph, node: Node, name: str) -> bool:
    begins = len(name) >= 4 and node.name.startswith(name)
    return begins or (node.kind == "run" and whole.titles.get(node, "").removeprefix("run ").rpartition(" ")[0] == name)


def _models_named(whole: Graph, context: Context, name: str) -> list[Node]:
    """Return the versions of a model, or the one of an alias."""
    model, mark, alias = name.partition("@")
    aliases = context.environment.database.list(ModelAlias, where={"name": model}) if mark else []
    versions = {one.alias: one.version for one in aliases}
    of_model = [node for node in whole.nodes if node.kind == "model" and node.name.rpartition(":")[0] == model]
    if is_number(alias):
        return [node for node in of_model if node.name == f"{model}:{alias.removeprefix('v')}"]
    if not mark:
        return of_model
    if alias == "latest":
        return of_model[-1:]
    return [node for node in of_model if alias in versions and node.name == f"{model}:{versions[alias]}"]


def _unknown(whole: Graph, reference: str) -> NotFoundError:
    """Say what is not there, and what was most likely meant: a column of the thing that is, or a thing."""
    for mark in ".:":
        name, found, part = reference.partition(mark)
        parts = {node.part: node for node in whole.nodes if found and node.name == name and node.part}
        if parts:
            owner = next(iter(parts.values())).whole
            what = "column" if owner.kind in ("source", "file") else "feature"
            return NotFoundError(
                f"{in_words(owner.kind)} {name!r} has no {what} {part!r} that is known", hint=near(part, parts)
            )
    kind = reference.partition(":")[0]
    of_kind = [f"{kind}:{node.name}" for node in whole.nodes if node.kind == kind and not node.part]
    known = of_kind or [str(node) for node in whole.nodes]
    otherwise = "" if known else "apply a project first: ws.apply(project)"
    return NotFoundError(
        f"there is no {reference!r} in this workspace", hint=near(reference, known, otherwise=otherwise)
    )
