"""Opaque models and registered names that come from another place of MLflow: each at once, and none twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DataError
from tinymlops.records import ModelVersion, OpaqueFile, OpaqueModel, OpaqueVersion, RegisteredModel, RunModel, RunRow
from tinymlops.stores.pseudonyms import FreeText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.registry.scope import Scope

__all__ = ["store_model", "store_registered"]


def store_model(scope: Scope, model: OpaqueModel, files: Sequence[OpaqueFile]) -> bool:
    """Store a model with its files, which are published already; one that is here stays as it is.

    Args:
        scope: The workspace and the actor.
        model: Of a run that is here; its experiment is that of the run.
        files: Of the model.

    Returns:
        Whether it was new.
    """
    if scope.environment.database.get(OpaqueModel, id=model.id) is not None:
        return False
    with scope.write("opaque_model.import", model.id, name=FreeText(model.name), run=model.run) as tx:
        run = tx.get(RunRow, id=model.run) if model.run is not None else None
        tx.insert_new([msgspec.structs.replace(model, experiment=run.experiment if run is not None else 0)])
        tx.insert_new(files)
        if run is not None:
            tx.insert_new([RunModel(run=run.id, model=model.id, direction="output")])
    return True


def store_registered(scope: Scope, model: RegisteredModel, versions: Sequence[OpaqueVersion]) -> tuple[int, list[str]]:
    """Store a registered name with its versions and aliases; a version or an alias that is here stays as it is.

    Args:
        scope: The workspace and the actor.
        model: The name, with its aliases.
        versions: Of models that are here.

    Returns:
        How many versions were new, and where the two differ.

    Raises:
        DataError: If another model is called so here.
    """
    database = scope.environment.database
    before = database.get(RegisteredModel, title=model.title)
    numbers = {one.version for one in database.list(OpaqueVersion, where={"name": model.name})}
    newest = before.newest if before is not None else 0
    # A number up to the newest that is not here was deleted here.
    added = [one for one in versions if one.version not in numbers and one.version > newest]
    aliases = before.aliases if before is not None else {}
    there = numbers | {one.version for one in added}
    known = {alias: number for alias, number in model.aliases.items() if number in there}
    differences = [
        f"alias {alias} is version {aliases[alias]} here and {number} there"
        for alias, number in known.items()
        if aliases.get(alias, number) != number
    ]
    merged = {**known, **aliases}
    if before is not None and not added and merged == aliases:
        return 0, differences
    with scope.write("registered_model.import", model.name, title=FreeText(model.title)) as tx:
        if before is None:
            other = tx.get(RegisteredModel, name=model.name)
            if other is not None or tx.list(ModelVersion, where={"name": model.name}, limit=1):
                raise DataError(f"{model.title!r} would be called {model.name!r} here, as another model is")
        newest = max([newest, *(one.version for one in added)])
        tx.put(msgspec.structs.replace(before or model, aliases=merged, newest=newest))
        tx.insert_new(added)
    return len(added), differences
