"""Full text search."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Select, Text, bindparam, func, null, select

from testio_mcp.database.dialect import among, fetch, fetch_records
from testio_mcp.database.search import KINDS, SOURCES, Kind
from testio_mcp.database.search_query import Query, Term, read_query
from testio_mcp.database.search_read import Among, Hit, find, find_ids
from testio_mcp.database.tables import Product, table_of
from testio_mcp.database.words import is_unspaced, words_of
from testio_mcp.errors import NotFound
from testio_mcp.operations.arguments import AsList
from testio_mcp.operations.lists.filters import Call, Filter
from testio_mcp.operations.lists.paging import Cursor, Page, as_of, decode_cursor, encode_cursor
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.registry import operation
from testio_mcp.settings import Settings

SCORED = 1_000
"""How many of the newest hits of each kind are ranked: for a word that is everywhere, older ones are left out."""
_TITLE, _BODY, _COMMENTS = 8.0, 1.0, 0.5
"""What a word in the title, the body and the comments counts."""
_SATURATION, _BY_LENGTH = 1.2, 0.5
_AROUND = 160
_LEAD = 40

_product = table_of(Product).c


class SearchHit(BaseModel):
    """One record that matches."""

    kind: Kind
    id: int
    title: str
    product_id: int
    product: str
    rejection_reason: str | None = Field(default=None, description="Of a rejected bug.")
    snippet: str | None = Field(description="The text around the first match, on one line.")
    at: datetime | None = Field(description="Report of a bug, end of a test.")
    score: float = Field(description="Higher is better; comparable within one answer, across kinds too.")


class SearchPage(Page):
    """Hits, best first."""

    items: list[SearchHit]
    scored: int = Field(description="How many hits were ranked; of more, these are the newest of each kind.")


@operation(
    "/search",
    command="search",
    toolset="bugs",
    needs=("tests", "bugs"),
    examples=({"query": "button"}, {"query": "title:button AND (crash* OR page* OR login)", "raw": True}),
)
def search(
    conn: Connection,
    settings: Settings,
    query: Annotated[str, Field(description="All words have to occur; each finds its longer forms.")],
    kinds: Annotated[
        list[Kind], AsList, Field(description=f"Any of {', '.join(get_args(Kind))}; all when left out.")
    ] = [],  # noqa: B006 - never changed
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    date_from: Annotated[
        date | None, Field(description="Bugs reported, tests ended from this day; no other kinds.")
    ] = None,
    date_to: Annotated[date | None, Field(description="Up to this day; no other kinds.")] = None,
    raw: Annotated[
        bool,
        Field(
            description='Read AND, OR, NOT, ( ), "a phrase", begin*, and title:, body: or comments: before a word.'
        ),
    ] = False,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=50, description="Hits per page, 1 to 50.")] = 10,
) -> SearchPage:
    """Find words in products, features, user stories, tests, and bugs with their comments, best match first.

    list_bugs and list_tests filter by what a record is. Of very common words only the newest 1,000 hits are ranked.
    """
    asked = read_query(query, raw=raw)
    within = Among(product_id, *bounds(Period(date_from, date_to), settings.zone))
    dated = date_from is not None or date_to is not None
    chosen = [kind for kind in KINDS if kind in (kinds or KINDS) and (SOURCES[kind].at or not dated)]
    found = [find(conn, kind, asked, within, SCORED) for kind in chosen]
    ranked = rank(asked, [hit for some in found for hit in some.hits])
    after = _after(ranked, cursor)
    page = ranked[after : after + limit]
    moment, known = fetch(conn, _about, {"product_id": -1 if product_id is None else product_id})[0]
    if not ranked and product_id is not None and not known:
        raise NotFound(f"Product {product_id} is not in the store.", "list_products shows the ids.")
    return SearchPage(
        items=_records(conn, asked, page),
        total=len(ranked),
        total_is_capped=any(some.is_capped for some in found),
        scored=len(ranked),
        next_cursor=encode_cursor(*map(str, _position(page[-1]))) if after + limit < len(ranked) else None,
        as_of=moment,
    )


def matching(
    conn: Connection, kind: Kind, text: str, product_id: int | None, *, is_newest: bool = True
) -> Iterator[str]:
    """The ids of all records that `text` finds, some at a time in order, as JSON lists for `dialect.among`.

    Raises `BadInput` for text without a letter or digit.
    """
    found = find_ids(conn, kind, read_query(text, argument="text"), Among(product_id), is_newest=is_newest)
    return map(json.dumps, found)


def matching_ids(conn: Connection, kind: Kind, text: str | None, product_id: int | None) -> str | None:
    """The ids of all records that `text` finds, as one JSON list for `dialect.among`; None without a text."""
    if text is None:
        return None
    return json.dumps([key for part in matching(conn, kind, text, product_id) for key in json.loads(part)])


@dataclass(frozen=True, eq=False)
class HasWords(Filter):
    """The filter of a list for the records in which all words of a text occur."""

    kind: Kind
    column: ColumnElement[int]

    def bind(self, call: Call, value: str) -> str | None:
        """The ids of these records."""
        return matching_ids(call.conn, self.kind, value, call.arguments.get("product_id"))

    def condition(self, name: str, variant: str) -> ColumnElement[bool]:
        """Whether a record is one of them."""
        return among(self.column, bindparam(name, type_=Text))


_about = select(
    as_of("tests", "bugs").label("as_of"),
    select(func.count(_product.id)).where(_product.id == bindparam("product_id")).scalar_subquery(),
)

Ranked = tuple[float, Hit]


def rank(query: Query, found: Sequence[Hit]) -> list[Ranked]:
    """The hits with their scores, best first, newer first among equals.

    The formula is BM25 with weights for columns. How rare a word is and how long a text is on average is told from
    the hits themselves: one measure for all kinds and both databases, whatever else the store holds.
    """
    if not found:
        return []
    average = sum(hit.length for hit in found) / len(found)
    rarity = [_rarity(len(found), sum(any(hit.counts[n]) for hit in found)) for n in range(len(query.terms))]
    scored = [(round(_score(hit, rarity, average), 4), hit) for hit in found]
    return sorted(scored, key=_position)


def _position(ranked: Ranked) -> tuple[float, int, int]:
    score, hit = ranked
    return (-score, KINDS.index(hit.kind), -hit.id)


def _rarity(total: int, having: int) -> float:
    return 1 + math.log(1 + (total - having + 0.5) / (having + 0.5))


def _score(hit: Hit, rarity: Sequence[float], average: float) -> float:
    norm = _SATURATION * (1 - _BY_LENGTH + _BY_LENGTH * hit.length / average)
    score = 0.0
    for rare, (title, body, comments) in zip(rarity, hit.counts, strict=True):
        often = _TITLE * title + _BODY * body + _COMMENTS * comments
        score += rare * often * (_SATURATION + 1) / (often + norm)
    return score


def _after(ranked: Sequence[Ranked], cursor: str | None) -> int:
    """How many hits stand up to the cursor, whether or not the one it names is still there."""
    if not cursor:
        return 0
    score, kind, key = _numbers(decode_cursor(cursor, str, str, str))
    return sum(_position(one) <= (score, kind, key) for one in ranked)


def _numbers(parts: list[str]) -> tuple[float, int, int]:
    try:
        return float(parts[0]), int(parts[1]), int(parts[2])
    except ValueError:
        decode_cursor("", str)  # refuses, in the words for any cursor that this list did not give
        raise


# --- what a hit shows -------------------------------------------------------------------------------------------


@cache
def _record_statement(kind: Kind) -> Select[Any]:
    source = SOURCES[kind]
    c = source.table.c
    owner = c[source.product]
    shown = [c.id, c[source.title].label("title"), owner.label("product_id"), _product.name.label("product")]
    if kind == "product":
        shown[3] = c.name.label("product")
        joined: Any = source.table
    else:
        joined = source.table.join(table_of(Product), owner == _product.id)
    shown.append((c[source.at] if source.at else null()).label("at"))
    shown += [c.rejection_reason] if kind == "bug" else []
    shown += [c[name].label(f"text_{name}") for name in source.body]
    return select(*shown).select_from(joined).where(c.id.in_(bindparam("ids", expanding=True)))


@cache
def _comments_statement(kind: Kind) -> Select[Any] | None:
    if (comments := SOURCES[kind].comments) is None:
        return None
    part, owner, body = comments
    owned = part.c[owner].in_(bindparam("ids", expanding=True))
    return select(part.c[owner], part.c[body]).where(owned).order_by(*part.primary_key)


def _records(conn: Connection, query: Query, page: Sequence[Ranked]) -> list[SearchHit]:
    rows: dict[tuple[Kind, int], dict[str, Any]] = {}
    for kind in {hit.kind for _, hit in page}:
        ids = {"ids": [hit.id for _, hit in page if hit.kind == kind]}
        comments: dict[int, list[str]] = {}
        if (statement := _comments_statement(kind)) is not None:
            for owner, body in fetch(conn, statement, ids):
                comments.setdefault(owner, []).append(body)
        for row in fetch_records(conn, _record_statement(kind), ids):
            texts = [row.pop(f"text_{name}") for name in SOURCES[kind].body] + comments.get(row["id"], [])
            rows[kind, row["id"]] = row | {"snippet": snippet([text for text in texts if text], query.terms)}
    return [
        SearchHit.model_validate(rows[hit.kind, hit.id] | {"kind": hit.kind, "score": score}) for score, hit in page
    ]


def snippet(texts: Sequence[str], terms: Sequence[Term]) -> str | None:
    """About 160 characters on one line, around the first place of the texts where a term stands."""
    for text in texts:
        line = " ".join(text.split())
        place = next(_find_matches(line, terms), None)
        if place is not None:
            return _cut(line, place)
    return _cut(" ".join(texts[0].split()), 0) if texts else None


def _find_matches(line: str, terms: Sequence[Term]) -> Iterator[int]:
    place = 0
    for chunk in line.split(" "):
        words = words_of(chunk)
        for term in terms:
            if words and _stands(term, words):
                yield place + _inside(chunk, term)
                break
        place += len(chunk) + 1


def _stands(term: Term, words: list[str]) -> bool:
    """Whether the term, or the first word of a phrase, is among the words."""
    first = term.words[0]
    if is_unspaced(first):
        return "\0".join(term.words) in "\0".join(words)
    if len(term.words) == 1 and term.is_open:
        return any(word.startswith(first) for word in words)
    return first in words


def _inside(chunk: str, term: Term) -> int:
    """Where in a text without spaces the term stands, as far as folding leaves it recognizable."""
    return max(0, chunk.casefold().find("".join(term.words) if is_unspaced(term.words[0]) else term.words[0]))


def _cut(line: str, place: int) -> str:
    start = max(0, min(place - _LEAD, len(line) - _AROUND))
    end = min(len(line), start + _AROUND)
    if start and (space := line.find(" ", start, place)) >= 0:
        start = space + 1
    if end < len(line) and (space := line.rfind(" ", place + 1, end)) >= 0:
        end = space
    return ("…" if start else "") + line[start:end] + ("…" if end < len(line) else "")
