"""The pages: what a browser sees of a workspace, complete without JavaScript.

They are an application of their own beside the API: who signed in is known by a cookie here, and by nothing else; the API
knows no cookies.
"""

from tinymlops.server.pages.application import Pages, create_pages

__all__ = ["Pages", "create_pages"]
