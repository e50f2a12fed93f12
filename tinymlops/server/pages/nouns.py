"""The pages, a module for each noun: each makes its handlers for one workspace, and has its line here and in `navigation.py`."""

from tinymlops.server.pages.access import access_routes
from tinymlops.server.pages.catalog import catalog_routes
from tinymlops.server.pages.definitions import definition_routes
from tinymlops.server.pages.home import home_routes
from tinymlops.server.pages.jobs import job_routes
from tinymlops.server.pages.lineage import lineage_routes

__all__ = ["PAGES"]

PAGES = (home_routes, catalog_routes, definition_routes, lineage_routes, job_routes, access_routes)
