"""Logged and registered models of a tracking server, and files that it gives out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, unquote, urlparse

from tinymlops.carry.carried import CarriedFile
from tinymlops.carry.mlflow.raw import model_of, name_of, version_of
from tinymlops.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tinymlops.carry.carried import CarriedModel, CarriedName
    from tinymlops.carry.mlflow.asking import Asking

__all__ = ["Fetched", "logged_models", "pairs", "registered_names"]

_FEW, _PAGE, _DEEPEST = 50, 1_000, 50
_SERVED, _FILES = "mlflow-artifacts", "api/2.0/mlflow-artifacts/artifacts"
_STATUSES = {"LOGGED_MODEL_PENDING": 1, "LOGGED_MODEL_READY": 2, "LOGGED_MODEL_UPLOAD_FAILED": 3}


class Fetched:
    """The content of a file of a server, fetched when it is wanted.

    Args:
        asking: The server.
        path: Below its address.
        query: What is asked for.
        size: As the server said.
    """

    is_far = True

    def __init__(self, asking: Asking, path: str, query: Mapping[str, str], size: int | None) -> None:
        self._asking, self._path, self._query = asking, path, query
        self.bytes = size

    def write_to(self, stream: BinaryIO) -> None:
        """Write it to a stream."""
        self._asking.download(self._path, self._query, stream, self.bytes)


def logged_models(asking: Asking, experiments: Sequence[str]) -> list[CarriedModel]:
    """Return the logged models of some experiments, the oldest first; none of a server before MLflow 3."""
    query = {"experiment_ids": list(experiments), "max_results": _FEW}
    try:
        rows = list(asking.pages("POST", "logged-models/search", "models", query))
    except (DataError, NotFoundError):
        return []
    models = []
    for row in rows:
        info, left_out = row["info"], list[str]()
        address = urlparse(info.get("artifact_uri") or "")
        if address.scheme != _SERVED:
            left_out.append(f"its files are in {info.get('artifact_uri')}, which the server does not give out")
        root = unquote(address.path).strip("/")
        files = list(_files(asking, root, "", left_out, _DEEPEST)) if address.scheme == _SERVED else []
        plain = {**info, "status": _STATUSES.get(str(info.get("status")), info.get("status"))}
        params, tags = pairs(row.get("data", {}).get("params")), pairs(info.get("tags"))
        models.append(model_of(plain, files, left_out, params=params, tags=tags))
    return sorted(models, key=lambda one: (one.created_at, one.id))


def registered_names(asking: Asking) -> list[CarriedName]:
    """Return the registered names with their versions, tags and aliases."""
    versions = defaultdict(list)
    try:
        rows = list(asking.pages("GET", "registered-models/search", "registered_models", {"max_results": _PAGE}))
        for one in asking.pages("GET", "model-versions/search", "model_versions", {"max_results": _PAGE}):
            versions[one["name"]].append(version_of(one, pairs(one.get("tags"))))
    except (DataError, NotFoundError):  # a tracking server without a registry
        return []
    return [
        name_of(
            row,
            sorted(versions[row["name"]], key=lambda one: one.version),
            aliases={one["alias"]: int(one["version"]) for one in row.get("aliases", [])},
            tags=pairs(row.get("tags")),
        )
        for row in rows
    ]


def pairs(rows: list[dict[str, str]] | None) -> dict[str, str]:
    """Return what MLflow spells as a list of key and value."""
    return {row["key"]: row.get("value", "") for row in rows or []}


def _files(asking: Asking, root: str, below: str, left_out: list[str], deep: int) -> Iterator[CarriedFile]:
    try:
        entries: list[dict[str, Any]] = asking.get(_FILES, {"path": f"{root}/{below}".rstrip("/")}, api="").get(
            "files", []
        )
    except (DataError, NotFoundError) as error:
        left_out.append(f"{below or 'its files'}: the server cannot list them ({error.message})")
        return
    for entry in entries:
        name = str(entry["path"])
        inside = f"{below}/{name}" if below else name
        if "/" in name or name in ("", ".", "..") or not deep:
            left_out.append(f"{inside!r}: the server lists it where it cannot be")
        elif entry.get("is_dir"):
            yield from _files(asking, root, inside, left_out, deep - 1)
        else:
            size = entry.get("file_size")
            path = quote(f"{_FILES}/{root}/{inside}")
            yield CarriedFile(name=inside, content=Fetched(asking, path, {}, None if size is None else int(size)))
