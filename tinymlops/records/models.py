"""Logged models, registered versions and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

import msgspec

from tinymlops.records.record import Record, Scalar

__all__ = ["Evaluation", "FeatureField", "LoggedModel", "ModelAlias", "ModelVersion", "RequestField", "Signature"]


class FeatureField(msgspec.Struct, frozen=True):
    """One model input: its column name, dtype, where it comes from, and the categories of a string."""

    name: str
    dtype: str
    source: str
    """`view:feature`, `on_demand:feature`, or `request` for a plain spine column."""
    categories: list[str] | None = None


class RequestField(msgspec.Struct, frozen=True):
    """A field that a prediction request must carry: an entity key column or a request field."""

    name: str
    dtype: str
    role: str
    """`key` or `request`."""


class Signature(msgspec.Struct, frozen=True):
    """The inputs and outputs of a model."""

    features: list[FeatureField]
    request: list[RequestField]
    task: str
    """`binary`, `multiclass` or `regression`."""
    classes: list[Scalar] | None = None
    frame: str | None = None
    """The form of the model's input: a `polars` or `pandas` frame, or an `array`. None for models logged before this was
    stored: an array where the model has no column names, else a Polars frame."""


class Evaluation(msgspec.Struct, frozen=True):
    """A model's metrics on rows it was not fitted to, or, marked as such, on its training rows."""

    split: str
    """`test` or `train`."""
    rows: int
    metrics: dict[str, float]


class LoggedModel(Record, frozen=True, kw_only=True):
    """A model that a run logged: its file and everything needed to serve and explain it."""

    table: ClassVar[str] = "logged_models"
    key: ClassVar[tuple[str, ...]] = ("run", "name")
    files: ClassVar[Mapping[str, str]] = {
        "sha256": "model {name} of run {run}",
        "baseline_sha256": "baseline of {name} of run {run}",
    }
    small: ClassVar[bool] = True

    run: str
    name: str
    flavor: str
    sha256: str
    """The hash of the model file."""
    bytes: int
    model_class: str
    signature: Signature
    training_set: str | None = None
    definitions: dict[str, str] = {}
    """`kind:name` to the fingerprint of every definition it depends on."""
    evaluation: Evaluation | None = None
    baseline_sha256: str | None = None
    """Blob with the histogram of each training feature, for drift."""
    trusted_types: list[str] = []
    at: datetime


class ModelVersion(Record, frozen=True, kw_only=True):
    """A registered version of a named model; immutable."""

    table: ClassVar[str] = "model_versions"
    key: ClassVar[tuple[str, ...]] = ("name", "version")
    files: ClassVar[Mapping[str, str]] = {"manifest_sha256": "manifest of {name}:{version}"}
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "models"
    search: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    version: int
    run: str
    logged_name: str
    manifest_sha256: str
    """Blob holding the `LoggedModel`, the run, and every definition in full."""
    registered_at: datetime


class ModelAlias(Record, frozen=True, kw_only=True):
    """A movable name for one version, such as champion."""

    table: ClassVar[str] = "model_aliases"
    key: ClassVar[tuple[str, ...]] = ("name", "alias")
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "model_aliases"

    name: str
    alias: str
    version: int
    previous: int | None = None
    changed_at: datetime
