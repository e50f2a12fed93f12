"""`connect`, and `Workspace`: the state of a project in one directory, with the verbs of `tinymlops/verbs/`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, overload

from tinymlops.errors import DataError
from tinymlops.times import Clock, system_clock
from tinymlops.verbs.carrying import CarryVerbs
from tinymlops.verbs.definitions import DefinitionVerbs
from tinymlops.verbs.experiments import ExperimentVerbs
from tinymlops.verbs.features import FeatureVerbs
from tinymlops.verbs.models import ModelVerbs
from tinymlops.verbs.rows import RowVerbs
from tinymlops.verbs.showing import ShowVerbs
from tinymlops.verbs.upkeep import UpkeepVerbs

if TYPE_CHECKING:
    from tinymlops.client import Client
    from tinymlops.stores.backup import Backup

__all__ = ["Workspace", "connect", "restore"]


@overload
def connect(
    path: str | Path, *, create: bool = ..., clock: Clock = ..., root: str | Path | None = ...
) -> Workspace: ...
@overload
def connect(path: str, *, token: str | None) -> Client: ...
def connect(
    path: str | Path,
    *,
    create: bool = False,
    clock: Clock = system_clock,
    root: str | Path | None = None,
    token: str | None = None,
) -> Workspace | Client:
    """Open a workspace directory; one on a network file system, or that others may read, is warned of once per process.

    With the address of a server, return its client, which has the same words for what the server has.

    Args:
        path: The directory, such as "flights.tm", or "http://host:8000".
        create: Make it if it does not exist.
        clock: The time, as an aware UTC datetime; a `ReplayClock` serves the past as it was.
        root: Where relative paths in SQL start and `tinymlops.toml` is, if any; by default the workspace's parent directory.
        token: For a server: what `tinymlops token create` printed; by default the environment's TINYMLOPS_TOKEN,
            or what is in the private file that TINYMLOPS_TOKEN_FILE names.

    Raises:
        NotFoundError: If it is not a workspace, with the near match.
        AccessError: If it may not be written, or made there, or if other users may write to it.
        DefinitionError: If `tinymlops.toml` cannot be used.
        DataError: If `clock` is not a function, or an option is not one of a server, or of a directory.

    Example:
        >>> import tempfile
        >>> with connect(Path(tempfile.mkdtemp()) / "shop.tm", create=True) as ws:
        ...     ws.catalog
        <catalog: 0 definitions>
    """
    if isinstance(path, str) and path.startswith(("http://", "https://")):
        if create or root is not None or clock is not system_clock:
            raise DataError(
                f"{path} is a server, which has a directory and a clock of its own", hint="pass token= alone"
            )
        from tinymlops.client import Client
        from tinymlops.secrets import read_secret

        secret = None if token is not None else read_secret("TINYMLOPS_TOKEN")
        return Client(path, token=token if secret is None else secret.reveal())
    if token is not None:
        raise DataError(f"{str(path)!r} is a directory, which needs no token", hint='a server begins with "http://"')
    if not callable(clock):
        raise DataError(
            f"clock={clock!r} does not tell the time", hint="leave it out, or pass tm.ReplayClock(time), or a function"
        )
    return Workspace._open(Path(path), create=create, clock=clock, root=root)  # noqa: SLF001


def restore(backup: str | Path, path: str | Path) -> Backup:
    """Make a workspace of a backup, after checking every file of it; if one is missing or damaged, nothing is restored.

    Args:
        backup: The directory that `ws.backup` made.
        path: The workspace's directory, which does not exist yet; it appears complete or not at all.
    """
    from tinymlops.progress import progress
    from tinymlops.registry.scope import system_user
    from tinymlops.stores.backup import read_manifest
    from tinymlops.stores.backup import restore as restored

    source = Path(backup)
    with progress("restoring", read_manifest(source).bytes) as advance:
        return restored(source, Path(path), actor=system_user(), advance=advance)


class Workspace(
    DefinitionVerbs, RowVerbs, FeatureVerbs, ModelVerbs, ExperimentVerbs, CarryVerbs, ShowVerbs, UpkeepVerbs
):
    """A project's state: definitions, history, features, runs, models and predictions. Made by `connect`.

    A context manager. The verbs of the daily path are its methods; the rest lives on what it hands out.

    Attributes:
        catalog: The definitions in force.
        checks: Checks on data: `list`, `results`, `quarantined`, `release`, `drop`, `run`, `infer`.
        runs: Experiment runs: `list`, `get`, `metrics`, `artifacts`, ...
        tokens: Who may ask the server, and for what: `create`, `list`, `revoke`.
        access: Who read which features and asked which models: `list`.
        sinks: Tables in databases of others that rows are written to: `list`, `run`.
        models: Registered models: `versions`, `aliases`, `rollback`, `manifest`, ...
        audit: Who changed what, when: `list`, `head`, `verify`.
        queries: SELECTs that were saved by name: `list`, `get`, `save`, `delete`.
        vectors: Rows by the vectors of their texts: `search`, `follow`, ...
    """
