"""Copying what stands beside tests and bugs: metrics, executions, environments, templates, reasons, case results."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete

from testio_mcp.api.payloads import Page, Reject, TestPayload
from testio_mcp.database.dialect import Row, insert_missing, upsert
from testio_mcp.database.tables import Person, RejectReason, TestCaseResult, table_of
from testio_mcp.errors import ApiError, ApiForbidden, ApiNotFound, ApiUnreachable
from testio_mcp.sync import state
from testio_mcp.sync.pages import read_page
from testio_mcp.sync.resources import ENVIRONMENTS, EXECUTIONS, METRICS, TEMPLATES, TESTS, Resource
from testio_mcp.sync.rows import person_id
from testio_mcp.sync.run import Entity, Run
from testio_mcp.sync.walk import FATAL
from testio_mcp.sync.writer import Tally

SLOW = timedelta(hours=24)
"""How long lists that hardly ever change are left alone."""
_PAGE = 100
_WORKERS = 10
_BATCH = 25
_AHEAD = 3
"""How many batches of metrics are under way: while one is stored, the others keep the API busy."""
_RESULT = table_of(TestCaseResult)


async def copy_settings(run: Run, product_id: int) -> None:
    """Copy a product's test environments and templates, at most once a day."""
    api = run.api
    await _slow_list(run, "environments", ENVIRONMENTS, product_id, lambda: api.list_test_environments(product_id))
    await _slow_list(run, "templates", TEMPLATES, product_id, lambda: api.list_test_templates(product_id))


async def _is_due(run: Run, entity: Entity, product_id: int) -> bool:
    if not run.options.wants(entity):
        return False
    point = await run.read(lambda conn: state.checkpoint(conn, entity, product_id))
    asked = run.options.full or entity in run.options.only
    return asked or point.completed_at is None or run.started_at - point.completed_at >= SLOW


async def _slow_list(
    run: Run, entity: Entity, resource: Resource, product_id: int, fetch: Callable[[], Awaitable[Page[Any]]]
) -> None:
    if not await _is_due(run, entity, product_id):
        return
    try:
        page = await fetch()
    except (ApiNotFound, ApiForbidden):
        page = Page([], [], 0)  # the account has no such list
    done = state.Point(None, run.started_at)
    await run.store(resource, product_id, page.records, page.rejects, point=done)


async def copy_reasons(run: Run) -> None:
    """Copy the reasons to reject a bug, at most once a day."""
    if not await _is_due(run, "reasons", state.ACCOUNT):
        return
    name = "list of reasons"
    rejects: list[Reject] = []
    rows: list[Row] = []
    try:
        page = await run.api.reject_reasons()
    except (*FATAL, ApiUnreachable):
        raise
    except ApiError as error:
        rejects = [] if isinstance(error, (ApiNotFound, ApiForbidden)) else [Reject(name, error.message, None)]
    else:
        rows = [{"key": r.key, "name": r.name, "default_comment": r.default_comment} for r in page.records]

    def store(conn: Connection) -> None:
        upsert(conn, table_of(RejectReason), rows)
        state.clear_letters(conn, "reasons", state.ACCOUNT, [name])
        state.save_rejects(conn, "reasons", state.ACCOUNT, rejects, run.started_at)
        if not rejects:
            state.save_checkpoint(conn, "reasons", state.ACCOUNT, state.Point(None, run.started_at))

    await run.write(store)


async def copy_executions(run: Run) -> None:
    """Copy the account's executions, newest first, up to the first page that holds nothing new."""
    if not run.options.wants("executions"):
        return
    point = await run.read(lambda conn: state.checkpoint(conn, EXECUTIONS.name, state.ACCOUNT))
    start = point.next_page or 1
    if point.completed_at is None or run.options.full:
        await _executions(run, point, start, stop_early=False)
    if start > 1 or (point.completed_at is not None and not run.options.full):
        await _executions(run, point, 1, stop_early=True)
    finished = state.Point(None, run.started_at)
    await run.write(lambda conn: state.save_checkpoint(conn, EXECUTIONS.name, state.ACCOUNT, finished))


