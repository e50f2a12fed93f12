"""The pages, a module for each noun: each makes its handlers for one workspace, and has its line here and in `navigation.py`."""

from tinymlops.server.pages.home import home_routes
from tinymlops.server.pages.models import model_routes
from tinymlops.server.pages.monitoring import monitoring_routes
from tinymlops.server.pages.predictions import prediction_routes
from tinymlops.server.pages.runs import run_routes
from tinymlops.server.pages.training_sets import training_set_routes
from tinymlops.server.pages.trying import trying_routes

__all__ = ["PAGES"]

PAGES = (
    home_routes,
    training_set_routes,
    run_routes,
    model_routes,
    prediction_routes,
    monitoring_routes,
    trying_routes,
)
