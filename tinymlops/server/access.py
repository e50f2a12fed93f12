"""Who asks, and whether the route is theirs to use.

The guard asks before a request is routed, so that strangers learn nothing of routes; the router asks again for the
handler that it chose, so that no path leads around the answer.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from litestar.connection import ASGIConnection

from tinymlops.errors import AccessError, DataError, DefinitionError
from tinymlops.registry.tokens import check_role
from tinymlops.server.route_class import MAY, Role, class_of
from tinymlops.server.threads import Threads

if TYPE_CHECKING:
    from litestar.handlers import BaseRouteHandler
    from litestar.types import HTTPScope

    from tinymlops.records import Token
    from tinymlops.workspace import Workspace

__all__ = ["OWN", "Access", "Auth", "Caller", "authorize", "caller_of", "cookie_name", "put_caller"]

Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]
Said: TypeAlias = tuple[str, str] | None
Auth: TypeAlias = Literal["tokens"] | Callable[[Connection], Said | Awaitable[Said]] | None
"""How an application knows who asks."""

_KEY = "tinymlops_caller"
_LONGEST = 200
_MOST_THREADS = 16
_PAIR = ("ana", "reader")
_SEND = 'send the header "Authorization: Bearer tm_...", with what `tinymlops token create` printed'


class Caller(NamedTuple):
    """Who asks."""

    actor: str | None
    """The name in the audit log; None for the user of the system that the server runs as."""
    role: Role
    rate: float | None = None
    """The most requests a second; None without a limit of its own."""


OWN = Caller(None, "admin")
"""Whoever reaches a server that needs no token."""


class Access:
    """Finds out who asks.

    Args:
        ws: The workspace.
        auth: As for `create_app`.

    Raises:
        DefinitionError: If `auth` is neither "tokens" nor a function nor None.
    """

    def __init__(self, ws: Workspace, auth: Auth) -> None:
        self.cookie = cookie_name(str(ws._environment.path))  # noqa: SLF001 - so that two workspaces have two
        self._sessions = ws._page_sessions  # noqa: SLF001 - nobody but the pages signs in
        if auth not in ("tokens", None) and not callable(auth):
            raise DefinitionError(
                f"auth={auth!r} is no way to know who asks", hint='use "tokens", a function of the connection, or None'
            )
        self._tokens = ws.tokens
        self._auth = auth
        self._threads = Threads(_MOST_THREADS, "tinymlops-auth")

    @property
    def asks_a_function(self) -> bool:
        """Whether the application that mounts this one says who asks: then nobody has a session here."""
        return callable(self._auth)

    async def caller(self, scope: HTTPScope) -> Caller:
        """Return who asks the API: whoever sends a token. Cookies count for nothing here.

        Raises:
            AccessError: If that is not known.
            DefinitionError: If the function answers what cannot be an actor and a role.
        """
        return await self._found(scope, lambda: self._tokens.verify(_bearer(scope)))

    async def visitor(self, scope: HTTPScope) -> Caller:
        """Return who looks at a page: whoever signed in. A token counts for nothing here.

        Raises:
            AccessError: If that is not known.
            DefinitionError: If the function answers what cannot be an actor and a role.
        """
        return await self._found(scope, lambda: self._sessions.token_of(self._cookie(scope)))

    def _cookie(self, scope: HTTPScope) -> str:
        return ASGIConnection[Any, Any, Any, Any](scope).cookies.get(self.cookie, "")

    async def _found(self, scope: HTTPScope, show: Callable[[], Token]) -> Caller:
        if callable(self._auth):
            return _said(await self._asked(self._auth, ASGIConnection(scope)))
        if self._auth is None:
            return OWN
        try:
            token = show()
        except AccessError:
            if self._tokens.any():
                raise
            return OWN
        return Caller(token.name, token.role, token.rate)

    async def _asked(self, auth: Callable[[Connection], Said | Awaitable[Said]], connection: Connection) -> Said:
        """Ask the application; a function that is no coroutine may take its time, so it gets a thread."""
        if inspect.iscoroutinefunction(auth):
            return await auth(connection)  # type: ignore[no-any-return]
        said = await self._threads.run(lambda: auth(connection))
        return await said if inspect.isawaitable(said) else said


def put_caller(scope: HTTPScope, caller: Caller | None) -> None:
    """Write down who asks, for `caller_of`."""
    scope["state"][_KEY] = caller


def caller_of(connection: Connection) -> Caller | None:
    """Return who asks; None if that is not known, which only routes of the class "open" see."""
    found: Caller | None = connection.scope["state"].get(_KEY)
    return found


def authorize(connection: Connection, handler: BaseRouteHandler) -> None:
    """Let a request pass to the handler that the router chose, if its caller's role may use it.

    Raises:
        AccessError: If it may not.
    """
    if connection.scope.get("method") == "OPTIONS":  # which Litestar answers with the methods alone
        return
    kind, caller = class_of(handler), caller_of(connection)
    if kind == "open":
        return
    if caller is None:
        raise AccessError("this route needs a token", hint=_SEND)
    if kind not in MAY[caller.role]:
        raise AccessError(
            f"the role {caller.role!r} may not use routes of the class {kind!r}",
            hint=f"ask an admin for a token with the role {' or '.join(role for role, may in MAY.items() if kind in may)}",
        )


def cookie_name(place: str) -> str:
    """Return the name of the cookie of a workspace: browsers do not tell two ports of one host apart.

    Args:
        place: Where the workspace is.
    """
    return f"tinymlops_{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _bearer(scope: HTTPScope) -> str:
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    if not sent:
        raise AccessError("this server needs a token", hint=_SEND)
    scheme, _, text = sent[0].decode("latin-1").partition(" ")
    if len(sent) > 1 or scheme.lower() != "bearer":
        raise AccessError("the Authorization header is not one bearer token", hint=_SEND)
    return text.strip(" ")


def _said(said: object) -> Caller:
    if said is None:
        raise AccessError("the application does not know who asks", hint="sign in first")
    if not isinstance(said, tuple | list) or len(said) != len(_PAIR):
        raise DefinitionError(f"auth answered a {type(said).__name__}", hint=f"answer a pair such as {_PAIR}, or None")
    actor, role = said
    try:
        if not isinstance(actor, str) or not 0 < len(actor) <= _LONGEST or not actor.isprintable():
            raise DefinitionError(f"auth answered the actor {str(actor)[:_LONGEST]!r}, which is not a name")
        return Caller(actor, check_role(role))
    except DataError as error:
        raise DefinitionError(f"auth answered what cannot be: {error.message}", hint=error.hint) from error
