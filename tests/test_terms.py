"""The glossary: terms are definitions with versions, found where definitions use them."""

import pytest
from inside import database_of

import tinymlops as tm
from tinymlops.errors import ConflictError, DefinitionError
from tinymlops.features.definitions.specs import TermSpec, decode, encode, fingerprint
from tinymlops.features.definitions.terms import terms_in
from tinymlops.records import Definition


def glossary(text="More than 15 minutes after the plan.", **options):
    project = tm.Project("flights")
    project.term("late arrival", text, **options)
    return project


def test_a_term_is_applied_as_a_definition_and_a_new_meaning_is_a_new_version(workspace):
    plan = workspace.apply(glossary())
    assert str(plan) == "1 to apply, 0 unchanged\n  + term late arrival"
    assert not workspace.plan(glossary())
    assert "~ term late arrival  (text)" in str(workspace.apply(glossary("More than 30 minutes.")))
    assert "* term late arrival  (owner)" in str(workspace.apply(glossary("More than 30 minutes.", owner="ana")))
    versions = database_of(workspace).list(Definition, order="version")
    assert [(row.kind, row.name, row.version) for row in versions] == [
        ("term", "late arrival", 1),
        ("term", "late arrival", 2),
    ]
    assert "- term late arrival" in str(workspace.apply(tm.Project("flights")))


def test_a_term_is_found_by_its_names_and_brings_what_uses_another_of_them(workspace):
    project = glossary(aliases=["tardy landing"])
    project.entity("late_arrival", key="flight", description="A flight.")
    workspace.apply(project)
    found = [(one.kind, one.name) for one in workspace.search("tardy landings")]
    assert found == [("term", "late arrival"), ("entity", "late_arrival")]


def test_a_term_may_have_the_name_of_a_definition():
    project = glossary()
    project.term("flight", "From block to block.")
    project.entity("flight", key="flight")
    assert [spec.name for spec in project.specs()] == ["flight", "late arrival", "flight"]


def test_the_same_term_twice_is_one_and_another_meaning_is_refused():
    project = glossary()
    project.term("late arrival", "More than 15 minutes after the plan.")
    assert len(project.terms) == 1
    with pytest.raises(ConflictError, match="already says what 'late arrival' means"):
        project.term("late arrival", "Something else.")


@pytest.mark.parametrize("name", ["", " ", "late ", "late:1", "late@v2", "a" * 64, "late\narrival", None, 3])
def test_a_name_that_is_not_one_is_refused(name):
    with pytest.raises(DefinitionError, match="cannot be the name of a term"):
        tm.Project("flights").term(name, "text")


@pytest.mark.parametrize("name", ["x", "late arrival", "Flughöhe über Grund", "到着遅延", "Ana's rule", "no-show"])
def test_names_are_words_of_any_language(name):
    spec = tm.Project("flights").term(name, " text ").spec
    assert decode(encode(spec)) == spec
    assert spec.text == "text"


@pytest.mark.parametrize("text", ["", "  ", None])
def test_a_term_without_meaning_is_refused(text):
    with pytest.raises(DefinitionError, match="term 'late' has no text"):
        tm.Project("flights").term("late", text)


@pytest.mark.parametrize(
    ("aliases", "said"), [("tardy", "not a list of names"), ([""], "cannot be the name of a term")]
)
def test_aliases_are_names(aliases, said):
    with pytest.raises(DefinitionError, match=said):
        glossary(aliases=aliases)


def test_a_unit_of_a_term_is_refused():
    with pytest.raises(DefinitionError, match="it has no values of its own"):
        glossary(unit="EUR")


@pytest.mark.parametrize("other", ["Late Arrivals", "tardy"])
def test_two_terms_of_one_name_are_refused(workspace, other):
    project = glossary(aliases=["Tardy"])
    project.term(other, "Something else.")
    with pytest.raises(DefinitionError, match="names two terms: 'late arrival' and"):
        workspace.plan(project)


def test_prose_is_content_of_a_term_and_its_owner_is_not():
    one, other = (glossary(text, owner=owner).terms["late arrival"].spec for text, owner in [("a", "x"), ("a", "y")])
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint(glossary("b").terms["late arrival"].spec)


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("late_arrivals_7d", True),
        ("Counts LATE ARRIVALS of a day.", True),
        ("the tardy ones", True),
        ("translate arrivals", False),
        ("arrival late", False),
        ("late", False),
        ("", False),
    ],
)
def test_terms_are_found_where_they_are_used(text, used):
    term = TermSpec(name="late arrival", text="x", aliases=("tardy",))
    assert terms_in([text], [term]) == ([term] if used else [])
