"""The source of an import, by its kind and where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from tinymlops.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.carry.carried import Source
    from tinymlops.carry.mlflow.raw import Store

__all__ = ["ORIGINS", "source_of"]

ORIGINS = ("mlflow", "neptune", "tensorboard")


def source_of(
    origin: str, where: str | Path, *, files: Sequence[str | Path] = (), experiment: str | None = None
) -> Source:
    """Open the source of an import; its `close` gives back what it holds.

    Args:
        origin: `mlflow`, `neptune` or `tensorboard`.
        where: A file, a directory, or for MLflow the address of a server.
        files: Directories of artifacts, for MLflow, or the one of files, for Neptune, that are not in their usual place.
        experiment: The name of the experiment, for TensorBoard.

    Raises:
        NotFoundError: If there is nothing to import.
        DataError: If it cannot be read.
    """
    folders = [Path(one) for one in files]
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise NotFoundError(f"there is no directory {missing[0]}")
    if origin == "mlflow":
        from tinymlops.carry.mlflow.raw import MlflowSource

        return MlflowSource(_mlflow_store(str(where), folders))
    path = Path(where)
    if not path.is_dir():
        raise NotFoundError(f"there is no directory {path}")
    if origin == "neptune":
        from tinymlops.carry.neptune import NeptuneSource

        return NeptuneSource(path, folders[0] if folders else None)
    if origin == "tensorboard":
        from tinymlops.carry.tensorboard import TensorBoardSource

        return TensorBoardSource(path, experiment)
    raise DataError(
        f"runs cannot be imported from {origin!r}", hint=f"from {', '.join(ORIGINS)}, or a file of export_runs"
    )


def _mlflow_store(where: str, artifacts: Sequence[Path]) -> Store:
    scheme = urlparse(where).scheme.lower()
    if scheme in ("http", "https"):
        from tinymlops.carry.mlflow.server import ServerStore

        return ServerStore(where)
    if scheme and scheme not in ("file", "sqlite") and "://" in where:
        raise DataError(
            f"runs cannot be read from {scheme}://", hint="serve it with `mlflow server`, and name its http address"
        )
    return _local_store(_path_of(where, scheme), artifacts)


def _path_of(where: str, scheme: str) -> Path:
    if scheme == "file":
        return Path(unquote(urlparse(where).path))
    if scheme == "sqlite":  # three slashes before a relative path, four before an absolute one
        return Path(unquote(where.removeprefix("sqlite:///").split("?")[0]))
    return Path(where)


def _local_store(path: Path, artifacts: Sequence[Path]) -> Store:
    from tinymlops.carry.mlflow.database import DatabaseStore
    from tinymlops.carry.mlflow.directory import DirectoryStore

    if path.is_dir() and (path / "mlflow.db").is_file():
        return DatabaseStore(path / "mlflow.db", artifacts)
    if path.is_dir():
        return DirectoryStore(path / "mlruns" if (path / "mlruns").is_dir() else path, artifacts)
    return DatabaseStore(path, artifacts)
