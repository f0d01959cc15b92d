"""Reading the metrics of tests, one request each, and the results of test-case tests with them.

While a copy is first filled, those of archived tests are read as soon as the test is stored, beside bugs and
executions: nothing changes them any more. All others come last, as bugs and executions that are new make them old.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.payloads import CaseResultPayload, TestPayload
from testio_mcp.api.records import ProblemRecord
from testio_mcp.database.dialect import Row, insert_missing, upsert
from testio_mcp.database.tables import (
    Person,
    TestCaseResult,
    TestFeature,
    TestFeatureResult,
    TestMetric,
    TestStoryResult,
    table_of,
)
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.errors import ApiError, ApiForbidden, ApiNotFound
from testio_mcp.sync import state
from testio_mcp.sync.rows import METRICS, TESTS, Record, Scope
from testio_mcp.sync.run import Run
from testio_mcp.sync.state import log_changes
from testio_mcp.sync.walk import FATAL
from testio_mcp.sync.writer import Tally

Outcomes = dict[tuple[Any, ...], Any]
"""A status or a number by entity, id and field, and by what tells apart the copies that tests hold of a story."""
_NUMBERS = ("passed_user_stories", "failed_user_stories", "blocked_user_stories")
_NOTHING = (None, "not_tested", 0)
"""What says that nothing was tested yet: the first result of a test begins there."""
_story, _result = table_of(TestStoryResult).c, table_of(TestFeatureResult).c
_copy, _metric = table_of(TestFeature).c, table_of(TestMetric).c
_ids: Any = bindparam("ids", expanding=True)
_of_stories = select(
    _story.user_story_id,
    _story.test_id,
    _story.test_feature_id,
    _story.user_story_version_id,
    _story.execution_status,
).where(_story.test_id.in_(_ids), _story.user_story_id.is_not(None))
_of_features = (
    select(_copy.feature_id, _result.test_id, _result.test_feature_id, _result.execution_status)
    .join_from(table_of(TestFeatureResult), table_of(TestFeature), _copy.id == _result.test_feature_id)
    .where(_result.test_id.in_(_ids), _copy.feature_id.is_not(None))
)
_of_tests = select(_metric.id, *(_metric[name] for name in _NUMBERS)).where(_metric.id.in_(_ids))


def outcomes(conn: Connection, test_ids: Sequence[int]) -> Outcomes:
    """The results of these tests as they are stored now."""
    ids = {"ids": list(test_ids)}
    found: Outcomes = {}
    for entity, statement in (("user_story", _of_stories), ("feature", _of_features)):
        for record_id, *copy, status in conn.execute(statement, ids):
            found[entity, record_id, "execution_status", *copy] = status
    for test_id, *numbers in conn.execute(_of_tests, ids):
        found |= {("test", test_id, name): number for name, number in zip(_NUMBERS, numbers, strict=True)}
    return found


def log_outcomes(conn: Connection, before: Outcomes, after: Outcomes, scope: Scope, run_id: int) -> None:
    """Write a line of the change log for each result that differs; one that went with its story or test has none."""
    origin = {"run_id": run_id, "product_id": scope.product_id, "changed_at": scope.now}
    lines = []
    for key, new in after.items():
        old = before.get(key)
        if old != new and not (old in _NOTHING and new in _NOTHING):
            entity, record_id, field, *_ = key
            values = {"old_value": _text(old), "new_value": _text(new)}
            lines.append(origin | {"entity": entity, "entity_id": record_id, "field": field} | values)
    if lines:
        log_changes(conn, lines)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


CASE_TEST = "test_case"
"""The type of tests that have such results."""
_RESULT = table_of(TestCaseResult)


@dataclass(frozen=True)
class CaseResults:
    """The results of one test; `records` is None where nothing was told, so that what is stored stays.

    `problem` says what could not be read.
    """

    test_id: int
    records: list[CaseResultPayload] | None
    problem: str | None = None


async def read_results(api: CustomerApi, product_id: int, test_id: int) -> CaseResults:
    """Ask for the results of a test; accounts that do not tell them answer 404. Raises what ends a run."""
    try:
        page = await api.list_test_case_results(product_id, test_id)
    except (ApiNotFound, ApiForbidden):
        return CaseResults(test_id, None)
    except FATAL:
        raise
    except ApiError as error:
        return CaseResults(test_id, None, error.message)
    lost = f"{len(page.problems)} of {page.count} results: {page.problems[0].reason}" if page.problems else None
    return CaseResults(test_id, page.records, lost)


def store_results(conn: Connection, product_id: int, found: Sequence[CaseResults], now: datetime) -> None:
    """Replace the results of the tests that told some, and note what could not be read."""
    read = [results.test_id for results in found if results.records is not None]
    conn.execute(delete(_RESULT).where(_RESULT.c.test_id.in_(bindparam("ids", expanding=True))), {"ids": read})
    people = Record({})
    rows = [
        _row(people, results.test_id, n, case) for results in found for n, case in enumerate(results.records or ())
    ]
    insert_missing(conn, table_of(Person), [row for _, row in people.needs])
    upsert(conn, _RESULT, rows)
    reasons = {f"test {results.test_id}": results.problem for results in found}
    state.clear_problems(conn, "results", product_id, [key for key, reason in reasons.items() if reason is None])
    problems = [ProblemRecord(key, reason, None) for key, reason in reasons.items() if reason is not None]
    state.save_problems(conn, "results", product_id, problems, now)


def _row(people: Record, test_id: int, position: int, case: CaseResultPayload) -> Row:
    return {
        "test_id": test_id,
        "position": position,
        "test_case_id": case.id,
        "title": case.title,
        "status": case.status,
        "tester_id": people.person(case.tester),
        "raw": json.dumps(case.raw, ensure_ascii=False, sort_keys=True),
    }


_BATCH = 25
_AHEAD = 4
"""How many batches are under way: while one is stored, and large answers are read, the others keep the API busy."""


@asynccontextmanager
async def reading_metrics(run: Run, rest: Callable[[], Collection[int]]) -> AsyncIterator[None]:
    """Read the metrics of tests that changed since, and their case results, while the caller copies the rest.

    At the end it reads what is left to read of the products that `rest` names, and ends when all is stored. Where
    case results alone are asked for, the tests are all test-case tests. Raises `ApiError` when the API as a whole
    does not answer.
    """
    options = run.options
    part: state.Part = "metrics" if options.wants("metrics") else "results"
    if not options.wants(part):
        yield
        return
    point = await run.read(lambda conn: state.checkpoint(conn, METRICS.name, ACCOUNT))
    metrics = _Metrics(run, part, log_new=point.completed_at is not None)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AHEAD):
            tasks.create_task(metrics.work())
        if point.completed_at is None:
            run.on_tests = metrics.add_archived
        yield
        products = rest()
        await metrics.finish(products)
    if part == "metrics" and options.since is None:
        await run.write(lambda conn: _clear_old_problems(conn, products, run.started_at))
        if not options.product_ids:
            await run.store(METRICS, ACCOUNT, (), point=state.Point(None, run.started_at))


def _clear_old_problems(conn: Connection, products: Collection[int], now: datetime) -> None:
    """Forget the problems of tests that no longer wait for anything, such as those that are gone."""
    for product_id in products:
        state.clear_old_problems(conn, METRICS.name, product_id, now)
        state.clear_old_problems(conn, "results", product_id, now)


class _Metrics:
    """The tests that wait for their metrics, and how far the workers have come."""

    def __init__(self, run: Run, part: state.Part, *, log_new: bool) -> None:
        self._run = run
        self._part = part
        self._log_new = log_new
        self._waiting: dict[int, list[int]] = defaultdict(list)
        self._batches: asyncio.Queue[tuple[int, list[int]] | None] = asyncio.Queue()
        self._taken: set[int] = set()
        self._done = 0

    async def add_archived(self, product_id: int, test_ids: Collection[int]) -> None:
        """Take those of a product's tests, just stored, that nothing can change any more."""
        self._take(await self._run.read(lambda conn: self._awaiting(conn, [product_id], test_ids)))

    async def finish(self, products: Collection[int]) -> None:
        """Take all that is left of the products; no more tests come."""
        self._take(await self._run.read(lambda conn: self._awaiting(conn, products)))
        for product_id, test_ids in self._waiting.items():
            self._batches.put_nowait((product_id, test_ids))
        for _ in range(_AHEAD):
            self._batches.put_nowait(None)

    async def work(self) -> None:
        """Copy batch after batch, each of one product, until there is none left."""
        while (batch := await self._batches.get()) is not None:
            product_id, test_ids = batch
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(self._read(test_id, product_id)) for test_id in test_ids]
            await self._store(product_id, [task.result() for task in asked])
            self._done += len(test_ids)
            await self._run.tell("metrics of tests", "", self._done, len(self._taken))

    def _awaiting(
        self, conn: Connection, products: Collection[int], archived: Collection[int] | None = None
    ) -> list[tuple[int, int]]:
        options = self._run.options
        return state.tests_awaiting(
            conn, self._part, products, full=options.full, since=options.since, archived=archived
        )

    def _take(self, found: list[tuple[int, int]]) -> None:
        for test_id, product_id in found:
            if test_id not in self._taken:
                self._taken.add(test_id)
                waiting = self._waiting[product_id]
                waiting.append(test_id)
                if len(waiting) == _BATCH:
                    self._batches.put_nowait((product_id, self._waiting.pop(product_id)))

    async def _read(self, test_id: int, product_id: int) -> "_Told | ProblemRecord":
        try:
            test = await self._run.api.get_test(test_id)
        except FATAL:
            raise
        except ApiError as error:
            await self._run.api.check(error)
            return ProblemRecord(str(test_id), error.message, None)
        if test.testing_type != CASE_TEST:
            return _Told(test, None, is_all=True)
        if not self._run.options.wants("results"):
            return _Told(test, None, is_all=False)
        results = await read_results(self._run.api, product_id, test_id)
        return _Told(test, results, is_all=results.problem is None)

    async def _store(self, product_id: int, found: "list[_Told | ProblemRecord]") -> None:
        run = self._run
        told = [item for item in found if not isinstance(item, ProblemRecord)]
        problems = [item for item in found if isinstance(item, ProblemRecord)]
        tests = [item.test for item in told]

        def work(conn: Connection) -> Tally:
            ids = [test.id for test in tests] if self._log_new else []
            before = outcomes(conn, ids)
            # The single answer is also the newest version of the test.
            tally = run.put(conn, TESTS, product_id, tests, log_new=True)
            tally += run.put(conn, METRICS, product_id, tests, problems)
            log_outcomes(conn, before, outcomes(conn, ids), Scope(product_id, run.started_at), run.id)
            store_results(conn, product_id, [item.results for item in told if item.results], run.started_at)
            state.mark_metrics_read(conn, [item.test.id for item in told if item.is_all])
            return tally

        tally = await run.write(work)
        run.tally += tally


@dataclass(frozen=True)
class _Told:
    """A test with its metrics, and its case results where it can have some.

    `is_all` says whether nothing is left to be asked.
    """

    test: TestPayload
    results: CaseResults | None
    is_all: bool
