"""`plan` and `apply`: what a project's definitions would change in a workspace, and the change itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import ConflictError
from tinymlops.features.context import filled, spec_of
from tinymlops.features.definitions import specs
from tinymlops.features.definitions.about import changes_of
from tinymlops.features.definitions.checks import check
from tinymlops.features.definitions.code import is_importable
from tinymlops.features.definitions.definitions import Definitions, in_words, key_of, kind_of, labelled
from tinymlops.features.definitions.differences import differences
from tinymlops.features.definitions.specs import EntitySpec, SourceSpec
from tinymlops.features.numbering import Numbered, causes, check_enabled, check_variants, definitions_to_apply, number
from tinymlops.features.standing import rename
from tinymlops.records import Definition
from tinymlops.stores.generation import begin_change, end_change
from tinymlops.tables import html_list, html_table

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.features.definitions.specs import AnySpec, CodeReference
    from tinymlops.registry.catalog import Catalog
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["Change", "Definitions", "Plan", "apply", "definitions_to_apply", "plan"]

_MARKS = {"add": "+", "change": "~", "describe": "*", "remove": "-"}


class Change(msgspec.Struct, frozen=True):
    """What apply would do with one definition."""

    action: str
    """`add`, `change`, `remove` or `keep`; `describe` where what it computes is the same and it is stored in place."""
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
    definitions: Definitions,
    catalog: Catalog,
    *,
    project: str,
    functions: Mapping[str, Callable[..., Any]],
) -> Plan:
    """Check a project's definitions and compare them with those in force.

    All that can be told without data is checked: names, kinds, times, and on-demand views, which are called for
    their expressions. No source is read; columns and their types are `apply`'s to check.

    Args:
        definitions: The project's, as `definitions_to_apply` gives them.
        catalog: What is applied.
        project: The project's name: only its own definitions count as removed.
        functions: Its Python functions by definition name.

    Raises:
        NotFoundError: If a name resolves to nothing.
        DefinitionError: If definitions do not fit together.
        LeakageError: If a label has no time.
        ConflictError: If another project of the workspace has a definition of the same kind and name, or the name of a
            variant stands for other content.
    """
    notes = check(definitions, functions)
    in_force = catalog.list()
    _require_own(definitions, in_force, project)
    numbered = number(definitions, in_force, catalog.newest())
    check_variants(numbered.values(), catalog)
    notes += check_enabled(numbered, definitions)
    changes = [_change(numbered[key_of(spec)], numbered) for spec in definitions.all]
    own = _base(in_force, project)
    changes += [Change("remove", *key) for key in own if ":".join(key) not in numbered]
    others = [row for row in filled(in_force) if row.project != project]
    return Plan(changes, [*notes, *_alike(numbered, others)], own)


def _base(in_force: Iterable[Definition], project: str) -> dict[tuple[str, str], int]:
    return {(row.kind, row.name): row.version for row in in_force if row.project == project}


def _require_own(definitions: Definitions, in_force: Iterable[Definition], project: str) -> None:
    others = {f"{row.kind}:{row.name}": row for row in in_force if row.project != project}
    for spec in definitions.all:
        known = others.get(key_of(spec))
        if known is not None:
            raise ConflictError(
                f"{in_words(known.kind)} {spec.name!r} is already defined by project {known.project!r} of this "
                "workspace",
                hint="rename one of the two, or give each project a workspace of its own",
            )


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
    keep the rows that they had under the name before. Of what was applied before schema 4, what it stands on is recorded.

    Raises:
        ConflictError: If the definitions that it was compared with are others by now, or another project has one of
            the same kind and name.
    """
    if not planned and not renamed and all(row.logic for row in catalog.list()):
        return
    definitions = definitions_to_apply(new, catalog)
    at = scope.clock()
    with scope.write(audit="inside") as tx:
        in_force = catalog.list(tx=tx)
        _require_own(definitions, in_force, project)
        if _base(in_force, project) != planned.base:
            raise ConflictError(
                f"somebody else has applied to this workspace since project {project!r} was planned; nothing was changed",
                hint="plan again, look at what would change now, and apply that",
            )
        begin_change(scope.environment.online)
        rename(tx, renamed, at)
        numbered = number(definitions, in_force, catalog.newest(tx=tx))
        rows = _fill(tx, in_force, numbered)
        for change in planned.changes:
            key = f"{change.kind}:{change.name}"
            if change.action == "keep":
                continue
            if change.action == "remove":
                catalog.remove(tx, rows[key], at=at)
            elif change.action == "describe":
                spec = numbered[key].spec
                tx.update(msgspec.structs.replace(rows[key], spec=_stored(spec), logic=specs.logic(spec)))
            else:
                catalog.put(tx, _row(numbered[key], project, scope.actor, at))
            tx.audit(f"definition.{change.action}", key, project=project)
    end_change(scope.environment.online)


