"""The pages, a module for each noun: each makes its handlers for one workspace, and has its line here and in `navigation.py`."""

from tinymlops.server.pages.home import home_routes

__all__ = ["PAGES"]

PAGES = (home_routes,)
