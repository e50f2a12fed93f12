"""Which TF-IDF a search is by: the one that was in force at `t`, so that no weight knows a word of later.

A fit is in force from the time of the rows that it was fitted on until the next one is made. With `as_of`, a fit that read later
rows is not known. An embedding that says `fitted_at=` has one fit for all times, and other models are not fitted to rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tinymlops.errors import DataError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.embedded.models import TFIDF
from tinymlops.features.embedded.texts import KnownTexts
from tinymlops.features.history.embedding_columns import matrix_of_texts
from tinymlops.features.history.generations import place_of
from tinymlops.features.vectors.standing import Standing, standing_of
from tinymlops.kernels.records import FOREVER
from tinymlops.records import EmbeddingFit, Generation
from tinymlops.registry.vectors import fits_of
from tinymlops.times import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.embedded.column import Array, Matrix
    from tinymlops.records import EmbeddingState

__all__ = ["MOST_MADE", "fit_of", "fits_in_force", "standing_at", "standings_at"]

MOST_MADE = 5_000
"""So many texts get their vector by an earlier fit while a search waits; more must be made before."""


def fits_in_force(context: Context, standing: Standing) -> list[EmbeddingFit]:
    """Return the fits of an embedding as it is defined now, the oldest first; none if one is for all times."""
    spec, state = standing.spec, standing.state
    if state is None or spec.model != TFIDF or spec.fitted_at is not msgspec.UNSET:
        return []
    fits = [fit for fit in fits_of(context.environment.database, spec.name) if fit.reads == state.reads]
    if any(fit.model == state.model for fit in fits):
        return fits
    # An earlier version of this package fitted it, and wrote down what it covers, but not what it has read.
    read = state.covered or context.environment.database.sequence()
    return [*fits, *fit_of(spec, state, read)]


def fit_of(spec: EmbeddingSpec, state: EmbeddingState, sequence: int) -> list[EmbeddingFit]:
    """Return what is kept of a fit, so that searches of the past are by it; none of a model that is for all times.

    Args:
        spec: The embedding.
        state: How it stands by that fit.
        sequence: The rows up to it were read.
    """
    if state.fitted is None or state.fitted_at is None or spec.fitted_at is not msgspec.UNSET:
        return []
    fit = EmbeddingFit(
        embedding=spec.name,
        reads=state.reads,
        model=state.model,
        fitted=state.fitted,
        fitted_at=state.fitted_at,
        sequence=sequence,
        dimension=state.dimension,
        at=state.at,
    )
    return [fit]


def standing_at(context: Context, spec: EmbeddingSpec, *, at: int | None, as_of: int | None) -> Standing:
    """Return where an embedding stands, by the fit that was in force.

    Args:
        context: The workspace's state.
        spec: The embedding.
        at: `t`, microseconds UTC; None for now, however the clock stands.
        as_of: `Q`; None for all rows.

    Raises:
        DataError: If none was in force yet.
    """
    standing = standing_of(context, spec)
    if standing.state is None or spec.model != TFIDF or (at is None and as_of is None):
        return standing
    fits = fits_in_force(context, standing)
    fit = _in_force(spec, fits, at, as_of) if fits else standing.state
    return _by(context, standing, fit, at=at, as_of=as_of)


def standings_at(
    context: Context, spec: EmbeddingSpec, times: Array, *, as_of: int | None
) -> list[tuple[Standing, Array]]:
    """Return where an embedding stands at each of some times: each fit with int64[m], which times are of it.

    Args:
        context: The workspace's state.
        spec: The embedding.
        times: int64[n], microseconds UTC.
        as_of: `Q`; None for all rows.

    Raises:
        DataError: If none was in force yet at one of them.
    """
    standing = standing_of(context, spec)
    fits = fits_in_force(context, standing)
    if not fits or not times.size:
        return [(standing, np.arange(times.size))]
    begins = sorted({to_micros(fit.fitted_at) for fit in fits})
    period = np.searchsorted(begins, times, side="right")
    found = []
    for number in np.unique(period).tolist():
        rows = np.flatnonzero(period == number)
        fit = _in_force(spec, fits, int(times[rows].min()), as_of)
        found.append((_by(context, standing, fit, at=int(times[rows].max()), as_of=as_of), rows))
    return found


def _in_force(spec: EmbeddingSpec, fits: Sequence[EmbeddingFit], at: int | None, as_of: int | None) -> EmbeddingFit:
    """Return the last fit that was made of rows known at a time, and up to a sequence."""
    known = [fit for fit in fits if as_of is None or fit.sequence <= as_of]
    then = [fit for fit in known if at is None or to_micros(fit.fitted_at) <= at]
    if then:
        return then[-1]
    hint = (
        f"write fitted_at= in the definition, a time whose TF-IDF all searches of {spec.name!r} are by then; or search "
        'with mode="text"'
    )
    if not known:
        raise DataError(
            f"embedding {spec.name!r}: no TF-IDF was fitted on rows up to Q={as_of} alone; the first one read rows up to "
            f"Q={min(fit.sequence for fit in fits)}",
            hint=hint,
        )
    assert at is not None, "else one was found"
    raise DataError(
        f"embedding {spec.name!r}: no TF-IDF was fitted by {from_micros(at).isoformat()}, and a later one knows words of later; "
        f"the first is of {min(fit.fitted_at for fit in known).isoformat()}",
        hint=hint,
    )


def _by(
    context: Context, standing: Standing, fit: EmbeddingFit | EmbeddingState, *, at: int | None, as_of: int | None
) -> Standing:
    """Return the same embedding by a fit, to be searched up to a time."""
    assert standing.state is not None, "it has a fit"
    state = msgspec.structs.replace(
        standing.state, model=fit.model, fitted=fit.fitted, fitted_at=fit.fitted_at, dimension=fit.dimension
    )
    if fit.model == standing.state.model and not _is_before_a_rebuild(context, standing.spec, as_of):
        return standing._replace(state=state)  # of the same texts, though perhaps at another time
    texts = _TextsOfFit(context, standing.spec, fit)
    sequence = context.environment.database.sequence()
    return Standing(standing.spec, state, sequence, texts, standing.failed, until=FOREVER if at is None else at)


def _is_before_a_rebuild(context: Context, spec: EmbeddingSpec, as_of: int | None) -> bool:
    """Return whether rows are asked for that a rebuild of the source has replaced: a purge removes what only they need."""
    if as_of is None:
        return False
    source = graph.origin(context.definitions, context.definitions.get(SourceSpec, spec.source))
    database = context.environment.database
    generations = database.list(Generation, where={"source": place_of(database, source.name)})
    return any(one.begins > as_of for one in generations)


class _TextsOfFit(KnownTexts):
    """The texts by a fit of then: what it did not embed, or is not kept, is made by whoever asks.

    Args:
        context: The workspace's state.
        spec: The embedding.
        fit: Which one.
    """

    makes = True

    def __init__(self, context: Context, spec: EmbeddingSpec, fit: EmbeddingFit | EmbeddingState) -> None:
        super().__init__(context.environment, fit.model, fit.dimension)
        self._asked = context, spec, fit

    def matrix_of(self, column: pl.Series) -> Matrix:
        """Return the vectors of a column of text.

        Raises:
            DataError: If very many must be made.
        """
        context, spec, fit = self._asked
        missing = len(self.missing(column.drop_nulls().unique().to_list()))
        if missing > MOST_MADE:
            raise DataError(
                f"embedding {spec.name!r}: {missing:,} texts have no vector by the TF-IDF of {fit.fitted_at}, "
                f"and a search makes {MOST_MADE:,} at most",
                hint=f"make them: ws.vectors.rebuild({spec.name!r})",
            )
        return matrix_of_texts(context, spec, fit, column)
