"""The numbers that decide whether a product is ready, with the records behind each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from math import ceil
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, func, select

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import Bug, Checkpoint, DeadLetter, Execution, Test, UserStory, table_of
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.domain import AWAITING, FAR_FUTURE, latest_end_due
from testio_mcp.operations import figures
from testio_mcp.operations.lists.filters import any_of
from testio_mcp.operations.lists.paging import as_of
from testio_mcp.operations.metrics.definitions import Value
from testio_mcp.operations.metrics.engine import measure
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.spans import utc
from testio_mcp.reports.links import Link, link

Kind = Literal["bugs", "tests", "user_stories", "executions", "problems"]
SHOWN = 5
_NAMED = 100
"""How many user stories a link names; of more it shows all."""
DUE_WITHIN = timedelta(hours=72)
_RATES = ("test_count", "pass_rate", "story_coverage", "review_rate", "rejection_rate")
_test, _bug, _run, _story = (table_of(model).c for model in (Test, Bug, Execution, UserStory))
_letter = table_of(DeadLetter).c


@dataclass(frozen=True)
class Fact:
    """A number, the kind of records behind it, the first of their ids, and the question that gives the number."""

    value: Value
    link: Link
    kind: Kind | None = None
    ids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Scope:
    """Tests of one product: those whose end lies in the period, and of them only the named ones, if any are."""

    product_id: int
    period: Period
    test_ids: tuple[int, ...]
    zone: ZoneInfo

    @property
    def is_whole(self) -> bool:
        """Whether all tests of the product are meant."""
        return not self.test_ids and self.period == Period(None, None)

    def question(self, metrics: tuple[str, ...], by: tuple[str, ...] = ()) -> Question:
        """Metrics of these tests."""
        start, end = bounds(self.period, self.zone)
        filters = (("product", (self.product_id,)),)
        return Question(metrics, by, filters, start, end, test_ids=self.test_ids, zone=self.zone)

    @property
    def values(self) -> dict[str, Any]:
        """The conditions of these tests, with their values."""
        start, end = bounds(self.period, self.zone)
        values = {"product_id": self.product_id, "start": start, "test_ids": list(self.test_ids)}
        # A test without an end is in no period that has a bound.
        values["end"] = end or (FAR_FUTURE if start else None)
        return {name: value for name, value in values.items() if value not in (None, [])}

    def records(self, operation: str, **only: object) -> Link:
        """The link to a list of records of these tests."""
        days = {"end_from": _day(self.period.first), "end_to": _day(self.period.last)}
        of_tests = {"product_id": self.product_id, "test_ids": self.test_ids, "scope": "ran"}
        return link(operation, **of_tests, **only, **days)

    def metrics(
        self, *names: str, by: tuple[str, ...] = (), more_filters: Sequence[str] = (), **more: object
    ) -> Link:
        """The link to metrics of these tests."""
        period = "" if self.period == Period(None, None) else str(self.period)
        filters = [f"product={self.product_id}", *more_filters]
        about = {"by": by, "filters": filters, "period": period, "test_ids": self.test_ids}
        return link("query_metrics", metrics=names, **about, **more)


def _day(day: date | None) -> str | None:
    return str(day) if day else None


_CONDITIONS: Mapping[str, ColumnElement[bool]] = {
    "product_id": _test.product_id == bindparam("product_id"),
    "start": _test.sort_at >= bindparam("start", type_=_test.sort_at.type),
    "end": _test.sort_at < bindparam("end", type_=_test.sort_at.type),
    "test_ids": any_of(_test.id, "test_ids"),
    "test_statuses": any_of(_test.status, "test_statuses"),
    "statuses": any_of(_bug.status, "statuses"),
    "other_statuses": _bug.status.not_in(bindparam("other_statuses", expanding=True)),
    "levels": any_of(_bug.level, "levels"),
    "ended_by": _test.sort_at <= bindparam("ended_by", type_=_test.sort_at.type),
    "run_statuses": any_of(_run.status, "run_statuses"),
}
_SOURCES: Mapping[Kind, tuple[Any, ColumnElement[bool] | None]] = {
    "tests": (table_of(Test), None),
    "bugs": (table_of(Bug), _bug.test_id == _test.id),
    "executions": (table_of(Execution), _run.test_id == _test.id),
}


def _where(names: frozenset[str]) -> list[ColumnElement[bool]]:
    return [_test.gone_at.is_(None), figures.RAN, *(_CONDITIONS[name] for name in sorted(names))]


@lru_cache(maxsize=64)
def _statement(kind: Kind, names: frozenset[str], *, is_count: bool) -> Select[Any]:
    """The ids of records whose tests end first, or how many there are."""
    table, belongs = _SOURCES[kind]
    found: Select[Any] = select(func.count(table.c.id) if is_count else table.c.id)
    if belongs is not None:
        found = found.select_from(table).join(table_of(Test), belongs).where(table.c.gone_at.is_(None))
    found = found.where(*_where(names))
    return found if is_count else found.order_by(_test.sort_at, table.c.id).limit(SHOWN)


@lru_cache(maxsize=8)
def _unpassed(names: frozenset[str]) -> Select[Any]:
    """The user stories that failed or were blocked, and never passed."""
    ended = [func.sum(case((_run.status == word, 1), else_=0)) for word in ("passed", "failed", "blocked")]
    return (
        select(_story.id)
        .select_from(table_of(Execution))
        .join(table_of(Test), _run.test_id == _test.id)
        .join(table_of(UserStory), _run.user_story_id == _story.id)
        .where(_run.gone_at.is_(None), _story.gone_at.is_(None), *_where(names))
        .group_by(_story.id)
        .having(ended[0] == 0, ended[1] + ended[2] > 0)
        .order_by(_story.id)
    )


@lru_cache(maxsize=8)
def _untested(names: frozenset[str]) -> Select[Any]:
    """The first user stories of the product without an execution."""
    tested = select(_run.user_story_id).join(table_of(Test), _run.test_id == _test.id)
    tested = tested.where(_run.gone_at.is_(None), _run.user_story_id.is_not(None), *_where(names))
    mine = _story.product_id == bindparam("product_id")
    return (
        select(_story.id)
        .where(mine, _story.gone_at.is_(None), _story.id.not_in(tested))
        .order_by(_story.id)
        .limit(SHOWN)
    )


_problems: Select[Any] = select(_letter.id).where(_letter.product_id == bindparam("product_id")).order_by(_letter.id)
_point = table_of(Checkpoint).c
_NEEDED = ("products", "tests", "bugs")
_moment: Select[Any] = select(
    as_of("products", "features", "tests", "bugs", "executions", product_id=bindparam("product_id")),
    # What was never begun has no checkpoint, and says nothing of how complete the copy is.
    select(func.count(_point.completed_at))
    .where(_point.resource.in_(_NEEDED), _point.product_id.in_([ACCOUNT, bindparam("product_id")]))
    .scalar_subquery(),
)


def first_ids(conn: Connection, kind: Kind, scope: Scope, **conditions: object) -> list[int]:
    """The ids of the first records of tests in a scope that meet the conditions."""
    values = scope.values | conditions
    return [row[0] for row in fetch(conn, _statement(kind, frozenset(values), is_count=False), values)]


class Evidence:
    """What the store says of a product: each number is counted when it is first asked for.

    `standing` are the tests whose bugs wait and which may still run, `recent` those whose results are judged.
    """

    def __init__(self, conn: Connection, standing: Scope, recent: Scope, auto_accept_days: int) -> None:
        self._conn, self.standing, self.recent = conn, standing, recent
        self._now, self._days = datetime.now(UTC), auto_accept_days

    @cached_property
    def as_of(self) -> datetime | None:
        """The moment up to which this product was read completely; None before its tests and bugs were."""
        found, complete = fetch(self._conn, _moment, {"product_id": self.recent.product_id})[0]
        return utc(found) if complete == len(_NEEDED) else None

    @cached_property
    def _waiting(self) -> dict[tuple[Any, ...], dict[str, Value]]:
        return measure(self._conn, self.standing.question(("bug_count",), ("bug_status", "severity"))).rows

    @cached_property
    def _measured(self) -> dict[str, Value]:
        return measure(self._conn, self.recent.question(_RATES)).total

    def _first(self, kind: Kind, scope: Scope, **conditions: object) -> list[int]:
        return first_ids(self._conn, kind, scope, **conditions)

    def _count(self, kind: Kind, scope: Scope, **conditions: object) -> int:
        values = scope.values | conditions
        found: int = fetch(self._conn, _statement(kind, frozenset(values), is_count=True), values)[0][0]
        return found

    def tests(self) -> Fact:
        """The tests whose results are judged."""
        question = self.recent.metrics("test_count")
        return Fact(self._measured["test_count"], question, "tests", self._first("tests", self.recent))

    def waiting(self, status: str, level: str = "") -> Fact:
        """Bugs without a decision, of one level or of all."""
        number = sum(
            int(values["bug_count"] or 0)
            for (word, of_level), values in self._waiting.items()
            if word == status and level in ("", of_level)
        )
        conditions = {"statuses": [status]} | ({"levels": [level]} if level else {})
        question = self.standing.records("list_bugs", statuses=[status], levels=[level] if level else [])
        return Fact(number, question, "bugs", self._first("bugs", self.standing, **conditions) if number else [])

    def due(self) -> Fact:
        """Bugs that are auto-accepted soon, or should have been."""
        ended_by = latest_end_due(self._now, DUE_WITHIN, self._days)
        wanted = {"statuses": list(AWAITING), "ended_by": ended_by}
        question = self.standing.records("triage_queue", due_within_days=DUE_WITHIN.days)
        number = self._count("bugs", self.standing, **wanted)
        return Fact(number, question, "bugs", self._first("bugs", self.standing, **wanted))

    def running(self) -> Fact:
        """Tests that are not over."""
        number = self._count("tests", self.standing, test_statuses=["running"])
        ids = self._first("tests", self.standing, test_statuses=["running"])
        question = self.standing.records("list_tests", statuses=["running"])
        return Fact(number, question, "tests", ids)

    def unpassed(self) -> Fact:
        """User stories that failed or were blocked, and never passed."""
        values = self.recent.values
        ids = [row[0] for row in fetch(self._conn, _unpassed(frozenset(values)), values)]
        named = [f"user_story={','.join(map(str, ids))}"] if 0 < len(ids) <= _NAMED else []
        results = ("passed", "failed", "blocked")
        question = self.recent.metrics(*results, by=("user_story",), more_filters=named, limit=1000)
        return Fact(len(ids), question, "user_stories", ids[:SHOWN])

    def passed(self) -> Fact:
        """The pass rate, and executions that did not pass."""
        ids = self._first("executions", self.recent, run_statuses=["failed", "blocked"])
        question = self.recent.metrics("pass_rate")
        return Fact(self._measured["pass_rate"], question, "executions", ids)

    def covered(self) -> Fact:
        """The coverage of user stories, and those that nobody executed."""
        values = self.recent.values
        ids = [row[0] for row in fetch(self._conn, _untested(frozenset(values)), values)]
        question = self.recent.metrics("story_coverage")
        return Fact(self._measured["story_coverage"], question, "user_stories", ids)

    def reviewed(self) -> Fact:
        """The review rate, and bugs that nobody decided on."""
        ids = self._first("bugs", self.recent, other_statuses=["accepted", "rejected"])
        return Fact(self._measured["review_rate"], self.recent.metrics("review_rate"), "bugs", ids)

    def rejected(self) -> Fact:
        """The rejection rate, and rejected bugs."""
        ids = self._first("bugs", self.recent, statuses=["rejected"])
        return Fact(self._measured["rejection_rate"], self.recent.metrics("rejection_rate"), "bugs", ids)

    def problems(self) -> Fact:
        """Records of the product that could not be copied."""
        ids = [row[0] for row in fetch(self._conn, _problems, {"product_id": self.recent.product_id})]
        return Fact(len(ids), link("list_problems", product_id=self.recent.product_id), "problems", ids[:SHOWN])

    def age(self) -> Fact:
        """The age of the copy in hours that have begun; None if it was never complete, or is from the future."""
        hours = ceil((self._now - self.as_of) / timedelta(hours=1)) if self.as_of else -1
        return Fact(hours if hours >= 0 else None, link("get_status"))


FACTS: Mapping[str, tuple[str, Callable[[Evidence], Fact]]] = {
    "min_tests": ("Tests", Evidence.tests),
    "max_open_critical": ("Open critical bugs", lambda evidence: evidence.waiting("open", "critical")),
    "max_open_high": ("Open high bugs", lambda evidence: evidence.waiting("open", "high")),
    "max_open": ("Open bugs", lambda evidence: evidence.waiting("open")),
    "max_questions": ("Unanswered questions", lambda evidence: evidence.waiting("question")),
    "max_due_in_72_hours": ("Bugs that are auto-accepted within 72 hours", Evidence.due),
    "max_unpassed_stories": ("User stories that failed or were blocked and never passed", Evidence.unpassed),
    "min_pass_rate": ("Pass rate", Evidence.passed),
    "min_story_coverage": ("Story coverage", Evidence.covered),
    "min_review_rate": ("Review rate", Evidence.reviewed),
    "max_rejection_rate": ("Rejection rate", Evidence.rejected),
    "max_running_tests": ("Running tests", Evidence.running),
    "max_problems": ("Records that could not be copied", Evidence.problems),
    "max_age_hours": ("Age of the data (hours)", Evidence.age),
}
"""The rules of `rules.READINESS`: what each is about, and how it is found."""
