"""`/monitor`: how models do in use, by the reports that were kept. A page computes none: that reads all predictions."""

from typing import Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from markupsafe import Markup

from tinymlops.monitoring.drift import Drift
from tinymlops.monitoring.keeping import KeptReport, kept_reports, last_report
from tinymlops.records import LoggedModel, ModelVersion
from tinymlops.server.pages.features import feature_links
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.pages.state import context_of
from tinymlops.server.route_class import READ
from tinymlops.workspace import Workspace

__all__ = ["histogram_svg", "monitoring_routes", "most_served"]

_BAR, _GAP, _HEIGHT = 9, 2, 36
_HISTOGRAMS = 24
"""Features that have a histogram; the table has them all."""


class _Row(NamedTuple):
    """A column of a model beside that of training."""

    drift: Drift
    histogram: Markup | None


def monitoring_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    database = ws._environment.database  # noqa: SLF001 - kept reports are read by their key

    @shows("/monitor", opt=READ)
    def models(request: AnyRequest) -> Response[Any]:
        """Show each model with the last report on what a bare name stands for."""
        rows = [
            (version, last_report(database, version.name, version.version))
            for version in (ws.models.get(one.name) for one in ws.models.list())
        ]
        return page(request, "monitors.html", title="Monitor", rows=rows)

    @shows("/monitor/{name:str}", opt=READ)
    def monitor(request: AnyRequest, name: FromPath[str], version: FromQuery[int | None] = None) -> Response[Any]:
        """Show a version in use beside its test rows, and beside its earlier days."""
        record = ws.models.get(name if version is None else f"{name}:{version}")
        kept = kept_reports(database, record.name, record.version)
        report = kept[0].report if kept else None
        columns = [] if report is None else [*([report.prediction] if report.prediction else []), *report.features]
        return page(
            request,
            "monitor.html",
            title=f"{record.name} v{record.version} in use",
            version=record,
            others=[one.version for one in reversed(ws.models.versions(record.name)) if one.version != record.version],
            kept=kept,
            report=report,
            paths=_paths(record),
            metrics=[] if report is None else _metrics(kept),
            rows=[_Row(one, histogram_svg(one) if i < _HISTOGRAMS else None) for i, one in enumerate(columns)],
        )

    def _paths(version: ModelVersion) -> dict[str, str]:
        logged = database.get(LoggedModel, run=version.run, name=version.logged_name)
        return feature_links(context_of(ws), logged.signature.features) if logged else {}

    return [models, monitor]


def _metrics(kept: list[KeptReport]) -> list[str]:
    trained = kept[0].report.trained
    return list(dict.fromkeys([*(trained.metrics if trained else ()), *kept[0].report.live.metrics]))


def histogram_svg(drift: Drift) -> Markup | None:
    """Draw the shares of a column's bins in use beside those of training; None where they are not kept."""
    bins = max(len(drift.training), len(drift.served))
    if not bins:
        return None
    sides = [_shares(drift.training, bins), _shares(drift.served, bins)]
    most = max(max(side) for side in sides) or 1.0
    bars = []
    for place in range(bins):
        for side, shares in enumerate(sides):
            height = round(shares[place] / most * _HEIGHT, 1)
            look, x = ("before", "now")[side], place * (2 * _BAR + _GAP * 2) + side * _BAR
            rect = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>')
            bars.append(rect.format(look, x, _HEIGHT - height, _BAR - 1, height))
    width = bins * (2 * _BAR + _GAP * 2)
    svg = Markup(
        '<svg class="bars pair" width="{}" height="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    )
    return svg.format(width, _HEIGHT, width, _HEIGHT, _told(drift, sides), Markup().join(bars))


def most_served(drift: Drift) -> tuple[str, float, float] | None:
    """Return the bin that has most rows in use, and its shares in use and of training; None where they are not kept."""
    if not sum(drift.served) or len(drift.labels) != len(drift.served):
        return None
    place = max(range(len(drift.served)), key=drift.served.__getitem__)
    before, now = (_shares(side, len(drift.labels))[place] for side in (drift.training, drift.served))
    return drift.labels[place], now, before


def _shares(counts: list[int], bins: int) -> list[float]:
    total = sum(counts) or 1
    return [*(count / total for count in counts), *[0.0] * (bins - len(counts))]


def _told(drift: Drift, sides: list[list[float]]) -> str:
    labels = [*drift.labels, *[""] * len(sides[0])]
    parts = [
        f"{label} {before:.0%} then {now:.0%}"
        for label, before, now in zip(labels, *sides, strict=False)
        if before or now
    ]
    return "Share of rows in training and in use: " + ", ".join(parts)
