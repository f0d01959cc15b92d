"""Reading the metrics of tests, one request each, and the results of test-case tests with them.

While a copy is first filled, those of archived tests are read as soon as the test is stored, beside bugs and
executions: nothing changes them any more. All others come last, as bugs and executions that are new make them old.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from testio_mcp.api.payloads import TestPayload
from testio_mcp.api.records import Reject
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.errors import ApiError
from testio_mcp.sync import state
from testio_mcp.sync.case_results import CASE_TEST, CaseResults, read_results, store_results
from testio_mcp.sync.outcomes import log_outcomes, outcomes
from testio_mcp.sync.resources import METRICS, TESTS
from testio_mcp.sync.rows import Scope
from testio_mcp.sync.run import Run
from testio_mcp.sync.walk import FATAL
from testio_mcp.sync.writer import Tally

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
        await run.write(lambda conn: _clear_old_letters(conn, products, run.started_at))
        if not options.product_ids:
            await run.store(METRICS, ACCOUNT, (), point=state.Point(None, run.started_at))


def _clear_old_letters(conn: Connection, products: Collection[int], now: datetime) -> None:
    """Forget the problems of tests that no longer wait for anything, such as those that are gone."""
    for product_id in products:
        state.clear_old_letters(conn, METRICS.name, product_id, now)
        state.clear_old_letters(conn, "results", product_id, now)


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

    async def _read(self, test_id: int, product_id: int) -> "_Told | Reject":
        try:
            test = await self._run.api.get_test(test_id)
        except FATAL:
            raise
        except ApiError as error:
            await self._run.api.check(error)
            return Reject(str(test_id), error.message, None)
        if test.testing_type != CASE_TEST:
            return _Told(test, None, is_all=True)
        if not self._run.options.wants("results"):
            return _Told(test, None, is_all=False)
        results = await read_results(self._run.api, product_id, test_id)
        return _Told(test, results, is_all=results.problem is None)

    async def _store(self, product_id: int, found: "list[_Told | Reject]") -> None:
        run = self._run
        told = [item for item in found if not isinstance(item, Reject)]
        rejects = [item for item in found if isinstance(item, Reject)]
        tests = [item.test for item in told]

        def work(conn: Connection) -> Tally:
            ids = [test.id for test in tests] if self._log_new else []
            before = outcomes(conn, ids)
            # The single answer is also the newest version of the test.
            tally = run.put(conn, TESTS, product_id, tests, log_new=True)
            tally += run.put(conn, METRICS, product_id, tests, rejects)
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
