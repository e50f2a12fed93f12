"""The datasets that were saved: their records and those of their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import NotFoundError, near
from tinymlops.records import Dataset, DatasetPart

if TYPE_CHECKING:
    import builtins
    from collections.abc import Sequence

    from tinymlops.records import FittedModel
    from tinymlops.registry.scope import Scope

__all__ = ["DatasetRecords"]

_SHORTEST_PREFIX = 6


class DatasetRecords:
    """Records of datasets.

    Args:
        scope: Who works on which workspace.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._database = scope.environment.database

    def list(self, name: str | None = None) -> builtins.list[Dataset]:
        """Return the datasets, the newest first; only those of a name if it is given."""
        where: dict[str, object] | None = None if name is None else {"name": name}
        return self._database.list(Dataset, where=where, order="-created_at")

    def get(self, reference: str) -> Dataset:
        """Return a dataset by its id, the beginning of it, or the newest by its name.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        newest = self._database.newest(Dataset, name=reference)
        if newest is not None:
            return newest
        every = self._database.list(Dataset)
        if len(reference) >= _SHORTEST_PREFIX:
            found = [one for one in every if one.id.startswith(reference)]
            if len(found) == 1:
                return found[0]
        raise NotFoundError(
            f"there is no dataset {reference!r}",
            hint=near(reference, {one.name for one in every}, otherwise="save one: ws.save_dataset(...)"),
        )

    def parts(self, dataset: Dataset) -> builtins.list[DatasetPart]:
        """Return the files of a dataset, in order."""
        return self._database.list(DatasetPart, where={"dataset": dataset.id}, order="number")

    def add(self, dataset: Dataset, parts: Sequence[DatasetPart], models: Sequence[FittedModel]) -> None:
        """Record a dataset whose files were published, and the models that made its vectors."""
        facts = {"id": dataset.id, "fingerprint": dataset.fingerprint, "sequence": dataset.sequence}
        with self._scope.write("dataset.save", dataset.name, **facts) as tx:
            tx.insert(dataset)
            tx.insert_many(parts)
            tx.put_many(models)

    def remove(self, dataset: Dataset) -> None:
        """Forget a dataset; a collection removes its files once its grace is over."""
        with self._scope.write("dataset.remove", dataset.name, id=dataset.id) as tx:
            tx.delete(DatasetPart, dataset=dataset.id)
            tx.delete(Dataset, id=dataset.id)
