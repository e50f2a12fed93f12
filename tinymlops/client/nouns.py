"""The nouns of a server's workspace, with the words that `Workspace` has for them."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

from tinymlops.client.answers import (
    Embedding,
    Entries,
    Entry,
    Found,
    FoundClusters,
    FoundPairs,
    HistoryOfJobs,
    Job,
    JobLog,
    JobRun,
    JobState,
    ListedEmbeddings,
    ListedJobs,
    ListedModels,
    Model,
    ModelSummary,
    Quarantine,
    Quarantines,
    Read,
    Reads,
    Row,
    Settled,
    Waiting,
)
from tinymlops.client.rows import rows_of

if TYPE_CHECKING:
    from tinymlops.client.connection import Connection

T = TypeVar("T")

__all__ = ["Accesses", "Audit", "Checks", "Jobs", "Models", "Vectors"]


class Models:
    """The registered models of the server's workspace."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> builtins.list[ModelSummary]:
        """List the models with their newest versions and aliases."""
        return self._connection.ask("GET", "/v1/models", ListedModels).models

    def get(self, name: str) -> Model:
        """Return a model, its versions, and what it takes and gives.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        return self._connection.ask("GET", f"/v1/models/{quote(name, safe='')}", Model)


class Vectors:
    """The embeddings of the server's workspace."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> builtins.list[Embedding]:
        """List the embeddings, and how far their vectors are."""
        return self._connection.ask("GET", "/v1/vectors", ListedEmbeddings).embeddings

    def search(
        self,
        embedding: str,
        query: str | Sequence[float],
        *,
        k: int = 10,
        at: datetime | str | None = None,
        as_of: int | None = None,
        where: Mapping[str, object] | None = None,
        mode: str = "vector",
        exact: bool = False,
    ) -> Found:
        """Return the rows nearest to a query, of what is or was known, as `ws.vectors.search` does.

        Args:
            embedding: Its name.
            query: A text, or a vector: a list of numbers.
            k: At most so many rows, 1 to 1,000.
            at: As known then, with a zone; by default now, by the server's clock.
            as_of: Only by rows with a sequence up to this one.
            where: What columns must be, such as {"country": "AT"}.
            mode: "vector", "text" (by words, BM25) or "hybrid".
            exact: Compare every vector, though there is an index.

        Raises:
            NotFoundError: If there is no such embedding.
            DataError: If the query, or another argument, cannot be used.
        """
        (asked,) = rows_of([{"query": query, "where": dict(where or {})}])
        body = {
            "query" if isinstance(query, str) else "vector": asked["query"],
            "k": k,
            "where": asked["where"],
            "mode": mode,
            "exact": exact,
        }
        return self._ask(embedding, "search", Found, body | _when(at, as_of))

    def duplicates(
        self,
        embedding: str,
        *,
        at: datetime | str | None = None,
        as_of: int | None = None,
        threshold: float | None = None,
        limit: int = 1_000,
    ) -> FoundPairs:
        """Return the pairs of rows whose vectors are nearly the same, as `ws.vectors.duplicates` does.

        Args:
            embedding: Its name.
            at: As known then, as in `search`.
            as_of: As in `search`.
            threshold: The least score of a pair; 0.95 by cosine, to be said for other metrics.
            limit: At most so many pairs, the best; 1 to 10,000.

        Raises:
            NotFoundError: If there is no such embedding.
            DataError: If an argument cannot be used, or there are too many vectors.
            UnavailableError: If it takes longer than half a minute.
        """
        body = {"threshold": threshold, "limit": limit} | _when(at, as_of)
        return self._ask(embedding, "duplicates", FoundPairs, body)

    def cluster(
        self,
        embedding: str,
        k: int = 8,
        *,
        at: datetime | str | None = None,
        as_of: int | None = None,
        seed: int = 0,
        limit: int = 1_000,
    ) -> FoundClusters:
        """Return groups of rows with similar vectors, as `ws.vectors.cluster` does.

        Args:
            embedding: Its name.
            k: How many groups, 1 to 100.
            at: As known then, as in `search`.
            as_of: As in `search`.
            seed: Where the search for groups begins.
            limit: At most so many rows in the answer, by key; 0 to 10,000. The groups are of all rows.

        Raises:
            NotFoundError: If there is no such embedding.
            DataError: If an argument cannot be used.
            UnavailableError: If it takes longer than half a minute.
        """
        body = {"k": k, "seed": seed, "limit": limit} | _when(at, as_of)
        return self._ask(embedding, "cluster", FoundClusters, body)

    def _ask(self, embedding: str, verb: str, answer: type[T], body: dict[str, object]) -> T:
        return self._connection.ask("POST", f"/v1/vectors/{quote(embedding, safe='')}/{verb}", answer, body)


def _when(at: datetime | str | None, as_of: int | None) -> dict[str, object]:
    return {"at": at.isoformat() if isinstance(at, datetime) else at, "as_of": as_of}


