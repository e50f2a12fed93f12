"""The glossary: words that a project's people use, what they mean, and where definitions use them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.specs import TermSpec

if TYPE_CHECKING:
    from msgspec import UnsetType

    from tinymlops.features.definitions.specs import About

__all__ = ["Term", "check_terms", "term_of", "terms_in"]

_NAME = re.compile(r"[^\W_](?:[\w '-]{0,61}[^\W_])?")
_WORD = re.compile(r"[^\W_]+")


class Term:
    """A term of the glossary; made by `project.term`.

    Attributes:
        spec: The term as data.
    """

    def __init__(self, spec: TermSpec) -> None:
        self.spec = spec

    def __repr__(self) -> str:
        others = f" ({', '.join(self.spec.aliases)})" if self.spec.aliases else ""
        return f"<term {self.spec.name}{others}>"


def term_of(name: str, text: str, aliases: Sequence[str], about: About | UnsetType) -> Term:
    """Make a term.

    Args:
        name: In words, such as "late arrival".
        text: What it means.
        aliases: Other names of the same thing.
        about: What else was said about it.

    Raises:
        DefinitionError: If one of them is not a text, or cannot be a name.
    """
    if isinstance(aliases, str) or not isinstance(aliases, Sequence):
        raise DefinitionError(
            f"aliases={aliases!r} of term {name!r} is not a list of names", hint='write aliases=["tardy"]'
        )
    for one in (name, *aliases):
        if not isinstance(one, str) or not _NAME.fullmatch(one):
            raise DefinitionError(
                f"{one!r} cannot be the name of a term",
                hint="use words of letters and digits, with spaces, ' and - between them, 63 characters at most",
            )
    if not isinstance(text, str) or not text.strip():
        raise DefinitionError(f"term {name!r} has no text", hint=f'write project.term({name!r}, "what it means")')
    return Term(TermSpec(name=name, text=text.strip(), aliases=tuple(dict.fromkeys(aliases)), about=about))


def check_terms(terms: Iterable[TermSpec]) -> None:
    """Refuse two terms that share a name or an alias, capitals and endings aside.

    Raises:
        DefinitionError: If two do.
    """
    known: dict[tuple[str, ...], TermSpec] = {}
    for term in terms:
        for name in (term.name, *term.aliases):
            other = known.setdefault(_words(name), term)
            if other is not term:
                raise DefinitionError(
                    f"{name!r} names two terms: {other.name!r} and {term.name!r}", hint="leave it to one of them"
                )


def terms_in(texts: Iterable[str], terms: Iterable[TermSpec]) -> list[TermSpec]:
    """Return the terms that texts use by one of their names, in any number and with "_" for spaces.

    Example:
        >>> late = TermSpec(name="late arrival", text="More than 15 minutes.")
        >>> [term.name for term in terms_in(["late_arrivals_7d", "on time"], [late])]
        ['late arrival']
    """
    said = [f" {' '.join(_words(text))} " for text in texts]
    return [
        term
        for term in terms
        if any(f" {' '.join(_words(name))} " in text for name in (term.name, *term.aliases) for text in said)
    ]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.removesuffix("s") or word for word in _WORD.findall(text.casefold()))
