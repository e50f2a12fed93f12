"""`/predictions`: find one by its id, its key or its time, and see what it was made from and what came of it."""

from typing import Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from tinymlops.errors import NotFoundError, TinyMLOpsError
from tinymlops.features.context import Context
from tinymlops.features.law.behind import BehindFeature
from tinymlops.records import FeatureField, LoggedModel, ModelVersion, Outcome, Prediction, Signature
from tinymlops.registry.predictions import newest_predictions
from tinymlops.server.pages.features import feature_links
from tinymlops.server.pages.rendering import page, url
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.pages.state import context_of
from tinymlops.server.route_class import READ
from tinymlops.serving.source_rows import MadeOf, source_rows
from tinymlops.times import parse_instant, to_micros
from tinymlops.workspace import Workspace

__all__ = ["prediction_routes"]

_SIZE = 50
_AMONG = 5_000
"""Predictions that are looked at for a key, which has no index."""
_LAST = 2**62
_ROWS = 300_000
"""Rows that are read unasked, of all sources together."""
_VIEWS = 100


class _Feature(NamedTuple):
    """A feature as it was served."""

    name: str
    value: Any
    source: str
    """`view:feature`, or `request`."""
    behind: BehindFeature | None
    place: int
    """Of its view among those whose rows are shown."""
    reads: tuple[tuple[str, ...], tuple[str, ...]] | None
    """Of one that is computed on demand: views, and fields of the request."""


def prediction_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    database = ws._environment.database  # noqa: SLF001 - records are read by their keys

    @shows("/predictions", opt=READ)
    def predictions(
        request: AnyRequest,
        id: FromQuery[str] = "",  # noqa: A002 - a parameter of the address
        model: FromQuery[str] = "",
        field: FromQuery[str] = "",
        value: FromQuery[str] = "",
        until: FromQuery[str] = "",
        before: FromQuery[str] = "",
    ) -> Response[Any]:
        """Show predictions of one version, the newest first."""
        errors = dict[str, str]()
        if id.strip():
            found = database.get(Prediction, id=id.strip())
            if found is not None:
                return Redirect(url(request, f"/predictions/{found.id}"), status_code=303)
            errors["id"] = f"There is no prediction {id.strip()[:80]!r}."
        version = _version(ws, model, errors)
        place = _place(before) or (_until(until, errors), _LAST)
        signature = _signature(version)
        fields = [one.name for one in signature.request] if signature else []
        key = (field, value) if value and field in fields else None
        rows = []
        if version is not None:
            rows = newest_predictions(
                database, version.name, version.version, before=place, limit=_SIZE + 1, key=key, among=_AMONG
            )
        outcomes = database.list(Outcome, where={"prediction_id": [one.prediction.id for one in rows[:_SIZE]]})
        following = "-".join(map(str, rows[_SIZE - 1].place)) if len(rows) > _SIZE else ""
        return page(
            request,
            "predictions.html",
            title="Predictions",
            asked={"model": _reference(version), "field": field, "value": value, "until": until},
            id=id,
            errors=errors,
            models=[
                _reference(one) for newest in ws.models.list() for one in reversed(ws.models.versions(newest.name))
            ],
            fields=fields,
            numeric=_numeric(signature),
            rows=[one.prediction for one in rows[:_SIZE]],
            outcomes={one.prediction_id: one for one in outcomes},
            following=following,
            among=_AMONG if key else 0,
        )

    @shows("/predictions/{prediction:str}", opt=READ)
    def prediction(
        request: AnyRequest, prediction: FromPath[str], rows: FromQuery[list[str] | None] = None
    ) -> Response[Any]:
        """Show one prediction: what was asked, the features and the rows behind them, the answer, and what really happened."""
        record = database.get(Prediction, id=prediction)
        if record is None:
            raise NotFoundError(f"there is no prediction {prediction[:80]!r}", hint="it is stored half a second later")
        version = database.get(ModelVersion, name=record.model, version=record.version)
        signature = _signature(version)
        context, fields = context_of(ws), signature.features if signature else []
        traced, problem = _traced(ws, context, record, rows or [])
        return page(
            request,
            "prediction.html",
            title=f"Prediction of {record.model} v{record.version}",
            prediction=record,
            version=version,
            outcome=database.get(Outcome, prediction_id=record.id),
            features=_served(record, fields, traced),
            paths=feature_links(context, fields),
            in_force=context.definitions.versions,
            views=traced.views if traced else [],
            problem=problem,
        )

    def _signature(version: ModelVersion | None) -> Signature | None:
        logged = version and database.get(LoggedModel, run=version.run, name=version.logged_name)
        return logged.signature if logged else None

    return [predictions, prediction]


def _traced(ws: Workspace, context: Context, record: Prediction, whole: list[str]) -> tuple[MadeOf | None, str]:
    """Return the rows that a prediction was made from, or why they are not known."""
    if record.sequence is None:
        return None, ""
    try:
        return source_rows(context, ws.models, record, most=_ROWS, whole=whole[:_VIEWS]), ""
    except TinyMLOpsError as error:
        return None, error.message


def _served(record: Prediction, fields: list[FeatureField], traced: MadeOf | None) -> list[_Feature]:
    """Return the features as served, each with what it was made from."""
    sources = {one.name: one.source for one in fields}
    behind = {
        one.column: (one, place)
        for place, view in enumerate(traced.views if traced else [], 1)
        for one in (view.behind.features if view.behind else [])
    }
    computed = traced.on_demand if traced else {}
    found = []
    for name, value in record.features.items():
        rows, place = behind.get(name) or behind.get(name.rpartition("_")[0]) or (None, 0)
        reads = computed.get(sources.get(name, "").partition(":")[0])
        found.append(_Feature(name, value, sources.get(name, ""), rows, place, reads))
    return found


def _numeric(signature: Signature | None) -> set[str]:
    """Return the fields of a request that are quantities: a key is a name, also one that is written in digits."""
    fields = signature.request if signature else []
    return {one.name for one in fields if one.role != "key" and one.dtype.startswith(("Int", "UInt", "Float"))}


def _version(ws: Workspace, model: str, errors: dict[str, str]) -> ModelVersion | None:
    """Return the version that was asked for; without one the champion of the first model."""
    try:
        if model.strip():
            return ws.models.get(model.strip())
    except TinyMLOpsError as error:
        errors["model"] = f"{error.message}. {error.hint}"
        return None
    newest = ws.models.list()
    return ws.models.get(newest[0].name) if newest else None


def _reference(version: ModelVersion | None) -> str:
    return "" if version is None else f"{version.name}:{version.version}"


def _until(text: str, errors: dict[str, str]) -> int:
    """Return a moment in microseconds; what is written without a zone is UTC, and a minute is meant as a whole."""
    if not text.strip():
        return _LAST
    try:
        said = text.strip()
        has_zone = said.endswith("Z") or "+" in said[10:] or "-" in said[10:]
        moment = parse_instant(said if has_zone or len(said) <= 10 else f"{said}Z", name="until")
    except TinyMLOpsError as error:
        errors["until"] = f"{error.message}. {error.hint}"
        return _LAST
    return to_micros(moment) + 1


def _place(text: str) -> tuple[int, int] | None:
    at, dash, row = text.partition("-")
    is_place = dash and all(one.isascii() and one.isdigit() and len(one) < 19 for one in (at, row))
    return (int(at), int(row)) if is_place else None