class Audit:
    """Who changed what: needs a token of an auditor or an admin."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self,
        *,
        subject: str | None = None,
        who: str | None = None,
        since: datetime | None = None,
        action: str | None = None,
        limit: int = 100,
    ) -> builtins.list[Entry]:
        """List entries, the newest first, as `ws.audit.list` does; at most 1,000."""
        asked = {"subject": subject, "who": who, "since": since, "action": action, "limit": limit}
        return self._connection.ask("GET", f"/v1/audit{_query(asked)}", Entries).entries


class Accesses:
    """Who read which features and asked which models: needs a token of an auditor or an admin."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self, *, since: datetime | None = None, who: str | None = None, name: str | None = None, limit: int = 100
    ) -> builtins.list[Read]:
        """List reads, the newest minute first, as `ws.access.list` does; at most 1,000."""
        asked = {"since": since, "who": who, "name": name, "limit": limit}
        return self._connection.ask("GET", f"/v1/access{_query(asked)}", Reads).reads


class Checks:
    """The rows that checks on data kept aside."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def quarantined(
        self, source: str | None = None, *, status: str | None = None, limit: int = 100
    ) -> builtins.list[Quarantine]:
        """List batches of rows, in the order in which they came; at most 1,000."""
        asked = {"source": source, "status": status, "limit": limit}
        return self._connection.ask("GET", f"/v1/checks/quarantines{_query(asked)}", Quarantines).quarantines

    def rows(self, number: int, *, limit: int = 100) -> builtins.list[Row]:
        """Return the rows of a batch that wait, with `__row` and the rules that they did not pass in `__rules`."""
        path = f"/v1/checks/quarantines/{int(number)}/rows{_query({'limit': limit})}"
        return self._connection.ask("GET", path, Waiting).rows

    def release(self, number: int, *, rows: Sequence[int] | None = None, replace_newer: bool = False) -> Settled:
        """Let rows of a batch go in, all of them or those with these `__row`.

        Raises:
            ConflictError: If newer versions of them are stored and `replace_newer` is not set.
        """
        body = {"rows": None if rows is None else list(rows), "replace_newer": replace_newer}
        return self._connection.ask("POST", f"/v1/checks/quarantines/{int(number)}/release", Settled, body)

    def drop(self, number: int, *, rows: Sequence[int] | None = None) -> Settled:
        """Give up rows of a batch, all of them or those with these `__row`; their values are removed."""
        body = {"rows": None if rows is None else list(rows)}
        return self._connection.ask("POST", f"/v1/checks/quarantines/{int(number)}/drop", Settled, body)


class Jobs:
    """The jobs that runners of the server's workspace have seen; to pause one needs a token of an admin."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> builtins.list[Job]:
        """List the jobs by name: when each is due next, and how its last run ended."""
        found: builtins.list[Job] = []
        page = self._page(limit=1_000)
        while page.next is not None:
            found += page.jobs
            page = self._page(limit=1_000, after=page.next)
        return found + page.jobs

    def history(self, job: str | None = None, *, state: str | None = None, limit: int = 50) -> builtins.list[JobRun]:
        """List runs, those due last first, as `ws.jobs.history` does; at most 1,000."""
        asked = {"job": job, "state": state, "limit": limit}
        return self._connection.ask("GET", f"/v1/jobs/history{_query(asked)}", HistoryOfJobs).runs

    def logs(self, job: str, *, due: datetime | None = None, attempt: int | None = None) -> JobLog:
        """Return a run, by default the last, its attempts, and what one of them wrote, by default the last.

        Raises:
            NotFoundError: If there is no such run or attempt.
        """
        return self._connection.ask("GET", f"{_job(job)}/logs{_query({'due': due, 'attempt': attempt})}", JobLog)

    def start(self, job: str) -> JobRun:
        """Run a job once now; a request whose answer is lost is sent again, and counts once.

        Raises:
            NotFoundError: If no runner has seen it.
        """
        now = self._page(limit=1).now.isoformat()
        return self._connection.ask("POST", f"{_job(job)}/start", JobRun, {"due": now})

    def rerun(self, job: str, due: datetime | None = None) -> JobRun:
        """Run a due time again, by default the last.

        Raises:
            NotFoundError: If there was no such due time.
            ConflictError: If it waits or runs already.
        """
        body = {"due": None if due is None else due.isoformat()}
        return self._connection.ask("POST", f"{_job(job)}/rerun", JobRun, body)

    def pause(self, job: str, *, resume: bool = False) -> JobState:
        """Start no attempts of a job any more, or do so again."""
        return self._connection.ask("POST", f"{_job(job)}/{'resume' if resume else 'pause'}", JobState, {})

    def _page(self, *, limit: int, after: str | None = None) -> ListedJobs:
        return self._connection.ask("GET", f"/v1/jobs{_query({'limit': limit, 'after': after})}", ListedJobs)


def _job(name: str) -> str:
    return f"/v1/jobs/{quote(name, safe='')}"


def _query(asked: Mapping[str, object]) -> str:
    said = {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in asked.items()
        if value is not None
    }
    return f"?{urlencode(said)}" if said else ""
