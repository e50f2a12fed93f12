"""The decorators for rows: sources, transformations, and checks on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, Unpack

from tinymlops.features.definitions.connection_options import ConnectionOptions
from tinymlops.features.definitions.data_checks import Check, check_of
from tinymlops.features.definitions.declared import Declared
from tinymlops.features.definitions.nouns import FeatureView, Source, check_name
from tinymlops.features.definitions.recording import source_spec, transformation_spec
from tinymlops.features.definitions.source_options import SourceOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from tinymlops.features.definitions.about import AboutOptions
    from tinymlops.features.definitions.specs import CheckAction
    from tinymlops.frames import Ambiguous, DateMeans

__all__ = ["DeclaresRows"]

P = ParamSpec("P")
R = TypeVar("R")


class DeclaresRows(Declared):
    """A project's decorators for rows."""

    def source(
        self,
        *,
        timestamp: str | None = None,
        static: bool = False,
        id: str | None = None,  # noqa: A002  # the word of the design, and keyword-only
        created: str | None = None,
        delay: str | timedelta | None = None,
        tz: str | None = None,
        ambiguous: Ambiguous = "raise",
        date_means: DateMeans | None = None,
        keys: Mapping[str, str] | None = None,
        cursor: str | None = None,
        lookback: str | timedelta | None = None,
        connection: str | None = None,
        overlap: str | timedelta | None = None,
        snapshot_deletes: bool = False,
        store: bool = True,
        known: Literal["observed", "latest"] | None = None,
        was: str | None = None,
        **about: Unpack[AboutOptions],
    ) -> Callable[[Callable[P, R]], Source[P, R]]:
        """Declare rows by a function that returns SQL, a frame, or (for pushes) a schema.

        Args:
            timestamp: Event-time column; required unless static.
            static: The rows have no time and are always visible; their edits are not versioned in time.
            id: Column of the event's id: a later row with the same key and id replaces the earlier one.
            created: Column of when the row became known.
            delay: How long after its event time a row can be known: "15m", or the name of a column holding
                a duration.
            tz: Zone of naive times and of dates.
            ambiguous: What a naive time is that a clock change skipped or repeated: of its two readings the
                "earliest" or the "latest"; by default an error.
            date_means: Whether a date is the "start" or the "end" of its day; by default the end as a fact, and the
                start as a moment of prediction or an outcome, so that nothing is known early.
            keys: Entity key column to this source's column, where the names differ.
            cursor: For a function that takes `since`: the column of times that says which rows are new, by
                default `created`, or else `timestamp`. It is called with None at first, and then with the greatest
                cursor in history less the lookback. It needs `id`.
            lookback: How far `since` goes back, for rows that came late; by default "1d".
            connection: The database that the rows are in, as `tinymlops.toml` names it: the function returns the name of a
                table, or one SELECT in the database's language. With `cursor=` and `id=` a read takes what is new only.
            overlap: With a connection: how far each read goes back before what the last one saw, for rows whose cursor
                is not the database's own time; by default "1d".
            snapshot_deletes: With a connection and `id=`: read all ids each time, and store a delete for rows that are gone.
            store: False for rows that are read where they are, each time, and never copied: SQL over files, or a connection. They
                have no online features, and `as_of` does not go back in them.
            known: How corrections count where there is no `created`. "observed", the default: a changed row counts from
                the ingest that brought it, so a correction never rewrites what a past row saw, and the rows that first
                bring an id count from their event times. "latest": the final version counts, whenever it came.
            was: The name that the source had before: its rows stay with it.
            about: `owner=`, `tags=`, `unit=` of its columns, `variant=`, `keep=`, `enabled=`; see `AboutOptions`.

        Returns:
            A decorator: the function becomes the `Source` of its name.

        Raises:
            DefinitionError: If the options or the function's hints do not fit.
            ConflictError: If the project has another definition of this name.
        """
        options = SourceOptions(timestamp, id, created, delay, tz, ambiguous, date_means, keys, known)
        database = ConnectionOptions(connection, overlap, snapshot_deletes)

        def declare(function: Callable[P, R]) -> Source[P, R]:
            spec = source_spec(
                function,
                options,
                about,
                static=static,
                cursor=cursor,
                lookback=lookback,
                database=database,
                store=store,
            )
            return self._add(Source(function, spec, was=None if was is None else check_name(was, "source")), "source")

        return declare

    def transformation(
        self,
        *,
        timestamp: str | None = None,
        row_wise: bool = False,
        id: str | None = None,  # noqa: A002  # the word of the design, and keyword-only
        created: str | None = None,
        delay: str | timedelta | None = None,
        tz: str | None = None,
        ambiguous: Ambiguous = "raise",
        date_means: DateMeans | None = None,
        keys: Mapping[str, str] | None = None,
        max_age: str | timedelta | None = None,
        known: Literal["observed", "latest"] | None = None,
        **about: Unpack[AboutOptions],
    ) -> Callable[[Callable[P, R]], Source[P, R]]:
        """Derive a source from others, which are its parameters: in SQL (returns `str`) or in Polars.

        Args:
            timestamp: Event-time column of the result; a row-wise one keeps its input's.
            row_wise: Each output row comes from one input row and keeps its times, sequence and id; such a
                transformation has one input and runs on pushed rows at once.
            id: As for `source`; a row-wise one keeps its input's.
            created: For a join, the created time of each row's latest parent.
            delay: As for `source`.
            tz: As for `source`.
            ambiguous: As for `source`.
            date_means: As for `source`.
            keys: As for `source`.
            max_age: Of one that is rebuilt, at ingest and materialize: how old its rows may be for an online read, such
                as "1d"; None for any age.
            known: As for `source`, of one that is rebuilt and has an id: a row that a rebuild changes counts from then on.
            about: As for `source`.

        Returns:
            A decorator: the function becomes the `Source` of its name.

        Raises:
            DefinitionError: If the options or the function's hints do not fit.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import tinymlops as tm
            >>> project = tm.Project("shop")
            >>> @project.transformation(row_wise=True)
            ... def large_orders(orders: tm.Rows) -> str:
            ...     return "select * from orders where amount > 100"
            >>> large_orders.spec.inputs
            ('orders',)
        """
        options = SourceOptions(timestamp, id, created, delay, tz, ambiguous, date_means, keys, known)

        def declare(function: Callable[P, R]) -> Source[P, R]:
            spec = transformation_spec(function, options, about, row_wise=row_wise, max_age=max_age)
            return self._add(Source(function, spec), "transformation")

        return declare

    def check(
        self,
        target: Source[..., Any] | FeatureView[..., Any],
        *rules: object,
        action: CheckAction = "warn",
        name: str | None = None,
        **about: Unpack[AboutOptions],
    ) -> Check:
        """Say what rows must be like: of a source or a transformation when they come, of a view when it is materialized.

        Args:
            target: A source, a transformation or a feature view.
            rules: `tm.not_null`, `tm.between`, `tm.one_of`, `tm.matches`, an expression over `tm.Rows()` or a Polars expression
                ask each row; `tm.unique`, `tm.fresh`, `tm.volume` and `tm.same_distribution` ask the batch.
            action: What becomes of rows that do not pass: they are stored ("warn"), kept aside until somebody releases or
                drops them ("quarantine"), or refused with all that came with them ("fail").
            name: By default `<target>_<action>_checks`.
            about: `owner=` and `tags=`; see `AboutOptions`.

        Returns:
            The check.

        Raises:
            DefinitionError: If a rule is none, the action is unknown, or an option is not one of a check.
            ConflictError: If the project has another definition of this name.

        Example:
            >>> import tinymlops as tm
            >>> project = tm.Project("shop")
            >>> @project.source(timestamp="at")
            ... def orders() -> str:
            ...     return "select * from read_parquet('orders.parquet')"
            >>> project.check(orders, tm.not_null("customer"), tm.Rows()["amount"] >= 0, action="quarantine")
            <check orders_quarantine_checks on orders, quarantine: not_null("customer"), rows['amount'] >= 0>
        """
        return self._add(check_of(target, rules, action=action, name=name, about=about), "check")
