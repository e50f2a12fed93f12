"""Datasets: features of a spine as they were saved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tinymlops.records.kept_table import KeptTable
from tinymlops.records.record import Record

__all__ = ["Dataset", "DatasetPart"]


class Dataset(KeptTable, frozen=True, kw_only=True):
    """A spine with its features as it was saved once: enough to read it, and to compute it again."""

    table: ClassVar[str] = "datasets"
    files: ClassVar[Mapping[str, str]] = {"manifest_sha256": "manifest of dataset {id}"}
    sql_name: ClassVar[str | None] = "datasets"

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
