"""One run of the sync: products, then features and tests of each, then the bugs of the tests that need it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, func, select

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.records import ProblemRecord
from testio_mcp.app import REBUILD, App, Report
from testio_mcp.database.derived import find_outdated
from testio_mcp.database.search import merge_search_index
from testio_mcp.database.tables import Execution, Product, SyncRun, Test, table_of
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.errors import (
    ApiError,
    ApiForbidden,
    ApiUnreachable,
    NotFound,
    RateLimited,
    TestioError,
)
from testio_mcp.sync import state
from testio_mcp.sync.derived import rebuild, rebuild_outdated
from testio_mcp.sync.lock import sync_lock
from testio_mcp.sync.rows import BUGS, EXECUTIONS, TESTS
from testio_mcp.sync.run import Entity, Run, SyncOptions
from testio_mcp.sync.steps.bugs import TESTS_PER_REQUEST, copy_bugs, match_rejections
from testio_mcp.sync.steps.executions import (
    EXECUTIONS_AT_ONCE,
    EXECUTIONS_PER_PAGE,
    VERSIONS_PER_REQUEST,
    copy_executions,
    is_first_copy,
    name_executed_stories,
    versions_to_refresh,
)
from testio_mcp.sync.steps.metrics import CASE_TEST, reading_metrics
from testio_mcp.sync.steps.products import copy_features, copy_products
from testio_mcp.sync.steps.settings import copy_reasons, copy_settings, is_due, reasons_are_due
from testio_mcp.sync.steps.tests import Walk
from testio_mcp.sync.walk import FATAL, PAGE
from testio_mcp.sync.writer import name_unlisted_features

_PRODUCT, _TEST = table_of(Product).c, table_of(Test).c
_EXECUTION = table_of(Execution).c


class Planned(BaseModel):
    """One step of a sync that is yet to run."""

    step: str
    product: str | None = None
    what: str
    requests: int = Field(description="About how many requests it takes.")


def plan(conn: Connection, options: SyncOptions, now: datetime) -> list[Planned]:
    """The steps of a sync with these options that starts now, as far as the store can tell.

    What the account has that the store does not know yet comes on top. Raises `NotFound` for a product that the store
    does not hold.
    """
    return list(_steps(conn, options, now))


def _steps(conn: Connection, options: SyncOptions, now: datetime) -> Iterator[Planned]:
    names = _known_products(conn, options)
    yield Planned(step="products", what="all products", requests=1)
    if not names:
        yield Planned(step="everything", what="nothing was copied yet: all that the account holds", requests=0)
        return
    for product_id, (name, tests) in names.items():
        if options.wants("features"):
            yield Planned(step="features", product=name, what="all features with user stories", requests=1)
        if options.wants("tests"):
            yield _plan_tests(conn, options, product_id, name, tests)
        yield from _lists(conn, options, now, ("environments", "templates"), product_id, name)
    if reasons_are_due(options, state.checkpoint(conn, "reasons", ACCOUNT)):
        yield Planned(step="reasons", what="all reasons", requests=1)
    yield from _of_tests(conn, options, list(names))
    if options.wants("executions"):
        yield _plan_executions(conn, options)


def _lists(
    conn: Connection,
    options: SyncOptions,
    now: datetime,
    entities: tuple[Entity, ...],
    product_id: int,
    name: str,
) -> Iterator[Planned]:
    """The lists that hardly ever change, where they are due."""
    for entity in entities:
        if is_due(options, entity, state.checkpoint(conn, entity, product_id), now):
            yield Planned(step=entity, product=name, what=f"all {entity}", requests=1)


def _of_tests(conn: Connection, options: SyncOptions, product_ids: list[int]) -> Iterator[Planned]:
    """Bugs, many tests at once, and metrics and case results, test by test."""
    if options.wants("bugs"):
        waiting = _waiting(conn, options, "bugs", product_ids)
        yield Planned(step=BUGS.name, what=f"of {len(waiting)} tests", requests=-(-len(waiting) // TESTS_PER_REQUEST))
    if options.wants("metrics"):
        waiting = _waiting(conn, options, "metrics", product_ids)
        yield Planned(step="metrics", what=f"of {len(waiting)} tests", requests=len(waiting))
    if options.wants("results"):
        cases = [row[0] for row in conn.execute(select(_TEST.id).where(_TEST.testing_type == CASE_TEST))]
        # Without the metrics, the test itself is asked for as well.
        part: state.Part
        part, each = ("metrics", 1) if options.wants("metrics") else ("results", 2)
        told = set(_waiting(conn, options, part, product_ids)).intersection(cases)
        yield Planned(step="results", what=f"of {len(told)} test-case tests", requests=each * len(told))


def _waiting(conn: Connection, options: SyncOptions, part: state.Part, product_ids: list[int]) -> list[int]:
    found = state.tests_awaiting(conn, part, product_ids, full=options.full, since=options.since)
    return [test_id for test_id, _ in found]


def _known_products(conn: Connection, options: SyncOptions) -> dict[int, tuple[str, int]]:
    statement = (
        select(_PRODUCT.id, _PRODUCT.name, func.count(_TEST.id))
        .outerjoin_from(
            table_of(Product), table_of(Test), (_TEST.product_id == _PRODUCT.id) & _TEST.gone_at.is_(None)
        )
        .where(_PRODUCT.gone_at.is_(None))
        .group_by(_PRODUCT.id, _PRODUCT.name)
        .order_by(_PRODUCT.name)
    )
    known = {row[0]: (row[1], row[2]) for row in conn.execute(statement)}
    for product_id in options.product_ids:
        if product_id not in known:
            raise NotFound(f"Product {product_id} is not in the store.", "list_products shows the ids.")
    return {key: known[key] for key in options.product_ids or known}


def _plan_tests(conn: Connection, options: SyncOptions, product_id: int, name: str, tests: int) -> Planned:
    point = state.checkpoint(conn, TESTS.name, product_id)
    if point.completed_at is None or options.full:
        pages = max(1, -(-_since(conn, options, product_id, tests) // PAGE))
        return Planned(step="tests", product=name, what="the whole list", requests=pages if pages == 1 else 2 * pages)
    newest = set(conn.execute(_newest_tests(product_id)).scalars())
    others = {
        *state.mutable_tests(conn, product_id),
        *_numbers(state.problem_reasons(conn, TESTS.name, product_id)),
    } - newest
    what = f"the newest, and {len(others)} known ones that can still change"
    return Planned(step="tests", product=name, what=what, requests=1 + len(others))


def _since(conn: Connection, options: SyncOptions, product_id: int, tests: int) -> int:
    """How many tests are listed up to the first that is left out."""
    if options.since is None:
        return tests
    late = select(func.count(_TEST.id)).where(_TEST.product_id == product_id, _TEST.sort_at >= options.since)
    found: int = conn.execute(late.where(_TEST.gone_at.is_(None))).scalar_one()
    return found


def _newest_tests(product_id: int) -> Select[tuple[int]]:
    listed = select(_TEST.id).where(_TEST.product_id == product_id, _TEST.gone_at.is_(None))
    return listed.order_by(_TEST.id.desc()).limit(PAGE)


def _numbers(keys: Iterable[str]) -> set[int]:
    return {int(key) for key in keys if key.isdigit()}


def _plan_executions(conn: Connection, options: SyncOptions) -> Planned:
    point = state.checkpoint(conn, EXECUTIONS.name, ACCOUNT)
    if point.completed_at is None or options.full or state.problem_reasons(conn, EXECUTIONS.name, ACCOUNT):
        known: int = conn.execute(select(func.count(_EXECUTION.id))).scalar_one()
        pages = max(1, -(-known // EXECUTIONS_AT_ONCE))
        return Planned(step="executions", what="the whole list", requests=pages + 1)
    newest = select(_EXECUTION.id).order_by(_EXECUTION.id.desc()).limit(EXECUTIONS_PER_PAGE)
    seen = set(conn.execute(newest).scalars())
    unseen = [item for item in state.open_executions(conn) if item.id not in seen]
    versions = versions_to_refresh(conn, unseen, point.completed_at)
    what = f"the newest, and those of {len(versions)} user stories that may have changed"
    return Planned(step="executions", what=what, requests=1 - (-len(versions) // VERSIONS_PER_REQUEST))


__all__ = ["SyncOptions", "SyncSummary", "plan_sync", "run_sync"]


class SyncSummary(BaseModel):
    """What a finished run did, or what one would do."""

    run_id: int | None
    status: str = Field(description="completed, incomplete (some records could not be copied) or dry run.")
    started_at: datetime
    finished_at: datetime | None
    requests: int
    records_new: int = 0
    records_changed: int = 0
    records_unchanged: int = 0
    problems: int = Field(description="Records that could not be copied; the next run tries them again.")
    planned: list[Planned] = []
    api: str | None = Field(None, description="The API's address and where it is set, unless it is Test IO's own.")


async def plan_sync(app: App, options: SyncOptions) -> SyncSummary:
    """Tell what `run_sync` would read, without asking the API."""
    now = datetime.now(UTC)
    steps, problems = await app.store.read(lambda conn: (plan(conn, options, now), state.count_problems(conn)))
    requests = sum(step.requests for step in steps)
    return SyncSummary(
        run_id=None,
        status="dry run",
        started_at=now,
        finished_at=None,
        requests=requests,
        problems=problems,
        planned=steps,
    )


async def run_sync(app: App, options: SyncOptions, report: Report) -> SyncSummary:
    """Copy what is new or changed in the account into the store.

    Raises `ApiError` when the API does not answer, `Conflict` while another sync runs, `NotFound` for a product
    that the account does not list. Killed or cancelled at any point, the next run goes on where this one was.
    """
    api = await app.api()
    requests = api.requests
    await app.end_of(REBUILD)
    async with sync_lock(app.store) as lease:
        now = datetime.now(UTC)
        run_id = await app.store.write(lambda conn: state.begin_run(conn, _mode(options), now))
        run = Run(app, api, options, report, run_id, now, lease)
        async with _recorded(app, run, requests), _pause_kept(app, api):
            if outdated := await app.store.read(find_outdated):
                await rebuild_outdated(run.write, outdated)
            await _copy(run)
            if options.full:
                await rebuild(run.write, until=now)
            while await run.write(merge_search_index):
                pass
        return await app.store.read(lambda conn: _summary(conn, run_id))


@asynccontextmanager
async def _pause_kept(app: App, api: CustomerApi) -> AsyncIterator[None]:
    """Keep a pause that the API asked for, also across restarts."""
    api.pause(await app.store.read(lambda conn: state.pause_left(conn, api.host, datetime.now(UTC))))
    try:
        yield
    except RateLimited as error:
        until = datetime.now(UTC) + timedelta(seconds=error.retry_after)
        await app.store.write(lambda conn: state.save_pause(conn, api.host, until))
        raise


def _mode(options: SyncOptions) -> str:
    return "full" if options.full else "incremental"


@asynccontextmanager
async def _recorded(app: App, run: Run, requests: int) -> AsyncIterator[None]:
    """Note in the run's row how the run ends, whatever way that is."""
    status, error = "interrupted", None
    try:
        yield
        status = "incomplete" if await app.store.read(state.count_problems) else "completed"
    except TestioError as failure:
        status, error = "failed", str(failure)
        raise
    finally:
        tally = run.tally
        values = {
            "status": status,
            "error": error,
            "finished_at": max(run.started_at, datetime.now(UTC)),
            "requests": run.api.requests - requests,
            "records_new": tally.new,
            "records_changed": tally.changed,
            "records_unchanged": tally.unchanged,
        }
        await app.store.write(lambda conn: state.end_run(conn, run.id, **values))