async def _executions(run: Run, point: state.Point, number: int, *, stop_early: bool) -> None:
    """Copy pages from `number` on; the total that comes with each page says how many may be read at a time."""
    done, width, previous = 0, 1, [0]
    while True:
        numbers = range(number, number + width)
        fetch = run.api.list_executions
        for place, page in zip(
            numbers, await asyncio.gather(*(read_page(run.api, fetch, n, _PAGE) for n in numbers)), strict=True
        ):
            ids = [record.id for record in page.records]
            if not page.count or ids == previous:
                return
            after = None if stop_early else state.Point(place + 1, point.completed_at)
            tally = await run.store(EXECUTIONS, state.ACCOUNT, page.records, page.rejects, point=after)
            done += page.count
            await run.tell(EXECUTIONS.name, "", done, page.record_count)
            if page.count != _PAGE or (stop_early and not (tally.new or tally.changed)):
                return
            previous, total = ids, page.record_count or 0
        number += width
        width = 1 if stop_early else max(1, min(_WORKERS, -(-total // _PAGE) - number + 1))


async def copy_metrics(run: Run, products: Sequence[int]) -> None:
    """Read the execution metrics of tests that ran and changed since, one request each, and their case results."""
    if not run.options.wants("metrics"):
        return
    waiting = await run.read(
        lambda conn: state.tests_awaiting(conn, "metrics", products, full=run.options.full, since=run.options.since)
    )
    metrics = _Metrics(run, len(waiting))
    batches = _batches(waiting)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AHEAD):
            tasks.create_task(metrics.work(batches))


def _batches(waiting: list[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    """The tests of one product after the other, some at a time: the product and the ids."""
    products: dict[int, list[int]] = {}
    for test_id, product_id in waiting:
        products.setdefault(product_id, []).append(test_id)
    for product_id, test_ids in products.items():
        for n in range(0, len(test_ids), _BATCH):
            yield product_id, test_ids[n : n + _BATCH]


class _Metrics:
    """The workers' common state."""

    def __init__(self, run: Run, total: int) -> None:
        self._run = run
        self._total = total
        self._done = 0

    async def work(self, batches: Iterator[tuple[int, list[int]]]) -> None:
        """Copy batch after batch until there is none left."""
        for product_id, test_ids in batches:
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(self._read(test_id)) for test_id in test_ids]
            await self._store(product_id, [task.result() for task in asked])
            self._done += len(test_ids)
            await self._run.tell("metrics of tests", "", self._done, self._total)

    async def _read(self, test_id: int) -> tuple[TestPayload, list[Row]] | Reject:
        try:
            test = await self._run.api.get_test(test_id)
            return test, await self._results(test)
        except FATAL:
            raise
        except ApiError as error:
            return Reject(str(test_id), error.message, None)

    async def _results(self, test: TestPayload) -> list[Row]:
        """The results of a test-case test; accounts that do not tell them answer 404."""
        if test.testing_type != "test_case" or test.product_id is None or not self._run.options.wants("results"):
            return []
        try:
            page = await self._run.api.list_test_case_results(test.product_id, test.id)
        except (ApiNotFound, ApiForbidden):
            return []
        return [
            {
                "test_id": test.id,
                "position": position,
                "test_case_id": result.id,
                "title": result.title,
                "status": result.status,
                "tester_id": person_id(result.tester) if result.tester else None,
                "tester": result.tester,
                "raw": json.dumps(result.raw, ensure_ascii=False, sort_keys=True),
            }
            for position, result in enumerate(page.records)
        ]

    async def _store(self, product_id: int, found: list[tuple[TestPayload, list[Row]] | Reject]) -> None:
        run = self._run
        tests = [item[0] for item in found if not isinstance(item, Reject)]
        results = [row for item in found if not isinstance(item, Reject) for row in item[1]]
        rejects = [item for item in found if isinstance(item, Reject)]
        ids = [test.id for test in tests]

        def work(conn: Connection) -> Tally:
            # The single answer is also the newest version of the test.
            tally = run.put(conn, TESTS, product_id, tests, log_new=True)
            tally += run.put(conn, METRICS, product_id, tests, rejects)
            _store_results(conn, ids, results)
            state.mark_metrics_read(conn, ids)
            return tally

        tally = await run.write(work)
        run.tally += tally


def _store_results(conn: Connection, test_ids: list[int], rows: list[Row]) -> None:
    conn.execute(delete(_RESULT).where(_RESULT.c.test_id.in_(bindparam("ids", expanding=True))), {"ids": test_ids})
    people = {row["tester_id"]: row["tester"] for row in rows if row["tester"]}
    insert_missing(conn, table_of(Person), [{"id": key, "name": name} for key, name in people.items()])
    upsert(conn, _RESULT, [{name: row[name] for name in row if name != "tester"} for row in rows])
