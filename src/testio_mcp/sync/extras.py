"""Copying what stands beside tests and bugs: environments, templates, reasons, metrics with case results."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from testio_mcp.api.payloads import Page, Reject, TestPayload
from testio_mcp.database.dialect import Row, upsert
from testio_mcp.database.tables import RejectReason, table_of
from testio_mcp.errors import ApiError, ApiForbidden, ApiNotFound
from testio_mcp.sync import state
from testio_mcp.sync.case_results import CASE_TEST, CaseResults, read_results, store_results
from testio_mcp.sync.outcomes import log_outcomes, outcomes
from testio_mcp.sync.pages import BROKEN, joined
from testio_mcp.sync.removal import missing
from testio_mcp.sync.resources import ENVIRONMENTS, METRICS, TEMPLATES, TESTS, Resource
from testio_mcp.sync.rows import Scope
from testio_mcp.sync.run import Entity, Run, SyncOptions
from testio_mcp.sync.walk import FATAL
from testio_mcp.sync.writer import Tally

SLOW = timedelta(hours=24)
"""How long lists that hardly ever change are left alone."""
_BATCH = 25
_AHEAD = 3
"""How many batches of metrics are under way: while one is stored, the others keep the API busy."""
_MOST_TEMPLATES = 20
"""How many templates one answer shows at most."""
Whole = tuple[Page[Any], bool]
"""A list, and whether it is known to be all there is."""


async def copy_settings(run: Run, product_id: int) -> None:
    """Copy a product's test environments and templates, at most once a day."""

    async def environments() -> Whole:
        return await run.api.list_test_environments(product_id), True

    await _slow_list(run, "environments", ENVIRONMENTS, product_id, environments)
    await _slow_list(run, "templates", TEMPLATES, product_id, lambda: _templates(run, product_id))


async def _templates(run: Run, product_id: int) -> Whole:
    """The templates of a product; where one answer may not show all of them, section by section as well."""
    page = await run.api.list_test_templates(product_id)
    if page.count < _MOST_TEMPLATES:
        return page, True
    sections = await run.read(lambda conn: state.sections(conn, product_id))
    parts = [await run.api.list_test_templates(product_id, section_id) for section_id in sections]
    return joined([page, *parts]), bool(parts) and all(part.count < _MOST_TEMPLATES for part in parts)


def is_due(options: SyncOptions, entity: Entity, point: state.Point, now: datetime) -> bool:
    """Whether a list that hardly ever changes is to be read in a run that starts now."""
    if not options.wants(entity):
        return False
    asked = options.full or entity in options.only
    return asked or point.completed_at is None or now - point.completed_at >= SLOW


async def _is_due(run: Run, entity: Entity, product_id: int) -> bool:
    point = await run.read(lambda conn: state.checkpoint(conn, entity, product_id))
    return is_due(run.options, entity, point, run.started_at)


async def _slow_list(
    run: Run, entity: Entity, resource: Resource, product_id: int, fetch: Callable[[], Awaitable[Whole]]
) -> None:
    """Copy such a list if it is due; it stays due until every record of it could be read."""
    if not await _is_due(run, entity, product_id):
        return
    try:
        page, is_whole = await fetch()
    except (ApiNotFound, ApiForbidden):
        page, is_whole = Page([], [], 0), False  # the account has no such list
    except BROKEN as error:
        await run.api.check(error)
        await run.store(resource, product_id, (), [Reject(f"list of {resource.name}", error.message, None)])
        return
    listed = {record.id for record in page.records}

    def finish(conn: Connection) -> None:
        doubt = None
        if is_whole and not page.rejects:
            gone = missing(conn, resource, listed, resource.table.c.product_id == product_id)
            doubt = run.remove(conn, resource, product_id, gone, f"product {product_id}")
        state.clear_old_letters(conn, resource.name, product_id, run.started_at)
        if not page.rejects and doubt is None:
            state.save_checkpoint(conn, resource.name, product_id, state.Point(None, run.started_at))

    await run.store(resource, product_id, page.records, page.rejects, also=finish)


async def copy_reasons(run: Run) -> None:
    """Copy the reasons to reject a bug, at most once a day."""
    if not await _is_due(run, "reasons", state.ACCOUNT):
        return
    name = "list of reasons"
    rejects: list[Reject] = []
    rows: list[Row] = []
    try:
        page = await run.api.reject_reasons()
    except FATAL:
        raise
    except ApiError as error:
        await run.api.check(error)
        rejects = [] if isinstance(error, (ApiNotFound, ApiForbidden)) else [Reject(name, error.message, None)]
    else:
        rejects = page.rejects
        rows = [{"key": r.key, "name": r.name, "default_comment": r.default_comment} for r in page.records]

    def store(conn: Connection) -> None:
        upsert(conn, table_of(RejectReason), rows)
        state.save_rejects(conn, "reasons", state.ACCOUNT, rejects, run.started_at)
        state.clear_old_letters(conn, "reasons", state.ACCOUNT, run.started_at)
        if not rejects:
            state.save_checkpoint(conn, "reasons", state.ACCOUNT, state.Point(None, run.started_at))

    await run.write(store)


async def copy_metrics(run: Run, products: Sequence[int]) -> None:
    """Read the execution metrics of tests that ran and changed since, one request each, and their case results.

    Those for whom case results alone were asked are all test-case tests that ran.
    """
    options = run.options
    part: state.Part = "metrics" if options.wants("metrics") else "results"
    if not options.wants(part):
        return
    waiting, point = await run.read(
        lambda conn: (
            state.tests_awaiting(conn, part, products, full=options.full, since=options.since),
            state.checkpoint(conn, METRICS.name, state.ACCOUNT),
        )
    )
    metrics = _Metrics(run, len(waiting), log_new=point.completed_at is not None)
    batches = _batches(waiting)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AHEAD):
            tasks.create_task(metrics.work(batches))
    if part == "metrics" and options.since is None:
        await run.write(lambda conn: _clear_old_letters(conn, products, run.started_at))
        if not options.product_ids:
            await run.store(METRICS, state.ACCOUNT, (), point=state.Point(None, run.started_at))


def _clear_old_letters(conn: Connection, products: Sequence[int], now: datetime) -> None:
    """Forget the problems of tests that no longer wait for anything, such as those that are gone."""
    for product_id in products:
        state.clear_old_letters(conn, METRICS.name, product_id, now)
        state.clear_old_letters(conn, "results", product_id, now)


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

    def __init__(self, run: Run, total: int, *, log_new: bool) -> None:
        self._run = run
        self._total = total
        self._done = 0
        self._log_new = log_new

    async def work(self, batches: Iterator[tuple[int, list[int]]]) -> None:
        """Copy batch after batch until there is none left."""
        for product_id, test_ids in batches:
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(self._read(test_id, product_id)) for test_id in test_ids]
            await self._store(product_id, [task.result() for task in asked])
            self._done += len(test_ids)
            await self._run.tell("metrics of tests", "", self._done, self._total)

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
