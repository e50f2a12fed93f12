"""Datasets: features of a spine as they were saved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["Dataset", "DatasetPart"]


class Dataset(Record, frozen=True, kw_only=True):
    """A spine with its features as it was saved once: enough to read it, and to compute it again."""

    table: ClassVar[str] = "datasets"
    key: ClassVar[tuple[str, ...]] = ("id",)
    files: ClassVar[Mapping[str, str]] = {"manifest_sha256": "manifest of dataset {id}"}
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "datasets"
    search: ClassVar[tuple[str, ...]] = ("name",)

    id: str
    name: str
    sequence: int
    """`Q`: its features read only rows with a sequence up to this one."""
    fingerprint: str
    """SHA-256 over schema and values in row order."""
    manifest_sha256: str
    rows: int
    features: int
    bytes: int
    """Of its files."""
    created_at: datetime


class DatasetPart(Record, frozen=True, kw_only=True):
    """One file of a dataset: some rows, one after the other."""

    table: ClassVar[str] = "dataset_parts"
    key: ClassVar[tuple[str, ...]] = ("dataset", "number")
    files: ClassVar[Mapping[str, str]] = {"sha256": "part {number} of dataset {dataset}"}
    small: ClassVar[bool] = True

    dataset: str
    number: int
    """Its place, from 0."""
    sha256: str
    rows: int
