"""`token` and `access`: who may ask the server, and who did."""

from typing import Annotated

import msgspec
import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

__all__ = ["add_to"]

_ROLES = (
    "reader (features), predictor (models), editor (both, and writes), admin, or auditor (who did what, no values)."
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "token", "Tokens: who may ask the server, and for what.")
    command(inner, "list")(list_tokens)
    command(inner)(create)
    command(inner)(revoke)
    command(app)(access)


def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="Who gets it, such as billing: the name in the audit log.")],
    *,
    role: Annotated[str, typer.Option(help=_ROLES, autocompletion=completion.roles)],
    expires: Annotated[str | None, typer.Option(metavar="DURATION", help="How long it holds, such as 90d.")] = None,
    rate: Annotated[float | None, typer.Option(metavar="N", help="The most requests a second.")] = None,
) -> Answer:
    """Issue a token and print it once; from the first on, the server answers nobody without one."""
    tokens = session.workspace.tokens
    is_first = not tokens.any()
    new = tokens.create(name, role, expires=expires, rate=rate)
    until = "until it is revoked" if new.expires_at is None else f"until {new.expires_at:%Y-%m-%d %H:%M} UTC"
    lines = [new.token, f"{new.name} is {new.role}, {until}; this text is shown once and stored nowhere"]
    if is_first:
        lines.append(
            "this is the first token: from now on the server answers nobody without one, except about its health"
        )
    return Answer(new, lines)


def list_tokens(session: Session) -> Answer:
    """List the tokens ever issued, and when each was last used."""
    found = session.workspace.tokens.list()
    rows = [msgspec.structs.asdict(one) for one in found]
    return Answer(found, [Table.of(rows) if rows else "no token was issued: tinymlops token create NAME --role reader"])


def revoke(
    session: Session,
    name: Annotated[str, typer.Argument(help="Whose token.", autocompletion=completion.tokens)],
) -> Answer:
    """End a token: the next request with it is refused."""
    ended = session.workspace.tokens.revoke(name)
    return Answer(ended, [f"the token of {ended.name} is revoked"])


def access(
    session: Session,
    *,
    who: Annotated[str | None, typer.Option(metavar="NAME", help="Only this user or token.")] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="FEATURE", help="Only this view, view:feature or model.", autocompletion=completion.named),
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only from this time on (ISO 8601).")] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
) -> Answer:
    """Show who read which features and asked which models, minute by minute, the newest first."""
    from tinymlops.times import parse_instant

    begin = None if since is None else parse_instant(since, name="since")
    found = session.workspace.access.list(since=begin, who=who, name=name, limit=limit)
    rows = [msgspec.structs.asdict(one) for one in found]
    return Answer(found, [Table.of(rows) if rows else "nothing was read"])
