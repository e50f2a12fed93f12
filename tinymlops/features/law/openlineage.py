"""The graph as OpenLineage events: one for each definition that makes columns of others."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tinymlops.features.definitions.lineage import PART

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tinymlops.features.definitions.lineage import Edge, Graph, Node

__all__ = ["events"]

_PRODUCER = "urn:tinymlops"
_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACET = "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet"
_NAMESPACE = "tinymlops"
_SUBTYPES = {
    "identity": "IDENTITY",
    "aggregation": "AGGREGATION",
    "join": "JOIN",
    "group": "GROUP_BY",
    "filter": "FILTER",
    "sort": "SORT",
    "window": "WINDOW",
}
_DATASETS = ("file", "source", "feature_view", "on_demand", "label", "training_set", "service")


def events(graph: Graph, nodes: Iterable[Node]) -> Iterator[dict[str, Any]]:
    """Give one event for each definition among the nodes that reads others, inputs before what reads them.

    Args:
        graph: The whole graph.
        nodes: Which part of it; a definition is told in full as soon as one of its columns is among them.
    """
    at = datetime.now(UTC).isoformat()
    for whole in dict.fromkeys(node.whole for node in nodes):
        if whole.kind in _DATASETS:
            read = _datasets_read(graph, whole)
            if read:
                yield _event(graph, whole, read, at)


def _event(graph: Graph, whole: Node, read: list[Node], at: str) -> dict[str, Any]:
    facet = {
        "_producer": _PRODUCER,
        "_schemaURL": _FACET,
        "fields": {name: {"inputFields": fields} for name, fields in _fields(graph, whole).items()},
    }
    return {
        "eventType": "COMPLETE",
        "eventTime": at,
        "run": {"runId": str(uuid.uuid4())},
        "job": {"namespace": _NAMESPACE, "name": f"{whole.kind}.{whole.name}"},
        "inputs": [_dataset(node) for node in read],
        "outputs": [{**_dataset(whole), "facets": {"columnLineage": facet}}],
        "producer": _PRODUCER,
        "schemaURL": _EVENT,
    }


def _dataset(node: Node) -> dict[str, str]:
    if node.kind == "file":
        return {"namespace": "file", "name": node.name}
    return {"namespace": _NAMESPACE, "name": f"{node.kind}.{node.name}"}


def _datasets_read(graph: Graph, whole: Node) -> list[Node]:
    found: dict[Node, None] = {}
    for node in (whole, *graph.parts(whole)):
        for edge in graph.before(node):
            if edge.source.whole != whole and edge.source.kind in _DATASETS:
                found[edge.source.whole] = None
    return list(found)


def _fields(graph: Graph, whole: Node) -> dict[str, list[dict[str, Any]]]:
    """Return the input fields of each column; what the whole depends on, each of its columns does."""
    parts = graph.parts(whole)
    of_all = graph.before(whole)
    if not parts:
        return {whole.name: _inputs(whole, of_all)}
    return {part.part: _inputs(whole, [*graph.before(part), *of_all]) for part in parts}


def _inputs(whole: Node, edges: list[Edge]) -> list[dict[str, Any]]:
    found: dict[Node, list[dict[str, Any]]] = {}
    for edge in edges:
        source = edge.source
        is_label = source.kind == "label"
        if edge.subtype == PART or source.whole == whole or not (source.part or is_label):
            continue
        subtype = _SUBTYPES.get(edge.subtype, "TRANSFORMATION" if edge.kind == "DIRECT" else "FILTER")
        how = {"type": edge.kind, "subtype": subtype, "description": edge.subtype, "masking": False}
        if how not in found.setdefault(source, []):
            found[source].append(how)
    return [
        {**_dataset(source), "field": source.part or source.name, "transformations": how}
        for source, how in found.items()
    ]
