"""One grammar of references: what is written is read back, and anything else says the right form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import NotFoundError
from tinymlops.references import FORM, Reference, is_number

WORDS = st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True)
CHOSEN = st.one_of(
    st.tuples(st.none(), st.none()),
    st.tuples(st.integers(1, 999_999_999), st.none()),
    st.tuples(st.none(), WORDS.filter(lambda word: not is_number(word))),
)


@given(WORDS, CHOSEN, st.none() | WORDS)
def test_what_is_written_is_read_back(name, chosen, part):
    reference = Reference(name, *chosen, part)
    assert Reference.parse(str(reference)) == reference
    assert reference.chosen == (chosen[0] or chosen[1])


@given(st.text(alphabet="av3:@0_-é \n", max_size=12))
def test_a_text_is_read_as_it_is_written_or_refused_with_the_right_form(text):
    try:
        reference = Reference.parse(text)
    except NotFoundError as error:
        hint = error.hint.removeprefix("write ")
        assert hint == FORM or str(Reference.parse(hint)) == hint
    else:
        name, _, number = text.partition(":")
        assert str(reference) == (f"{name}@v{number}" if number.isdigit() else text)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("delay", Reference("delay")),
        ("delay@v3", Reference("delay", 3)),
        ("delay:3", Reference("delay", 3)),
        ("spending@v1:last", Reference("spending", 1, part="last")),
        ("spending@ana:v3", Reference("spending", mark="ana", part="v3")),
        ("delay@vintage", Reference("delay", mark="vintage")),
    ],
)
def test_the_forms(text, reference):
    assert Reference.parse(text) == reference


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("spending:last@v1", "spending@v1:last"),
        ("spending:last@ana", "spending@ana:last"),
        ("spending:3@v1", FORM),
        ("delay@3", "delay@v3"),
        ("delay@v03", "delay@v3"),
        ("delay:03", "delay@v3"),
        ("delay@v3:4", "delay@v3"),
        ("spending@3:last", "spending@v3:last"),
        ("", FORM),
        ("@v3", FORM),
        ("delay@", FORM),
        ("delay:", FORM),
        ("delay:0", FORM),
        ("delay@v0", FORM),
        ("delay@v9999999999", FORM),
        ("delay@v1@v2", FORM),
        ("delay@v3:", FORM),
        ("Delay", FORM),
        ("délai", FORM),
        ("delay\n", FORM),
        ("delay:٣", FORM),
    ],
)
def test_an_odd_text_is_refused_with_the_right_form(text, right):
    with pytest.raises(NotFoundError) as info:
        Reference.parse(text)
    assert info.value.hint == f"write {right}"


def test_of_a_long_text_the_beginning_is_shown():
    with pytest.raises(NotFoundError) as info:
        Reference.parse("X" * 5_000)
    assert len(info.value.message) < 150
