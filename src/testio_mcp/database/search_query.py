"""What a person searches for: read into a tree, written in each database's language, and counted in a text.

An index holds which words a record has, not where. What depends on their order or column is decided on the text of
the records that the index names, in the same way on both databases.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from testio_mcp.database.words import is_unspaced, words_of
from testio_mcp.errors import BadInput

Column = Literal["title", "body", "comments"]
Counts = tuple[float, ...]
"""How often a term stands in each of the columns."""
COLUMNS: tuple[Column, ...] = ("title", "body", "comments")
SYNTAX = 'Use words, word*, "a phrase", AND, OR, NOT, ( ), and title:, body: or comments: before a word or phrase.'

_INDEXED = 16
"""How many words of one query are looked up in the index; all of them are compared with the text."""
_MOST_TERMS = 64
_DEEPEST = 20
_SHORTER = 0.5
"""How much less than the word itself a longer form of it counts."""
_TOKEN = re.compile(r'\s*(?:(?P<mark>[()])|"(?P<phrase>[^"]*)"(?P<open>\*?)|(?P<word>[^\s()"]+))')
_SCOPED = re.compile(rf"(?P<column>{'|'.join(COLUMNS)}):(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True)
class Term:
    """A word, or words one after the other; `is_open` says that the last one may go on."""

    words: tuple[str, ...]
    is_open: bool
    column: Column | None = None

    def needle(self, code: str) -> str:
        """What stands in an indexed text for each time that it occurs; a word that is not open ends there."""
        return " ".join(code + word for word in self.words) + ("" if self.is_open else " ")


@dataclass(frozen=True)
class Both:
    """Everything in it has to match."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Either:
    """Something in it has to match."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Except:
    """The first has to match and the second must not."""

    wanted: "Node"
    unwanted: "Node"


Node = Term | Both | Either | Except


@dataclass(frozen=True)
class Query:
    """A tree, and its terms in the order in which counts are given."""

    tree: Node
    terms: tuple[Term, ...] = field(init=False)
    is_indexed: bool = field(init=False)
    """Whether the index names exactly the records that match."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(dict.fromkeys(_terms(self.tree))))
        object.__setattr__(self, "is_indexed", _is_exact(self.tree))

    def counter(self, code: str) -> Callable[[Sequence[str]], list[Counts] | None]:
        """What tells of title, body and comments in this slice how often each term stands there.

        A longer form of a word counts less than the word itself. It tells None when the record does not match.
        """
        needles = [(term.needle(code), term.is_open, term.column) for term in self.terms]
        needs_all = isinstance(self.tree, Term) or (
            isinstance(self.tree, Both) and all(isinstance(part, Term) for part in self.tree.parts)
        )

        def counts(texts: Sequence[str]) -> list[Counts] | None:
            found = [_counted(texts, *needle) for needle in needles]
            if needs_all:
                return found if all(map(any, found)) else None
            present = {term for term, counts in zip(self.terms, found, strict=True) if any(counts)}
            return found if _holds(self.tree, present) else None

        return counts


def _counted(texts: Sequence[str], needle: str, is_open: bool, column: Column | None) -> Counts:
    if column is not None:
        texts = [text if name == column else "" for name, text in zip(COLUMNS, texts, strict=True)]
    if not is_open:
        return tuple([text.count(needle) for text in texts])
    whole = needle + " "
    return tuple(
        [
            often - _SHORTER * (often - text.count(whole)) if text and (often := text.count(needle)) else 0
            for text in texts
        ]
    )


def _terms(node: Node) -> Iterator[Term]:
    if isinstance(node, Term):
        yield node
        return
    for part in (node.wanted, node.unwanted) if isinstance(node, Except) else node.parts:
        yield from _terms(part)


def _holds(node: Node, present: set[Term]) -> bool:
    if isinstance(node, Term):
        return node in present
    if isinstance(node, Except):
        return _holds(node.wanted, present) and not _holds(node.unwanted, present)
    return (all if isinstance(node, Both) else any)(_holds(part, present) for part in node.parts)


def read_query(text: str, *, raw: bool = False, argument: str = "query") -> Query:
    """Read what a person typed; with `raw`, operators mean what `SYNTAX` says.

    Otherwise any text is a query for all of its words: each finds its longer forms, and characters that are written
    without spaces are found one after the other. Raises `BadInput` for text without a letter or digit, and for
    operators out of place.
    """
    if raw:
        return Query(_Reader(text).read())
    terms = tuple(dict.fromkeys(term for chunk in text.split() for term in _typed(chunk)))
    if not terms:
        raise BadInput(f"{argument}: there is no letter or digit in it.", "Give the words to look for.")
    return Query(Both(terms) if len(terms) > 1 else terms[0])


def _typed(chunk: str) -> Iterator[Term]:
    """The terms of a text without spaces: its words, and its runs of characters that are words of their own."""
    run: list[str] = []
    for word in words_of(chunk):
        if is_unspaced(word):
            run.append(word)
            continue
        if run:
            yield Term(tuple(run), is_open=False)
            run = []
        yield Term((word,), is_open=True)
    if run:
        yield Term(tuple(run), is_open=False)