def _summary(conn: Connection, run_id: int) -> SyncSummary:
    columns = table_of(SyncRun).c
    row = conn.execute(select(table_of(SyncRun)).where(columns.id == run_id)).mappings().one()
    return SyncSummary.model_validate({**row, "run_id": run_id, "problems": state.count_problems(conn)})


async def _copy(run: Run) -> None:
    still_open, is_first = await run.read(lambda conn: (state.open_executions(conn), is_first_copy(conn)))
    products = await copy_products(run)
    allowed: list[int] = []
    try:
        async with reading_metrics(run, lambda: allowed), asyncio.TaskGroup() as tasks:
            executions = partial(copy_executions, run, still_open)
            if is_first:
                tasks.create_task(executions())
            allowed += await _tests(run, products)
            if not is_first:  # their changes are logged with the products of their tests
                tasks.create_task(executions())
            await copy_bugs(run, allowed)
        await name_executed_stories(run, is_first=is_first)
    except BaseExceptionGroup as group:
        raise _first(group) from None


async def _tests(run: Run, products: dict[int, str]) -> list[int]:
    """Copy the products' features and tests; the products that are not forbidden."""
    async with asyncio.TaskGroup() as tasks:
        asked = {key: tasks.create_task(_product(run, key, name)) for key, name in products.items()}
        tasks.create_task(copy_reasons(run))
    await run.write(name_unlisted_features)
    run.reasons = await run.read(state.reasons)
    await match_rejections(run)
    return [product_id for product_id, task in asked.items() if task.result()]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The cause that ended the run: of several tasks that failed together, the first."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _product(run: Run, product_id: int, name: str) -> bool:
    """Copy what belongs to a product; when the API refuses it, the other products go on. False: it is forbidden."""
    try:
        if run.options.wants("features"):
            await copy_features(run, product_id)
        await copy_settings(run, product_id)
        if run.options.wants("tests"):
            await Walk(run, product_id, name).walk()
    except (*FATAL, ApiUnreachable):
        raise
    except ApiError as error:
        problem = ProblemRecord(f"product {product_id}", error.message, None)
        await run.store(TESTS, product_id, (), [problem])
        return not isinstance(error, ApiForbidden)
    await run.write(lambda conn: state.clear_problems(conn, TESTS.name, product_id, [f"product {product_id}"]))
    return True
