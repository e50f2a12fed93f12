"""What clients of MLflow get, a Struct for each answer; the names are theirs, and what is empty is left out."""

from __future__ import annotations

import msgspec

__all__ = [
    "Dataset",
    "DatasetInput",
    "DatasetSummaries",
    "DatasetSummary",
    "Empty",
    "Experiment",
    "ExperimentAnswer",
    "ExperimentIdAnswer",
    "Experiments",
    "File",
    "Files",
    "KeyValue",
    "LoggedModel",
    "LoggedModelAnswer",
    "LoggedModelData",
    "LoggedModelInfo",
    "LoggedModels",
    "Metric",
    "Metrics",
    "ModelInput",
    "ModelOutput",
    "ModelParam",
    "ModelVersion",
    "ModelVersionAnswer",
    "ModelVersions",
    "RegisteredAlias",
    "RegisteredModel",
    "RegisteredModelAnswer",
    "RegisteredModels",
    "Run",
    "RunAnswer",
    "RunData",
    "RunInfo",
    "RunInfoAnswer",
    "RunInputs",
    "RunOutputs",
    "Runs",
    "Uri",
]


class _Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message of MLflow."""


class Empty(_Answer, frozen=True, kw_only=True):
    """Done."""


class KeyValue(msgspec.Struct, frozen=True):
    """A param or a tag."""

    key: str
    value: str


class Experiment(_Answer, frozen=True, kw_only=True):
    """An experiment."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    creation_time: int | None = None
    last_update_time: int | None = None
    tags: list[KeyValue] = []


class ExperimentAnswer(_Answer, frozen=True, kw_only=True):
    """Of `experiments/get` and `get-by-name`."""

    experiment: Experiment


class ExperimentIdAnswer(_Answer, frozen=True, kw_only=True):
    """Of `experiments/create`."""

    experiment_id: str


class Experiments(_Answer, frozen=True, kw_only=True):
    """Of `experiments/search`."""

    experiments: list[Experiment]
    next_page_token: str | None = None


class Metric(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One point; a value that no JSON number is, is text."""

    key: str
    value: float | str
    timestamp: int
    step: int
    run_id: str | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class RunInfo(_Answer, frozen=True, kw_only=True):
    """What a run is."""

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None = None
    artifact_uri: str
    lifecycle_stage: str


class RunData(_Answer, frozen=True, kw_only=True):
    """What a run logged: of each metric the last point."""

    metrics: list[Metric] = []
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class Dataset(_Answer, frozen=True, kw_only=True):
    """What a run reads."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class DatasetInput(_Answer, frozen=True, kw_only=True):
    """A dataset and what it is read for."""

    dataset: Dataset
    tags: list[KeyValue] = []


class ModelInput(_Answer, frozen=True, kw_only=True):
    """A logged model that a run reads."""

    model_id: str


class ModelOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model that a run made."""

    model_id: str
    step: int


class RunInputs(_Answer, frozen=True, kw_only=True):
    """All that a run reads."""

    dataset_inputs: list[DatasetInput] = []
    model_inputs: list[ModelInput] = []


class RunOutputs(_Answer, frozen=True, kw_only=True):
    """All that a run made."""

    model_outputs: list[ModelOutput] = []


class Run(_Answer, frozen=True, kw_only=True):
    """A run."""

    info: RunInfo
    data: RunData
    inputs: RunInputs = RunInputs()
    outputs: RunOutputs = RunOutputs()


class RunAnswer(_Answer, frozen=True, kw_only=True):
    """Of `runs/get` and `runs/create`."""

    run: Run


class RunInfoAnswer(_Answer, frozen=True, kw_only=True):
    """Of `runs/update`."""

    run_info: RunInfo


class Runs(_Answer, frozen=True, kw_only=True):
    """Of `runs/search`."""

    runs: list[Run]
    next_page_token: str | None = None


class Metrics(_Answer, frozen=True, kw_only=True):
    """Of `metrics/get-history`."""

    metrics: list[Metric]
    next_page_token: str | None = None


class DatasetSummary(_Answer, frozen=True, kw_only=True):
    """A dataset of an experiment."""

    experiment_id: str
    name: str
    digest: str
    context: str | None = None


class DatasetSummaries(_Answer, frozen=True, kw_only=True):
    """Of `experiments/search-datasets`."""

    dataset_summaries: list[DatasetSummary]


class LoggedModelInfo(_Answer, frozen=True, kw_only=True):
    """What a logged model is."""

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str | None = None
    source_run_id: str | None = None
    tags: list[KeyValue] = []


class LoggedModelData(_Answer, frozen=True, kw_only=True):
    """What was logged to it."""

    params: list[KeyValue] = []
    metrics: list[Metric] = []


class LoggedModel(_Answer, frozen=True, kw_only=True):
    """A logged model."""

    info: LoggedModelInfo
    data: LoggedModelData


class LoggedModelAnswer(_Answer, frozen=True, kw_only=True):
    """Of `logged-models` and `logged-models/{model_id}`."""

    model: LoggedModel


class LoggedModels(_Answer, frozen=True, kw_only=True):
    """Of `logged-models/search`."""

    models: list[LoggedModel]
    next_page_token: str | None = None


class RegisteredAlias(_Answer, frozen=True, kw_only=True):
    """An alias and its version."""

    alias: str
    version: str


class ModelParam(_Answer, frozen=True, kw_only=True):
    """A param of the logged model."""

    name: str
    value: str


class ModelVersion(_Answer, frozen=True, kw_only=True):
    """A version."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str | None = None
    current_stage: str
    description: str | None = None
    source: str
    run_id: str | None = None
    status: str
    tags: list[KeyValue] = []
    run_link: str | None = None
    aliases: list[str] = []
    model_id: str | None = None
    model_params: list[ModelParam] = []
    model_metrics: list[Metric] = []


class ModelVersionAnswer(_Answer, frozen=True, kw_only=True):
    """Of `model-versions/create`, `get`, `update` and of an alias."""

    model_version: ModelVersion


class ModelVersions(_Answer, frozen=True, kw_only=True):
    """Of `model-versions/search` and `registered-models/get-latest-versions`."""

    model_versions: list[ModelVersion]
    next_page_token: str | None = None


class RegisteredModel(_Answer, frozen=True, kw_only=True):
    """A registered model."""

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | None = None
    latest_versions: list[ModelVersion] = []
    tags: list[KeyValue] = []
    aliases: list[RegisteredAlias] = []


class RegisteredModelAnswer(_Answer, frozen=True, kw_only=True):
    """Of `registered-models/create`, `get`, `update` and `rename`."""

    registered_model: RegisteredModel


class RegisteredModels(_Answer, frozen=True, kw_only=True):
    """Of `registered-models/search`."""

    registered_models: list[RegisteredModel]
    next_page_token: str | None = None


class Uri(_Answer, frozen=True, kw_only=True):
    """Of `model-versions/get-download-uri`."""

    artifact_uri: str


class File(_Answer, frozen=True, kw_only=True):
    """A file or a directory of artifacts."""

    path: str
    is_dir: bool
    file_size: int | None = None


class Files(_Answer, frozen=True, kw_only=True):
    """Of the lists of artifacts."""

    root_uri: str | None = None
    files: list[File] = []
