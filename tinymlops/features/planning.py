"""`plan` and `apply`: what a project's definitions would change in a workspace, and the change itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import ConflictError
from tinymlops.features.definitions import specs
from tinymlops.features.definitions.checks import check
from tinymlops.features.definitions.code import is_importable
from tinymlops.features.definitions.definitions import Definitions, in_words, kind_of
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.standing import rename
from tinymlops.records import Definition
from tinymlops.stores.generation import begin_change, end_change
from tinymlops.tables import html_list, html_table

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import AnySpec, CodeReference
    from tinymlops.registry.catalog import Catalog
    from tinymlops.registry.scope import Scope

__all__ = ["Change", "Definitions", "Plan", "apply", "plan"]

_MARKS = {"add": "+", "change": "~", "remove": "-"}


class Change(msgspec.Struct, frozen=True):
    """What apply would do with one definition."""

    action: str
    """`add`, `change`, `remove` or `keep`."""
    kind: str
    name: str
    detail: str = ""
    """Of a change: the fields that differ, such as "ttl, features.spent_1d"."""

    def __str__(self) -> str:
        detail = f"  ({self.detail})" if self.detail else ""
        return f"{_MARKS.get(self.action, ' ')} {in_words(self.kind)} {self.name}{detail}"


class Plan:
    """What `apply` would change, and what is worth knowing about the definitions; true if anything would.

    Attributes:
        changes: One for each definition of the project or the workspace.
        notes: Facts about them: static sources, boundaries, modes of transformations, columns not yet known.
        base: Kind and name to version of the definitions in force that it was compared with.

    Example:
        >>> print(Plan([Change("change", "feature_view", "sky", "ttl"), Change("keep", "source", "weather")], []))
        1 to apply, 1 unchanged
          ~ feature view sky  (ttl)
    """

    def __init__(
        self, changes: list[Change], notes: list[str], base: Mapping[tuple[str, str], int] | None = None
    ) -> None:
        self.changes = changes
        self.notes = notes
        self.base = dict(base or {})

    def __bool__(self) -> bool:
        return bool(self._differing)

    def __str__(self) -> str:
        lines = [self._summary, *(f"  {change}" for change in self._differing)]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [
            (_MARKS[change.action], in_words(change.kind), change.name, change.detail) for change in self._differing
        ]
        return html_table(self._summary, rows) + html_list(self.notes)

    @property
    def _differing(self) -> list[Change]:
        return [change for change in self.changes if change.action != "keep"]

    @property
    def _summary(self) -> str:
        differing = len(self._differing)
        return f"{differing} to apply, {len(self.changes) - differing} unchanged"


def plan(
    new: Iterable[AnySpec],
    catalog: Catalog,
    *,
    project: str,
    functions: Mapping[str, Callable[..., Any]],
) -> Plan:
    """Check a project's definitions and compare them with those in force.

    All that can be told without data is checked: names, kinds, times, and on-demand views, which are called for
    their expressions. No source is read; columns and their types are `apply`'s to check.

    Args:
        new: The project's definitions.
        catalog: What is applied.
        project: The project's name: only its own definitions count as removed.
        functions: Its Python functions by definition name.

    Raises:
        NotFoundError: If a name resolves to nothing.
        DefinitionError: If definitions do not fit together.
        LeakageError: If a label has no time.
        ConflictError: If another project of the workspace has a definition of the same kind and name.
    """
    definitions = Definitions(new)
    notes = check(definitions, functions)
    return _compared(definitions, catalog.list(), notes, project)


def _compared(definitions: Definitions, in_force: Iterable[Definition], notes: list[str], project: str) -> Plan:
    applied = {(row.kind, row.name): row for row in in_force}
    changes = []
    for spec in definitions.all:
        known = applied.get((kind_of(spec), spec.name))
        if known is not None and known.project != project:
            raise ConflictError(
                f"{in_words(known.kind)} {spec.name!r} is already defined by project {known.project!r} of this "
                "workspace",
                hint="rename one of the two, or give each project a workspace of its own",
            )
        changes.append(_change(spec, known))
    names = {(kind_of(spec), spec.name) for spec in definitions.all}
    own = {key: row.version for key, row in applied.items() if row.project == project}
    changes += [Change("remove", *key) for key in own if key not in names]
    return Plan(changes, notes, own)


def apply(
    planned: Plan,
    new: Iterable[AnySpec],
    scope: Scope,
    catalog: Catalog,
    *,
    project: str,
    renamed: Mapping[str, str],
) -> None:
    """Write what a plan said, in one transaction; nothing is written where nothing differs.

    The catalog is read again in that transaction, where no other writer can come in between. Sources that were renamed
    keep the rows that they had under the name before.

    Raises:
        ConflictError: If the definitions that it was compared with are others by now, or another project has one of
            the same kind and name.
    """
    if not planned and not renamed:
        return
    definitions = Definitions(new)
    by_name = {(kind_of(spec), spec.name): spec for spec in definitions.all}
    at = scope.clock()
    with scope.write(audit="inside") as tx:
        in_force = catalog.list(tx=tx)
        if _compared(definitions, in_force, [], project).base != planned.base:
            raise ConflictError(
                f"somebody else has applied to this workspace since project {project!r} was planned; nothing was changed",
                hint="plan again, look at what would change now, and apply that",
            )
        begin_change(scope.environment.online)
        rename(tx, renamed, at)
        for change in planned.changes:
            if change.action == "keep":
                continue
            if change.action == "remove":
                (gone,) = (row for row in in_force if (row.kind, row.name) == (change.kind, change.name))
                catalog.remove(tx, gone, at=at)
            else:
                spec = by_name[change.kind, change.name]
                catalog.put(
                    tx,
                    Definition(
                        kind=change.kind,
                        name=change.name,
                        version=0,
                        fingerprint=specs.fingerprint(spec),
                        spec=msgspec.json.decode(specs.encode(spec)),
                        project=project,
                        applied_at=at,
                    ),
                )
            tx.audit(f"definition.{change.action}", f"{change.kind}:{change.name}", project=project)
    end_change(scope.environment.online)


def _change(spec: AnySpec, known: Definition | None) -> Change:
    kind = kind_of(spec)
    if known is None:
        return Change("add", kind, spec.name)
    before = specs.decode(msgspec.json.encode(known.spec))
    if known.fingerprint != specs.fingerprint(spec):
        return Change("change", kind, spec.name, ", ".join(_differences(before, spec)))
    if getattr(before, "aliases", None) != getattr(spec, "aliases", None):
        return Change("change", kind, spec.name, "aliases")
    if _has_moved(getattr(before, "code", None), getattr(spec, "code", None)):
        return Change("change", kind, spec.name, "where its code is")
    return Change("keep", kind, spec.name)


def _differences(before: AnySpec, after: AnySpec) -> list[str]:
    """Name the fields that differ; of features, columns and keys, which ones."""
    found = []
    plain_before, plain_after = (msgspec.to_builtins(spec) for spec in (before, after))
    for name in after.__struct_fields__:
        old, new = plain_before.get(name), plain_after.get(name)
        if msgspec.json.encode(old) == msgspec.json.encode(new):  # where the order of features counts
            continue
        if isinstance(old, dict) and isinstance(new, dict) and name != "code":
            parts = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            found += [f"{name}.{key}" for key in parts] or [f"order of {name}"]
        elif name == "known" and isinstance(before, SourceSpec) and isinstance(after, SourceSpec):
            found.append(f"known: {before.knowledge} -> {after.knowledge}")
        else:
            found.append(name)
    return found


def _has_moved(before: CodeReference | None, after: CodeReference | None) -> bool:
    """Say whether unchanged code must be looked for elsewhere: it was in a notebook, or in another file."""
    if before is None or after is None or not is_importable(after):
        return False
    same_file = before.file == after.file and Path(str(before.file)).is_file()
    same_module = before.module == after.module != "__main__"
    return before.name != after.name or not (is_importable(before) and (same_file or same_module))
