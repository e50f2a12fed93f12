"""`/v1/features`: features as of now."""

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from tinymlops.errors import DefinitionError
from tinymlops.server.errors import documented, unavailable
from tinymlops.server.key_names import KeyNames
from tinymlops.server.messages import EndedVersion, FeaturesAnswer, FeaturesRequest, RebuiltRows
from tinymlops.server.route_class import READ
from tinymlops.workspace import Workspace

__all__ = ["feature_routes"]


def feature_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @post(
        "/v1/features/online",
        opt=READ,
        status_code=200,
        sync_to_thread=True,
        operation_id="get_online_features",
        responses=documented(404, body=True),
        exception_handlers={DefinitionError: unavailable},
    )
    def get_online_features(data: JSONBody[FeaturesRequest]) -> FeaturesAnswer:
        """Read features as of now, by the workspace's clock."""
        keys = KeyNames(ws.key_aliases(), data.keys)
        found = ws.get_online_features(data.features, keys.rows, details=data.details, consumer=data.consumer)
        columns = found.to_dict()
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        rebuilt = {
            view: RebuiltRows(sequence=sequence, age_seconds=age.total_seconds())
            for view, (sequence, age) in found.rebuilt.items()
        }
        ended = {
            version: EndedVersion(source=one.source, sequence=one.sequence, at=one.at)
            for version, one in found.ended.items()
        }
        return FeaturesAnswer(
            timestamp=found.timestamp,
            sequence=found.sequence,
            rebuilt=rebuilt,
            ended=ended,
            rows=keys.restored(rows),
        )

    return [get_online_features]
