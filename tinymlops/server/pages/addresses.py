"""Where things are shown: the path of the page of a definition, a feature, a job's run, or a place in the lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.display.words import iso, segment

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tinymlops.display.needs import Place

__all__ = [
    "KINDS",
    "PATHS",
    "SLUGS",
    "definition_path",
    "feature_path",
    "job_path",
    "job_run_path",
    "lineage_path",
    "place_path",
]

SLUGS = {
    "source": "source",
    "feature_view": "view",
    "on_demand": "on-demand",
    "embedding": "embedding",
    "label": "label",
    "training_set": "training-set",
    "service": "service",
    "sink": "sink",
    "check": "check",
    "entity": "entity",
    "term": "term",
}
"""A definition's kind to its word in an address, in the order in which the catalog lists kinds."""
KINDS = {slug: kind for kind, slug in SLUGS.items()}


def definition_path(kind: str, name: str) -> str:
    """Return the path of a definition's page.

    Example:
        >>> definition_path("feature_view", "spending"), definition_path("term", "late arrival")
        ('/catalog/view/spending', '/catalog/term/late%20arrival')
    """
    return f"/catalog/{SLUGS[kind]}/{segment(name)}"


def feature_path(view: str, feature: str) -> str:
    """Return the path of a feature's page.

    Example:
        >>> feature_path("spending", "last")
        '/catalog/feature/spending/last'
    """
    return f"/catalog/feature/{segment(view)}/{segment(feature)}"


def lineage_path(kind: str, name: str) -> str:
    """Return the path of a thing's lineage: a definition, a build, a run, a model's version or a reader.

    Example:
        >>> lineage_path("model", "delay:3")
        '/lineage/model/delay%3A3'
    """
    # A server reads %2F as the end of a segment: names of files are quoted twice.
    return f"/lineage/{SLUGS.get(kind, kind)}/{segment(segment(name) if kind == 'file' else name)}"


def job_path(job: str) -> str:
    """Return the path of a job's page."""
    return f"/jobs/{segment(job)}"


def job_run_path(job: str, due: datetime) -> str:
    """Return the path of a run of a job.

    Example:
        >>> from datetime import UTC, datetime
        >>> job_run_path("nightly", datetime(2024, 5, 1, 2, 30, tzinfo=UTC))
        '/jobs/nightly/2024-05-01T02%3A30%3A00Z'
    """
    return f"{job_path(job)}/{segment(iso(due))}"


def place_path(place: Place) -> str:
    """Return the path of a thing that needs a look.

    Example:
        >>> from tinymlops.display.needs import Place
        >>> place_path(Place("job", "nightly")), place_path(Place("source", "orders"))
        ('/jobs/nightly', '/catalog/source/orders')
    """
    if place.kind == "messages":
        return "/jobs"
    if place.kind == "job":
        return job_path(place.name) if place.due is None else job_run_path(place.name, place.due)
    path = definition_path if place.kind in SLUGS else lineage_path
    return path(place.kind, place.name)


PATHS: dict[str, Callable[..., str]] = {
    "definition_path": definition_path,
    "feature_path": feature_path,
    "lineage_path": lineage_path,
    "job_path": job_path,
    "job_run_path": job_run_path,
    "place_path": place_path,
}
"""The filters of the templates, as `{{ link(kind|definition_path(name)) }}`."""
