"""`/sql`: one SELECT over all that is known now, its result as a table, a picture and a file, and queries that were saved."""

from tinymlops.server.pages.sql.asking import Asking
from tinymlops.server.pages.sql.routes import sql_routes

__all__ = ["Asking", "sql_routes"]
