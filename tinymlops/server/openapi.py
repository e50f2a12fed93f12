"""The OpenAPI document, with the schemas as msgspec itself writes and enforces them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme
from litestar.router import Router

import tinymlops
from tinymlops.server.errors import Problem
from tinymlops.server.route_class import METADATA

if TYPE_CHECKING:
    from litestar import Litestar, Request

__all__ = ["openapi_config"]

_MOST_PREFIXES = 10


def openapi_config() -> OpenAPIConfig:
    """Describe the document and where it is served; there is no page, which would load scripts from elsewhere."""
    return OpenAPIConfig(
        title="tinymlops",
        version=tinymlops.__version__,
        description="Features, predictions and outcomes of one workspace.",
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        use_handler_docstrings=True,
        path="/schema",
        openapi_router=Router("/schema", route_handlers=[], opt=METADATA, include_in_schema=False),
        components=Components(
            security_schemes={
                "token": SecurityScheme(
                    type="http", scheme="bearer", description="What `tinymlops token create` printed."
                )
            }
        ),
        security=[{"token": []}],
        render_plugins=[_ExactSchema()],
    )


class _ExactSchema(JsonRenderPlugin):
    """Litestar's document, where limits inside of lists and objects would be missing and 1 would match two types."""

    def __init__(self) -> None:
        super().__init__()
        self._rendered: dict[str, bytes] = {}
        """By prefix: to make it takes long, and whoever asks again and again would hold up all others."""

    def receive_router(self, router: Router) -> None:
        """Take out Litestar's page for paths below the document's: they are unknown routes like any other."""
        router.routes = [route for route in router.routes if not route.path.endswith("{path:str}")]

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Render the document for the prefix that the application is mounted under, once for each."""
        prefix = request.scope.get("root_path") or "/"
        if prefix in self._rendered:
            return self._rendered[prefix]
        document = {
            **openapi_schema,
            "servers": [{"url": prefix}],
            "components": {**openapi_schema["components"], "schemas": _schemas(request.app)},
        }
        if len(self._rendered) >= _MOST_PREFIXES:
            self._rendered.clear()
        self._rendered[prefix] = super().render(request, document)
        return self._rendered[prefix]


def _schemas(app: Litestar) -> dict[str, Any]:
    bodies: set[Any] = {Problem}
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if handler.resolve_include_in_schema():
                fields = handler.parsed_data_field, handler.parsed_return_field
                bodies.update(field.annotation for field in fields if field is not None)
    _, schemas = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    return schemas
