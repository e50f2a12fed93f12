"""tinymlops: the whole machine-learning workflow of a small team in one process on one machine.

The public names are loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tinymlops import _forks as _forks

if TYPE_CHECKING:
    from tinymlops._status import Status
    from tinymlops.client import Client
    from tinymlops.errors import (
        AccessError,
        ConflictError,
        DataError,
        DefinitionError,
        IngestError,
        IntegrityError,
        LeakageError,
        MissingDependencyError,
        NotFoundError,
        TinyMLOpsError,
        UnavailableError,
        UntrustedModelError,
    )
    from tinymlops.features.definitions.expressions import Features, Label, Rows, col
    from tinymlops.features.definitions.nouns import Inputs, Schema
    from tinymlops.features.definitions.project import Project
    from tinymlops.features.definitions.rules import (
        between,
        fresh,
        matches,
        not_null,
        one_of,
        same_distribution,
        unique,
        volume,
    )
    from tinymlops.features.history.dataset_rows import SavedDataset
    from tinymlops.features.history.training_sets import TrainingData
    from tinymlops.features.join.point_in_time import point_in_time_join
    from tinymlops.features.law.lineage_answer import Lineage
    from tinymlops.features.online.reading import OnlineFeatures
    from tinymlops.jobs.context import JobContext
    from tinymlops.monitoring.report import MonitorReport
    from tinymlops.server import create_app, serve
    from tinymlops.serving.model import Model
    from tinymlops.serving.prediction import Predictions
    from tinymlops.times import ReplayClock
    from tinymlops.training.ablation.report import Ablation
    from tinymlops.training.backtest import backtest
    from tinymlops.workspace import Workspace, connect, restore

__all__ = [
    "Ablation",
    "AccessError",
    "Client",
    "ConflictError",
    "DataError",
    "DefinitionError",
    "Features",
    "IngestError",
    "Inputs",
    "IntegrityError",
    "JobContext",
    "Label",
    "LeakageError",
    "Lineage",
    "MissingDependencyError",
    "Model",
    "MonitorReport",
    "NotFoundError",
    "OnlineFeatures",
    "Predictions",
    "Project",
    "ReplayClock",
    "Rows",
    "SavedDataset",
    "Schema",
    "Status",
    "TinyMLOpsError",
    "TrainingData",
    "UnavailableError",
    "UntrustedModelError",
    "Workspace",
    "__version__",
    "backtest",
    "between",
    "col",
    "connect",
    "create_app",
    "fresh",
    "matches",
    "not_null",
    "one_of",
    "point_in_time_join",
    "restore",
    "same_distribution",
    "serve",
    "unique",
    "volume",
]

__version__ = "0.1.0"

_HOMES = {
    "Ablation": "tinymlops.training.ablation.report",
    "AccessError": "tinymlops.errors",
    "Client": "tinymlops.client",
    "ConflictError": "tinymlops.errors",
    "DataError": "tinymlops.errors",
    "DefinitionError": "tinymlops.errors",
    "Features": "tinymlops.features.definitions.expressions",
    "IngestError": "tinymlops.errors",
    "Inputs": "tinymlops.features.definitions.nouns",
    "IntegrityError": "tinymlops.errors",
    "JobContext": "tinymlops.jobs.context",
    "Label": "tinymlops.features.definitions.expressions",
    "LeakageError": "tinymlops.errors",
    "MissingDependencyError": "tinymlops.errors",
    "Model": "tinymlops.serving.model",
    "Lineage": "tinymlops.features.law.lineage_answer",
    "MonitorReport": "tinymlops.monitoring.report",
    "NotFoundError": "tinymlops.errors",
    "OnlineFeatures": "tinymlops.features.online.reading",
    "Predictions": "tinymlops.serving.prediction",
    "Project": "tinymlops.features.definitions.project",
    "ReplayClock": "tinymlops.times",
    "Rows": "tinymlops.features.definitions.expressions",
    "SavedDataset": "tinymlops.features.history.dataset_rows",
    "Schema": "tinymlops.features.definitions.nouns",
    "Status": "tinymlops._status",
    "TinyMLOpsError": "tinymlops.errors",
    "TrainingData": "tinymlops.features.history.training_sets",
    "UnavailableError": "tinymlops.errors",
    "UntrustedModelError": "tinymlops.errors",
    "Workspace": "tinymlops.workspace",
    "backtest": "tinymlops.training.backtest",
    "between": "tinymlops.features.definitions.rules",
    "col": "tinymlops.features.definitions.expressions",
    "connect": "tinymlops.workspace",
    "create_app": "tinymlops.server",
    "fresh": "tinymlops.features.definitions.rules",
    "matches": "tinymlops.features.definitions.rules",
    "not_null": "tinymlops.features.definitions.rules",
    "one_of": "tinymlops.features.definitions.rules",
    "point_in_time_join": "tinymlops.features.join.point_in_time",
    "restore": "tinymlops.workspace",
    "same_distribution": "tinymlops.features.definitions.rules",
    "serve": "tinymlops.server",
    "unique": "tinymlops.features.definitions.rules",
    "volume": "tinymlops.features.definitions.rules",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tinymlops' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
