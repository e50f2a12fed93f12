"""The pages, a module for each noun: each makes its handlers for one workspace, and has its line here and in `navigation.py`."""

from tinymlops.server.pages.access import access_routes
from tinymlops.server.pages.catalog import catalog_routes
from tinymlops.server.pages.definitions import definition_routes
from tinymlops.server.pages.home import home_routes
from tinymlops.server.pages.jobs import job_routes
from tinymlops.server.pages.lineage import lineage_routes
from tinymlops.server.pages.models import model_routes
from tinymlops.server.pages.monitoring import monitoring_routes
from tinymlops.server.pages.predictions import prediction_routes
from tinymlops.server.pages.runs import run_routes
from tinymlops.server.pages.training_sets import training_set_routes
from tinymlops.server.pages.trying import trying_routes
from tinymlops.server.pages.vectors import vector_pages

__all__ = ["PAGES"]

PAGES = (
    home_routes,
    catalog_routes,
    definition_routes,
    lineage_routes,
    training_set_routes,
    run_routes,
    model_routes,
    prediction_routes,
    monitoring_routes,
    trying_routes,
    vector_pages,
    job_routes,
    access_routes,
)
