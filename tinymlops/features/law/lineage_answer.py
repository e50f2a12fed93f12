"""`Lineage`: a part of the graph as people and programs read it."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tinymlops.features.definitions.definitions import in_words
from tinymlops.features.definitions.lineage import PART

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tinymlops.features.definitions.lineage import Edge, Graph, Node

__all__ = ["Lineage", "title_of"]

_PLAIN = ("source", "feature_view", "on_demand", "file")
"""Kinds whose parts are shown by their names alone."""


class Lineage:
    """What is made of something, and what it is made of; its text is a tree, in a notebook it is a picture.

    Attributes:
        nodes: Everything that is part of the answer, what was asked for included.
    """

    def __init__(self, graph: Graph, starts: list[Node] | None, after: list[Node], before: list[Node]) -> None:
        self._graph = graph
        self._starts = starts
        self._after, self._before = set(after), set(before)
        self.nodes: list[Node] = list(dict.fromkeys([*before, *after]))

    @cached_property
    def edges(self) -> list[Edge]:
        """What leads from one of the nodes to another."""
        return [
            edge
            for node in self.nodes
            for edge in self._graph.after(node)
            if (node in self._after and edge.target in self._after)
            or (node in self._before and edge.target in self._before)
        ]

    @cached_property
    def notes(self) -> dict[str, str]:
        """What is worth knowing: node in words to note."""
        known = self._graph.notes
        return {title_of(self._graph, node): known[node] for node in self.nodes if node in known}

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        return "\n".join([*self._tree_lines(), *(f"note: {name}: {note}" for name, note in self.notes.items())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from tinymlops.features.law.lineage_picture import picture
        from tinymlops.notebook import in_notebook
        from tinymlops.tables import html_list

        notes = [f"{name}: {note}" for name, note in self.notes.items()]
        return in_notebook(picture(self._graph, self.nodes, self.edges, self._starts or ()), html_list(notes))

    def to_dict(self) -> dict[str, Any]:
        """Return nodes, edges and notes as values that JSON can carry.

        Returns:
            `start`: the names of what was asked for, null for everything; `nodes`: `kind`, `name`, `part`, `title`, `note`;
            `edges`: `from` and `to` as places in `nodes`, `type` and `subtype`.
        """
        places = {node: place for place, node in enumerate(self.nodes)}
        return {
            "start": None if self._starts is None else [str(node) for node in self._starts],
            "nodes": [
                {
                    "kind": node.kind,
                    "name": node.name,
                    "part": node.part or None,
                    "title": title_of(self._graph, node),
                    "note": self._graph.notes.get(node),
                }
                for node in self.nodes
            ],
            "edges": [
                {"from": places[edge.source], "to": places[edge.target], "type": edge.kind, "subtype": edge.subtype}
                for edge in self.edges
            ],
        }

    def to_dot(self) -> str:
        """Return a graph in the language of Graphviz; INDIRECT edges are dashed."""
        names = {node: f"n{place}" for place, node in enumerate(self.nodes)}
        lines = ["digraph lineage {", "  rankdir=LR;", "  node [shape=box];"]
        lines += [f"  {names[node]} [label={_quoted(title_of(self._graph, node))}];" for node in self.nodes]
        for edge in self.edges:
            style = ", style=dashed" if edge.kind == "INDIRECT" else ""
            lines.append(f"  {names[edge.source]} -> {names[edge.target]} [label={_quoted(edge.subtype)}{style}];")
        return "\n".join([*lines, "}"])

    def to_openlineage(self) -> str:
        """Return OpenLineage events as JSON lines, one for each definition, with `columnLineage` facets 1-2-0."""
        from tinymlops.features.law.openlineage import events

        return "\n".join(json.dumps(event, ensure_ascii=False) for event in events(self._graph, self.nodes))

    @cached_property
    def _roots(self) -> list[Node]:
        """Where a tree of everything begins: what is made of nothing."""
        return [node for node in self.nodes if not self._graph.before(node)]

    def _tree_lines(self) -> Iterator[str]:
        if self._starts is None:
            yield from self._tree(self._roots, downstream=True)
            return
        sides = [side for side in (self._before, self._after) if side]
        if len(sides) == 2:
            yield "made of"
        if self._before:
            yield from self._tree(self._starts, downstream=False)
        if len(sides) == 2:
            yield "made of it"
        if self._after:
            yield from self._tree(self._starts, downstream=True)

    def _tree(self, starts: Iterable[Node], *, downstream: bool) -> Iterator[str]:
        """Give the lines of a tree; what was shown above is not opened again."""
        shown: set[Node] = set()
        for start in starts:
            todo: list[tuple[Node, str, str, str]] = [(start, "", "", "")]
            while todo:
                node, head, indent, how = todo.pop()
                children = self._children(node, downstream=downstream)
                again = node in shown and bool(children)
                shown.add(node)
                yield f"{head}{title_of(self._graph, node)}{how}{'  (above)' if again else ''}"
                if again:
                    continue
                last = len(children) - 1
                lines = [
                    (
                        child,
                        f"{indent}{'└─ ' if place == last else '├─ '}",
                        indent + ("   " if place == last else "│  "),
                        text,
                    )
                    for place, (child, text) in enumerate(children.items())
                ]
                todo += reversed(lines)

    def _children(self, node: Node, *, downstream: bool) -> dict[Node, str]:
        """Return the next nodes of a tree, each with how it depends."""
        side = self._after if downstream else self._before
        found: dict[Node, list[str]] = {}
        for edge in self._graph.after(node) if downstream else self._graph.before(node):
            child = edge.target if downstream else edge.source
            if child in side or self._starts is None:
                found.setdefault(child, []).append("" if edge.subtype == PART else edge.subtype)
        return {child: _in_brackets(how) for child, how in found.items()}


def title_of(graph: Graph, node: Node) -> str:
    """Return a node in words, such as "orders.amount" or "training set buyers"."""
    if node.part and node.kind in _PLAIN:
        return str(node)
    return graph.titles.get(node) or f"{in_words(node.kind)} {node}"


def _in_brackets(how: list[str]) -> str:
    named = list(dict.fromkeys(one for one in how if one))
    return f"  ({', '.join(named)})" if named else ""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
