"""`/access`: who read what, who changed what and that this log is whole, and who holds a token."""

from datetime import datetime, timedelta
from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from tinymlops.errors import DataError
from tinymlops.records import Access
from tinymlops.registry.audit import AuditVerified
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, Form, shows, takes
from tinymlops.server.route_class import AUDIT
from tinymlops.times import parse_instant, system_clock
from tinymlops.workspace import Workspace

__all__ = ["access_routes"]

_SHOWN = 100
_MOST_SKIPPED = 100_000
"""Reads of one minute that come before a page."""
SPANS = {1: "a day", 7: "a week", 30: "30 days", 400: "400 days"}
"""Days that a list of reads may go back, in words; the log keeps 400."""


def access_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [_reads(ws), *_changes(ws), _tokens(ws)]


def _reads(ws: Workspace) -> HTTPRouteHandler:
    @shows("/access", opt=AUDIT)
    def reads(
        request: AnyRequest,
        who: FromQuery[str] = "",
        name: FromQuery[str] = "",
        days: FromQuery[int] = 7,
        until: FromQuery[str] = "",
        skip: FromQuery[int] = 0,
    ) -> Response[Any]:
        """Show who read which features and asked which models, minute by minute."""
        if days not in SPANS:
            raise DataError(f"days={days} is not offered", hint=f"use {', '.join(map(str, SPANS))}")
        before = parse_instant(until, name="until") if until else None
        skip = min(max(skip, 0), _MOST_SKIPPED)
        found = ws.access.list(
            since=system_clock() - timedelta(days=days),
            until=before,
            who=who or None,
            name=name or None,
            limit=skip + _SHOWN + 1,
        )[skip:]
        shown, following = _whole_minutes(found, skip)
        return page(
            request,
            "access.html",
            title="Access and audit",
            reads=shown,
            following=following,
            said={"who": who, "name": name, "days": days},
            until=until,
            spans=SPANS,
            clock=system_clock(),
        )

    return reads


def _changes(ws: Workspace) -> list[HTTPRouteHandler]:
    def show(request: AnyRequest, verified: AuditVerified | None, **said: Any) -> Response[Any]:
        asked = {name: said.get(name) or None for name in ("subject", "who", "action", "since")}
        found = ws.audit.list(**asked, before=said.get("before"), limit=_SHOWN + 1)
        return page(
            request,
            "audit.html",
            title="Access and audit",
            entries=found[:_SHOWN],
            following=found[_SHOWN - 1].n if len(found) > _SHOWN else None,
            said={name: value or "" for name, value in asked.items()},
            before=said.get("before"),
            head=ws.audit.head(),
            verified=verified,
            against=said.get("against", ""),
        )

    @shows("/access/audit", opt=AUDIT)
    def changes(
        request: AnyRequest,
        subject: FromQuery[str] = "",
        who: FromQuery[str] = "",
        action: FromQuery[str] = "",
        since: FromQuery[str] = "",
        before: FromQuery[int | None] = None,
    ) -> Response[Any]:
        """Show who changed what, the newest first."""
        return show(
            request, None, subject=subject, who=who, action=action, since=_moment(since), before=_positive(before)
        )

    @takes("/access/audit", opt=AUDIT)
    def prove(request: AnyRequest, data: Form) -> Response[Any]:
        """Walk the whole chain of hashes, and say whether it holds; nothing is changed by that."""
        against = data.get("against", "").strip()
        if "/" in against or (against and ":" not in against):  # which would be the directory of a backup
            raise DataError(f"{against[:100]!r} is not a head", hint="a head is a number, a colon and 64 characters")
        return show(request, ws.audit.verify(against or None), against=against)

    return [changes, prove]


def _tokens(ws: Workspace) -> HTTPRouteHandler:
    @shows("/access/tokens", opt=AUDIT)
    def tokens(request: AnyRequest) -> Response[Any]:
        """Show who holds a token, for what and until when; what a token is is known to its holder alone."""
        found = ws.tokens.list()
        order = {"active": 0, "expired": 1, "revoked": 2}
        found = sorted(found, key=lambda one: (order.get(one.state, len(order)), one.name, one.created_at))
        return page(request, "tokens.html", title="Access and audit", tokens=found, clock=system_clock())

    return tokens


def _whole_minutes(found: list[Access], skip: int) -> tuple[list[Access], dict[str, Any]]:
    """Return what fits in a page, and where the next one begins: no minute is cut in two but one that is larger than a page."""
    if len(found) <= _SHOWN:
        return found, {}
    last = found[_SHOWN].minute
    whole = [one for one in found if one.minute > last]
    if whole:
        return whole, {"until": whole[-1].minute, "skip": None}
    return found[:_SHOWN], {"until": last + timedelta(minutes=1), "skip": skip + _SHOWN}


def _moment(text: str) -> datetime | None:
    """Read a day as a form sends it, or a moment; a day begins in UTC."""
    if not text:
        return None
    return parse_instant(f"{text}T00:00:00Z" if "T" not in text else text, name="since")


def _positive(number: int | None) -> int | None:
    return None if number is None or not 0 < number < 2**63 else number
