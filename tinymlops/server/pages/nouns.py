"""The pages, a module for each noun: each makes its handlers for one workspace, and has its line here and in `navigation.py`."""

from tinymlops.server.pages.home import home_routes
from tinymlops.server.pages.vectors import vector_pages

__all__ = ["PAGES"]

PAGES = (home_routes, vector_pages)
