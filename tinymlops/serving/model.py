"""A loaded registered model: checked against its hashes, with the definitions it was trained with."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from tinymlops.config import listing
from tinymlops.errors import DefinitionError, IntegrityError, UntrustedModelError
from tinymlops.features.context import definitions_of, spec_of
from tinymlops.features.definitions.code import is_importable
from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec, TrainingSetSpec
from tinymlops.flat import flat
from tinymlops.frames import Frame, to_polars
from tinymlops.notebook import in_notebook
from tinymlops.tables import html_table

if TYPE_CHECKING:
    from collections.abc import Collection

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.law.planning import Definitions
    from tinymlops.records import Evaluation, ModelVersion
    from tinymlops.registry.models import ModelManifest, Models

__all__ = ["Model", "describe_model", "load_version", "require_servable"]

_KEPT = 8
"""The most loaded models that a process keeps: the last used ones."""


class _Loaded:
    """The parts that every use of one manifest shares."""

    def __init__(self, manifest: ModelManifest, estimator: Any, definitions: Definitions) -> None:
        self.manifest, self.estimator, self.definitions = manifest, estimator, definitions
        self.prepared: dict[type, Any] = {}


class Model:
    """A version of a registered model; made by `ws.load_model`.

    Attributes:
        name: The name of the model, such as "delay".
        version: Its number.
        signature: Its inputs and outputs.
        manifest: Everything it depends on: the run, the training set, every definition.
        estimator: The fitted estimator; None for a model that is only described. The whole process shares it: do not
            fit it again.
        definitions: The definitions it was trained with, whatever is in force by now.
        prepared: Plans for serving, by kind, for all uses in the process.
    """

    def __init__(self, version: ModelVersion, loaded: _Loaded) -> None:
        self.name = version.name
        self.version = version.version
        self.manifest = loaded.manifest
        self.signature = loaded.manifest.model.signature
        self.estimator = loaded.estimator
        self.definitions = loaded.definitions
        self.prepared = loaded.prepared

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"

    def __repr__(self) -> str:
        return f"<model {self} {self._kind}: {self.signature.task} of {len(self.signature.features)} features{self._measured}>"

    def _repr_html_(self) -> str:
        run = self.manifest.run
        rows = [
            ("estimator", self.manifest.model.model_class),
            ("answers", self.signature.task),
            ("request", ", ".join(field.name for field in self.signature.request)),
            ("features", ", ".join(field.name for field in self.signature.features)),
            ("metrics", self._measured.removeprefix("; ")),
            ("run", f"{run.name} {run.id[:8]}"),
        ]
        return in_notebook(html_table(f"model {self}", rows))

    @property
    def training_set(self) -> TrainingSetSpec:
        """The training set's definition, as it was when the model was fitted.

        Raises:
            IntegrityError: If the manifest has none.
        """
        for spec in self.definitions.of(TrainingSetSpec).values():
            return spec
        raise IntegrityError(
            f"the manifest of {self} names no training set, so its features cannot be read",
            hint="send full rows of features, or log the model from a run with data=",
        )

    def context(self, context: Context) -> Context:
        """Return the workspace's state, read by the definitions that the model was trained with."""
        return context.with_definitions(self.definitions)

    def predict(self, frame: Frame) -> pl.DataFrame:
        """Answer for full rows of features; nothing is logged.

        Args:
            frame: A column for each feature, such as `data.test.X`: any table.

        Returns:
            `prediction`; for two classes also `probability`, of the second, and for more `probabilities`, in the
            order of `signature.classes`.

        Raises:
            DataError: If a feature is missing or has the wrong type; it names the feature.
        """
        from tinymlops.serving.request import require_columns
        from tinymlops.training.answers import predict

        require_columns(self, frame)
        return predict(self.estimator, flat(to_polars(frame)), self.signature)

    @property
    def _kind(self) -> str:
        return self.manifest.model.model_class.rpartition(".")[2]

    @property
    def _measured(self) -> str:
        evaluation: Evaluation | None = self.manifest.model.evaluation
        if evaluation is None:
            return ""
        metrics = " ".join(f"{name} {value:.4g}" for name, value in evaluation.metrics.items())
        return f"; {evaluation.split} {metrics}"


