"""Forms: sent by a page of this very server, with the mark that only its own pages know."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from tinymlops.errors import AccessError
from tinymlops.server.origins import Origins
from tinymlops.server.pages.rendering import csrf_of

if TYPE_CHECKING:
    from litestar import Request

__all__ = ["FORM", "require_own_form"]

FORM = "application/x-www-form-urlencoded"
_OWN = Origins()


async def require_own_form(request: Request[Any, Any, Any]) -> None:
    """Refuse a form that no page of this server sent.

    A browser tells the Origin of a page that sends a form; a page of another site also cannot know the mark.

    Raises:
        AccessError: If the Origin is absent or of another server, or the mark is not that of the session.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is None or not _OWN.may_write(origin, request.scope["scheme"], host.lower()):
        raise AccessError(
            "this form was not sent by a page of this server", hint="open the page here and send it again"
        )
    form = await request.form()
    sent = form.get("csrf")
    if not isinstance(sent, str) or not _same(sent, csrf_of(request)):
        raise AccessError("this form is of another session", hint="load the page again and send it again")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(hashlib.sha256(one.encode()).digest(), hashlib.sha256(other.encode()).digest())
