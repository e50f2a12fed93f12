"""`plan` and `apply`: what a project's definitions would change in a workspace, and the change itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import ConflictError
from tinymlops.features.context import filled, spec_of
from tinymlops.features.definitions import specs
from tinymlops.features.definitions.about import changes_of
from tinymlops.features.definitions.aliases import check_aliases
from tinymlops.features.definitions.checks import check
from tinymlops.features.definitions.code import is_importable
from tinymlops.features.definitions.definitions import Definitions, in_words, key_of, kind_of
from tinymlops.features.definitions.specs import OnDemandSpec, TrainingSetSpec
from tinymlops.features.law.blast_radius import BlastRadius, blast_radius
from tinymlops.features.law.covering import Unseen, adopts, unseen_of
from tinymlops.features.law.differences import differences
from tinymlops.features.law.freshness import late_sources
from tinymlops.features.law.leaks import static_findings
from tinymlops.features.law.numbering import (
    Numbered,
    alike,
    causes,
    check_enabled,
    check_variants,
    definitions_to_apply,
    number,
)
from tinymlops.features.standing import check_renames, notes_on_stored_rows, rename
from tinymlops.findings import Finding, sorted_out
from tinymlops.notebook import in_notebook
from tinymlops.records import Definition
from tinymlops.stores.generation import begin_change, end_change
from tinymlops.stores.pseudonyms import FreeText
from tinymlops.tables import html_list, html_table

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.project import Project
    from tinymlops.features.definitions.specs import AnySpec, CodeReference, FeatureRequest
    from tinymlops.registry.catalog import Catalog
    from tinymlops.registry.models import Models
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["Change", "Definitions", "Plan", "apply", "plan"]

_MARKS = {"add": "+", "change": "~", "describe": "*", "remove": "-"}


class Change(msgspec.Struct, frozen=True):
    """What `apply` would do with one definition."""

    action: str
    """`add`, `change`, `remove` or `keep`; `describe` where what it computes is the same and it is stored in place."""
    kind: str
    name: str
    detail: str = ""
    """Of a change: the fields that differ, such as "ttl 7d -> 14d, spent.window 1d -> 2d"."""

    def __str__(self) -> str:
        detail = f"  ({self.detail})" if self.detail else ""
        return f"{_MARKS.get(self.action, ' ')} {in_words(self.kind)} {self.name}{detail}"


class Plan:
    """What `apply` would change, and notes about the definitions; true if there is any change.

    Attributes:
        changes: One for each definition of the project or the workspace.
        notes: Facts about them: static sources, boundaries, modes of transformations, columns not yet known.
        base: Kind and name to version of the definitions in force that it was compared with.
        reach: What reads each definition that changes or goes.
        leaks: What the definitions show to be a leak, and the project does not allow.
        unseen: What the digests of Python code do not see, by definition.

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
        self.reach: list[BlastRadius] = []
        self.leaks: list[Finding] = []
        self.unseen: list[Unseen] = []

    def __bool__(self) -> bool:
        return bool(self._differing)

    def __str__(self) -> str:
        lines = [self._summary, *(f"  {change}" for change in self._differing)]
        lines += [f"  reach: {radius}" for radius in self.reach if radius]
        lines += [f"  leak: {leak.name}: {leak.message}" for leak in self.leaks]
        return "\n".join([*lines, *(f"  note: {note}" for note in [*self.notes, *self._of_differing])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [
            (_MARKS[change.action], in_words(change.kind), change.name, change.detail) for change in self._differing
        ]
        reached = [str(radius) for radius in self.reach if radius]
        leaks = [f"leak: {leak.name}: {leak.message}" for leak in self.leaks]
        told = html_list([*reached, *leaks, *self.notes, *self._of_differing])
        return in_notebook(html_table(self._summary, rows), told)

    @property
    def breaks(self) -> list[str]:
        """Those of the notes that say that something would stop working, and the names of leaks."""
        return [note for note in self.notes if note.startswith("model ")] + [leak.name for leak in self.leaks]

    @property
    def _differing(self) -> list[Change]:
        return [change for change in self.changes if change.action != "keep"]

    @property
    def _of_differing(self) -> list[str]:
        """What the digests of the definitions that change do not see."""
        keys = {(change.kind, change.name) for change in self._differing if change.action != "remove"}
        return [str(one) for one in self.unseen if one.what and (one.kind, one.name) in keys]

    @property
    def _summary(self) -> str:
        differing = len(self._differing)
        return f"{differing} to apply, {len(self.changes) - differing} unchanged"


def plan(project: Project, context: Context, catalog: Catalog, models: Models) -> Plan:
    """Check a project's definitions and compare them with those in force.

    Everything that needs no data is checked: names, kinds, times, and on-demand views, which are called for their
    expressions. No source is read; `apply` checks columns and their types.

    Args:
        project: Only its own definitions count as removed.
        context: The workspace's state.
        catalog: What is applied.
        models: Registered ones.

    Raises:
        NotFoundError: If a name resolves to nothing.
        DefinitionError: If definitions do not fit together.
        LeakageError: If a label has no time.
        ConflictError: If another project of the workspace has a definition of the same kind and name, a renamed
            source would share the rows of another, or the name of a variant stands for other content.
    """
    from tinymlops.features.history.reading_notes import ways_of_reading

    functions, renamed = project.functions(), project.renamed()
    new, in_force = definitions_to_apply(project.specs(), catalog), catalog.list()
    project_context = context.with_project(new, functions)
    notes = check(new, functions, older=partial(_function_of, project_context))
    _require_own(new, in_force, project.name)
    numbered = number(new, in_force, catalog.newest())
    check_variants(numbered.values(), catalog)
    notes += check_enabled(numbered, new)
    own = _base(in_force, project.name)
    others = [row for row in in_force if row.project != project.name]
    changes = [_change(numbered[key_of(spec)], numbered) for spec in new.all]
    changes += [Change("remove", *key) for key in own if ":".join(key) not in numbered]
    planned = Plan(changes, [*notes, *alike(numbered, filled(others))], own)
    planned.unseen = unseen_of(new.all)
    changed = [(one.kind, one.name) for one in changes if _has_other_content(one, numbered)]
    planned.reach = blast_radius(context, models, changed) if changed else []
    context = project_context
    found = static_findings(context, list(new.of(TrainingSetSpec).values()))
    planned.leaks = [one for one in sorted_out(found, context.config.lint.allow)[0] if one.level == "leak"]
    check_renames(context, renamed)
    everything = context.with_definitions(Definitions([*new.all, *map(spec_of, others)], older=new.older))
    check_aliases(everything.definitions)
    planned.notes += [*ways_of_reading(context), *notes_on_stored_rows(everything, models, renamed)]
    planned.notes += late_sources(everything)
    return planned


def _function_of(context: Context, request: FeatureRequest) -> Callable[..., Any]:
    """Return the function of an on-demand view in the version that a request names."""
    reader = context.for_request(request)
    return reader.function(reader.definitions.get(OnDemandSpec, request.view))


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


def _base(in_force: Iterable[Definition], project: str) -> dict[tuple[str, str], int]:
    return {(row.kind, row.name): row.version for row in in_force if row.project == project}


def _has_other_content(change: Change, numbered: Mapping[str, Numbered]) -> bool:
    """Return whether a definition changes or goes by itself, and not only because of what it stands on."""
    if change.action == "change":
        return numbered[f"{change.kind}:{change.name}"].has_new_content
    return change.action == "remove"


def apply(project: Project, context: Context, catalog: Catalog, models: Models, *, message: str = "") -> Plan:
    """Plan, check the columns and types that are known, and write what differs, in one transaction.

    Args:
        project: As for `plan`.
        context: As for `plan`.
        catalog: As for `plan`.
        models: As for `plan`.
        message: Why; it is kept with every version that is written.

    Returns:
        What was changed, with a note for each source whose columns are not known yet.

    Raises:
        DefinitionError: If a column does not exist or is of a type that does not fit, and all that `plan` raises.
        DataError: If a source's times have no zone.
        ConflictError: If the definitions that it was compared with are others by now.
    """
    from tinymlops.features.columns import check_columns

    planned = plan(project, context, catalog, models)
    new = definitions_to_apply(project.specs(), catalog)
    planned.notes += check_columns(context.with_project(new, project.functions()))
    if planned or project.renamed() or _lacks(new, catalog.list()):
        _write(planned, project, context.scope, catalog, message)
    return planned


def _lacks(definitions: Definitions, in_force: Iterable[Definition]) -> bool:
    """Return whether a record of a version before lacks what this one writes beside the definition."""
    rows = {f"{row.kind}:{row.name}": row for row in in_force}
    return not all(row.logic for row in rows.values()) or any(
        adopts(rows[key_of(spec)], spec) for spec in definitions.all if key_of(spec) in rows
    )


def _write(planned: Plan, project: Project, scope: Scope, catalog: Catalog, message: str) -> None:
    """Write what a plan said.

    The catalog is read again in the transaction, where no other writer can come in between. Sources that were renamed
    keep the rows that they had under the name before. Of what was applied before schema 4, what it stands on is recorded; of
    code that was applied when a digest covered one function, what it reaches.
    """
    definitions = definitions_to_apply(project.specs(), catalog)
    at, said = scope.clock(), {"message": FreeText(message)} if message else {}
    with scope.write(audit="inside") as tx:
        in_force = catalog.list(tx=tx)
        _require_own(definitions, in_force, project.name)
        if _base(in_force, project.name) != planned.base:
            raise ConflictError(
                f"another process has applied to this workspace since project {project.name!r} was planned; "
                "nothing was changed",
                hint="plan again, look at what would change now, and apply that",
            )
        begin_change(scope.environment.online)
        rename(tx, project.renamed(), at)
        numbered = number(definitions, in_force, catalog.newest(tx=tx))
        rows = _fill(tx, in_force, numbered)
        for change in planned.changes:
            key = f"{change.kind}:{change.name}"
            if change.action == "keep" and not adopts(rows[key], numbered[key].spec):
                continue
            if change.action == "remove":
                catalog.remove(tx, rows[key], at=at)
            elif change.action in ("describe", "keep"):
                spec = numbered[key].spec
                tx.update(msgspec.structs.replace(rows[key], spec=_stored(spec), logic=specs.logic(spec)))
            else:
                row = _row(numbered[key], project.name, at)
                catalog.put(tx, msgspec.structs.replace(row, author=scope.actor, message=message))
            action = "cover" if change.action == "keep" else change.action
            tx.audit(f"definition.{action}", key, project=project.name, **said)
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


def _row(one: Numbered, project: str, at: datetime) -> Definition:
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
    said += [text for text in differences(msgspec.structs.replace(before, about=spec.about), spec) if text != "code"]
    if _has_moved(getattr(before, "code", None), getattr(spec, "code", None)):
        said.append("where its code is")
    return Change("describe" if said else "keep", kind, spec.name, ", ".join(said))


def _has_moved(before: CodeReference | None, after: CodeReference | None) -> bool:
    """Return whether unchanged code has moved: it was in a notebook, or in another file."""
    if before is None or after is None or not is_importable(after):
        return False
    same_file = before.file == after.file and Path(str(before.file)).is_file()
    same_module = before.module == after.module != "__main__"
    return before.name != after.name or not (is_importable(before) and (same_file or same_module))
