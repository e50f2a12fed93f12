"""One hop of lineage: what something is made of itself, and what is made of it, by column. The whole graph is not copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import NotFoundError, near
from tinymlops.features.definitions.definitions import in_words
from tinymlops.features.definitions.lineage import PART, Node
from tinymlops.features.law.lineage import graph_of_definitions, inputs_of_model, nodes_read_by
from tinymlops.features.law.lineage_answer import title_of
from tinymlops.records import LoggedModel, ModelAlias, ModelVersion, Reader, RunRow, TrainingSetBuild

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.lineage import Edge

__all__ = ["Neighbour", "Neighbours", "Walk"]

_MOST = 50
"""Builds and runs of one thing, the newest first."""


class Neighbour(msgspec.Struct, frozen=True):
    """Something one hop away."""

    node: Node
    """As a whole."""
    title: str
    ways: list[tuple[str, str, str]]
    """By which columns it depends: of what it is made of, of what is made, and how; "" stands for the whole."""
    note: str = ""


class Neighbours(msgspec.Struct, frozen=True):
    """What is one hop from something, on one side."""

    found: list[Neighbour]
    left_out: int = 0
    """Older builds and runs that are not among them."""


class Walk:
    """Walks the lineage of a workspace hop by hop.

    Args:
        context: The workspace's state.
    """

    def __init__(self, context: Context) -> None:
        self._database = context.environment.database
        self._graph = graph_of_definitions(context)

    def require(self, kind: str, name: str, part: str = "") -> Node:
        """Return a node.

        Args:
            kind: Such as `source`.
            name: Of the definition, the build, the run or the model's version, such as `delay:3`.
            part: A column or feature; empty for the whole.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        node = Node(kind, name, part)
        if self.has(node):
            return node
        if part and node.whole in self._graph:
            known = [one.part for one in self._graph.parts(node.whole)]
            raise NotFoundError(f"{in_words(kind)} {name!r} has no {part!r} that is known", hint=near(part, known))
        known = [one.name for one in self._graph.nodes if one.kind == kind and not one.part]
        raise NotFoundError(f"there is no {in_words(kind)} {name!r} in the lineage", hint=near(name, known))

    def has(self, node: Node) -> bool:
        """Return whether there is such a node: what something was made of may be gone."""
        return node in self._graph or (not node.part and self._is_stored(node))

    def title(self, node: Node) -> str:
        """Return what people call a node, with its kind."""
        return title_of(self._graph, node)

    def note(self, node: Node) -> str:
        """Return what is worth knowing of a node; empty if nothing is."""
        return self._graph.notes.get(node, "")

    def parts(self, node: Node) -> list[str]:
        """Return the columns or features of a definition, in order."""
        return [one.part for one in self._graph.parts(node.whole)]

    def before(self, node: Node) -> Neighbours:
        """Return what a node is made of; of a whole also what its columns are made of."""
        edges = self._edges(node, downstream=False)
        return self._gathered(node, [(one.source, one) for one in edges], self._stored_before(node))

    def after(self, node: Node) -> Neighbours:
        """Return what is made of a node; of a whole also what is made of its columns."""
        edges = self._edges(node, downstream=True)
        return self._gathered(node, [(one.target, one) for one in edges], self._stored_after(node))

    def leads_on(self, node: Node, *, downstream: bool) -> bool:
        """Return whether anything is one hop from a node; most often that is known without looking for all of it.

        Args:
            node: As a whole.
            downstream: Whether what is made of it is meant.
        """
        if node in self._graph:
            for one in (node, *self._graph.parts(node)):
                for edge in self._graph.after(one) if downstream else self._graph.before(one):
                    if (edge.target if downstream else edge.source).whole != node:
                        return True
        return bool((self._stored_after(node) if downstream else self._stored_before(node))[0])

    def _edges(self, node: Node, *, downstream: bool) -> list[Edge]:
        if node not in self._graph:
            return []
        own = [node, *self._graph.parts(node)] if not node.part else [node]
        found = [edge for one in own for edge in (self._graph.after(one) if downstream else self._graph.before(one))]
        return [edge for edge in found if edge.subtype != PART]

    def _gathered(
        self, node: Node, reached: Iterable[tuple[Node, Edge]], stored: tuple[list[Neighbour], int]
    ) -> Neighbours:
        ways: dict[Node, dict[tuple[str, str, str], None]] = {}
        for other, edge in reached:
            if other.whole != node.whole:
                ways.setdefault(other.whole, {})[edge.source.part, edge.target.part, edge.subtype] = None
        found = [Neighbour(one, title_of(self._graph, one), list(how), self.note(one)) for one, how in ways.items()]
        return Neighbours([*found, *stored[0]], stored[1])

    # What is stored beside the definitions: builds, runs, versions of models, readers

    def _is_stored(self, node: Node) -> bool:
        match node.kind:
            case "build":
                return self._database.get(TrainingSetBuild, id=node.name) is not None
            case "run":
                return self._database.get(RunRow, id=node.name) is not None
            case "model":
                name, _, version = node.name.rpartition(":")
                is_number = version.isascii() and version.isdigit() and len(version) < 10
                return is_number and self._database.get(ModelVersion, name=name, version=int(version)) is not None
            case "reader":
                return bool(self._database.list(Reader, where={"consumer": node.name}, limit=1))
        return False

    def _stored_before(self, node: Node) -> tuple[list[Neighbour], int]:
        match node.kind:
            case "build":
                build = self._database.get(TrainingSetBuild, id=node.name)
                return ([] if build is None else [self._of(Node("training_set", build.name), "built")]), 0
            case "run":
                run = self._database.get(RunRow, id=node.name)
                trained_on = self._build(None if run is None else run.training_set)
                return ([] if trained_on is None else [trained_on]), 0
            case "model":
                return self._made_into_model(node), 0
            case "reader":
                rows = self._database.list(Reader, where={"consumer": node.name})
                read = {one: row.kind for row in rows for one in nodes_read_by(self._graph, row)}
                return self._by_part(read), 0
        return [], 0

    def _stored_after(self, node: Node) -> tuple[list[Neighbour], int]:
        match node.kind:
            case "training_set":
                return self._builds(node.name)
            case "build":
                return self._runs(node.name)
            case "run":
                versions = self._database.list(ModelVersion, where={"run": node.name}, order="-version")
                return [self._model(one, "logged") for one in versions], 0
            case "feature_view" | "on_demand":
                return [*self._taking(node), *self._reading(node)], 0
            case "service":
                return self._reading(node), 0
            case "model":
                rows = self._database.list(Reader, where={"kind": "model", "name": node.name})
                return [self._of(Node("reader", one.consumer), "asked") for one in rows], 0
        return [], 0

    def _of(self, node: Node, how: str, title: str = "") -> Neighbour:
        return Neighbour(node, title or title_of(self._graph, node), [("", "", how)], self.note(node))

    def _by_part(self, read: dict[Node, str]) -> list[Neighbour]:
        ways: dict[Node, list[tuple[str, str, str]]] = {}
        for one, how in read.items():
            ways.setdefault(one.whole, []).append((one.part, "", f"read ({how})"))
        return [Neighbour(one, title_of(self._graph, one), how) for one, how in ways.items()]

    def _build(self, number: str | None) -> Neighbour | None:
        build = None if number is None else self._database.get(TrainingSetBuild, id=number)
        return None if build is None else self._of(Node("build", build.id), "trained on", _build_title(build))

    def _builds(self, name: str) -> tuple[list[Neighbour], int]:
        where = {"name": name}
        builds = self._database.list(TrainingSetBuild, where=where, order="-created_at", limit=_MOST)
        found = [self._of(Node("build", one.id), "built", _build_title(one)) for one in builds]
        return found, self._database.count(TrainingSetBuild, where) - len(found)

    def _runs(self, build: str) -> tuple[list[Neighbour], int]:
        where = {"training_set": build}
        runs = self._database.list(RunRow, where=where, order="-started_at", limit=_MOST)
        found = [self._of(Node("run", one.id), "trained on", f"run {one.name} {one.id[:8]}") for one in runs]
        return found, self._database.count(RunRow, where) - len(found)

    def _model(self, version: ModelVersion, how: str) -> Neighbour:
        aliases = self._database.list(ModelAlias, where={"name": version.name, "version": version.version})
        title = f"model {version.name}:{version.version}" + "".join(f" @{one.alias}" for one in aliases)
        return self._of(Node("model", f"{version.name}:{version.version}"), how, title)

    def _made_into_model(self, node: Node) -> list[Neighbour]:
        name, _, number = node.name.rpartition(":")
        version = self._database.get(ModelVersion, name=name, version=int(number))
        if version is None:
            return []
        model = self._database.get(LoggedModel, run=version.run, name=version.logged_name)
        run = self._database.get(RunRow, id=version.run)
        title = "" if run is None else f"run {run.name} {run.id[:8]}"
        found = [self._of(Node("run", version.run), "logged", title)]
        ways: dict[Node, list[tuple[str, str, str]]] = {}
        for feature in () if model is None else inputs_of_model(model):
            ways.setdefault(feature.whole, []).append((feature.part, "", "input"))
        return found + [Neighbour(one, title_of(self._graph, one), how, self.note(one)) for one, how in ways.items()]

    def _taking(self, node: Node) -> list[Neighbour]:
        """Return the versions of models that take features of a view, the newest first."""
        versions = self._database.list(ModelVersion, order="-version")
        runs = sorted({one.run for one in versions})
        models = self._database.list(LoggedModel, where={"run": runs}) if runs else []
        logged = {(one.run, one.name): one for one in models}
        found = []
        for version in versions:
            model = logged.get((version.run, version.logged_name))
            taken = [] if model is None else [one for one in inputs_of_model(model) if one.whole == node.whole]
            ways = [(one.part, "", "input") for one in taken if node.part in ("", one.part)]
            if ways:
                found.append(msgspec.structs.replace(self._model(version, ""), ways=ways))
        return found

    def _reading(self, node: Node) -> list[Neighbour]:
        ways: dict[str, list[tuple[str, str, str]]] = {}
        for row in self._database.list(Reader):
            name, _, part = row.name.partition(":")
            if row.kind != "model" and name == node.name and (not node.part or part in ("", node.part)):
                ways.setdefault(row.consumer, []).append((part, "", f"read ({row.kind})"))
        return [
            Neighbour(Node("reader", one), title_of(self._graph, Node("reader", one)), how) for one, how in ways.items()
        ]


def _build_title(build: TrainingSetBuild) -> str:
    return f"build {build.name} {build.id[:8]} ({build.rows:,} rows)"
