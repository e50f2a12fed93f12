"""k-means and principal components that give the same numbers each time on one machine."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymlops.features.vectors.known import without_repeats

__all__ = ["Groups", "groups_of", "in_the_plane"]

Array = np.ndarray[Any, Any]
_BEGINNINGS = 4
"""How many times k-means begins; the best is taken."""
_DIGITS = 12
"""Points that differ in later digits are one to k-means."""


class Groups(NamedTuple):
    """Points in groups, numbered by how many they hold; of equal ones the group of the first point comes first."""

    group: Array
    """int64[n]."""
    distance: Array
    """float64[n]: to the middle of the group."""
    number: int
    """How many groups there are."""


def groups_of(points: Array, k: int, seed: int) -> Groups:
    """Put points into groups by k-means, in one thread: sums of several would differ in their last bits.

    Args:
        points: float64[n, d], finite.
        k: How many groups at most; fewer where there are fewer different points.
        seed: Where the search begins.
    """
    if not points.size:
        return Groups(np.empty(0, np.int64), np.empty(0), 0)
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # scikit-learn brings it

    # Powers of two change no bits; a square of the greatest float64 would be infinite.
    scale = 2.0 ** np.floor(np.log2(np.abs(points).max() or 1.0))
    scaled = points / scale
    k = min(k, without_repeats(scaled.round(_DIGITS))[0].size)
    with threadpool_limits(1):
        found = KMeans(n_clusters=k, random_state=seed, n_init=_BEGINNINGS).fit(scaled)
    labels = found.labels_.astype(np.int64)
    sizes = np.bincount(labels, minlength=k)
    first = np.full(k, labels.size, np.int64)
    np.minimum.at(first, labels, np.arange(labels.size))
    order = np.lexsort((first, -sizes))
    order = order[sizes[order] > 0]
    number = np.empty(k, np.int64)
    number[order] = np.arange(order.size)
    apart = scaled - found.cluster_centers_[labels]
    return Groups(number[labels], np.sqrt(np.einsum("ij,ij->i", apart, apart)) * scale, order.size)


def in_the_plane(points: Array) -> tuple[Array, tuple[float, float]]:
    """Return the first two principal components of points, and the shares of the variance that they show.

    Args:
        points: float64[n, d], finite.

    Returns:
        float64[n, 2], zeros where there is no such component; and two shares from 0 to 1.
    """
    places = np.zeros((len(points), 2))
    if not points.size:
        return places, (0.0, 0.0)
    scale = np.abs(points).max() or 1.0
    apart = (points - points.mean(axis=0)) / scale
    from threadpoolctl import threadpool_limits  # scikit-learn brings it

    with threadpool_limits(1):
        variances, directions = np.linalg.eigh(apart.T @ apart)
        for place in range(min(2, points.shape[1])):
            direction = directions[:, -1 - place]
            # The sign of a direction is free: its greatest part is positive.
            direction = direction * np.sign(direction[np.argmax(np.abs(direction))])
            places[:, place] = apart @ direction * scale
    whole = variances.sum()
    shares = [float(max(0.0, one) / whole) if whole > 0 else 0.0 for one in (*variances[::-1][:2], 0.0)]
    return places, (shares[0], shares[1])
