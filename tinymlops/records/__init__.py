"""What tinymlops stores: one Struct per record, the same in SQLite, over HTTP, in files and in Python.

`TABLES` lists every record that has a table. `doctor`, `gc`, `backup`, `restore` and `sql` iterate over it and use what
each record declares; nothing else enumerates tables.
"""

from __future__ import annotations

from tinymlops.records.accesses import Access
from tinymlops.records.arrivals import ArrivalLag
from tinymlops.records.audit import AuditEntry, AuditHead
from tinymlops.records.checks import CheckResult, Quarantine
from tinymlops.records.connections import SourceCursor
from tinymlops.records.counters import Counter
from tinymlops.records.datasets import Dataset, DatasetPart
from tinymlops.records.definitions import Definition, Mark, Note
from tinymlops.records.ingestions import FailedIngest, Ingestion
from tinymlops.records.jobs import JobAttempt, JobLog, JobRun, JobState, JobUpstream
from tinymlops.records.metrics import Metric, MetricChunk, MetricPyramid, MetricSeries, MetricSummary
from tinymlops.records.models import (
    Evaluation,
    FeatureField,
    LoggedModel,
    ModelAlias,
    ModelVersion,
    RequestField,
    Signature,
)
from tinymlops.records.monitor_reports import KeptMonitorReport
from tinymlops.records.opaque import OpaqueFile, OpaqueModel, OpaqueVersion, RegisteredModel, RunModel
from tinymlops.records.outbox import OutboxMessage
from tinymlops.records.page_sessions import PageSession
from tinymlops.records.predictions import Outcome, Prediction
from tinymlops.records.pushes import MovedEvent, PushBatch, PushedRow
from tinymlops.records.readers import Reader
from tinymlops.records.record import Record, Scalar
from tinymlops.records.runs import Artifact, ConsoleText, DeletedRun, Experiment, Run, RunInput, RunRow
from tinymlops.records.salts import Salt
from tinymlops.records.saved_queries import SavedQuery
from tinymlops.records.segments import Segment
from tinymlops.records.sinks import SinkState
from tinymlops.records.sources import Generation, RenamedSource, Schema, SourceState
from tinymlops.records.statistics import ColumnStatistics
from tinymlops.records.streams import RefusedLine, StreamPosition
from tinymlops.records.tokens import Token, TokenUse
from tinymlops.records.training_sets import TrainingSetBuild
from tinymlops.records.vectors import EmbeddingFit, EmbeddingState, FittedModel, VectorFailure, VectorFile, VectorIndex

__all__ = [
    "TABLES",
    "Access",
    "ArrivalLag",
    "Artifact",
    "AuditEntry",
    "AuditHead",
    "CheckResult",
    "ColumnStatistics",
    "ConsoleText",
    "Counter",
    "Dataset",
    "DatasetPart",
    "Definition",
    "DeletedRun",
    "EmbeddingFit",
    "EmbeddingState",
    "Evaluation",
    "Experiment",
    "FailedIngest",
    "FeatureField",
    "FittedModel",
    "Generation",
    "Ingestion",
    "JobAttempt",
    "JobLog",
    "JobRun",
    "JobState",
    "JobUpstream",
    "KeptMonitorReport",
    "LoggedModel",
    "Mark",
    "Metric",
    "MetricChunk",
    "MetricPyramid",
    "MetricSeries",
    "MetricSummary",
    "ModelAlias",
    "ModelVersion",
    "MovedEvent",
    "Note",
    "OpaqueFile",
    "OpaqueModel",
    "OpaqueVersion",
    "OutboxMessage",
    "Outcome",
    "PageSession",
    "Prediction",
    "PushBatch",
    "PushedRow",
    "Quarantine",
    "Reader",
    "Record",
    "RefusedLine",
    "RegisteredModel",
    "RenamedSource",
    "RequestField",
    "Run",
    "RunInput",
    "RunModel",
    "RunRow",
    "Salt",
    "SavedQuery",
    "Scalar",
    "Schema",
    "Segment",
    "Signature",
    "SinkState",
    "SourceCursor",
    "SourceState",
    "StreamPosition",
    "Token",
    "TokenUse",
    "TrainingSetBuild",
    "VectorFailure",
    "VectorFile",
    "VectorIndex",
]

TABLES: tuple[type[Record], ...] = (
    Counter,
    Definition,
    Segment,
    SourceState,
    Ingestion,
    PushedRow,
    MovedEvent,
    PushBatch,
    TrainingSetBuild,
    RunRow,
    Artifact,
    LoggedModel,
    ModelVersion,
    ModelAlias,
    Prediction,
    Outcome,
    AuditEntry,
    Generation,
    RenamedSource,
    Note,
    Mark,
    Reader,
    CheckResult,
    Quarantine,
    Dataset,
    DatasetPart,
    ColumnStatistics,
    FailedIngest,
    Token,
    TokenUse,
    Access,
    Salt,
    Experiment,
    DeletedRun,
    RunInput,
    ConsoleText,
    MetricChunk,
    MetricSeries,
    MetricPyramid,
    MetricSummary,
    OpaqueModel,
    OpaqueFile,
    RegisteredModel,
    OpaqueVersion,
    RunModel,
    StreamPosition,
    RefusedLine,
    ArrivalLag,
    JobState,
    JobRun,
    JobAttempt,
    JobLog,
    OutboxMessage,
    SourceCursor,
    PageSession,
    JobUpstream,
    SinkState,
    VectorFile,
    EmbeddingState,
    VectorFailure,
    FittedModel,
    VectorIndex,
    KeptMonitorReport,
    EmbeddingFit,
    SavedQuery,
)
"""Every record, in the order in which the migrations create their tables."""
