"""What clients of MLflow send, a Struct for each body; the names are theirs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

__all__ = [
    "Aliased",
    "ArtifactUpload",
    "CreateExperiment",
    "CreateLoggedModel",
    "CreateModelVersion",
    "CreateRegisteredModel",
    "CreateRun",
    "DatasetSent",
    "ExperimentId",
    "ExperimentTag",
    "FinalizeLoggedModel",
    "LatestVersions",
    "LogBatch",
    "LogInputs",
    "LogLoggedModelParams",
    "LogMetric",
    "LogModel",
    "LogOutputs",
    "LogParam",
    "MetricSent",
    "ModelId",
    "Named",
    "NamedTag",
    "NamedVersion",
    "Pair",
    "RenameModel",
    "RunId",
    "SearchDatasets",
    "SearchExperiments",
    "SearchLoggedModels",
    "SearchRuns",
    "SetLoggedModelTags",
    "TagOfRun",
    "Transition",
    "UpdateExperiment",
    "UpdateModel",
    "UpdateRun",
    "UpdateVersion",
    "VersionTag",
]

Int = int | Annotated[str, Meta(pattern=r"^-?[0-9]{1,19}$")]
"""Protobuf's JSON writes 64-bit integers as text, MLflow's client as numbers."""
Number = float | Annotated[str, Meta(pattern=r"^(NaN|-?Infinity|nan|-?inf)$")]
Text = Annotated[str, Meta(max_length=1_000_000)]
Key = Annotated[str, Meta(max_length=1_000)]
Id = Annotated[str, Meta(max_length=100)]
Ids = Annotated[list[Id], Meta(max_length=10_000)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request: a field that it does not know is a mistake, not something to pass over."""


class Pair(_Body, frozen=True, kw_only=True):
    """A param or a tag."""

    key: Key
    value: Text = ""


Pairs = Annotated[list[Pair], Meta(max_length=1_000)]


class ExperimentId(_Body, frozen=True, kw_only=True):
    """Of `experiments/delete` and `experiments/restore`."""

    experiment_id: Id


class CreateExperiment(_Body, frozen=True, kw_only=True):
    """Of `experiments/create`."""

    name: Key
    artifact_location: Text = ""
    tags: Pairs = []


class UpdateExperiment(_Body, frozen=True, kw_only=True):
    """Of `experiments/update`."""

    experiment_id: Id
    new_name: Key | None = None


class ExperimentTag(_Body, frozen=True, kw_only=True):
    """Of `experiments/set-experiment-tag` and `experiments/delete-experiment-tag`."""

    experiment_id: Id
    key: Key
    value: Text = ""


class SearchExperiments(_Body, frozen=True, kw_only=True):
    """Of `experiments/search`."""

    max_results: Int = 1_000
    page_token: Key = ""
    filter: Text = ""
    order_by: list[Key] = []
    view_type: Id = "ACTIVE_ONLY"


class RunId(_Body, frozen=True, kw_only=True):
    """Of `runs/delete` and `runs/restore`."""

    run_id: Id


class CreateRun(_Body, frozen=True, kw_only=True):
    """Of `runs/create`."""

    experiment_id: Id = "0"
    user_id: Key = ""
    run_name: Key = ""
    start_time: Int | None = None
    tags: Pairs = []


class UpdateRun(_Body, frozen=True, kw_only=True):
    """Of `runs/update`."""

    run_id: Id = ""
    run_uuid: Id = ""
    status: Id | None = None
    end_time: Int | None = None
    run_name: Key | None = None


class TagOfRun(_Body, frozen=True, kw_only=True):
    """Of `runs/set-tag` and `runs/delete-tag`."""

    run_id: Id = ""
    run_uuid: Id = ""
    key: Key
    value: Text = ""


class LogParam(_Body, frozen=True, kw_only=True):
    """Of `runs/log-parameter`."""

    run_id: Id = ""
    run_uuid: Id = ""
    key: Key
    value: Text = ""


class MetricSent(_Body, frozen=True, kw_only=True):
    """One point."""

    key: Key
    value: Number
    timestamp: Int
    step: Int = 0
    model_id: Id = ""
    dataset_name: Key = ""
    dataset_digest: Key = ""
    run_id: Id = ""


class LogMetric(MetricSent, frozen=True, kw_only=True):
    """Of `runs/log-metric`."""

    run_uuid: Id = ""


class LogBatch(_Body, frozen=True, kw_only=True):
    """Of `runs/log-batch`."""

    run_id: Id
    metrics: Annotated[list[MetricSent], Meta(max_length=10_000)] = []
    params: Pairs = []
    tags: Pairs = []


class LogModel(_Body, frozen=True, kw_only=True):
    """Of `runs/log-model`."""

    run_id: Id
    model_json: Text


