"""`tinymlops.toml`: the few settings of a project, found in the current directory or one above it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from tinymlops.errors import AccessError, DefinitionError, NotFoundError, near
from tinymlops.owners import own_users, writers
from tinymlops.times import parse_duration

__all__ = [
    "FILE_NAME",
    "AlertsConfig",
    "Allowed",
    "Config",
    "ConnectionConfig",
    "JobsConfig",
    "LintConfig",
    "SqlConfig",
    "find_config",
    "listing",
    "read_config",
]

FILE_NAME = "tinymlops.toml"
_REPOSITORY = (".git", ".hg", ".jj")
_CONNECTION = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_PASSWORD = re.compile(r"://[^/?#@]*:[^/?#]*@|[?&]password=")


class SqlConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[sql]`: the limits of one SELECT, which is ended with an error beyond them."""

    max_rows: int = 10_000_000
    """The most rows of a result of `ws.sql`."""
    timeout: str = "5m"
    """The time limit of `ws.sql`, and of `apply` when it asks for columns."""
    ingest_timeout: str = "6h"
    """The time limit of the SQL of a source or transformation when it is ingested or rebuilt."""


class Allowed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finding of the linter that the project lives with."""

    finding: str
    """Its name, such as "auc:delays.taxi"."""
    reason: str


class LintConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[lint]`: what the leak linter is told."""

    allow: tuple[Allowed, ...] = ()
    """Findings that are no errors here, each with the reason."""


class ConnectionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table `[connections.NAME]`: a database that sources read."""

    url: str
    """"env:SHOP_URL" or "file:secrets/shop": where its URL is. A URL without a password may stand here itself."""


class JobsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[jobs]`: how jobs are run."""

    pools: dict[str, int] = {}  # msgspec copies an empty default
    """How many jobs with `pool="NAME"` run at once, by that name."""


class AlertsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[alerts]`: the e-mail that tells of failed jobs."""

    smtp: str
    """"env:SMTP_URL" or "file:secrets/smtp": where the mail server's URL is. One without a password may stand here itself."""
    sender: str = msgspec.field(name="from")
    """The address that it comes from."""
    to: tuple[str, ...]
    """The addresses that it goes to."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings in `tinymlops.toml`; relative paths start at its directory."""

    workspace: str | None = None
    """The workspace's directory, such as "flights.tm"."""
    modules: tuple[str, ...] = ()
    """Python modules with the project's definitions, imported in this order."""
    data_dirs: tuple[str, ...] = ()
    """Directories beside the file's own whose files SQL may read."""
    trusted_types: tuple[str, ...] = ()
    """Types in model files that you reviewed yourself, by full name, in addition to those that tinymlops trusts.

    They are set here because a workspace may come from others: what comes with a model never decides whether it is loaded.
    """
    threads: int | None = None
    """The most threads of each query of DuckDB, and of our kernels; by default one per core.

    The kernels have one pool per process: the setting of the workspace connected last holds for all of it, and a
    workspace without the setting changes nothing. Polars is not capped: it reads POLARS_MAX_THREADS from the environment
    once, when it is imported, and cannot be capped later. `tinymlops serve` sets that before the import; in your own
    program or notebook, set it before anything imports Polars.
    """
    sql: SqlConfig = SqlConfig()
    """The limits of one SELECT."""
    lint: LintConfig = LintConfig()
    """The settings of the leak linter."""
    jobs: JobsConfig = JobsConfig()
    """How jobs are run."""
    connections: dict[str, ConnectionConfig] = {}  # msgspec copies an empty default
    """The databases that sources read, by the name that `source(connection=...)` says."""
    alerts: AlertsConfig | None = None
    """The e-mail that tells of failed jobs; without it there is none."""


def read_config(root: Path) -> Config:
    """Read the settings of a directory; one without `tinymlops.toml` has the defaults.

    Raises:
        DefinitionError: If the file holds something that is not a setting.
        AccessError: If it, or its directory, may not be read.
    """
    path = root / FILE_NAME
    content = _content(path)
    if content is None:
        return Config()
    try:
        config = msgspec.toml.decode(content, type=Config)
    except (msgspec.MsgspecError, ValueError) as error:
        place = str(error).rpartition("`$")[2].rstrip("`")
        known = _settings_at(place)
        unknown = str(error).partition("unknown field `")[2].partition("`")[0]
        raise DefinitionError(
            f"{path} cannot be used: {error}",
            hint=near(unknown, known) if unknown else f"it may say {', '.join(known)}",
        ) from error
    _check(config, path)
    return config


def _settings_at(place: str) -> tuple[str, ...]:
    """Return the names of the settings that stand at a place of the file, as an error of msgspec names it."""
    if place.startswith(".connections"):
        return ConnectionConfig.__struct_fields__
    if place == ".alerts":
        return AlertsConfig.__struct_encode_fields__
    tables: dict[str, type[msgspec.Struct]] = {".sql": SqlConfig, ".lint": LintConfig, ".jobs": JobsConfig}
    if place in tables:
        return tables[place].__struct_fields__
    return Allowed.__struct_fields__ if ".allow" in place else Config.__struct_fields__


def find_config(start: Path) -> Path:
    """Return the directory of the nearest `tinymlops.toml`, from a directory upwards.

    The walk ends at the home directory, at the root of a repository, or at the root of the file system, and enters no directory
    above the home directory. Its modules will be run, so the file must be the user's own, or the superuser's.

    Raises:
        NotFoundError: If there is none up to there.
        AccessError: If another user owns it or its directory, or may write to one of them.
    """
    start = start.resolve()
    for directory in _upwards(start):
        if (directory / FILE_NAME).is_file():
            _require_own(directory / FILE_NAME)
            return directory
    raise NotFoundError(
        f"there is no {FILE_NAME} in {start} or above it",
        hint="go to the project's directory, or make one: tinymlops init",
    )


def listing(trusted: Iterable[str]) -> str:
    """Write the line of `tinymlops.toml` that trusts these types."""
    names = ", ".join(f'"{name}"' for name in trusted)
    return f"trusted_types = [{names}]"


def _upwards(start: Path) -> Iterator[Path]:
    """Yield a directory and those above it whose files may apply to it: none that the home directory is in."""
    home = _home()
    for directory in (start, *start.parents):
        if home is not None and directory in home.parents:
            return
        yield directory
        if directory == home or any((directory / name).exists() for name in _REPOSITORY):
            return


def _home() -> Path | None:
    """Return the user's home directory; None if there is none."""
    named = os.path.expanduser("~")
    return Path(os.path.realpath(named)) if os.path.isabs(named) else None


def _require_own(path: Path) -> None:
    """Refuse a file that another user may have left there."""
    real = Path(os.path.realpath(path))
    looked_at = [(path, path.lstat()), *((place, place.stat()) for place in (path, path.parent, real.parent))]
    for place, status in looked_at:
        if status.st_uid not in own_users():
            why = f"belongs to another user (uid {status.st_uid})"
        elif writing := writers(status):
            why = f"may be written to by {writing}"
        else:
            continue
        raise AccessError(
            f"{path} is not used, because {place} {why}, and the modules that it lists would be run",
            hint=f"if you trust it, name it: --project {path.parent}",
        )


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except PermissionError as error:
        raise AccessError(
            f"{path} cannot be read by this user",
            hint="make it and its directory readable, or use a directory of your own",
        ) from error


def _check(config: Config, path: Path) -> None:
    if config.workspace == "":
        raise DefinitionError(f"{path} has an empty workspace", hint='name a directory, such as workspace = "shop.tm"')
    if config.threads is not None and config.threads < 1:
        raise DefinitionError(f"{path} says threads = {config.threads}", hint="use 1 or more, or leave it out")
    if config.sql.max_rows < 1:
        raise DefinitionError(f"{path} says max_rows = {config.sql.max_rows}", hint="use 1 or more, or leave it out")
    for name, size in config.jobs.pools.items():
        if size < 1:
            raise DefinitionError(f"{path} says {name} = {size} in [jobs.pools]", hint="use 1 or more")
    for one in config.lint.allow:
        if not one.reason.strip():
            raise DefinitionError(
                f"{path} allows the finding {one.finding!r} without a reason",
                hint='say why it is no leak: allow = [{finding = "auc:...", reason = "..."}]',
            )
    for name, connection in config.connections.items():
        _check_connection(name, connection, path)
    if config.alerts is not None:
        _check_alerts(config.alerts, path)
    for name in ("timeout", "ingest_timeout"):
        try:
            parse_duration(getattr(config.sql, name), name=name)
        except DefinitionError as error:
            raise DefinitionError(f"{path} cannot be used: {error.message}", hint=error.hint) from error
    for module in config.modules:
        if not all(part.isidentifier() for part in module.split(".")) or module.endswith(".py"):
            raise DefinitionError(
                f"{path} lists {module!r}, which is not a module name",
                hint='write it as an import does, such as modules = ["features"] or ["shop.features"]',
            )


def _check_connection(name: str, connection: ConnectionConfig, path: Path) -> None:
    if not _CONNECTION.fullmatch(name):
        raise DefinitionError(
            f"{path} has a connection {name!r}",
            hint="name it by lowercase letters, digits, _ and -: [connections.shop]",
        )
    if _PASSWORD.search(connection.url):
        raise DefinitionError(
            f"{path} holds the password of connection {name!r}, and is a file that people share",
            hint=f'write url = "env:{name.upper()}_URL" and set the variable, or url = "file:..." with a file of mode 0600',
        )


def _check_alerts(alerts: AlertsConfig, path: Path) -> None:
    if _PASSWORD.search(alerts.smtp):
        raise DefinitionError(
            f"{path} holds the password of the mail server, and is a file that people share",
            hint='write smtp = "env:SMTP_URL" and set the variable, or smtp = "file:..." with a file of mode 0600',
        )
    if not alerts.to:
        raise DefinitionError(f"{path} sends alerts to nobody", hint='write to = ["ana@example.com"]')
    for mailbox in (alerts.sender, *alerts.to):
        if not _MAILBOX.fullmatch(mailbox):
            raise DefinitionError(
                f"{path} has an e-mail address {mailbox[:100]!r}",
                hint='write it alone and in ASCII, such as "ana@example.com"; of another domain the form with xn--',
            )
