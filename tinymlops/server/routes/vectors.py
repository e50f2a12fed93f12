"""`/v1/vectors`: search of rows by vectors and by words."""

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from tinymlops.server.errors import documented
from tinymlops.server.route_class import METADATA, READ
from tinymlops.server.searching import search_in_time
from tinymlops.server.vector_messages import EmbeddingsAnswer, SearchAnswer, SearchRequest
from tinymlops.workspace import Workspace

__all__ = ["vector_routes"]


def vector_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @get("/v1/vectors", opt=METADATA, sync_to_thread=True, operation_id="list_embeddings", responses=documented())
    def list_embeddings() -> EmbeddingsAnswer:
        """List the embeddings, and how far their vectors are."""
        return EmbeddingsAnswer(embeddings=ws.vectors.list())

    @post(
        "/v1/vectors/{name:str}/search",
        opt=READ,
        status_code=200,
        operation_id="search_vectors",
        responses=documented(404, body=True),
    )
    async def search_vectors(name: FromPath[str], data: JSONBody[SearchRequest]) -> SearchAnswer:
        """Find the rows that are nearest to a query, of what is or was known."""
        query = data.query if data.query is not None else data.vector or []
        found = await search_in_time(
            ws, name, query, mode=data.mode, k=data.k, at=data.at, as_of=data.as_of, where=data.where
        )
        return SearchAnswer(
            timestamp=found.timestamp,
            sequence=found.sequence,
            covered=found.covered,
            waiting=found.waiting,
            failed=found.failed,
            rows=found.to_dicts(),
        )

    return [list_embeddings, search_vectors]
