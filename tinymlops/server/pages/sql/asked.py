"""What is asked for on `/sql`, as its fields and its address say it, and the mark that shows who may have it run."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from tinymlops.queries.messages import ChartAsked
from tinymlops.server.pages.rendering import csrf_of, url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar import Request

    from tinymlops.registry.saved_queries import SavedQueries

__all__ = ["Asked", "has_mark"]


class Asked(NamedTuple):
    """What the fields of the page say."""

    q: str = ""
    chart: str = ""
    x: str = ""
    y: str = ""
    saved: str = ""
    """The name of the saved query that it came from."""
    table: str = ""
    """Whose columns are shown."""

    @classmethod
    def of(cls, data: Mapping[str, str]) -> Self:
        """Read a form; browsers send lines with two characters at their end."""
        fields = {name: data.get(name, "") for name in cls._fields}
        return cls(**{**fields, "q": fields["q"].replace("\r\n", "\n")})

    def loaded(self, queries: SavedQueries) -> Asked:
        """Return the saved query that is named, as far as nothing else is asked for.

        Raises:
            NotFoundError: If there is none.
        """
        found = queries.get(self.saved)
        if self.q and self.q != found.text:
            return self
        if self.chart or self.x or self.y:
            return self._replace(q=found.text)
        return self._replace(q=found.text, chart=found.chart, x=found.x, y=found.y)

    def address(self, request: Request[Any, Any, Any]) -> str:
        """Return the address that shows the same, and has it run for this session."""
        run = mark_of(request, self.q) if self.q.strip() else None
        return url(request, "/sql", **self._asdict(), run=run)

    def address_of_saved(self, request: Request[Any, Any, Any]) -> str:
        """Return the address of a saved query by its name alone, which has it run for this session."""
        return url(request, "/sql", saved=self.saved, run=mark_of(request, self.q))

    def picture(self) -> ChartAsked | None:
        """Return the picture that is asked for."""
        if self.chart not in ("line", "bar"):
            return None
        return ChartAsked(cast("Any", self.chart), self.x, self.y)


def has_mark(request: Request[Any, Any, Any], text: str, mark: str) -> bool:
    """Return whether a page of this session made the link that asks for a query.

    A page of another site, and whoever sends a link, can make a browser come here, but cannot know the mark: then the query is
    shown, and not run.

    Args:
        request: What asks.
        text: The query.
        mark: Of the link.
    """
    return hmac.compare_digest(mark.encode("utf-8", "replace"), mark_of(request, text).encode())


def mark_of(request: Request[Any, Any, Any], text: str) -> str:
    """Return the mark of links that have a query run."""
    said = b"a query of the pages\n" + text.encode("utf-8", "replace")
    return hmac.new(csrf_of(request).encode(), said, hashlib.sha256).hexdigest()[:32]
