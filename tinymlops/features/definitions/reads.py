"""What one definition reads itself: the edges of lineage, one level."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.features.definitions import graph
from tinymlops.features.definitions.definitions import kind_of
from tinymlops.features.definitions.specs import (
    CheckSpec,
    EmbeddingSpec,
    LabelSpec,
    OnDemandSpec,
    ServiceSpec,
    SinkSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
)

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import AnySpec

__all__ = ["reads"]


def reads(definitions: Definitions, spec: AnySpec) -> list[tuple[str, str]]:
    """Return the kind and name of what a definition reads itself."""
    match spec:
        case SourceSpec():
            return [("source", name) for name in spec.inputs]
        case ViewSpec() | LabelSpec():
            embeddings = graph.embeddings_of(spec) if isinstance(spec, ViewSpec) else []
            return [("source", spec.source), ("entity", spec.entity), *(("embedding", name) for name in embeddings)]
        case TrainingSetSpec():
            return list(dict.fromkeys([("source", spec.spine), ("label", spec.label), *_asked(spec)]))
        case ServiceSpec():
            return list(dict.fromkeys(_asked(spec)))
        case CheckSpec():
            return [("feature_view" if spec.of_view else "source", spec.target)]
        case SinkSpec():
            return [("feature_view", spec.of)] if spec.writes == "features" else []
        case EmbeddingSpec():
            return [("source", spec.source)] + ([] if spec.entity is None else [("entity", spec.entity)])
        case OnDemandSpec():
            views = [request.view for request in graph.views_under(definitions, spec)]
            others = [(kind_of(one), one.name) for one in graph.neighbours_under(definitions, spec)]
            return [*(("feature_view", name) for name in dict.fromkeys(views)), *others]
    return []


def _asked(spec: TrainingSetSpec | ServiceSpec) -> list[tuple[str, str]]:
    return [("on_demand" if one.on_demand else "feature_view", one.view) for one in spec.features]
