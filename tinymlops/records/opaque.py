"""Models that a client of MLflow logs and registers: their files are kept as they came, and never opened here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from tinymlops.records.record import Record

__all__ = ["OpaqueFile", "OpaqueModel", "OpaqueVersion", "RegisteredModel", "RunModel"]


class OpaqueModel(Record, frozen=True, kw_only=True):
    """A logged model of MLflow."""

    table: ClassVar[str] = "opaque_models"
    key: ClassVar[tuple[str, ...]] = ("id",)
    small: ClassVar[bool] = True
    search: ClassVar[tuple[str, ...]] = ("name", "params", "tags")

    id: str
    """`m-` and 32 hexadecimal digits."""
    experiment: int
    name: str
    run: str | None = None
    """Id of the run that logged it."""
    model_type: str = ""
    status: str = "PENDING"
    """In MLflow's words: `PENDING`, `READY` or `UPLOAD_FAILED`."""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: list[dict[str, Any]] = []
    """The last value of each metric and dataset, as MLflow spells it."""
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class OpaqueFile(Record, frozen=True, kw_only=True):
    """A file of a logged model of MLflow."""

    table: ClassVar[str] = "opaque_files"
    key: ClassVar[tuple[str, ...]] = ("model", "name")
    files: ClassVar[Mapping[str, str]] = {"sha256": "file {name} of the opaque model {model}"}
    small: ClassVar[bool] = True

    model: str
    name: str
    """Such as `data/model.skops`: a label, never a path."""
    sha256: str
    bytes: int
    at: datetime


class RegisteredModel(Record, frozen=True, kw_only=True):
    """A name that a client of MLflow registered, with what it wrote about it."""

    table: ClassVar[str] = "registered_models"
    key: ClassVar[tuple[str, ...]] = ("name",)
    small: ClassVar[bool] = True
    search: ClassVar[tuple[str, ...]] = ("title", "description", "tags")

    name: str
    """What it is called here: a slug of the title it was registered by."""
    title: str
    """Its name at the client, word for word; unique."""
    description: str = ""
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    """Alias to version."""
    newest: int = 0
    """The last number that a version had, deleted ones included."""
    created_at: datetime
    updated_at: datetime


class OpaqueVersion(Record, frozen=True, kw_only=True):
    """A registered version of an opaque model."""

    table: ClassVar[str] = "opaque_versions"
    key: ClassVar[tuple[str, ...]] = ("name", "version")
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "opaque_models"
    search: ClassVar[tuple[str, ...]] = ("name", "description", "tags")

    name: str
    version: int
    model: str
    """Id of the `OpaqueModel` whose files it is."""
    source: str
    """Where the client said that it comes from."""
    run: str | None = None
    run_link: str = ""
    description: str = ""
    tags: dict[str, str] = {}
    stage: str = "None"
    """In MLflow's words: `None`, `Staging`, `Production` or `Archived`."""
    actor: str
    registered_at: datetime
    updated_at: datetime


class RunModel(Record, frozen=True, kw_only=True):
    """An opaque model that a run read or made."""

    table: ClassVar[str] = "run_models"
    key: ClassVar[tuple[str, ...]] = ("run", "model", "direction")
    small: ClassVar[bool] = True

    run: str
    model: str
    direction: str
    """`input` or `output`."""
    step: int = 0
