"""Sessions of the pages: a browser signs in with a token once, and shows a cookie from then on.

The cookie's secret has 256 random bits, and only its SHA-256 is stored. A session has no rights of its own: at each request
it stands for its token, so it ends when that is revoked or expires. Times are those of the machine, as those of tokens are.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import AccessError
from tinymlops.records import PageSession
from tinymlops.registry.actor import acting_as
from tinymlops.times import system_clock

if TYPE_CHECKING:
    from tinymlops.records import Token
    from tinymlops.registry.scope import Scope
    from tinymlops.registry.tokens import Tokens

__all__ = ["PageSessions", "SignedIn"]

_LASTS = timedelta(days=7)
_SECRET = re.compile(r"[0-9a-f]{64}")
_ASK = "sign in again"


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session that just began: the only time that its secret is known."""

    secret: str
    expires_at: datetime
    seconds: int
    """From now until then."""

    def __repr__(self) -> str:
        return f"<session until {self.expires_at:%Y-%m-%d %H:%M}: its secret is in .secret, and nowhere else>"


class PageSessions:
    """The sessions of a workspace.

    Args:
        scope: Of the open workspace.
        tokens: What sessions stand for.
    """

    def __init__(self, scope: Scope, tokens: Tokens) -> None:
        self._scope, self._tokens = scope, tokens
        self._database = scope.environment.database

    def begin(self, text: str) -> SignedIn:
        """Begin a session of a week, or until the token expires. What is over is cleared away by the way.

        Args:
            text: Of the token, as it was printed.

        Raises:
            AccessError: If it is not a token of this workspace, or is expired or revoked.
        """
        token = self._tokens.verify(text)
        secret, now = secrets.token_hex(32), system_clock()
        until = now + _LASTS if token.expires_at is None else min(now + _LASTS, token.expires_at)
        session = PageSession(digest=_digest_of(secret), token=token.id, created_at=now, expires_at=until)
        with acting_as(token.name), self._scope.write("session.begin", f"token:{token.name}") as tx:
            for other in tx.list(PageSession):
                if other.expires_at <= now:
                    tx.delete(PageSession, digest=other.digest)
            tx.insert(session)
        return SignedIn(secret=secret, expires_at=until, seconds=int((until - now).total_seconds()))

    def token_of(self, secret: str) -> Token:
        """Return the token that a session stands for.

        Args:
            secret: What the cookie says.

        Raises:
            AccessError: If there is no such session, or it or its token is over.
        """
        session = self._database.get(PageSession, digest=_digest_of(secret)) if _SECRET.fullmatch(secret) else None
        if session is None or session.expires_at <= system_clock():
            raise AccessError("you are not signed in", hint=_ASK)
        return self._tokens.get(session.token)

    def end(self, secret: str) -> None:
        """End a session, if there is one.

        Args:
            secret: What the cookie says.
        """
        digest = _digest_of(secret)
        session = self._database.get(PageSession, digest=digest)
        if session is not None:
            with self._scope.write("session.end", f"session of token {session.token}") as tx:
                tx.delete(PageSession, digest=digest)


def _digest_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
