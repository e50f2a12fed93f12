"""Bounds that scikit-learn's compiled code does not check: an index out of range would crash the process.

https://github.com/scikit-learn/scikit-learn/pull/34558 has the case; skops refuses the types for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinymlops.errors import IntegrityError
from tinymlops.training._shapes import check_shapes

__all__ = ["check_bounds", "parts"]

Node = tuple[Any, int]


def check_bounds(model: Any) -> None:
    """Walk a loaded model and check the indices of every tree in it, and the shapes of the arrays that hold them.

    Raises:
        IntegrityError: If a tree points outside itself, or at a feature that its estimator does not have, or arrays that are
            read together have different sizes.
    """
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.neighbors import BallTree, KDTree
    from sklearn.tree._tree import Tree

    for part, features in reversed(list(parts(model))):  # the parts of an estimator come before it
        if isinstance(part, Tree):
            _check_tree(part, features)
        elif isinstance(part, TreePredictor):
            _check_predictor(part, features)
        elif isinstance(part, KDTree | BallTree):
            _check_neighbors(part, features)
        else:
            check_shapes(part)


def parts(model: Any) -> Iterator[Node]:
    """Yield every object in a model, itself first, with the number of features of the estimator around it."""
    stack: list[Node] = [(model, 0)]
    seen: set[int] = set()
    while stack:
        part, features = stack.pop()
        if isinstance(part, str | bytes | int | float | type(None)) or id(part) in seen:
            continue
        seen.add(id(part))
        features = _features_of(part, features)
        yield part, features
        stack.extend((child, features) for child in _children(part))


def _features_of(part: Any, around: int) -> int:
    from sklearn.ensemble._forest import BaseForest
    from sklearn.ensemble._gb import BaseGradientBoosting

    own = vars(part).get("n_features_in_") if hasattr(part, "__dict__") else None
    if not isinstance(own, int | np.integer):
        return around
    # A forest passes its own matrix to its trees, so their own number does not count; a negative number marks that.
    if around < 0:
        return max(around, -int(own))
    return -int(own) if isinstance(part, BaseForest | BaseGradientBoosting) else int(own)


def _children(part: Any) -> Iterator[Any]:
    if isinstance(part, dict):
        yield from part.values()
    elif isinstance(part, list | tuple | set | frozenset):
        yield from part
    elif isinstance(part, np.ndarray):
        if part.dtype == object:
            yield from part.ravel()
    elif hasattr(part, "__dict__"):
        yield from vars(part).values()


def _check_tree(tree: Any, features: int) -> None:
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    _check_nodes(left, right, feature, inner=left != -1, features=abs(features))


def _check_predictor(predictor: Any, features: int) -> None:
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    _check_nodes(left, right, nodes["feature_idx"], inner=inner, features=abs(features))
    categorical = inner & (nodes["is_categorical"] != 0)
    for bits in (predictor.raw_left_cat_bitsets, predictor.binned_left_cat_bitsets):
        wide = bits.ndim == 2 and bits.shape[1] == 8
        _require(wide and bool((nodes["bitset_idx"][categorical] < len(bits)).all()), "a category's bits")


def _check_nodes(left: Any, right: Any, feature: Any, *, inner: Any, features: int) -> None:
    count = len(left)
    place = np.arange(count)[inner]
    _require(count > 0, "its root")
    for child in (left[inner], right[inner]):
        # Each node is written before its children, so growing indices also rule out an endless walk.
        _require(bool(((child > place) & (child < count)).all()), "a node")
    used = feature[inner]
    _require(bool(((used >= 0) & (used < features)).all()), "a feature")


def _check_neighbors(tree: Any, features: int) -> None:
    data, index, nodes, bounds = (np.asarray(array) for array in tree.get_arrays())
    rows = len(data)
    _require(data.ndim == 2 and data.shape[1] == features and len(index) == rows, "its rows")
    _require(bool(((index >= 0) & (index < rows)).all()), "a row")
    start, end = nodes["idx_start"], nodes["idx_end"]
    _require(bool(((start >= 0) & (start <= end) & (end <= rows)).all()), "a node's rows")
    inner = np.arange(len(nodes))[nodes["is_leaf"] == 0]
    _require(bool((2 * inner + 2 < len(nodes)).all()), "a node")
    _require(bounds.ndim == 3 and bounds.shape[1] == len(nodes) and bounds.shape[2] == features, "its bounds")


def _require(holds: bool, what: str) -> None:  # noqa: FBT001
    if not holds:
        raise IntegrityError(
            f"a tree of the model points outside itself ({what})", hint="the file was not written by tinymlops; refit"
        )
