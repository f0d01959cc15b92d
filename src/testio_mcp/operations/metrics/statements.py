"""The statements that count, one for each fact.

All begin with spans of time, which the caller gives as JSON; tests (or bugs, by their report) are found in an index
by span, and what hangs on them follows. Nothing is added up that a join could have repeated: counts are of distinct
records wherever a join can meet a record twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    FromClause,
    Join,
    Select,
    and_,
    bindparam,
    case,
    distinct,
    false,
    func,
    or_,
    select,
    true,
)

from testio_mcp.database.dialect import among, each_name, in_order
from testio_mcp.database.tables import (
    Bug,
    BugDevice,
    Execution,
    ExecutionDevice,
    Feature,
    Test,
    TestFeature,
    UserStory,
    table_of,
)
from testio_mcp.domain import FAR_FUTURE
from testio_mcp.operations import figures
from testio_mcp.operations.lists.filters import any_of, system_with_version
from testio_mcp.operations.metrics.definitions import DIMENSIONS, Fact
from testio_mcp.operations.metrics.spans import spans
from testio_mcp.rejections import UNRECOGNISED

_TEST, _BUG, _RUN = table_of(Test), table_of(Bug), table_of(Execution)
_COPY, _STORY, _FEATURE = table_of(TestFeature), table_of(UserStory), table_of(Feature)
_test, _bug, _run, _copy, _story, _feature = _TEST.c, _BUG.c, _RUN.c, _COPY.c, _STORY.c, _FEATURE.c
When = Literal["end", "report", "unreported"]
_DEVICES = frozenset({"device", "device_category", "operating_system", "operating_system_version", "browser"})


@dataclass(frozen=True)
class Shape:
    """What a statement depends on apart from its values.

    `filters` has the name of each filter, whether it has values, and whether None is among what matches.
    """

    dialect: str
    fact: Fact
    by: tuple[str, ...]
    filters: tuple[tuple[str, bool, bool], ...]
    when: When
    by_product: bool
    has_tests: bool
    has_exclusions: bool
    is_of_bugs: bool

    @property
    def base(self) -> Literal["tests", "bugs", "executions"]:
        """The records that are looked at."""
        if self.fact in ("executions", "stories"):
            return "executions"
        return "bugs" if self.fact in ("bugs", "testers") or (self.fact == "tests" and self.is_of_bugs) else "tests"

    @property
    def named(self) -> frozenset[str]:
        """The dimensions that split or filter."""
        return frozenset(self.by).union(name for name, _, _ in self.filters)


@lru_cache(maxsize=512)
def statement(shape: Shape) -> Select[Any]:
    """The groups of one fact: the values of the dimensions in their order, then what `Counts` is made of."""
    expressions, source, conditions = _looked_at(shape)
    columns = [expressions[name] for name in shape.by]
    by = [column.label(f"by_{place}") for place, column in enumerate(columns)]
    if shape.fact == "tests" and _is_repeated(shape):
        return _each_once(select(*by, *_TEST_AND_PEOPLE).select_from(source).where(*conditions), len(by))
    found = select(*by, *_figures(shape)).select_from(source).where(*conditions)
    if shape.fact in ("testers", "stories", "features"):
        return found.distinct()
    words = [word for word in _words(shape) if not any(word is column for column in columns)]  # sorted by once
    return found.group_by(*by, *words) if by or words else found


def _each_once(met: Select[Any], by: int) -> Select[Any]:
    """The counts of tests that a join meets several times; reduced to one row each, which are sorted once."""
    tests = met.distinct().subquery("tests")
    split, numbers = list(tests.c)[:by], list(tests.c)[by:]
    found: Select[Any] = select(*split, *map(func.count, numbers))
    return found.group_by(*split) if split else found


@lru_cache(maxsize=64)
def newest(shape: Shape) -> Select[Any]:
    """The ids of the tests that count, the newest of them."""
    _, source, conditions = _looked_at(shape)
    found: Select[Any] = select(_test.id).select_from(source).where(*conditions)
    return found.distinct().order_by(_test.id.desc()).limit(bindparam("limit"))


def _looked_at(shape: Shape) -> tuple[dict[str, ColumnElement[Any]], FromClause, list[ColumnElement[bool]]]:
    """The dimensions, what is looked at, and what has to hold."""
    span = spans(shape.dialect)
    names = each_name(_devices(shape).browsers, shape.dialect)
    expressions = {**_expressions(shape), "browser": names.c.value, **dict.fromkeys(_TIMES, span.c.bucket)}
    conditions = [_match(expressions, name, *wanted) for name, *wanted in shape.filters]
    return expressions, _with_parts(shape, _source(shape, span), names), [*_always(shape), *conditions]


_TIMES = tuple(name for name, each in DIMENSIONS.items() if each.is_time)


def _expressions(shape: Shape) -> dict[str, ColumnElement[Any]]:
    """The dimensions as columns of what the fact is based on."""
    devices = _devices(shape)
    of_test: dict[str, ColumnElement[Any]] = {
        "product": _test.product_id,
        "section": _test.section_id,
        "test": _test.id,
        "testing_type": _test.testing_type,
        "test_status": _test.status,
        "test_environment": _test.test_environment_id,
        "contact": _test.created_by_id,
        "user_story": _run.user_story_id,
        "feature": {"tests": _copy.feature_id, "bugs": _bug.feature_id, "executions": _story.feature_id}[shape.base],
        "severity": _bug.level,
        "kind": _bug.kind,
        "bug_status": _bug.status,
        "known": _bug.is_known,
        "rejection_reason": case((_bug.status == "rejected", func.coalesce(_bug.rejection_reason, UNRECOGNISED))),
        "tester": _run.executed_by_id if shape.base == "executions" else _bug.author_id,
    }
    return of_test | {
        "device": devices.name,
        "device_category": devices.category,
        "operating_system": devices.operating_system,
        "operating_system_version": system_with_version(devices),
    }


def _devices(shape: Shape) -> Any:
    return table_of(ExecutionDevice).c if shape.base == "executions" else table_of(BugDevice).c


def _match(
    columns: Mapping[str, ColumnElement[Any]], name: str, has_values: bool, has_none: bool
) -> ColumnElement[bool]:
    """Whether a record has one of the values of a filter; an operating system may be said with its version."""
    named = [name, "operating_system_version"] if name == "operating_system" else [name]
    matches = [any_of(columns[each], f"is_{name}") for each in named] if has_values else []
    return or_(false(), *matches, *([columns[name].is_(None)] if has_none else []))


def _source(shape: Shape, span: CTE) -> Join:
    """The spans, the tests in them and, where they are the base, their bugs or executions."""
    bugs = (_BUG, and_(_bug.test_id == _test.id, _bug.gone_at.is_(None)))
    if shape.when != "end":
        found = _BUG, _in_span(shape, span, _bug.reported_at, _bug.product_id)
        return in_order(in_order(span, *found), _TEST, _test.id == _bug.test_id)
    if shape.has_tests:  # the tests are few: they come first
        source = in_order(_TEST, span, _in_span(shape, span, _test.sort_at, _test.product_id))
    else:
        source = in_order(span, _TEST, _in_span(shape, span, _test.sort_at, _test.product_id))
    if shape.base == "bugs":
        source = in_order(source, *bugs)
    if shape.base == "executions":
        source = in_order(source, _RUN, and_(_run.test_id == _test.id, _run.gone_at.is_(None)))
    return source


def _in_span(shape: Shape, span: CTE, moment: Column[Any], product: Column[Any]) -> ColumnElement[bool]:
    same = product == span.c.product_id if shape.by_product else true()
    if shape.when == "unreported":
        return and_(same, moment.is_(None))
    return and_(same, moment >= span.c.starts, moment < span.c.ends)


def _with_parts(shape: Shape, source: FromClause, names: Any) -> FromClause:
    """The source, joined with what may be there several times or not at all."""
    named = shape.named
    if shape.base == "tests" and ("feature" in named or shape.fact == "features"):
        source = source.outerjoin(_COPY, _copy.test_id == _test.id)
    if shape.fact == "features":  # what the account does not list is a name, not a feature
        source = source.outerjoin(_FEATURE, and_(_feature.id == _copy.feature_id, _feature.gone_at.is_(None)))
    if shape.base == "tests" and "user_story" in named:
        source = source.outerjoin(_RUN, and_(_run.test_id == _test.id, _run.gone_at.is_(None)))
    if shape.base == "executions" and ("feature" in named or shape.fact == "stories"):
        source = source.outerjoin(_STORY, _story.id == _run.user_story_id)
    if named & _DEVICES:
        devices = _devices(shape)
        owner = devices.execution_id == _run.id if shape.base == "executions" else devices.bug_id == _bug.id
        source = source.outerjoin(devices.category.table, owner)
    return source.outerjoin(names, true()) if "browser" in named else source


def _always(shape: Shape) -> list[ColumnElement[bool]]:
    """What counts at all: tests that ran, unless their statuses are asked for, and nothing that is gone."""
    conditions: list[ColumnElement[bool]] = [_test.gone_at.is_(None)]
    if not any(name == "test_status" for name, _, _ in shape.filters):
        conditions.append(figures.RAN)
    if shape.when != "end":
        conditions.append(_bug.gone_at.is_(None))
    if shape.has_tests:
        conditions.append(any_of(_test.id, "test_ids"))
    if shape.has_exclusions:
        conditions.append(~any_of(_test.id, "exclude_test_ids"))
    return conditions


def _words(shape: Shape) -> list[ColumnElement[Any]]:
    """What a fact is split by besides the dimensions."""
    words: dict[Fact, list[ColumnElement[Any]]] = {"bugs": [_bug.status, _bug.level], "executions": [_run.status]}
    return words.get(shape.fact, [])


_TEST_AND_PEOPLE = (_test.id, _test.created_by_id, _test.submitted_by_id)


def _is_repeated(shape: Shape) -> bool:
    """Whether a join can meet a record of the fact several times."""
    many = {name for name, each in DIMENSIONS.items() if shape.fact in each.many}
    return bool(shape.named & many) or (shape.fact == "tests" and shape.is_of_bugs)


def _figures(shape: Shape) -> list[ColumnElement[Any]]:
    """What is selected after the dimensions."""
    if shape.fact == "tests":
        return [func.count(column) for column in _TEST_AND_PEOPLE]
    if shape.fact == "bugs":
        return [*_words(shape), func.count(distinct(_bug.id)) if _is_repeated(shape) else func.count()]
    if shape.fact == "executions":
        return [*_words(shape), func.count(distinct(_run.id)) if _is_repeated(shape) else func.count()]
    if shape.fact == "stories":
        living = case((and_(_story.gone_at.is_(None), _story.product_id == _test.product_id), _story.id))
        return [_run.user_story_id, living]
    return [_bug.author_id if shape.fact == "testers" else _feature.id]


@lru_cache(maxsize=64)
def stories(filters: tuple[tuple[str, bool, bool], ...], by: tuple[str, ...], tests: tuple[str, ...]) -> Select[Any]:
    """How many user stories there are to cover: those that the account lists, of the products in question.

    These are the products of the tests that the variables `tests` name, and all products without any.
    """
    columns: dict[str, ColumnElement[Any]] = {
        "product": _story.product_id,
        "feature": _story.feature_id,
        "user_story": _story.id,
    }
    conditions = [_match(columns, name, *wanted) for name, *wanted in filters if name in columns]
    for variable in tests:
        products = select(_test.product_id).where(any_of(_test.id, variable), _test.gone_at.is_(None))
        conditions.append(_story.product_id.in_(products))
    split = [columns[name] for name in by if name in columns]
    found = select(*split, func.count(_story.id)).where(_story.gone_at.is_(None), *conditions)
    return found.group_by(*split) if split else found


products_of_tests: Select[Any] = select(_test.id, _test.product_id).where(among(_test.id, bindparam("ids")))
"""The product of each test among `ids`, a JSON list."""


@lru_cache(maxsize=16)
def ends_of_time(when: When, by_product: bool, of_any_status: bool) -> Select[Any]:
    """The first and the last moment that a time dimension splits."""
    moment, product = (_test.sort_at, _test.product_id) if when == "end" else (_bug.reported_at, _bug.product_id)
    known = moment < FAR_FUTURE if when == "end" else and_(moment.is_not(None), _bug.gone_at.is_(None))
    source = _TEST if when == "end" else _BUG.join(_TEST, _test.id == _bug.test_id)
    conditions = (
        known,
        _test.gone_at.is_(None),
        *([] if of_any_status else [figures.RAN]),
        *([any_of(product, "is_product")] if by_product else []),
    )
    ends = (moment, moment.desc())
    first, last = (
        select(moment).select_from(source).where(*conditions).order_by(end).limit(1).scalar_subquery() for end in ends
    )
    found: Select[Any] = select(first, last)
    return found
