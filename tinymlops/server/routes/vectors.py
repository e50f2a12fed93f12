"""`/v1/vectors`: search of rows by vectors and by words, near duplicates and clusters."""

from functools import partial

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from tinymlops.server.errors import documented
from tinymlops.server.route_class import METADATA, READ
from tinymlops.server.searching import look_in_time, search_in_time
from tinymlops.server.vector_messages import (
    ClusterRequest,
    ClustersAnswer,
    DuplicatesRequest,
    EmbeddingsAnswer,
    PairsAnswer,
    SearchAnswer,
    SearchRequest,
    told,
)
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
            ws,
            name,
            query,
            mode=data.mode,
            k=data.k,
            at=data.at,
            as_of=data.as_of,
            where=data.where,
            exact=data.exact,
        )
        return SearchAnswer(**told(found), generation=found.generation, indexed=found.indexed)

    @post(
        "/v1/vectors/{name:str}/duplicates",
        opt=READ,
        status_code=200,
        operation_id="find_duplicates",
        responses=documented(404, body=True),
    )
    async def find_duplicates(name: FromPath[str], data: JSONBody[DuplicatesRequest]) -> PairsAnswer:
        """Find the pairs of rows with nearly the same vector, of what is or was known."""
        found = await look_in_time(
            name,
            partial(
                ws.vectors.duplicates, name, at=data.at, as_of=data.as_of, threshold=data.threshold, limit=data.limit
            ),
        )
        return PairsAnswer(**told(found), threshold=found.threshold, count=found.count)

    @post(
        "/v1/vectors/{name:str}/cluster",
        opt=READ,
        status_code=200,
        operation_id="cluster_vectors",
        responses=documented(404, body=True),
    )
    async def cluster_vectors(name: FromPath[str], data: JSONBody[ClusterRequest]) -> ClustersAnswer:
        """Put rows with similar vectors into clusters, and say what each is."""
        found = await look_in_time(
            name, partial(ws.vectors.cluster, name, data.k, at=data.at, as_of=data.as_of, seed=data.seed)
        )
        return ClustersAnswer(**told(found, data.limit), clusters=found.summary.to_dicts(), count=len(found))

    return [list_embeddings, search_vectors, find_duplicates, cluster_vectors]
