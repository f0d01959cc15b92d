"""Counts that are kept: what they can answer, where they are, and how they are read.

Kept counts are of tests that ran, by product and month of the tests' ends. A question that splits or filters by
anything else is counted from the records, and so is what has no cell.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, bindparam, case, func, select

from testio_mcp.database.dialect import fetch, in_order
from testio_mcp.database.tables import Product, RollupCell, RollupCount, RollupMember, UserStory, table_of
from testio_mcp.database.tables.rollups import EVERY, NOBODY
from testio_mcp.operations.listing import any_of
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.spans import Span, spans, utc
from testio_mcp.operations.metrics.words import Fact

_COUNT, _MEMBER, _STORY = table_of(RollupCount), table_of(RollupMember), table_of(UserStory)
_cell, _count, _member, _story = table_of(RollupCell).c, _COUNT.c, _MEMBER.c, _STORY.c
_WORDS: Mapping[str, ColumnElement[Any]] = {
    "product": _count.product_id,
    "testing_type": _count.testing_type,
    "severity": _count.level,
    "kind": _count.kind,
    "bug_status": _count.status,
    "known": _count.is_known,
}
_TIME = frozenset({"month", "quarter"})
_SPLITS: Mapping[Fact, frozenset[str]] = {
    "tests": frozenset({"product", "testing_type"}) | _TIME,
    "executions": frozenset({"product", "testing_type"}) | _TIME,
    "bugs": frozenset(_WORDS) | _TIME,
    "testers": frozenset({"product"}) | _TIME,
    "stories": frozenset({"product"}) | _TIME,
    "features": frozenset({"product"}) | _TIME,
}
COARSE = frozenset({"product", "severity", "bug_status"})
"""What bugs are also kept by alone: a twentieth of the rows."""
PARTS = ("tests", "created", "submitted")
"""The facts under which tests are kept."""
_cells: Select[Any] = (
    select(_cell.product_id, _cell.starts_at, _cell.ends_at)
    .where(
        any_of(_cell.product_id, "product_ids"),
        _cell.starts_at >= bindparam("after", type_=_cell.starts_at.type),
        _cell.starts_at < bindparam("before", type_=_cell.starts_at.type),
    )
    .order_by(_cell.product_id, _cell.starts_at)
)


_products: Select[Any] = select(table_of(Product).c.id).order_by(table_of(Product).c.id)


def knows(question: Question, fact: Fact) -> bool:
    """Whether kept counts can answer for a fact."""
    if question.time != "end" or question.test_ids or question.exclude_test_ids:
        return False
    if (fact == "tests" and question.is_of_bugs) or any(None in values for _, values in question.filters):
        return False
    return all(each.name in _SPLITS[fact] for each in question.dimensions)


def divide(conn: Connection, question: Question, wanted: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """The spans that are whole cells, and what is left of the wanted ones."""
    named = question.values_of("product")
    is_by_product = "product" in question.by
    used: list[Span] = []
    left = list(wanted)
    if left and not named and not is_by_product:
        used, left = _among(conn, [EVERY], left)
    if left:
        ids = list(named or ()) or [row[0] for row in fetch(conn, _products, {})]
        more, left = _among(conn, ids, left)
        used += more
    return used, left


def _among(conn: Connection, product_ids: Sequence[Any], wanted: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """The cells of these products in the wanted spans, and what is left, for each product."""
    cells: dict[int, list[Span]] = defaultdict(list)
    ends = {
        "after": wanted[0].starts or datetime.min.replace(tzinfo=UTC),
        "before": wanted[-1].ends or datetime.max.replace(tzinfo=UTC),
    }
    for product, starts, ends_at in fetch(conn, _cells, {"product_ids": list(product_ids), **ends}):
        cells[product].append(Span(utc(starts), utc(ends_at), None, product))
    used: list[Span] = []
    left: list[Span] = []
    for product in product_ids:
        at = 0
        for span in wanted:
            at = _divide(span._replace(product_id=product), cells[product], at, used, left)
    if product_ids == [EVERY]:
        left = [span._replace(product_id=None) for span in left]
    return used, left


def _divide(span: Span, cells: Sequence[Span], at: int, used: list[Span], left: list[Span]) -> int:
    """Divide one span; spans and cells come in order, and `at` is the first cell that may be in it."""
    begin = span.starts
    while at < len(cells) and begin is not None and _before(cells[at].starts, begin):
        at += 1
    while at < len(cells) and _fits(cells[at], span):
        cell = cells[at]
        if begin != cell.starts:
            left.append(span._replace(starts=begin, ends=cell.starts))
        used.append(cell._replace(bucket=span.bucket))
        begin = cell.ends
        at += 1
    if begin is None or span.ends is None or begin < span.ends:
        left.append(span._replace(starts=begin))
    return at


def _before(one: Any, other: Any) -> bool:
    return bool(one < other)


def _fits(cell: Span, span: Span) -> bool:
    return span.ends is None or (cell.ends is not None and cell.ends <= span.ends)


def rows(conn: Connection, question: Question, fact: Fact, values: dict[str, Any]) -> Iterable[Sequence[Any]]:
    """The groups of a fact, as the records themselves would give them."""
    filters = tuple(name for name, _ in question.filters)
    facts = {"tests": list(PARTS), "bugs": [_kept_bugs(question)]}.get(fact, [fact])
    values = {**values, "facts": facts}
    if fact in ("tests", "bugs", "executions"):
        return fetch(conn, _counts(conn.dialect.name, fact, question.by, filters), values)
    return fetch(conn, _members(conn.dialect.name, fact, question.by, filters), values)


def _kept_bugs(question: Question) -> str:
    """Under which fact bugs are kept as finely as the question splits and filters."""
    is_coarse = all(each.name in COARSE or each.is_time for each in question.dimensions)
    return "bug_levels" if is_coarse else "bugs"


@lru_cache(maxsize=256)
def _counts(dialect: str, fact: Fact, by: tuple[str, ...], filters: tuple[str, ...]) -> Select[Any]:
    span = spans(dialect)
    split = [span.c.bucket if name in _TIME else _WORDS[name] for name in by]
    words: dict[Fact, list[ColumnElement[Any]]] = {
        "bugs": [_count.status, _count.level],
        "executions": [_count.status],
    }
    numbers: list[ColumnElement[Any]] = [func.sum(_count.number)]
    if fact == "tests":
        numbers = [func.coalesce(func.sum(_count.number).filter(_count.fact == part), 0) for part in PARTS]
    same = and_(_count.product_id == span.c.product_id, _count.starts_at == span.c.starts)
    source = in_order(span, _COUNT, and_(same, any_of(_count.fact, "facts")))
    groups = [*split, *words.get(fact, [])]
    found: Select[Any] = select(*groups, *numbers).select_from(source)
    found = found.where(*(any_of(_WORDS[name], f"is_{name}") for name in filters))
    return found.group_by(*groups) if groups else found.having(func.count() > 0)


@lru_cache(maxsize=256)
def _members(dialect: str, fact: Fact, by: tuple[str, ...], filters: tuple[str, ...]) -> Select[Any]:
    span = spans(dialect)
    split = [span.c.bucket if name in _TIME else _member.product_id for name in by]
    same = and_(_member.product_id == span.c.product_id, _member.starts_at == span.c.starts)
    source: FromClause = in_order(span, _MEMBER, and_(same, any_of(_member.fact, "facts")))
    who = case((_member.member_id != NOBODY, _member.member_id))
    figures: list[ColumnElement[Any]] = [who]
    if fact == "stories":
        source = source.outerjoin(_STORY, and_(_story.id == _member.member_id, _story.gone_at.is_(None)))
        figures = [who, _story.id]
    found: Select[Any] = select(*split, *figures).select_from(source)
    return found.where(*(any_of(_member.product_id, f"is_{name}") for name in filters)).distinct()
