"""The engine counts what the reference counts, on whatever an account holds and whatever is asked."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from testio_mcp.database.cache import PersistentCache
from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics import definitions as words
from testio_mcp.operations.metrics.engine import Measured, measure
from testio_mcp.operations.metrics.filling import filled, say_unfilled, stretch_of
from testio_mcp.operations.metrics.questions import Question
from tests.metrics import data
from tests.metrics.data import MOMENTS, RECENT, TEST_IDS, Account, accounts, store_account
from tests.metrics.reference import (
    METRICS,
    OF_BUG,
    OF_TEST,
    TAKEN_BY,
    TIMES,
    Answer,
    answer,
    days_of,
    fill,
    is_refused,
    read_records,
)

DIMENSIONS = tuple(TAKEN_BY)
ZONES = UTC_ZONE, *_ = tuple(map(ZoneInfo, ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")))
AT_ONCE = 50
NOBODY, NOTHING = 12345, "nothing"
VALUES: dict[str, tuple[str | int | bool | None, ...]] = {
    "test": (*TEST_IDS, data.NO_TEST),
    "product": (1, 2, NOBODY),
    "section": (None, 11, 12, 21),
    "feature": (None, 31, 32, 33, 41, NOBODY),
    "user_story": (None, *data.STORIES, data.NO_STORY),
    "test_environment": (None, 61, 62, 63),
    "testing_type": (*data.TESTING_TYPES, NOTHING),
    "test_status": (*data.TEST_STATUSES, NOTHING),
    "contact": (None, *data.PEOPLE),
    "tester": (None, *data.PEOPLE, NOBODY),
    "severity": (*data.LEVELS, NOTHING),
    "kind": data.KINDS,
    "bug_status": data.BUG_STATUSES,
    "known": (True, False),
    "rejection_reason": (*data.REASONS, NOTHING),
    "device": data.DEVICE_NAMES,
    "device_category": data.CATEGORIES,
    "operating_system": (*data.SYSTEMS, *data.SYSTEMS_WITH_VERSION),
    "operating_system_version": (*data.SYSTEMS, *data.SYSTEMS_WITH_VERSION),
    "browser": data.BROWSERS,
}
ADDITIVE = {
    "tests": ("test_count", "tests_created", "tests_submitted"),
    "bugs": ("bug_count", "bug_severity_score"),
    "executions": ("executions", "passed", "failed", "blocked"),
}
PARTITIONS = {
    "tests": (*OF_TEST, *TIMES),
    "bugs": (*OF_TEST, *TIMES, *OF_BUG, "tester", "feature"),
    "executions": (*OF_TEST, *TIMES, "user_story", "feature", "tester"),
}
"""Dimensions that put each record of a fact into one group."""
_SELDOM = st.sampled_from((False, False, False, True))
# An account is small enough to be read as it is drawn, and shrinking one takes minutes.
_DRAWN = settings(phases=(Phase.explicit, Phase.generate))
_PART = settings(_DRAWN, max_examples=max(1, settings().max_examples // 25))


@st.composite
def _filters(draw: st.DrawFn) -> tuple[tuple[str, tuple[str | int | bool | None, ...]], ...]:
    names = draw(st.lists(st.sampled_from(tuple(VALUES)), max_size=2, unique=True))
    return tuple(
        (name, tuple(draw(st.lists(st.sampled_from(VALUES[name]), min_size=1, max_size=4, unique=True))))
        for name in names
    )


@st.composite
def questions(draw: st.DrawFn, moments: Sequence[datetime], zones: Sequence[ZoneInfo]) -> Question:
    """A question of up to three dimensions; one that is refused only where no metric takes them all.

    One by day or week is never about more than a thousand of them.
    """
    dimensions = DIMENSIONS if moments == RECENT else [name for name in DIMENSIONS if name not in ("day", "week")]
    one_time = lambda name: "time" * (name in TIMES) or name  # noqa: E731
    by = draw(st.lists(st.sampled_from(dimensions), max_size=3, unique_by=one_time))
    some_tests = st.lists(st.sampled_from((*TEST_IDS, data.NO_TEST)), max_size=3).map(tuple)
    first, last = sorted(draw(st.tuples(st.sampled_from(moments), st.sampled_from(moments))))
    asked = Question(
        metrics=(),
        by=tuple(by),
        filters=draw(st.just(()) | _filters()),
        start=first if draw(_SELDOM) else None,
        end=last if draw(_SELDOM) else None,
        time=draw(st.sampled_from(("end", "end", "end", "report"))),
        test_ids=draw(some_tests) if draw(_SELDOM) else (),
        exclude_test_ids=draw(some_tests) if draw(_SELDOM) else (),
        zone=draw(st.sampled_from(zones)),
    )
    possible = [name for name in METRICS if not is_refused(replace(asked, metrics=(name,)))]
    metrics = draw(st.lists(st.sampled_from(possible or list(METRICS)), min_size=1, max_size=6, unique=True))
    return replace(asked, metrics=tuple(metrics))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Account, list[Question]]:
    """An account and some questions about it."""
    moments, zone = draw(st.sampled_from((RECENT, RECENT, MOMENTS))), draw(st.sampled_from(ZONES))
    asked = st.lists(questions(moments, (*ZONES, zone, zone)), min_size=4, max_size=12)
    return draw(accounts(3, moments)), draw(asked)


def _pairs(zone: ZoneInfo, every: bool) -> Iterable[Question]:
    """By every dimension and none: all metrics together that it takes; each that it refuses, or with `every` each."""
    for by in ((), *((name,) for name in DIMENSIONS)):
        for asked in (Question((), by, zone=zone), Question((), by, zone=zone, time="report")):
            alone = [replace(asked, metrics=(metric,)) for metric in METRICS]
            taken = tuple(one.metrics[0] for one in alone if not is_refused(one))
            yield from (one for one in alone if every or is_refused(one))
            if taken:
                yield replace(asked, metrics=taken)


async def _disagreements(store: PersistentCache, account: Account, asked: Iterable[Question]) -> list[str]:
    """What the engine counts in another way than the reference."""
    await store.write(store_account(account))
    records = await store.read(read_records)
    questions, found = list(asked), []
    for start in range(0, len(questions), AT_ONCE):
        some = questions[start : start + AT_ONCE]
        for question, measured in zip(some, await store.read(_measuring(some)), strict=True):
            told = _difference(question, measured, None if is_refused(question) else answer(records, question))
            if told:
                found.append(f"{question}\n{told}")
    return found


def _measuring(some: Sequence[Question]) -> Callable[[Connection], list[Measured | BadInput]]:
    """Measure the questions; reads are bounded in time, so these are few."""

    def one(conn: Connection, question: Question) -> Measured | BadInput:
        try:
            return measure(conn, question)
        except BadInput as error:
            return error

    return lambda conn: [one(conn, question) for question in some]


def _difference(question: Question, found: Measured | BadInput, wanted: Answer | None) -> str:
    if isinstance(found, BadInput):
        return "" if wanted is None else f"refused: {found.message}"
    if wanted is None:
        return f"not refused: {found.total}"
    if found.total != wanted.total:
        return f"total {found.total}, expected {wanted.total}"
    if question.by and found.rows != wanted.rows:
        keys = {*found.rows, *wanted.rows}
        differ = {key: (found.rows.get(key), wanted.rows.get(key)) for key in keys}
        return f"rows (found, expected) { ({key: pair for key, pair in differ.items() if pair[0] != pair[1]}) }"
    return _odd_types(question, found.rows) if question.by else ""


def _odd_types(question: Question, rows: dict[Any, dict[str, Any]]) -> str:
    """Keys and values that are equal to what they should be and yet something else, such as 1 for True."""
    for key, values in rows.items():
        for name, part in zip(question.by, key, strict=True):
            kind = bool if name == "known" else date if name in TIMES else type(part)
            if part is not None and (type(part) is not kind or kind not in (bool, date, int, str)):
                return f"{name} is {part!r}"
        for name, value in values.items():
            if type(value) not in (int, float, type(None)):
                return f"{name} is {value!r}"
    return ""


def test_the_words_are_those_of_the_reference() -> None:
    assert set(words.METRICS) == set(METRICS)
    assert set(words.DIMENSIONS) == set(DIMENSIONS)


@_PART
@given(account=accounts(3, RECENT), zone=st.sampled_from(ZONES))
async def test_every_metric_by_every_dimension(store: PersistentCache, account: Account, zone: ZoneInfo) -> None:
    is_sqlite = store.connection is not None  # PostgreSQL takes ten times as long
    assert await _disagreements(store, account, _pairs(zone, is_sqlite)) == []


@_DRAWN
@given(case=cases())
async def test_random_questions(store: PersistentCache, case: tuple[Account, list[Question]]) -> None:
    assert await _disagreements(store, *case) == []


@_DRAWN
@given(account=accounts(3, RECENT), asked=questions(RECENT, ZONES), unit=st.sampled_from(TIMES))
async def test_every_bucket_has_a_row_with_its_days(
    store: PersistentCache, account: Account, asked: Question, unit: str
) -> None:
    question = replace(asked, by=(unit, *[name for name in asked.by if name not in TIMES]))
    await store.write(store_account(account))
    records, measured = await store.read(read_records), await store.read(lambda conn: _measuring([question])(conn)[0])
    if isinstance(measured, BadInput):
        return
    rows = filled(question, measured)
    assert rows == fill(records, question, answer(records, question))
    assert say_unfilled(question, measured) == []
    for start in {key[0] for key in rows if isinstance(key[0], date)}:
        label, *days = stretch_of(question, start)
        assert tuple(days) == days_of(question, start), label


@_PART
@given(account=accounts(2, RECENT))
async def test_parts_sum_to_the_total(store: PersistentCache, account: Account) -> None:
    def work(conn: Connection) -> None:
        for fact, metrics in ADDITIVE.items():
            for name in PARTITIONS[fact]:
                found = measure(conn, Question(metrics=metrics, by=(name,)))
                sums = {metric: sum(values[metric] or 0 for values in found.rows.values()) for metric in metrics}
                assert sums == found.total, (fact, name)

    await store.write(store_account(account))
    await store.read(work)


async def test_an_empty_account_holds_nothing(store: PersistentCache) -> None:
    await store.write(store_account(Account()))
    asked = Question(metrics=tuple(METRICS), by=("month",), start=datetime(2026, 1, 1, tzinfo=UTC))
    found = await store.read(lambda conn: measure(conn, asked))
    assert found.rows == {}
    assert set(found.total.values()) == {0, None}
