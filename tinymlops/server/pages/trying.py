"""`/try/MODEL`: ask a model by hand, see the features that it used, and say whether it was right."""

import math
from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Redirect

from tinymlops.errors import DataError, TinyMLOpsError
from tinymlops.records import Outcome, Prediction, RequestField, Signature
from tinymlops.server.pages.features import feature_links
from tinymlops.server.pages.rendering import page, url
from tinymlops.server.pages.routing import AnyRequest, Form, shows, takes
from tinymlops.server.pages.state import context_of
from tinymlops.server.route_class import PREDICT, WRITE
from tinymlops.workspace import Workspace

__all__ = ["read_field", "trying_routes"]

_CONSUMER = "pages"
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def trying_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    database = ws._environment.database  # noqa: SLF001 - a prediction is read by its id

    @shows("/try/{reference:str}", opt=PREDICT)
    def form(request: AnyRequest, reference: FromPath[str]) -> Response[Any]:
        """Show the form."""
        return _page(request, reference, {})

    @takes("/try/{reference:str}", opt=PREDICT)
    def ask(request: AnyRequest, reference: FromPath[str], data: Form) -> Response[Any]:
        """Answer; what cannot be answered is said above the form, which keeps what was typed."""
        signature = _signature(reference)
        try:
            row = {field.name: read_field(field, data.get(f"field.{field.name}", "")) for field in signature.request}
            (answer,) = ws.predict(reference, [row], sync=True, consumer=_CONSUMER)
        except TinyMLOpsError as error:
            return _page(request, reference, data, error=error)
        return _page(request, reference, data, prediction=database.get(Prediction, id=answer["id"]))

    @takes("/try/{reference:str}/outcome", opt=WRITE)
    def outcome(request: AnyRequest, reference: FromPath[str], data: Form) -> Response[Any]:
        """Keep what somebody says came true."""
        record = database.get(Prediction, id=data.get("prediction", ""))
        if record is None:
            raise DataError("the form names no prediction", hint="ask the model first")
        value = _said(_signature(reference), record, data)
        ws.log_outcomes([{"prediction_id": record.id, "value": value}])
        return Redirect(url(request, f"/predictions/{record.id}"), status_code=303)

    def _signature(reference: str) -> Signature:
        return ws.models.manifest(reference).model.signature

    def _page(
        request: AnyRequest,
        reference: str,
        typed: dict[str, str],
        *,
        prediction: Prediction | None = None,
        error: TinyMLOpsError | None = None,
    ) -> Response[Any]:
        version = ws.models.get(reference)
        signature = _signature(reference)
        known = prediction and database.get(Outcome, prediction_id=prediction.id)
        return page(
            request,
            "try.html",
            status=422 if error else 200,
            title=f"Try {version.name} v{version.version}",
            reference=reference,
            version=version,
            signature=signature,
            typed=typed,
            prediction=prediction,
            outcome=known,
            error=error,
            sources={one.name: one.source for one in signature.features},
            paths=feature_links(context_of(ws), signature.features),
        )

    return [form, ask, outcome]


def read_field(field: RequestField, text: str) -> Any:
    """Return what somebody typed as the type of a field; nothing is null.

    Args:
        field: Of the request.
        text: As it was typed.

    Raises:
        DataError: If it is not of that type.

    Example:
        >>> read_field(RequestField("depth", "Int64", "request"), " 3 ")
        3
    """
    said = text.strip()
    if not said:
        return None
    try:
        if field.dtype.startswith(("Int", "UInt")):
            return int(said)
        if field.dtype.startswith("Float"):
            return float(said)
    except ValueError:
        raise DataError(
            f"{field.name} is {said[:50]!r}, and not a number", hint=f"it is of the type {field.dtype}"
        ) from None
    if field.dtype == "Boolean":
        if said.lower() not in (*_TRUE, *_FALSE):
            raise DataError(f"{field.name} is {said[:50]!r}, and neither true nor false", hint="write true or false")
        return said.lower() in _TRUE
    return text


def _said(signature: Signature, prediction: Prediction, data: dict[str, str]) -> Any:
    """Return the outcome: the answer itself if it was right, else the class or number that somebody names."""
    was, actual, classes = data.get("was"), data.get("actual", "").strip(), signature.classes or []
    if was not in ("right", "wrong", "other") or (was == "other") != bool(actual):
        raise DataError(
            "the form does not say what came true", hint="say that the answer was right, or what it was instead"
        )
    if was == "right":
        return prediction.output["prediction"]
    if was == "wrong" and len(classes) == 2:
        return next(one for one in classes if one != prediction.output["prediction"])
    if classes:
        named = [one for one in classes if str(one) == actual]
        if not named:
            raise DataError(f"{actual[:50]!r} is not one of the classes", hint=", ".join(map(str, classes))[:500])
        return named[0]
    value = read_field(RequestField("the outcome", "Float64", "request"), actual)
    if value is None or not math.isfinite(value):
        raise DataError(f"the outcome is {actual[:50]!r}, and not a number", hint="write it as 42 or 0.5")
    return value
