"""A picture of lineage as SVG: a box for each definition with its columns, in layers from what is read to who reads it."""

from __future__ import annotations

import html
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.features.definitions.definitions import in_words
from tinymlops.features.definitions.lineage import PART

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tinymlops.features.definitions.lineage import Edge, Graph, Node

__all__ = ["picture"]

_ROW, _LETTER, _PADDING = 20, 7.3, 10
_BESIDE, _BELOW = 90, 24
_LONGEST = 34
"""Letters of a name that are shown; one of Chinese or Japanese counts as two."""
_MOST_PARTS = 12
"""Columns that are drawn of one box; the others share a row."""
_MOST_BOXES = 150
_INK, _LINE, _PAPER, _HEAD = "#1f2937", "#7b8794", "#fbfcfd", "#e4e9f0"
"""Colours that can be read on a light page and on a dark one: text stands on its own ground."""


class _Box(NamedTuple):
    """A definition as it is drawn."""

    whole: Node
    title: str
    rows: list[str]
    places: dict[Node, int]
    """Node to its row; 0 is the title."""

    @property
    def width(self) -> float:
        return max(map(_letters, [self.title, *self.rows])) * _LETTER + 2 * _PADDING

    @property
    def height(self) -> int:
        return _ROW * (1 + len(self.rows))


def picture(graph: Graph, nodes: Sequence[Node], edges: Sequence[Edge], starts: Collection[Node]) -> str:
    """Return a picture of a part of a graph as an SVG element.

    Args:
        graph: The whole graph, which names things.
        nodes: What to draw.
        edges: What leads from one of them to another; INDIRECT ones are dashed.
        starts: What stands out.
    """
    boxes = _boxes(graph, nodes)
    if len(boxes) > _MOST_BOXES:
        return f"<p>{len(boxes):,} definitions are too many for a picture; ask for fewer, or use to_dot()</p>"
    between = [edge for edge in edges if edge.subtype != PART and edge.source.whole != edge.target.whole]
    layers = _layers(boxes, between)
    corners, width, height = _placed(layers)
    lines = _lines(boxes, between, corners)
    drawn = [_drawn(box, *corners[box.whole], starts) for box in boxes.values()]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
        "style='max-width:none;font:12px monospace' role='img'>"
        f"<title>lineage</title>{''.join(lines)}{''.join(drawn)}</svg>"
    )


def _boxes(graph: Graph, nodes: Iterable[Node]) -> dict[Node, _Box]:
    parts: dict[Node, list[Node]] = {}
    for node in nodes:
        own = parts.setdefault(node.whole, [])
        if node.part:
            own.append(node)
    found = {}
    for whole, own in parts.items():
        shown = own if len(own) <= _MOST_PARTS else own[: _MOST_PARTS - 1]
        rows = [_short(node.part) for node in shown]
        if len(shown) < len(own):
            rows.append(f"{len(own) - len(shown):,} more")
        places = {node: min(place, len(rows)) for place, node in enumerate(own, 1)} | {whole: 0}
        title = _short(graph.titles.get(whole) or f"{in_words(whole.kind)} {whole}")
        found[whole] = _Box(whole, title, rows, places)
    return found


def _layers(boxes: dict[Node, _Box], edges: Sequence[Edge]) -> list[list[_Box]]:
    """Put each box one layer behind the last that it reads, near to it; what reads nothing goes before its first reader."""
    before: dict[Node, set[Node]] = {whole: set() for whole in boxes}
    after: dict[Node, set[Node]] = {whole: set() for whole in boxes}
    for edge in edges:
        before[edge.target.whole].add(edge.source.whole)
        after[edge.source.whole].add(edge.target.whole)
    depth: dict[Node, int] = {}
    todo = list(boxes)
    while todo:
        whole = todo[-1]
        waiting = [one for one in before[whole] if one not in depth]
        if waiting:
            todo += waiting
            continue
        todo.pop()
        depth[whole] = 1 + max((depth[one] for one in before[whole]), default=-1)
    for whole in boxes:
        if not before[whole]:
            depth[whole] = min((depth[one] for one in after[whole]), default=1) - 1
    layers: list[list[_Box]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for whole, box in boxes.items():
        layers[depth[whole]].append(box)
    height: dict[Node, float] = {}
    for layer in layers:
        middle = {
            box.whole: sum(height[one] for one in before[box.whole]) / max(1, len(before[box.whole])) for box in layer
        }
        layer.sort(key=lambda box: middle[box.whole])
        height.update({box.whole: float(place) for place, box in enumerate(layer)})
    return layers


def _placed(layers: Sequence[Sequence[_Box]]) -> tuple[dict[Node, tuple[float, float]], float, float]:
    """Return the corner of each box, each layer in the middle of the height, and the size of the picture."""
    heights = [sum(box.height + _BELOW for box in layer) - _BELOW for layer in layers]
    highest = max(heights, default=0)
    corners: dict[Node, tuple[float, float]] = {}
    x = float(_PADDING)
    for layer, height in zip(layers, heights, strict=True):
        y = _PADDING + (highest - height) / 2
        for box in layer:
            corners[box.whole] = x, y
            y += box.height + _BELOW
        x += max(box.width for box in layer) + _BESIDE
    return corners, max(x - _BESIDE, 0) + _PADDING, highest + 2 * _PADDING


def _lines(boxes: dict[Node, _Box], edges: Iterable[Edge], corners: dict[Node, tuple[float, float]]) -> list[str]:
    drawn: dict[str, None] = {}
    for edge in edges:
        source, target = boxes[edge.source.whole], boxes[edge.target.whole]
        (left, top), (right, below) = corners[source.whole], corners[target.whole]
        x1, y1 = left + source.width, top + _ROW * (source.places[edge.source] + 0.5)
        x2, y2 = right, below + _ROW * (target.places[edge.target] + 0.5)
        bend = (x1 + x2) / 2
        dashes = " stroke-dasharray='4 3' opacity='0.6'" if edge.kind == "INDIRECT" else ""
        path = f"M{x1:.0f} {y1:.0f}C{bend:.0f} {y1:.0f} {bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
        drawn[f"<path d='{path}' fill='none' stroke='{_LINE}'{dashes}/>"] = None
    return list(drawn)


def _drawn(box: _Box, x: float, y: float, starts: Collection[Node]) -> str:
    chosen = {box.places[node] for node in starts if node in box.places}
    where = f"x='{x:.0f}' y='{y:.0f}' width='{box.width:.0f}'"
    parts = [
        f"<rect {where} height='{box.height}' rx='4' fill='{_PAPER}' stroke='{_LINE}'/>",
        f"<rect {where} height='{_ROW}' rx='4' fill='{_HEAD}' stroke='{_LINE}'/>",
    ]
    for place, text in enumerate([box.title, *box.rows]):
        strong = " font-weight='bold'" if place in chosen else ""
        parts.append(
            f"<text x='{x + _PADDING:.0f}' y='{y + _ROW * (place + 0.7):.0f}' fill='{_INK}'{strong}>"
            f"{html.escape(text)}</text>"
        )
    return "".join(parts)


def _short(text: str) -> str:
    if _letters(text) <= _LONGEST:
        return text
    kept = text
    while _letters(kept) >= _LONGEST:
        kept = kept[:-1]
    return f"{kept}…"


def _letters(text: str) -> int:
    """Return how many Latin letters are as wide as a text; a mark above or below a letter takes no room."""
    return sum(
        0 if unicodedata.category(one) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(one) in "WF")
        for one in text
    )