class DatasetFields(_Body, frozen=True, kw_only=True):
    """What a run reads."""

    name: Key
    digest: Key
    source_type: Key = ""
    source: Text = ""
    schema: Text = ""
    profile: Annotated[str, Meta(max_length=8_000_000)] = ""


class DatasetSent(_Body, frozen=True, kw_only=True):
    """A dataset and what it is read for."""

    dataset: DatasetFields
    tags: Pairs = []


class ModelId(_Body, frozen=True, kw_only=True):
    """A logged model."""

    model_id: Id
    step: Int = 0


class LogInputs(_Body, frozen=True, kw_only=True):
    """Of `runs/log-inputs`."""

    run_id: Id
    datasets: Annotated[list[DatasetSent], Meta(max_length=1_000)] = []
    models: Annotated[list[ModelId], Meta(max_length=1_000)] = []


class LogOutputs(_Body, frozen=True, kw_only=True):
    """Of `runs/outputs`."""

    run_id: Id
    models: Annotated[list[ModelId], Meta(max_length=1_000)] = []


class SearchRuns(_Body, frozen=True, kw_only=True):
    """Of `runs/search`."""

    experiment_ids: Ids = []
    filter: Text = ""
    run_view_type: Id = "ACTIVE_ONLY"
    max_results: Int = 1_000
    order_by: list[Key] = []
    page_token: Key = ""


class SearchDatasets(_Body, frozen=True, kw_only=True):
    """Of `experiments/search-datasets`."""

    experiment_ids: Ids = []


class CreateLoggedModel(_Body, frozen=True, kw_only=True):
    """Of `logged-models`."""

    experiment_id: Id = "0"
    name: Key = ""
    model_type: Key = ""
    source_run_id: Id = ""
    params: Pairs = []
    tags: Pairs = []


class FinalizeLoggedModel(_Body, frozen=True, kw_only=True):
    """Of `PATCH logged-models/{model_id}`."""

    model_id: Id = ""
    status: Id


class SetLoggedModelTags(_Body, frozen=True, kw_only=True):
    """Of `logged-models/{model_id}/tags`."""

    model_id: Id = ""
    tags: Pairs


class LogLoggedModelParams(_Body, frozen=True, kw_only=True):
    """Of `logged-models/{model_id}/params`."""

    model_id: Id = ""
    params: Pairs


class SearchLoggedModels(_Body, frozen=True, kw_only=True):
    """Of `logged-models/search`."""

    experiment_ids: Ids = []
    filter: Text = ""
    datasets: list[dict[str, str]] = []
    max_results: Int = 100
    order_by: list[dict[str, Any]] = []
    page_token: Key = ""


class CreateRegisteredModel(_Body, frozen=True, kw_only=True):
    """Of `registered-models/create`."""

    name: Key
    tags: Pairs = []
    description: Text = ""
    deployment_job_id: Key = ""


class RenameModel(_Body, frozen=True, kw_only=True):
    """Of `registered-models/rename`."""

    name: Key
    new_name: Key


class UpdateModel(_Body, frozen=True, kw_only=True):
    """Of `registered-models/update`."""

    name: Key
    description: Text = ""
    deployment_job_id: Key = ""


class Named(_Body, frozen=True, kw_only=True):
    """Of `registered-models/delete`."""

    name: Key


class NamedTag(_Body, frozen=True, kw_only=True):
    """Of `registered-models/set-tag` and `delete-tag`."""

    name: Key
    key: Key
    value: Text = ""


class Aliased(_Body, frozen=True, kw_only=True):
    """Of `registered-models/alias`."""

    name: Key
    alias: Key
    version: Int | None = None


class LatestVersions(_Body, frozen=True, kw_only=True):
    """Of `registered-models/get-latest-versions`."""

    name: Key
    stages: list[Id] = []


class CreateModelVersion(_Body, frozen=True, kw_only=True):
    """Of `model-versions/create`."""

    name: Key
    source: Text = ""
    run_id: Id = ""
    tags: Pairs = []
    run_link: Text = ""
    description: Text = ""
    model_id: Id = ""


class NamedVersion(_Body, frozen=True, kw_only=True):
    """Of `model-versions/delete`."""

    name: Key
    version: Int


class UpdateVersion(NamedVersion, frozen=True, kw_only=True):
    """Of `model-versions/update`."""

    description: Text = ""


class VersionTag(NamedVersion, frozen=True, kw_only=True):
    """Of `model-versions/set-tag` and `delete-tag`."""

    key: Key
    value: Text = ""


class Transition(NamedVersion, frozen=True, kw_only=True):
    """Of `model-versions/transition-stage`."""

    stage: Id
    archive_existing_versions: bool = False


class ArtifactUpload(_Body, frozen=True, kw_only=True):
    """Of the multipart uploads, which are refused."""

    path: Text = ""
    num_parts: Int = 0
    upload_id: Text = ""
    parts: list[dict[str, Any]] = []
