"""Tokens: who may ask the server, and for what.

A token is `tm_<id>_<secret>`. The id finds its row; of the secret only the SHA-256 is stored. The secret has 256 random
bits, so a fast hash is enough: nobody can try them all. Their times are those of the machine, also where the workspace
runs on a replay clock.
"""

from __future__ import annotations

import builtins
import hashlib
import hmac
import math
import re
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import AccessError, ConflictError, DataError, NotFoundError, near
from tinymlops.records import Token, TokenUse
from tinymlops.stores.generation import changing
from tinymlops.times import parse_duration, system_clock

if TYPE_CHECKING:
    from tinymlops.registry.readers import ReaderLog
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["ROLES", "NewToken", "TokenState", "Tokens", "check_role"]

ROLES = ("reader", "predictor", "editor", "admin", "auditor")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_TOKEN = re.compile(r"tm_([0-9a-f]{12})_([0-9a-f]{64})")
_LENGTH = len("tm_") + 12 + len("_") + 64


_NOBODY = b"\x00" * 32
_MOST_KEPT = 100_000


class _Kept:
    """Rows of one generation of the workspace; where a change is being committed it has no name, and nothing is kept.

    Args:
        generation: The token of `tinymlops.stores.generation`.
    """

    def __init__(self, generation: bytes) -> None:
        self.generation = generation
        self.issued: bool | None = None
        self.tokens: dict[str, Token] = {}


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was just issued: the only time that its text is known."""

    name: str
    role: str
    expires_at: datetime | None
    rate: float | None
    token: str
    """What the client sends: `Authorization: Bearer <token>`."""

    def __repr__(self) -> str:
        return f"<new token of {self.name!r}, {self.role}: its text is in .token, and nowhere else>"


class TokenState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a token, without its secret."""

    name: str
    role: str
    state: str
    """`active`, `expired` or `revoked`."""
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    rate: float | None
    """The most requests a second; None without a limit of its own."""
    requests: int
    last_used_at: datetime | None


