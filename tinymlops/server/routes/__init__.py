"""The routes, a module for each noun: each makes its handlers for one workspace, and has its line in `NOUNS`."""

from tinymlops.server.routes.audit import audit_routes
from tinymlops.server.routes.checks import check_routes
from tinymlops.server.routes.features import feature_routes
from tinymlops.server.routes.health import health_routes
from tinymlops.server.routes.jobs import job_routes
from tinymlops.server.routes.models import model_routes
from tinymlops.server.routes.outcomes import outcome_routes
from tinymlops.server.routes.sources import source_routes
from tinymlops.server.routes.vectors import vector_routes

__all__ = ["NOUNS"]

NOUNS = (
    model_routes,
    feature_routes,
    vector_routes,
    source_routes,
    check_routes,
    outcome_routes,
    job_routes,
    audit_routes,
    health_routes,
)