def _fill(tx: Transaction, in_force: Sequence[Definition], numbered: Mapping[str, Numbered]) -> dict[str, Definition]:
    """Record what definitions of before schema 4 stand on, and their logic; return those in force by key."""
    found = {}
    for before, row in zip(in_force, filled(in_force), strict=True):
        key = f"{row.kind}:{row.name}"
        found[key] = row
        if before.logic:
            continue
        if key in numbered and not numbered[key].has_new_content:
            found[key] = msgspec.structs.replace(row, logic=specs.logic(numbered[key].spec))
        tx.update(found[key])
    return found


def _row(one: Numbered, project: str, author: str, at: datetime) -> Definition:
    return Definition(
        kind=kind_of(one.spec),
        name=one.spec.name,
        version=one.version,
        fingerprint=specs.fingerprint(one.spec),
        spec=_stored(one.spec),
        project=project,
        applied_at=at,
        logic=specs.logic(one.spec),
        below=one.below,
        author=author,
    )


def _stored(spec: AnySpec) -> dict[str, Any]:
    stored: dict[str, Any] = msgspec.json.decode(specs.encode(spec))
    return stored


def _change(one: Numbered, everything: Mapping[str, Numbered]) -> Change:
    spec, kind = one.spec, kind_of(one.spec)
    if one.known is None:
        return Change("add", kind, spec.name)
    before = spec_of(one.known)
    if one.has_new_content:
        return Change("change", kind, spec.name, ", ".join(differences(before, spec)))
    if one.is_new:
        return Change("change", kind, spec.name, f"below: {', '.join(causes(one, everything))}")
    said = changes_of(before.about, spec.about)
    if before.description != spec.description:
        said.append("description")
    if _has_moved(getattr(before, "code", None), getattr(spec, "code", None)):
        said.append("where its code is")
    return Change("describe" if said else "keep", kind, spec.name, ", ".join(said))


def _alike(numbered: Mapping[str, Numbered], others: Iterable[Definition]) -> list[str]:
    """Name definitions that compute the same under several names, where one of them is new."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in others:
        found.setdefault((row.kind, row.logic), []).append(labelled(f"{row.kind}:{row.name}"))
    fresh = set()
    for key, one in numbered.items():
        if isinstance(one.spec, EntitySpec) or (isinstance(one.spec, SourceSpec) and one.spec.via == "push"):
            continue  # what these are is told apart by name alone
        alike = (kind_of(one.spec), specs.logic(one.spec))
        found.setdefault(alike, []).append(labelled(key))
        if one.has_new_content:
            fresh.add(alike)
    return [f"equal logic: {' and '.join(found[alike])}" for alike in found if alike in fresh and len(found[alike]) > 1]


def _has_moved(before: CodeReference | None, after: CodeReference | None) -> bool:
    """Say whether unchanged code must be looked for elsewhere: it was in a notebook, or in another file."""
    if before is None or after is None or not is_importable(after):
        return False
    same_file = before.file == after.file and Path(str(before.file)).is_file()
    same_module = before.module == after.module != "__main__"
    return before.name != after.name or not (is_importable(before) and (same_file or same_module))