class Tokens:
    """The tokens of a workspace.

    Args:
        scope: Of the open workspace.
        log: Where uses are counted.
    """

    def __init__(self, scope: Scope, log: ReaderLog) -> None:
        self._scope, self._log = scope, log
        self._database, self._online = scope.environment.database, scope.environment.online
        self._kept = _Kept(b"")

    def create(
        self, name: str, role: str, *, expires: str | timedelta | None = None, rate: float | None = None
    ) -> NewToken:
        """Issue a token. From the first one on, the server answers nobody without a token, except about its health.

        Args:
            name: Who gets it, such as "billing": the actor in the audit log. Lower-case letters, digits, _ and -.
            role: "reader", "predictor", "editor", "admin" or "auditor".
            expires: How long it holds, such as "90d"; None for as long as it is not revoked.
            rate: The most requests a second; None without a limit of its own.

        Returns:
            The token; its text can never be read again.

        Raises:
            DataError: If the name, role, duration or rate cannot be one, or the name is that of the system's user.
            ConflictError: If a token that is neither revoked nor expired has this name.

        Example:
            >>> import tempfile, tinymlops as tm
            >>> with tm.connect(tempfile.mkdtemp() + "/shop.tm", create=True) as ws:
            ...     new = ws.tokens.create("billing", "predictor", expires="90d")
            >>> new.token.startswith("tm_")
            True
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise DataError(
                f"{name!r} cannot be the name of a token",
                hint="use lower-case letters, digits, _ and -, beginning with a letter, 63 at most, such as 'billing'",
            )
        if name == self._scope.user:
            raise DataError(
                f"{name!r} is the user of the system here, and the audit log must tell the two apart",
                hint=f"name the token after the program that gets it, such as '{name[:50]}-client'",
            )
        check_role(role)
        now = system_clock()
        until = _until(now, expires)
        identity, secret = secrets.token_hex(6), secrets.token_hex(32)
        token = Token(
            id=identity,
            name=name,
            role=role,
            digest=_digest_of(secret),
            rate=_rate(rate),
            created_at=now,
            created_by=self._scope.actor,
            expires_at=until,
        )
        write = self._scope.write("token.create", f"token:{name}", role=role, expires_at=until and until.isoformat())
        with changing(write, self._online) as tx:
            for other in _holding(tx, name, now):
                raise ConflictError(
                    f"there is a token of {name!r} already, created {other.created_at:%Y-%m-%d} as {other.role}",
                    hint=f"choose another name, or end that one first: tinymlops token revoke {name}",
                )
            tx.insert(token)
        return NewToken(name=name, role=role, expires_at=until, rate=token.rate, token=f"tm_{identity}_{secret}")

    def revoke(self, name: str) -> TokenState:
        """End a token: the next request with it is refused, by every process.

        Args:
            name: The name of a token that is neither revoked nor expired.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        now = system_clock()
        with changing(self._scope.write("token.revoke", f"token:{name}"), self._online) as tx:
            held = _holding(tx, name, now)
            if not held:
                known = {one.name for one in tx.list(Token) if _state(one, now) == "active"}
                raise NotFoundError(f"there is no active token of {name!r}", hint=near(name, known))
            revoked = [msgspec.structs.replace(one, revoked_at=now) for one in held]
            for one in revoked:
                tx.update(one)
        return self._described(revoked[0], now)

    def list(self) -> builtins.list[TokenState]:
        """List all tokens ever issued, by name and age."""
        self._log.flush()
        now = system_clock()
        found = sorted(self._database.list(Token), key=lambda one: (one.name, one.created_at))
        return [self._described(one, now) for one in found]

    def any(self) -> bool:
        """Return whether a token was ever issued: a revoked one counts, so that revoking the last opens nothing."""
        kept = self._current()
        if kept.issued is None:
            kept.issued = bool(self._database.rows("SELECT 1 FROM tokens LIMIT 1"))
        return kept.issued

    def verify(self, text: str) -> Token:
        """Return the token with this text, and count the use.

        Args:
            text: As it was printed, `tm_<id>_<secret>`.

        Raises:
            AccessError: If it is not a token of this workspace, or is expired or revoked.
        """
        found = _TOKEN.fullmatch(text) if len(text) == _LENGTH else None
        identity, secret = ("", "") if found is None else (found[1], found[2])
        token = self._find(identity)
        # Of an unknown id as much is computed as of a known one.
        is_known = hmac.compare_digest(_NOBODY if token is None else token.digest, _digest_of(secret))
        if token is None or not is_known:
            raise AccessError("the token is not known here", hint="send one that `tinymlops token create` printed")
        return self._active(token)

    def get(self, identity: str) -> Token:
        """Return the token with an id, and count the use: for who signed in with it.

        Args:
            identity: The public part of its text.

        Raises:
            AccessError: If it is not a token of this workspace, or is expired or revoked.
        """
        token = self._find(identity)
        if token is None:
            raise AccessError(
                "the token is not known here", hint="sign in with one that `tinymlops token create` printed"
            )
        return self._active(token)

    def _active(self, token: Token) -> Token:
        now = system_clock()
        state = _state(token, now)
        if state != "active":
            raise AccessError(f"the token of {token.name!r} is {state}", hint="ask an admin for a new one")
        self._log.count_use(token.id, now)
        return token

    def _find(self, identity: str) -> Token | None:
        kept = self._current()
        token = kept.tokens.get(identity) or self._database.get(Token, id=identity)
        if token is not None and kept.generation and len(kept.tokens) < _MOST_KEPT:
            kept.tokens[identity] = token
        return token

    def _current(self) -> _Kept:
        """Return what is kept of the rows, anew after each change of a token by any process."""
        with self._online.read() as snapshot:
            generation = snapshot.token
        if not generation or generation != self._kept.generation:
            self._kept = _Kept(generation)
        return self._kept

    def _described(self, token: Token, now: datetime) -> TokenState:
        use = self._database.get(TokenUse, id=token.id)
        return TokenState(
            name=token.name,
            role=token.role,
            state=_state(token, now),
            created_at=token.created_at,
            created_by=token.created_by,
            expires_at=token.expires_at,
            revoked_at=token.revoked_at,
            rate=token.rate,
            requests=0 if use is None else use.requests,
            last_used_at=None if use is None else use.last_at,
        )


def check_role(role: object) -> str:
    """Return a role if it is one.

    Raises:
        DataError: If it is not, with the near match.
    """
    if not isinstance(role, str) or role not in ROLES:
        raise DataError(f"{role!r} is not a role", hint=near(str(role)[:100], ROLES))
    return role


def _digest_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _holding(tx: Transaction, name: str, now: datetime) -> builtins.list[Token]:
    return [one for one in tx.list(Token, where={"name": name}) if _state(one, now) == "active"]


def _state(token: Token, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "active"


def _until(now: datetime, expires: str | timedelta | None) -> datetime | None:
    if expires is None:
        return None
    micros = parse_duration(expires, name="expires")
    if micros <= 0:
        raise DataError(f"expires={expires!r} is no time at all", hint="use a duration such as '90d'")
    try:
        return now + timedelta(microseconds=micros)
    except OverflowError as error:
        raise DataError(
            f"expires={expires!r} is beyond the year 9999", hint="use None, or a duration such as '90d'"
        ) from error


def _rate(rate: float | None) -> float | None:
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate) or rate <= 0:
        raise DataError(f"rate={rate!r} is not a number of requests a second", hint="use a number above 0, such as 20")
    return float(rate)
