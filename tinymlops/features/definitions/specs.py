"""Definitions as data: what `plan` compares, `apply` stores and every later step reads.

The nouns of `tinymlops.features.definitions.nouns` hold one of these beside the user's function.
"""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias

import msgspec

from tinymlops.features.definitions.expressions import Aggregate
from tinymlops.features.definitions.rules import AnyRule
from tinymlops.frames import Ambiguous, DateMeans

__all__ = [
    "About",
    "AnySpec",
    "CheckAction",
    "CheckSpec",
    "CodeCover",
    "CodeReference",
    "EmbeddingSpec",
    "EntitySpec",
    "FeatureRequest",
    "Known",
    "LabelSpec",
    "Metric",
    "Nearest",
    "OnDemandSpec",
    "ServiceSpec",
    "SinkSpec",
    "SourceSpec",
    "TermSpec",
    "TrainingSetSpec",
    "ViewSpec",
    "decode",
    "encode",
    "fingerprint",
    "logic",
]


Known = Literal["event", "observed", "latest"]
"""How rows become known: by their created time; by the commit of each correction; or by their event time only."""


class CodeCover(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a digest of Python code covers: the function and all of the project that it reaches."""

    whole: str
    """SHA-256 over all of it."""
    parts: dict[str, str] = {}
    """Each function, class and constant to its own SHA-256."""
    unseen: tuple[str, ...] = ()
    """What the digest does not see, such as "clean: a name that getattr is given as it runs"."""
    packages: dict[str, str] = {}
    """The installed packages that it names, to their versions: not covered, and no part of the digest."""


class CodeReference(msgspec.Struct, frozen=True, kw_only=True):
    """Where to find a definition's Python function again."""

    module: str
    """`__main__` for a script or a notebook."""
    name: str
    file: str | None
    """The script's file; null when the function exists only in an interactive session."""
    digest: str
    """What the code is known by in fingerprints: that of `covers`, or of the function's text where that was applied first."""
    logic: str | msgspec.UnsetType = msgspec.UNSET
    """SHA-256 of the text without the function's name, prose and layout; in no fingerprint, for it follows from the text."""
    covers: CodeCover | msgspec.UnsetType = msgspec.UNSET
    """Tells whether the imported code is the applied code; unset where the text of the function alone tells that."""


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people say about a definition, and what becomes of it: no part of what it computes, and in neither of its hashes."""

    owner: str = ""
    """Who answers for it, such as "ana" or "team-risk"."""
    tags: tuple[str, ...] = ()
    units: dict[str, str] = {}
    """Feature, or column, to the unit of its values."""
    variant: str = ""
    """A name for this version, beside its number."""
    keep: bool = False
    """Whether the version stays when nothing reads it and a newer one has come."""
    enabled: bool = True
    """False to refuse new readers, and to tell the others."""


class EntitySpec(msgspec.Struct, frozen=True, kw_only=True, tag="entity", tag_field="kind"):
    """The thing that features describe, and the columns that identify it."""

    name: str
    key: tuple[str, ...]
    description: str = ""
    aliases: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """What clients may send in place of a key column, to that column; outside both hashes."""
    about: About | msgspec.UnsetType = msgspec.UNSET


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True, tag="source", tag_field="kind"):
    """Rows with an event time, and where they come from: SQL, a function, pushes, or other sources."""

    name: str
    via: str
    """`sql`, `function`, `push` or `connection`."""
    timestamp: str | None
    """Event-time column; null for a static source."""
    id: str | None = None
    created: str | None = None
    delay: int = 0
    """Microseconds from the event until it can be known."""
    delay_column: str | None = None
    tz: str | None = None
    ambiguous: Ambiguous = "raise"
    """How to read a naive time that a clock change skipped or repeated."""
    date_means: DateMeans | None = None
    """The moment of its day that a date means; null for the last as a fact, the first as a prediction time."""
    keys: dict[str, str] = {}
    """Entity key column to this source's column, where the names differ."""
    sql: str | None = None
    columns: dict[str, str] = {}
    """For a pushed source: column to Polars dtype."""
    inputs: tuple[str, ...] = ()
    """For a transformation: the sources it is derived from."""
    row_wise: bool = False
    max_age: int | msgspec.UnsetType = msgspec.UNSET
    """For a rebuilt transformation: microseconds after which online reads refuse its rows."""
    takes_since: bool = False
    cursor: str | None = None
    """For a function that takes `since`, or a connection: the column of times that says which rows are new."""
    lookback: int = 0
    """Microseconds that a read goes back before the greatest cursor of the one before."""
    code: CodeReference | None = None
    description: str = ""
    about: About | msgspec.UnsetType = msgspec.UNSET
    known: Literal["observed"] | msgspec.UnsetType = msgspec.UNSET
    """Unset for definitions from before there was a choice; `knowledge` resolves it."""
    connection: str | msgspec.UnsetType = msgspec.UNSET
    """For rows in a database of others: the name of its connection in `tinymlops.toml`."""
    query: str | msgspec.UnsetType = msgspec.UNSET
    """What is read of it: the name of a table, or a SELECT in its language."""
    snapshot_deletes: bool | msgspec.UnsetType = msgspec.UNSET
    """Whether each read looks for rows that are no longer there."""
    store: Literal[False] | msgspec.UnsetType = msgspec.UNSET
    """False for rows that are read where they are, each time, and never stored."""

    @property
    def in_place(self) -> bool:
        """Whether the rows are read where they are, each time, and never stored."""
        return self.store is False

    @property
    def knowledge(self) -> Known:
        """How the rows become known, if they are not those of a row-wise transformation."""
        if self.via == "push" or self.created is not None:
            return "event"
        return "latest" if self.known is msgspec.UNSET else "observed"


class ViewSpec(msgspec.Struct, frozen=True, kw_only=True, tag="feature_view", tag_field="kind"):
    """Expressions over one source for one entity."""

    name: str
    entity: str
    source: str
    ttl: int | None = None
    """Microseconds that a value stays valid; for expressions without a window."""
    features: dict[str, Aggregate]
    description: str = ""
    about: About | msgspec.UnsetType = msgspec.UNSET


class Nearest(msgspec.Struct, frozen=True, kw_only=True):
    """Aggregates of the rows whose vectors are the nearest to that of a request."""

    embedding: str
    of: str | None = None
    """The request field with a text or a vector; null for the vector that the request's own key has."""
    k: int
    key: tuple[str, ...]
    """The request fields that name the row itself, which is left out."""
    features: dict[str, Aggregate]
    """Over columns `name:column`: of the embedding's source, or `name:feature` of a view of its entity."""


class OnDemandSpec(msgspec.Struct, frozen=True, kw_only=True, tag="on_demand", tag_field="kind"):
    """Features that are computed when they are asked for, of request fields: Polars expressions, or aggregates of neighbours."""

    name: str
    views: tuple[str, ...]
    """Parameters that are feature views, by name, or role prefix and name."""
    request: tuple[str, ...]
    """Parameters that are request fields (offline: columns of the spine)."""
    uses_timestamp: bool
    code: CodeReference | None
    """Null for aggregates of neighbours, which are data."""
    description: str = ""
    about: About | msgspec.UnsetType = msgspec.UNSET
    nearest: Nearest | msgspec.UnsetType = msgspec.UNSET
    """Instead of expressions; left out of any other view's JSON."""


class LabelSpec(msgspec.Struct, frozen=True, kw_only=True, tag="label", tag_field="kind"):
    """An outcome over the window `(t + gap, t + gap + horizon]`."""

    name: str
    entity: str
    source: str
    horizon: int
    gap: int = 0
    expression: Aggregate
    description: str = ""
    about: About | msgspec.UnsetType = msgspec.UNSET


class FeatureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A view, some of its features, or the view for an entity in a second role."""

    view: str
    on_demand: bool = False
    features: tuple[str, ...] | None = None
    """Null for all of them."""
    on: tuple[str, ...] | None = None
    """Spine columns that hold the entity's key; null for the entity's own names."""
    prefix: str = ""
    version: int | str | msgspec.UnsetType = msgspec.UNSET
    """The number of a version, or the name of a variant; unset for the newest."""


class TrainingSetSpec(msgspec.Struct, frozen=True, kw_only=True, tag="training_set", tag_field="kind"):
    """Spine, label and features."""

    name: str
    spine: str
    label: str
    features: tuple[FeatureRequest, ...]
    tz: str = "UTC"
    """Zone of the dates of a time split."""
    description: str = ""
    about: About | msgspec.UnsetType = msgspec.UNSET


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True, tag="service", tag_field="kind"):
    """A named set of features."""

    name: str
    features: tuple[FeatureRequest, ...]
    description: str = ""
    about: About | msgspec.UnsetType = msgspec.UNSET


CheckAction: TypeAlias = Literal["warn", "quarantine", "fail"]
"""What becomes of rows that do not pass: they are stored, kept aside, or refused with their whole batch."""


class CheckSpec(msgspec.Struct, frozen=True, kw_only=True, tag="check", tag_field="kind"):
    """What the rows of a source, a transformation or a feature view must be like."""

    name: str
    target: str
    of_view: bool = False
    """Whether the target is a feature view."""
    rules: tuple[AnyRule, ...]
    action: CheckAction
    description: str = ""
    about: About | msgspec.UnsetType = msgspec.UNSET


class SinkSpec(msgspec.Struct, frozen=True, kw_only=True, tag="sink", tag_field="kind"):
    """A table in a database of others that rows of the workspace are written to."""

    name: str
    writes: Literal["predictions", "outcomes", "features"]
    of: str = ""
    """The model of the predictions, or the feature view; empty for outcomes."""
    connection: str
    """Its name in `tinymlops.toml`."""
    table: str
    columns: dict[str, str] = {}
    """What is written to the column of the table, where the names differ."""
    create: bool = False
    """Whether the table is made where there is none."""
    description: str = ""
    about: About | msgspec.UnsetType = msgspec.UNSET


Metric: TypeAlias = Literal["cosine", "dot", "l2"]
"""How near two vectors are: by the cosine of their angle, their dot product, or their Euclidean distance."""


class EmbeddingSpec(msgspec.Struct, frozen=True, kw_only=True, tag="embedding", tag_field="kind"):
    """A vector for each row of a source: made of a column of text by a model, or a column of its own."""

    name: str
    source: str
    entity: str | None = None
    """Whose newest row is searched; null where each id of the source is searched by itself."""
    text: str | None = None
    vector: str | None = None
    """The column of vectors, in place of text and model."""
    key: str | None = None
    """Of a provider: `env:NAME`, the variable that holds its key."""
    model: str | None = None
    """`tfidf`, a directory with an ONNX model, or the URL of a provider."""
    dimension: int | None = None
    """Numbers of a vector; null where the model, or the first row, says it."""
    metric: Metric = "cosine"
    description: str = ""
    about: About | msgspec.UnsetType = msgspec.UNSET
    fitted_at: int | msgspec.UnsetType = msgspec.UNSET
    """Of TF-IDF: `t` of the rows that it is fitted on, microseconds UTC; that of the first `follow` where it is not said."""


class TermSpec(msgspec.Struct, frozen=True, kw_only=True, tag="term", tag_field="kind"):
    """A term of the glossary; what it means is its content."""

    name: str
    """In words, such as "late arrival"."""
    text: str
    aliases: tuple[str, ...] = ()
    """Other names of the same thing."""
    about: About | msgspec.UnsetType = msgspec.UNSET

    @property
    def description(self) -> str:
        """What it means."""
        return self.text


AnySpec: TypeAlias = (
    EntitySpec
    | SourceSpec
    | ViewSpec
    | OnDemandSpec
    | LabelSpec
    | TrainingSetSpec
    | CheckSpec
    | ServiceSpec
    | SinkSpec
    | EmbeddingSpec
    | TermSpec
)


def encode(spec: AnySpec) -> bytes:
    """Return the JSON of a definition: fields in order, and features in the order they were declared."""
    return msgspec.json.encode(spec)


def decode(data: bytes) -> AnySpec:
    """Read what `encode` wrote."""
    spec: AnySpec = msgspec.json.decode(data, type=AnySpec)
    return spec


def fingerprint(spec: AnySpec) -> str:
    """Return the SHA-256 of a definition's content; prose, aliases and its file's place are not part of it."""
    plain = _without_prose(spec)
    return hashlib.sha256(encode(plain)).hexdigest()


def logic(spec: AnySpec) -> str:
    """Return the SHA-256 of a definition's content without its own name and prose: two with the same one compute the same.

    What a definition reads is told apart by name.
    """
    plain = msgspec.structs.replace(_without_prose(spec), name="")
    if isinstance(spec, SourceSpec | OnDemandSpec) and isinstance(plain, SourceSpec | OnDemandSpec) and spec.code:
        digest = _logic_of(spec.code)
        plain = msgspec.structs.replace(plain, code=CodeReference(module="", name="", file=None, digest=digest))
    return hashlib.sha256(encode(plain)).hexdigest()


def _logic_of(code: CodeReference) -> str:
    own = code.digest if code.logic is msgspec.UNSET else code.logic
    reached = [] if code.covers is msgspec.UNSET else sorted([*code.covers.parts.values()][1:])
    return hashlib.sha256("".join([own, *reached]).encode()).hexdigest() if reached else own


def _without_prose(spec: AnySpec) -> AnySpec:
    if isinstance(spec, TermSpec):
        return msgspec.structs.replace(spec, about=msgspec.UNSET)
    plain = msgspec.structs.replace(spec, description="", about=msgspec.UNSET)
    if isinstance(plain, EntitySpec):
        plain = msgspec.structs.replace(plain, aliases=msgspec.UNSET)
    if isinstance(plain, SourceSpec | OnDemandSpec) and plain.code is not None:
        # Where the project lies on this machine is not part of what it defines.
        code = msgspec.structs.replace(plain.code, file=None, module="", logic=msgspec.UNSET, covers=msgspec.UNSET)
        plain = msgspec.structs.replace(plain, code=code)
    return plain
