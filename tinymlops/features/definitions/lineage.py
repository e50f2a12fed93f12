"""The graph of definitions by column: what each column, feature, label and training set comes from.

An edge leads from what is read to what is made of it. DIRECT edges carry values; INDIRECT ones decide which rows there are:
filters, joins, groups, sorts and windows. What decides about every row of a definition leads to the definition as a whole,
and from there to each of its parts, so that the graph stays as small as the definitions are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.features.definitions import graph
from tinymlops.features.definitions.data_checks import columns_asked
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.definitions.expressions import Aggregate, Column, aggregates_of, columns_of
from tinymlops.features.definitions.neighbours import read_by
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.on_demand import read_as
from tinymlops.features.definitions.specs import (
    CheckSpec,
    EmbeddingSpec,
    EntitySpec,
    FeatureRequest,
    LabelSpec,
    OnDemandSpec,
    ServiceSpec,
    SinkSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
)
from tinymlops.features.definitions.sql_columns import SqlColumns, read_columns
from tinymlops.features.definitions.sql_scopes import EVERY, Kind
from tinymlops.stores.engine import fold

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions

__all__ = ["PART", "Edge", "Graph", "Node", "add_definitions", "features_in"]

PART = "part"
"""The subtype of an edge from a definition to one of its own columns or features."""
ROWS = "rows"
_OPAQUE = "opaque"
_EVERY_COLUMN = "depends on every column of its inputs"


class Node(NamedTuple):
    """Something that was applied, built or trained, or one column or feature of it."""

    kind: str
    """`file`, `entity`, `source` (transformations too), `feature_view`, `on_demand`, `label`, `training_set`,
    `service`, `check`, `build`, `run`, `model` or `reader`."""
    name: str
    part: str = ""
    """A column or feature; empty for the whole."""

    @property
    def whole(self) -> Node:
        """What a column or feature is of."""
        return Node(self.kind, self.name)

    def __str__(self) -> str:
        mark = "." if self.kind in ("source", "file") else ":"
        return f"{self.name}{mark}{self.part}" if self.part else self.name


class Edge(NamedTuple):
    """One thing that another is made of."""

    source: Node
    target: Node
    kind: Kind
    subtype: str


class Graph:
    """Nodes and edges, which can be walked both ways.

    Attributes:
        notes: Node to what is worth knowing of it, such as that Python code depends on every column.
        titles: Node to what people call it, where that is not its kind and name.
    """

    def __init__(self) -> None:
        self.notes: dict[Node, str] = {}
        self.titles: dict[Node, str] = {}
        self._places: dict[Node, int] = {}
        self.nodes: list[Node] = []
        """Every node, in the order in which they were added."""
        # By the place of the node at the one end, the other ends: numbers, for there are tens of thousands of edges.
        self._out: list[list[tuple[int, Kind, str]]] = []
        self._into: list[list[tuple[int, Kind, str]]] = []
        self._known: set[tuple[int, int, str]] = set()

    def __contains__(self, node: Node) -> bool:
        return node in self._places

    def __len__(self) -> int:
        return len(self.nodes)

    def copy(self) -> Graph:
        """Return a graph to which more can be added without this one being changed."""
        other = Graph()
        other.notes, other.titles = dict(self.notes), dict(self.titles)
        other._places, other.nodes, other._known = dict(self._places), list(self.nodes), set(self._known)
        other._out, other._into = list(map(list, self._out)), list(map(list, self._into))
        return other

    @property
    def edges(self) -> list[Edge]:
        """Every edge."""
        return [edge for node in self.nodes for edge in self.after(node)]

    def add(self, node: Node) -> Node:
        """Add a node, and the whole that it is a part of."""
        self._place(node)
        return node

    def connect(self, source: Node, target: Node, kind: Kind, subtype: str) -> None:
        """Add an edge and its nodes; a second time it changes nothing."""
        before, after = self._place(source), self._place(target)
        if (before, after, subtype) not in self._known:
            self._known.add((before, after, subtype))
            self._out[before].append((after, kind, subtype))
            self._into[after].append((before, kind, subtype))

    def after(self, node: Node) -> list[Edge]:
        """Return the edges that lead from a node."""
        return [Edge(node, self.nodes[other], kind, subtype) for other, kind, subtype in self._out[self._places[node]]]

    def before(self, node: Node) -> list[Edge]:
        """Return the edges that lead to a node."""
        return [Edge(self.nodes[other], node, kind, subtype) for other, kind, subtype in self._into[self._places[node]]]

    def parts(self, node: Node) -> list[Node]:
        """Return the columns or features of a definition that the graph has."""
        place = self._places.get(node)
        if place is None:
            return []
        return [self.nodes[other] for other, _, subtype in self._out[place] if subtype == PART]

    def reached(self, starts: Iterable[Node], *, downstream: bool) -> list[Node]:
        """Return what is made of nodes, or what they are made of, these included, in the order of a walk by breadth."""
        edges = self._out if downstream else self._into
        found = dict.fromkeys(self._places[node] for node in starts)
        todo = list(found)
        for place in todo:
            for other, _, _ in edges[place]:
                if other not in found:
                    found[other] = None
                    todo.append(other)
        return [self.nodes[place] for place in todo]

    def _place(self, node: Node) -> int:
        place = self._places.get(node)
        if place is None:
            place = self._places[node] = len(self.nodes)
            self.nodes.append(node)
            self._out.append([])
            self._into.append([])
            if node.part:
                self.connect(node.whole, node, "DIRECT", PART)
        return place


def add_definitions(
    into: Graph,
    definitions: Definitions,
    columns: Mapping[str, Sequence[str]],
    reads: Callable[[OnDemandSpec], Mapping[str, Iterable[Node]] | None],
) -> None:
    """Add definitions to a graph.

    Args:
        into: The graph.
        definitions: Those of a project, or those in force.
        columns: Source to its columns in order, of those whose columns are known.
        reads: Gives of an on-demand view each of its features and the features that it reads; None if that is not known.
    """
    builder = _Builder(into, definitions, columns)
    sources = definitions.of(SourceSpec)
    base = [source for source in sources.values() if not source.inputs]
    for source in [*base, *graph.derived_in_order(definitions)]:
        builder.add_source(source)
    for view in definitions.of(ViewSpec).values():
        builder.add_view(view)
    for label in definitions.of(LabelSpec).values():
        builder.add_label(label)
    for on_demand in definitions.of(OnDemandSpec).values():
        builder.add_on_demand(on_demand, reads(on_demand))
    for training_set in definitions.of(TrainingSetSpec).values():
        builder.add_training_set(training_set)
    for service in definitions.of(ServiceSpec).values():
        builder.add_service(service)
    for check in definitions.of(CheckSpec).values():
        builder.add_check(check)
    for sink in definitions.of(SinkSpec).values():
        builder.add_sink(sink)
    for embedding in definitions.of(EmbeddingSpec).values():
        builder.add_embedding(embedding)


def features_in(into: Graph, definitions: Definitions, asking: TrainingSetSpec | ServiceSpec) -> list[Node]:
    """Return the features that a training set or a service asks for; an on-demand view of unknown features is its own."""
    found: list[Node] = []
    for request in asking.features:
        if request.on_demand:
            node = Node("on_demand", title_of(request))
            found += into.parts(node) or [node]
        else:
            found += [Node("feature_view", title_of(request), name) for name in definitions.features_of(request)]
    return found


class _Builder:
    """Adds definitions one by one, sources before what reads them."""

    def __init__(self, into: Graph, definitions: Definitions, columns: Mapping[str, Sequence[str]]) -> None:
        self._graph = into
        self._definitions = definitions
        self._columns: dict[str, Sequence[str] | None] = dict(columns)
        """Source to its columns; None where they are not known, and whatever is asked for may be one."""
        self._read: dict[str, SqlColumns] = {}
        self._file_names: dict[tuple[str, str], str] = {}
        """File and folded column to the column as it was first written."""
        self._readers: dict[Node, list[tuple[Node, Kind, str]]] = {}
        """Table to what depends on every column of it."""

    def add_source(self, source: SourceSpec) -> None:
        node = self._graph.add(Node("source", source.name))
        if source.inputs:
            self._graph.titles[node] = f"transformation {source.name}"
        known = self._columns.setdefault(source.name, list(source.columns) or None)
        if source.sql is not None:
            self._add_sql(source, node, known)
        elif source.inputs:
            self._graph.notes[node] = f"Python code: {_EVERY_COLUMN}"
            for name in source.inputs:
                self._depend_on_every(Node("source", name), node, "DIRECT", _OPAQUE)
                self._graph.connect(Node("source", name), node, "INDIRECT", ROWS)
        own = [*(self._columns[source.name] or ()), source.timestamp, source.id, source.created, source.delay_column]
        for column in own:
            if column is not None and not column.startswith("__"):
                self._column(source.name, column)

    def add_view(self, view: ViewSpec, title: str = "") -> None:
        node = self._graph.add(Node("feature_view", title or view.name))
        self._add_reader(node, view.entity, view.source)
        self._add_times(node, view.source, list(view.features.values()))
        for name, feature in view.features.items():
            self._add_expression(Node("feature_view", node.name, name), view.source, feature)
            if isinstance(feature.embedding, str):
                embedding = self._graph.add(Node("embedding", feature.embedding))
                self._graph.connect(embedding, Node("feature_view", node.name, name), "INDIRECT", "transformation")

    def add_label(self, label: LabelSpec) -> None:
        node = self._graph.add(Node("label", label.name))
        self._add_reader(node, label.entity, label.source)
        self._add_times(node, label.source, [label.expression])
        self._add_expression(node, label.source, label.expression)

    def add_on_demand(self, on_demand: OnDemandSpec, reads: Mapping[str, Iterable[Node]] | None) -> None:
        node = self._graph.add(Node("on_demand", on_demand.name))
        if on_demand.nearest is not msgspec.UNSET:
            self._add_neighbours(node, on_demand, self._definitions)
            return
        if reads is not None:
            for name, features in reads.items():
                self._graph.add(Node("on_demand", on_demand.name, name))
                for feature in features:
                    self._graph.connect(feature, Node("on_demand", on_demand.name, name), "DIRECT", "transformation")
            return
        self._depend_on_views(node, graph.views_under(self._definitions, on_demand))

    def _add_neighbours(self, node: Node, on_demand: OnDemandSpec, definitions: Definitions) -> None:
        """Add a view of neighbours: who they are comes of the embedding, what is aggregated of columns and features."""
        assert on_demand.nearest is not msgspec.UNSET, "asked of views of neighbours"
        embedding = self._graph.add(Node("embedding", on_demand.nearest.embedding))
        self._graph.connect(embedding, node, "INDIRECT", ROWS)
        views = {one.name for one in read_by(definitions, on_demand) if one.view is not None}
        for name, feature in on_demand.nearest.features.items():
            made = self._graph.add(Node("on_demand", node.name, name))
            for column in sorted(columns_of(feature)):
                of, _, rest = column.partition(":")
                read = Node("feature_view", of, rest) if of in views else self._column(of, rest)
                self._graph.connect(read, made, "DIRECT", "aggregation")

    def _depend_on_views(self, node: Node, requests: Iterable[FeatureRequest]) -> None:
        """Let an on-demand view whose code is not at hand depend on every feature of the views that it reads."""
        self._graph.notes[node] = "Python code that is not at hand: depends on every feature of its views"
        for request in requests:
            for name in self._definitions.features_of(request):
                self._graph.connect(Node("feature_view", title_of(request), name), node, "DIRECT", _OPAQUE)

    def _add_version(self, definitions: Definitions, request: FeatureRequest, beside: Sequence[FeatureRequest]) -> None:
        """Add a version that stands beside the newest: it is made of the same sources."""
        if request.on_demand:
            on_demand = definitions.get(OnDemandSpec, request.view)
            if on_demand.nearest is not msgspec.UNSET:
                node = self._graph.add(Node("on_demand", title_of(request)))
                self._add_neighbours(node, on_demand, definitions)
                return
            self._depend_on_views(
                self._graph.add(Node("on_demand", title_of(request))),
                [one for parameter in on_demand.views for one in read_as(parameter, beside, prefix=request.prefix)],
            )
        else:
            view = definitions.get(ViewSpec, request.view)
            _Builder(self._graph, definitions, {}).add_view(view, title_of(request))

    def add_training_set(self, training_set: TrainingSetSpec) -> None:
        node = self._graph.add(Node("training_set", training_set.name))
        spine = self._definitions.get(SourceSpec, training_set.spine)
        label = self._definitions.get(LabelSpec, training_set.label)
        keys = list(self._definitions.get(EntitySpec, label.entity).key)
        self._add_features(node, training_set)
        for request in training_set.features:
            definitions = self._definitions.for_request(request)
            if request.on_demand:
                on_demand = definitions.get(OnDemandSpec, request.view)
                for field in on_demand.request:
                    self._graph.connect(self._column(spine.name, field), node, "DIRECT", "identity")
            else:
                view = definitions.get(ViewSpec, request.view)
                keys += request.on or definitions.get(EntitySpec, view.entity).key
        self._graph.connect(Node("label", label.name), node, "DIRECT", "identity")
        self._graph.connect(Node("source", spine.name), node, "INDIRECT", ROWS)
        times = graph.origin(self._definitions, spine)
        for column in dict.fromkeys(keys):
            self._graph.connect(self._column(spine.name, column), node, "INDIRECT", "join")
        if times.timestamp is not None:
            self._graph.connect(self._column(times.name, times.timestamp), node, "INDIRECT", "join")

    def add_service(self, service: ServiceSpec) -> None:
        self._add_features(self._graph.add(Node("service", service.name)), service)

    def _add_features(self, node: Node, asking: TrainingSetSpec | ServiceSpec) -> None:
        """Add what is asked for, with the versions that stand beside the newest."""
        for request in asking.features:
            definitions = self._definitions.for_request(request)
            if definitions is not self._definitions:
                self._add_version(definitions, request, asking.features)
        for feature in features_in(self._graph, self._definitions, asking):
            self._graph.connect(feature, node, "DIRECT", "identity")

    def add_check(self, check: CheckSpec) -> None:
        node = self._graph.add(Node("check", check.name))
        target = Node("feature_view" if check.of_view else "source", check.target)
        self._graph.connect(target, node, "INDIRECT", ROWS)
        for column in columns_asked(check, self._definitions):
            read = Node("feature_view", check.target, column) if check.of_view else self._column(check.target, column)
            if not check.of_view or read in self._graph:  # a check of a view may ask its key too
                self._graph.connect(read, node, "DIRECT", "check")

    def add_sink(self, sink: SinkSpec) -> None:
        node = self._graph.add(Node("sink", sink.name))
        if sink.writes == "features":
            for name in self._definitions.get(ViewSpec, sink.of).features:
                self._graph.connect(Node("feature_view", sink.of, name), node, "DIRECT", "identity")

    def add_embedding(self, embedding: EmbeddingSpec) -> None:
        node = self._graph.add(Node("embedding", embedding.name))
        self._graph.connect(Node("source", embedding.source), node, "INDIRECT", ROWS)
        if embedding.entity is not None:
            self._graph.connect(Node("entity", embedding.entity), node, "INDIRECT", "join")
        for column in key_of_rows(self._definitions, embedding):
            self._graph.connect(self._column(embedding.source, column), node, "INDIRECT", "group")
        made_of = embedding.text or embedding.vector
        assert made_of is not None, "it has a text or a vector"
        how = "identity" if embedding.vector is not None else "transformation"
        self._graph.connect(self._column(embedding.source, made_of), node, "DIRECT", how)

    def _add_sql(self, source: SourceSpec, node: Node, known: Sequence[str] | None) -> None:
        inputs = {name: self._inputs_of(source, name) for name in source.inputs}
        found = read_columns(source.sql or "", inputs, None if source.row_wise else known)
        self._read[source.name] = found
        named = [name for name in found.columns if not name.startswith("__")]
        if known is None and not found.rest and not found.unread:
            self._columns[source.name] = named
        for table in found.tables:
            self._graph.connect(self._table(found, table), node, "INDIRECT", ROWS)
        if found.unread:
            self._graph.notes[node] = f"SQL: {found.unread}; {_EVERY_COLUMN}"
            for table in found.tables:
                self._depend_on_every(self._table(found, table), node, "DIRECT", _OPAQUE)
            return
        for one in sorted(found.rows):
            self._depend(found, one.input, one.column, node, one.kind, one.subtype)
        for name in named:
            self._column(source.name, name)

    def _inputs_of(self, source: SourceSpec, name: str) -> Sequence[str] | None:
        known = self._columns[name]
        return (
            known
            if known is None or not source.row_wise
            else [*known, "__event", "__created", "__sequence", "__deleted"]
        )

    def _column(self, source: str, name: str) -> Node:
        """Return the node of a source's column, with the edges of what it comes from the first time."""
        node = Node("source", source, name)
        if node in self._graph:
            return node
        self._graph.add(node)
        for reader in self._readers.get(node.whole, ()):
            self._graph.connect(node, *reader)
        head, _, field = name.partition(".")
        if field and name not in (self._columns[source] or ()):
            self._graph.connect(self._column(source, head), node, "DIRECT", PART)
        found = self._read.get(source)
        if found is None or found.unread:
            return node
        try:
            depends = found.of(name)
        except KeyError:
            return node
        for one in depends:
            if one not in found.rows:
                self._depend(found, one.input, one.column, node, one.kind, one.subtype)
        return node

    def _depend(self, found: SqlColumns, table: str, column: str, node: Node, kind: Kind, subtype: str) -> None:
        if column == EVERY:
            self._depend_on_every(self._table(found, table), node, kind, subtype)
        elif table in found.files:
            self._graph.connect(self._file_column(table, column), node, kind, subtype)
        elif not column.startswith("__"):
            self._graph.connect(self._column(table, column), node, kind, subtype)
        elif column == "__event":
            times = graph.origin(self._definitions, self._definitions.get(SourceSpec, table))
            if times.timestamp is not None:
                self._graph.connect(self._column(times.name, times.timestamp), node, kind, subtype)

    def _depend_on_every(self, table: Node, node: Node, kind: Kind, subtype: str) -> None:
        """Let a node depend on every column of a table, those that come to be known later included."""
        self._readers.setdefault(table, []).append((node, kind, subtype))
        for column in self._graph.parts(table) if table in self._graph else ():
            self._graph.connect(column, node, kind, subtype)
        if table.kind == "file":  # whose columns are not known
            self._graph.connect(table, node, kind, subtype)

    def _file_column(self, file: str, column: str) -> Node:
        # DuckDB compares names without case, and which one the file has is not known.
        node = Node("file", file, self._file_names.setdefault((file, fold(column)), column))
        if node not in self._graph:
            self._graph.add(node)
            for reader in self._readers.get(node.whole, ()):
                self._graph.connect(node, *reader)
            head, _, field = column.partition(".")
            if field:  # of a struct, as far as the name tells
                self._graph.connect(self._file_column(file, head), node, "DIRECT", PART)
        return node

    def _table(self, found: SqlColumns, name: str) -> Node:
        return Node("file" if name in found.files else "source", name)

    def _add_reader(self, node: Node, entity: str, source: str) -> None:
        """Add what decides which rows a view or a label reads for a key."""
        spec = self._definitions.get(SourceSpec, source)
        self._graph.connect(Node("entity", entity), node, "INDIRECT", "join")
        self._graph.connect(Node("source", source), node, "INDIRECT", ROWS)
        for column in self._definitions.key_columns(self._definitions.get(EntitySpec, entity), spec):
            self._graph.connect(self._column(source, column), node, "INDIRECT", "group")

    def _add_times(self, node: Node, source: str, features: Sequence[Aggregate]) -> None:
        times = graph.origin(self._definitions, self._definitions.get(SourceSpec, source))
        parts = [part for feature in features for part in aggregates_of(feature)]
        windows = {part.window is not None or node.kind == "label" for part in parts}
        if times.timestamp is not None:
            column = self._column(times.name, times.timestamp)
            for windowed in sorted(windows):
                self._graph.connect(column, node, "INDIRECT", "window" if windowed else "sort")
        for name in (times.id, times.created, times.delay_column):
            if name is not None:
                self._graph.connect(self._column(times.name, name), node, "INDIRECT", "filter")

    def _add_expression(self, node: Node, source: str, feature: Aggregate) -> None:
        self._graph.add(node)
        for part in aggregates_of(feature):
            if part.operand is not None:
                subtype = _subtype(part, combined=part is not feature)
                for name in sorted(columns_of(part.operand)):
                    self._graph.connect(self._column(source, name), node, "DIRECT", subtype)
            if part.where is not None:
                for name in sorted(columns_of(part.where)):
                    self._graph.connect(self._column(source, name), node, "INDIRECT", "filter")


def _subtype(part: Aggregate, *, combined: bool) -> str:
    if part.function not in ("first", "last"):
        return "aggregation"
    return "identity" if isinstance(part.operand, Column) and not combined else "transformation"