def load_version(context: Context, models: Models, version: ModelVersion) -> Model:
    """Return a version of a registered model.

    The files are checked against their hashes when they are read, and kept in memory for the models used last.

    Args:
        context: The workspace's state.
        models: The registry.
        version: The version.

    Raises:
        IntegrityError: If a file is missing or damaged.
        UntrustedModelError: If the file holds a type that is neither reviewed nor in `trusted_types` of `tinymlops.toml`:
            the trust in the manifest does not count, because that may come from a stranger.
    """
    key = version.manifest_sha256, context.config.trusted_types
    with _lock:
        loaded = _loaded.get(key)
        if loaded is not None:
            _loaded.move_to_end(key)
    if loaded is None:
        loaded = _load(context, models, version)
        with _lock:
            _loaded[key] = loaded
            while len(_loaded) > _KEPT:
                _loaded.popitem(last=False)
    return Model(version, loaded)


def describe_model(models: Models, reference: str) -> Model:
    """Return a registered model without its estimator, whose file is not read: for callers that need only the manifest.

    Args:
        models: The registry.
        reference: As for `load_model`.

    Raises:
        NotFoundError: If there is none, with the near match.
        IntegrityError: If its manifest is missing or damaged.
    """
    version = models.get(reference)
    manifest = models.manifest(version)
    return Model(version, _Loaded(manifest, None, definitions_of(manifest.definitions, manifest.variants)))


def require_servable(models: Models, run: Any, logged_name: str, trusted: Collection[str]) -> None:
    """Refuse a model that no other process could serve: its code cannot be imported, or its types are not trusted.

    Args:
        models: The registry.
        run: A run, its id, the beginning of it, or its name.
        logged_name: What the run logged the model as.
        trusted: The types that `tinymlops.toml` lists.

    Raises:
        DefinitionError: If its code cannot be imported; the error names the definition and where to move it.
        UntrustedModelError: If it was logged with types that are not listed.
    """
    manifest = models.manifest_of(run, logged_name)
    unlisted = sorted(set(manifest.model.trusted_types) - set(trusted))
    if unlisted:
        raise UntrustedModelError(
            f"model {logged_name!r} was logged with trust in {', '.join(unlisted)}, and the project does not list it",
            hint=f"add to tinymlops.toml, wherever the model is served: {listing(unlisted)}",
        )
    needed = {}
    for spec in map(spec_of, [*manifest.definitions, *manifest.variants]):
        if isinstance(spec, OnDemandSpec) and spec.code is not None:
            needed[f"on-demand view {spec.name!r}"] = spec.code
        elif isinstance(spec, SourceSpec) and spec.inputs and spec.code is not None:
            needed[f"transformation {spec.name!r}"] = spec.code
    for what, code in needed.items():
        if not is_importable(code):
            raise DefinitionError(
                f"model {logged_name!r} needs the Python code of {what}, which lives only in a notebook or inside "
                "another function, where no server can find it",
                hint=f"move {code.name.rpartition('.')[2]} to the top level of a module, such as features.py, list it in "
                'tinymlops.toml (modules = ["features"]), apply it and fit again',
            )


def _load(context: Context, models: Models, version: ModelVersion) -> _Loaded:
    from tinymlops.training.flavors import load

    manifest = models.manifest(version)
    record = manifest.model
    content = context.environment.blobs.read(record.sha256)
    estimator = load(content, context.config.trusted_types, flavor=record.flavor)
    definitions = definitions_of(
        manifest.definitions,
        manifest.variants,
        places=context.definitions.places,
        fitted=manifest.embeddings,
    )
    return _Loaded(manifest, estimator, definitions)


_loaded: OrderedDict[tuple[str, tuple[str, ...]], _Loaded] = OrderedDict()
_lock = threading.Lock()