class _Reader:
    """Reads the raw syntax: OR binds least, then AND (also unspoken) and NOT from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = [match for match in _TOKEN.finditer(text) if match[0].strip()]
        if len(_TOKEN.sub("", text).strip()):
            raise _wrong("a quotation mark is not closed")
        self._place = 0
        self._count = 0

    def read(self) -> Node:
        """The whole text as a tree."""
        if not self._tokens:
            raise BadInput("query: it is empty.", SYNTAX)
        tree = self._either(0)
        if self._next() is not None:
            raise _wrong("a ) closes nothing")
        return tree

    def _next(self) -> re.Match[str] | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _take(self, *words: str) -> str | None:
        """The next token, if it is one of these operators or marks."""
        token = self._next()
        found = token and (token["mark"] or token["word"])
        if found not in words:
            return None
        self._place += 1
        return found

    def _either(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise _wrong(f"parentheses stand more than {_DEEPEST} deep in each other")
        parts = [self._both(depth)]
        while self._take("OR"):
            parts.append(self._both(depth))
        return Either(tuple(parts)) if len(parts) > 1 else parts[0]

    def _both(self, depth: int) -> Node:
        tree = self._one(depth)
        while (token := self._next()) is not None:
            if token["mark"] == ")" or token["word"] == "OR":
                break
            if self._take("NOT"):
                tree = Except(tree, self._one(depth))
                continue
            self._take("AND")
            part = self._one(depth)
            tree = Both((*tree.parts, part)) if isinstance(tree, Both) else Both((tree, part))
        return tree

    def _one(self, depth: int) -> Node:
        token = self._next()
        if token is None:
            raise _wrong("something is missing at the end")
        if self._take("("):
            tree = self._either(depth + 1)
            if not self._take(")"):
                raise _wrong("a ( is not closed")
            return tree
        if token["mark"] or token["word"] in ("AND", "OR", "NOT"):
            raise _wrong(f"something is missing before {token['mark'] or token['word']}")
        self._place += 1
        return self._term(token)

    def _term(self, token: re.Match[str]) -> Term:
        column: Column | None = None
        text, is_open = token["phrase"], bool(token["open"])
        if text is None:
            text = token["word"]
            if scoped := _SCOPED.fullmatch(text):
                column = next(name for name in COLUMNS if name == scoped["column"])
                text = scoped["rest"]
                if not text and (quoted := self._next()) is not None and quoted["phrase"] is not None:
                    self._place += 1
                    text, is_open = quoted["phrase"], bool(quoted["open"])
            is_open = is_open or text.endswith("*")
        words = tuple(words_of(text))
        self._count += 1
        if not words:
            raise _wrong("there is no letter or digit in one of its words")
        if self._count > _MOST_TERMS:
            raise _wrong(f"it has more than {_MOST_TERMS} words and phrases")
        return Term(words, is_open, column)


def _wrong(what: str) -> BadInput:
    return BadInput(f"query: {what}.", SYNTAX)


@dataclass(frozen=True)
class Language:
    """How a database writes a condition on the words of a record."""

    both: str
    either: str
    without: str
    open_word: str
    word: str


LANGUAGES = {
    "sqlite": Language(" AND ", " OR ", "{} NOT {}", '"{}"*', '"{}"'),
    "postgresql": Language(" & ", " | ", "{} & !{}", "'{}':*", "'{}'"),
}


def condition(query: Query, language: Language, codes: Sequence[str], scope: str | None) -> str:
    """The records of these slices that may match, for the index; those with the word `scope`, if it is given.

    Words are letters and digits, so none of them can end a quotation.
    """
    parts = []
    for code in codes:
        own = [_written(query.tree, language, code)] + ([language.word.format(code + scope)] if scope else [])
        parts.append(f"({language.both.join(own)})")
    return language.either.join(parts)


def _written(node: Node, language: Language, code: str) -> str:
    if isinstance(node, Term):
        return _term_written(node, language, code)
    if isinstance(node, Except):
        wanted = _written(node.wanted, language, code)
        if not _is_exact(node.unwanted):
            return wanted
        return "(" + language.without.format(wanted, _written(node.unwanted, language, code)) + ")"
    joint = language.both if isinstance(node, Both) else language.either
    parts = node.parts[:_INDEXED] if isinstance(node, Both) else node.parts
    return "(" + joint.join(_written(part, language, code) for part in parts) + ")"


def _is_exact(node: Node) -> bool:
    """Whether the index alone says if it matches."""
    if isinstance(node, Except):
        return _is_exact(node.wanted) and _is_exact(node.unwanted)
    if isinstance(node, Term):
        return len(node.words) == 1 and node.column is None
    return len(node.parts) <= _INDEXED and all(map(_is_exact, node.parts))


def _term_written(term: Term, language: Language, code: str) -> str:
    whole = term.words[:-1] if term.is_open else term.words
    words = [language.word.format(code + word) for word in dict.fromkeys(whole)][:_INDEXED]
    if term.is_open:
        words.append(language.open_word.format(code + term.words[-1]))
    return "(" + language.both.join(words) + ")"
