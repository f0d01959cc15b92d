"""The engine: counts every fact of a question on its own, and computes the metrics from the counts of each group."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, cast

from sqlalchemy import Connection

from testio_mcp.database.dialect import fetch
from testio_mcp.domain import FAR_FUTURE
from testio_mcp.operations.metrics.definitions import ADD, TIMES, Counts, Fact, Value, metric
from testio_mcp.operations.metrics.periods import Unit
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.spans import Span, as_json, cut, for_products, split, utc
from testio_mcp.operations.metrics.statements import (
    Shape,
    When,
    ends_of_time,
    newest,
    products_of_tests,
    statement,
    stories,
)

Key = int | str | bool | date | None
Groups = dict[tuple[Key, ...], Counts]
Known = dict[tuple[str | None, Question], Any]
"""What was counted already, by fact and question, and where a question looks (None)."""
_INSTANT = timedelta(microseconds=1)
_COVERED = ("product", "feature", "user_story")
ToCover = Callable[[tuple[Key, ...]], int]
"""How many user stories a group could cover."""


@dataclass(frozen=True)
class Measured:
    """The metrics of every group that holds anything, by the values of the dimensions, and those of all together.

    `counts` and `total_counts` are what the metrics were computed from.
    """

    rows: dict[tuple[Key, ...], dict[str, Value]]
    total: dict[str, Value]
    counts: Mapping[tuple[Key, ...], Counts]
    total_counts: Counts
    to_cover: ToCover = field(compare=False)

    def of_nothing(self, key: tuple[Key, ...]) -> dict[str, Value]:
        """The metrics of a group that holds no records."""
        counts = Counts(all_stories=self.to_cover(key))
        return {name: metric(name).value(counts) for name in self.total}


def measure(conn: Connection, question: Question, *, known: Known | None = None) -> Measured:
    """Answer a question. Raises `BadInput` for a question that has no meaning.

    `known` holds what was counted for earlier questions on the same snapshot, and takes what is counted for this one.
    """
    question.check()
    known = {} if known is None else known
    groups: Groups = defaultdict(Counts)
    total = Counts()
    for fact in question.facts:
        found = _counted(conn, question, fact, known)
        for key, counts in found.items():
            groups[key].take(fact, counts)
        if not question.is_partition(fact) and fact not in ("testers", "stories", "features"):
            found = _counted(conn, question.without_split(), fact, known)
        for counts in found.values():
            total.take(fact, counts)
    to_cover: ToCover = lambda key: 0  # noqa: E731
    if "stories" in question.facts:
        to_cover = _stories_to_cover(conn, question, groups)
        total.all_stories = _stories_to_cover(conn, question.without_split(), {})(())
    for key, counts in groups.items():
        counts.all_stories = to_cover(key)
    metrics = [metric(name) for name in question.metrics]
    rows = {key: {each.name: each.value(counts) for each in metrics} for key, counts in groups.items()}
    return Measured(rows, {each.name: each.value(total) for each in metrics}, dict(groups), total, to_cover)


def coverage_of(conn: Connection, name: str, key: int) -> Value:
    """The story coverage of one product or feature, whenever its tests ended."""
    return measure(conn, Question(("story_coverage",), filters=((name, (key,)),))).total["story_coverage"]


def _counted(conn: Connection, question: Question, fact: Fact, known: Known) -> Groups:
    """What a fact counts in every group."""
    asked = replace(question, metrics=())
    if (fact, asked) not in known:
        groups: Groups = defaultdict(Counts)
        if (None, asked) not in known:
            known[None, asked] = _spans(conn, asked)
        _count(conn, asked, fact, known[None, asked], groups)
        known[fact, asked] = groups
    found: Groups = known[fact, asked]
    return found


def _when(question: Question) -> When:
    """What has to be in a span; without any bound or unit it does not matter, and every test is in one."""
    is_bound = question.unit or question.start or question.end
    return "report" if question.time == "report" and is_bound else "end"


def _spans(conn: Connection, question: Question) -> list[Span]:
    """Where to look: the whole period, or its units of time."""
    start, end = question.start, question.end
    if question.unit is None:
        is_open = start is None or end is not None or _when(question) == "report"
        return [Span(start, end if is_open else FAR_FUTURE)]
    if start is None or end is None:
        products = question.values_of("product")
        values = {"is_product": list(products)} if products else {}
        has_statuses = question.values_of("test_status") is not None
        ends = ends_of_time(_when(question), bool(products), has_statuses)
        first, last = map(utc, fetch(conn, ends, values)[0])
        if first is None or last is None:
            return _beyond(question)
    else:
        first, last = start, end - _INSTANT
    units = split(start or first, end - _INSTANT if end else last, cast(Unit, question.unit), question.zone)
    return [*cut(units, start, end), *_beyond(question)]


def _beyond(question: Question) -> list[Span]:
    """Tests that have no end yet, where the period has no bounds."""
    is_bound = question.start or question.end or _when(question) == "report"
    return [] if is_bound else [Span(FAR_FUTURE, None)]


def _count(conn: Connection, question: Question, fact: Fact, spans: list[Span], groups: Groups) -> None:
    """Add what a fact counts in every group."""
    if products := question.values_of("product"):
        spans = for_products(spans, cast(Iterable[int], products))
    _add_records(conn, question, fact, _when(question), spans, groups)
    if _when(question) == "report" and not (question.start or question.end):
        _add_records(conn, question, fact, "unreported", [Span(None, None)], groups)


def _add_records(
    conn: Connection, question: Question, fact: Fact, when: When, spans: list[Span], groups: Groups
) -> None:
    """Add what the records themselves give."""
    values = {"spans": as_json(spans, conn.dialect.name), **_values(question)}
    shape = _shape(conn, question, fact, when, spans)
    _add(groups, question, fact, fetch(conn, statement(shape), values))


def tests_of(conn: Connection, question: Question, limit: int) -> list[int]:
    """The ids of the newest tests that count for a question without dimensions."""
    spans = _spans(conn, question)
    if products := question.values_of("product"):
        spans = for_products(spans, cast(Iterable[int], products))
    values = {"spans": as_json(spans, conn.dialect.name), "limit": limit, **_values(question)}
    shape = _shape(conn, question, "tests", _when(question), spans)
    return [row[0] for row in fetch(conn, newest(shape), values)]


def _shape(conn: Connection, question: Question, fact: Fact, when: When, spans: list[Span]) -> Shape:
    return Shape(
        conn.dialect.name,
        fact,
        question.by,
        tuple((name, any(v is not None for v in wanted), None in wanted) for name, wanted in question.filters),
        when,
        any(span.product_id is not None for span in spans),
        bool(question.test_ids),
        bool(question.exclude_test_ids),
        question.is_of_bugs and fact == "tests",
    )


def _values(question: Question) -> dict[str, Any]:
    """The values of the filters as statements take them."""
    values: dict[str, Any] = {
        f"is_{name}": [value for value in wanted if value is not None] for name, wanted in question.filters
    }
    values |= {"test_ids": list(question.test_ids), "exclude_test_ids": list(question.exclude_test_ids)}
    return {name: value for name, value in values.items() if value}


def _add(groups: Groups, question: Question, fact: Fact, rows: Iterable[Any]) -> None:
    split = len(question.by)
    add = ADD[fact]
    met: dict[tuple[Any, ...], Counts] = {}
    for row in rows:
        raw = tuple(row[:split])
        counts = met.get(raw)
        if counts is None:
            counts = met[raw] = groups[_key(question, raw)]
        add(counts, *row[split:])


def _key(question: Question, raw: tuple[Any, ...]) -> tuple[Key, ...]:
    """The values of the dimensions, each of its own type."""
    return tuple(
        value if value is None or name not in _KINDS else _KINDS[name](value)
        for name, value in zip(question.by, raw, strict=True)
    )


_KINDS: Mapping[str, Any] = {"known": bool, **dict.fromkeys(TIMES, date.fromisoformat)}


def _stories_to_cover(conn: Connection, question: Question, groups: Iterable[tuple[Key, ...]]) -> ToCover:
    """How many user stories each group could cover: those of its product (or its test's), its feature or its story.

    Only filters by product, feature, story or test choose among the stories; all others narrow what is executed.
    """
    values = {
        name: value
        for name, value in _values(question).items()
        if name == "test_ids" or name.removeprefix("is_") in (*_COVERED, "test")
    }
    filters = tuple(
        (name, any(v is not None for v in wanted), None in wanted)
        for name, wanted in question.filters
        if name in _COVERED
    )
    split = tuple(name for name in _COVERED if name in question.by or (name == "product" and "test" in question.by))
    tests = tuple(name for name in ("test_ids", "is_test") if name in values)
    numbers = {tuple(row[:-1]): row[-1] for row in fetch(conn, stories(filters, split, tests), values)}
    products: dict[Key, int] = {}
    if "test" in question.by:
        place = question.by.index("test")
        ids = json.dumps(sorted({key[place] for key in groups if isinstance(key[place], int)}))
        products = {row[0]: row[1] for row in fetch(conn, products_of_tests, {"ids": ids})}

    def to_cover(key: tuple[Key, ...]) -> int:
        parts = dict(zip(question.by, key, strict=True))
        if "test" in parts:
            parts["product"] = products.get(parts["test"])
        return int(numbers.get(tuple(parts[name] for name in split), 0))

    return to_cover
