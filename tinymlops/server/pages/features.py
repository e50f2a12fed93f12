"""Where the inputs of a model are shown: the page of each feature that is in force."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from tinymlops.features.definitions.lineage import Node
from tinymlops.features.definitions.specs import OnDemandSpec, ViewSpec
from tinymlops.features.law.neighbours import Walk
from tinymlops.server.pages.addresses import definition_path, feature_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinymlops.features.context import Context
    from tinymlops.records import FeatureField

__all__ = ["feature_links"]


def feature_links(context: Context, fields: Iterable[FeatureField]) -> dict[str, str]:
    """Return the path of the page of each input; an input that comes from the request, or whose view is gone, has none.

    Args:
        context: The workspace's state.
        fields: Inputs of a model or columns of a training set.
    """
    known = _Known(context)
    found = {field.name: known.path(field.source) for field in fields}
    return {name: path for name, path in found.items() if path}


class _Known:
    """The features in force."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._views = context.definitions.of(ViewSpec)
        self._on_demand = context.definitions.of(OnDemandSpec)

    def path(self, source: str) -> str:
        """Return the path of the page of a `view:feature`; empty where there is none."""
        title, colon, feature = source.partition(":")
        view = title.partition("@")[0]
        if colon and view in self._views:
            is_there = feature in self._views[view].features
            return feature_path(view, feature) if is_there else definition_path("feature_view", view)
        if colon and view in self._on_demand:
            is_there = feature in self._walk.parts(Node("on_demand", view))
            return feature_path(view, feature) if is_there else definition_path("on_demand", view)
        return ""

    @cached_property
    def _walk(self) -> Walk:
        return Walk(self._context)
