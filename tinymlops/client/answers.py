"""What a server answers: a Struct for each answer, with the fields that clients read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, overload

import msgspec

__all__ = [
    "Answer",
    "Embedding",
    "Ended",
    "Entries",
    "Entry",
    "Features",
    "Found",
    "HistoryOfJobs",
    "Job",
    "JobAttempt",
    "JobLog",
    "JobRun",
    "JobState",
    "ListedEmbeddings",
    "ListedJobs",
    "ListedModels",
    "Model",
    "ModelSummary",
    "Outcomes",
    "Predictions",
    "Problem",
    "Pushed",
    "Quarantine",
    "Quarantines",
    "Read",
    "Reads",
    "Rebuild",
    "Row",
    "Settled",
    "Version",
    "Waiting",
]

Row = dict[str, Any]


class Problem(msgspec.Struct, frozen=True):
    """The body of an answer that is an error."""

    error: str = ""
    hint: str = ""
    type: str = ""


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """Of when the rows of a rebuilt transformation are."""

    sequence: int
    age_seconds: float


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a version gets no new rows."""

    source: str
    sequence: int
    at: datetime


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """Features as of now: a row for each key, in order."""

    timestamp: datetime
    """The server's time of the read."""
    sequence: int
    """What the answer covers."""
    rows: list[Row]
    rebuilt: dict[str, Rebuild] = {}
    ended: dict[str, Ended] = {}

    def to_dict(self) -> dict[str, list[Any]]:
        """Return column name to values."""
        return {name: [row[name] for row in self.rows] for name in (self.rows[0] if self.rows else ())}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a request for predictions."""

    model: str
    version: int
    timestamp: datetime
    sequence: int | None
    predictions: list[Row]


class Predictions(Sequence[Row]):
    """The answers, one dict for each row: `id`, `prediction`, `probability` or `probabilities`, and if requested `status`.

    Attributes:
        model: The model's name.
        version: Its version.
        timestamp: The server's time at which the features were read.
        sequence: What the features covered; None where full rows of features were sent.
    """

    def __init__(self, answer: Answer) -> None:
        self.model, self.version = answer.model, answer.version
        self.timestamp, self.sequence = answer.timestamp, answer.sequence
        self._rows = answer.predictions

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<{len(self)} predictions of {self.model}:{self.version} at {self.timestamp.isoformat()}>"


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of pushed rows."""

    source: str
    rows_new: int
    rows_corrected: int
    rows_known: int
    sequence: int


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What became of reported outcomes."""

    outcomes: int
    replaced: int
    unknown: int


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model."""

    version: int
    run: str
    registered_at: datetime


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A model with its newest version and its aliases."""

    name: str
    newest: Version
    aliases: dict[str, int]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model, its versions, and what the version that answers by default takes and gives."""

    name: str
    version: int
    signature: dict[str, Any]
    aliases: list[dict[str, Any]]
    versions: list[Version]


class ListedModels(msgspec.Struct, frozen=True):
    """The registered models."""

    models: list[ModelSummary]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change, as the audit log has it."""

    n: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Row


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """The reads of one actor in one minute that asked for the same."""

    minute: datetime
    actor: str
    consumer: str
    kind: str
    names: str
    calls: int


class Entries(msgspec.Struct, frozen=True):
    """A page of the audit log."""

    entries: list[Entry]


class Reads(msgspec.Struct, frozen=True):
    """A page of the access log."""

    reads: list[Read]


class JobRun(msgspec.Struct, frozen=True, kw_only=True):
    """One due time of a job, and what became of it."""

    job: str
    due: datetime
    state: str
    cause: str
    count: int
    attempt: int | None
    ended_at: datetime | None
    told: str | None


class JobAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One process that was started for a run."""

    id: int
    state: str
    started_at: datetime
    late_us: int
    ended_at: datetime | None
    exit_code: int | None
    told: str | None


class JobLog(msgspec.Struct, frozen=True, kw_only=True):
    """One run, its attempts, and what one of them wrote."""

    run: JobRun
    attempts: list[JobAttempt]
    attempt: int | None
    log: str | None


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """A job, and since when it is paused."""

    job: str
    schedule: str
    paused_at: datetime | None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job: when it is due next, and how its last run ended."""

    job: str
    when: str
    next: datetime | None
    paused_at: datetime | None
    last: JobRun | None


class ListedJobs(msgspec.Struct, frozen=True):
    """A page of jobs."""

    jobs: list[Job]
    now: datetime
    next: str | None


class HistoryOfJobs(msgspec.Struct, frozen=True):
    """Runs, those due last first."""

    runs: list[JobRun]


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of rows that checks kept aside."""

    id: int
    source: str
    status: str
    rows: int
    at: datetime


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of rows that were released or dropped."""

    source: str
    rows_new: int = 0
    rows_corrected: int = 0
    rows_known: int = 0
    rows: int = 0


class Quarantines(msgspec.Struct, frozen=True):
    """A page of quarantines."""

    quarantines: list[Quarantine]


class Waiting(msgspec.Struct, frozen=True):
    """Rows that wait."""

    rows: list[Row]


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedding is made of, and how far its vectors are."""

    embedding: str
    source: str
    key: list[str] = []
    text: str | None = None
    """The column of text; None for a column of vectors."""
    vector: str | None = None
    model: str | None = None
    metric: str = ""
    dimension: int | None = None
    covered: int
    waiting: int
    failed: int


class ListedEmbeddings(msgspec.Struct, frozen=True, kw_only=True):
    """The embeddings, by name."""

    embeddings: list[Embedding]


class _OfVectors(msgspec.Struct, frozen=True, kw_only=True):
    timestamp: datetime
    """What was known then was read."""
    sequence: int
    """Rows up to it were read."""
    covered: int
    """The sequence up to which every row has its vector, or failed."""
    waiting: int
    """Rows whose texts have no vector yet."""
    failed: int
    """Rows whose texts have no vector for a reason."""
    fitted_at: datetime | None = None
    """The time of the rows that TF-IDF was fitted on; None where no vector was compared, and for other models."""
    rows: list[Row]
    """Times are text."""


class Found(_OfVectors, frozen=True, kw_only=True):
    """The rows that are nearest to a query, the best first: `score`, the key, the time, and the other columns.

    Attributes:
        generation: That of the index which chose what was compared; None where every vector was.
        indexed: The sequence up to which it has the rows; later ones were compared one by one.
    """

    generation: str | None = None
    indexed: int | None = None


class FoundPairs(_OfVectors, frozen=True, kw_only=True):
    """Pairs of rows with nearly the same vector, the best first: `score`, and each column of both rows, as `id_1` and `id_2`.

    Attributes:
        threshold: The least score.
        count: How many pairs there are.
    """

    threshold: float
    count: int


class FoundClusters(_OfVectors, frozen=True, kw_only=True):
    """Groups of rows with similar vectors. `rows` has the key, `cluster`, `distance`, and the place `x`, `y` in the plane.

    Attributes:
        clusters: The largest first: `cluster`, `rows`, `share`, `distance`, `words`, `values`, and the keys `nearest` to the
            middle.
        count: How many rows there are; `rows` has the first of them, by key.
    """

    clusters: list[Row]
    count: int
