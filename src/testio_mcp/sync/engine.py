"""One run of the sync: products, then features and tests of each, then the bugs of the tests that need it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from pydantic import BaseModel, Field
from sqlalchemy import Connection, select

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.payloads import ProductPayload
from testio_mcp.api.records import Page, Reject
from testio_mcp.app import REBUILD, App, Report
from testio_mcp.database.derived import find_outdated
from testio_mcp.database.search import tidy
from testio_mcp.database.tables import Feature, SyncRun, table_of
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.errors import (
    ApiError,
    ApiForbidden,
    ApiNotFound,
    ApiUnavailable,
    ApiUnreachable,
    AuthFailed,
    BadPayload,
    NotFound,
    RateLimited,
    TestioError,
)
from testio_mcp.sync import state
from testio_mcp.sync.bugs import copy_bugs, match_rejections
from testio_mcp.sync.derived import rebuild, rebuild_outdated
from testio_mcp.sync.executions import copy_executions, is_first_copy, name_executed_stories
from testio_mcp.sync.extras import copy_reasons, copy_settings
from testio_mcp.sync.lock import sync_lock
from testio_mcp.sync.metrics import reading_metrics
from testio_mcp.sync.pages import BROKEN
from testio_mcp.sync.plan import Planned, plan
from testio_mcp.sync.removal import mark_gone, missing, name_unlisted_features
from testio_mcp.sync.resources import FEATURES, PRODUCTS, SECTIONS, STORIES, TESTS
from testio_mcp.sync.rows import Scope, id_of_story
from testio_mcp.sync.run import Run, SyncOptions
from testio_mcp.sync.walk import FATAL, Walk

__all__ = ["SyncOptions", "SyncSummary", "plan_sync", "run_sync"]
_IN_VAIN = 3
"""How many products are asked for by id before the API itself is taken to be at fault."""


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
    steps, problems = await app.store.read(lambda conn: (plan(conn, options, now), state.count_letters(conn)))
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
            while await run.write(tidy):
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
        status = "incomplete" if await app.store.read(state.count_letters) else "completed"
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
    return SyncSummary.model_validate({**row, "run_id": run_id, "problems": state.count_letters(conn)})


async def _copy(run: Run) -> None:
    still_open, is_first = await run.read(lambda conn: (state.open_executions(conn), is_first_copy(conn)))
    products = await _products(run)
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


async def _products(run: Run) -> dict[int, str]:
    try:
        page, known = await run.api.list_products(), dict[int, str]()
    except (ApiUnavailable, BadPayload) as error:
        page, known = await _one_by_one(run, error)
    listed = {record.id for record in page.records}
    stored = await run.read(state.product_names)
    if listed and stored and listed.isdisjoint(stored) and not run.options.accept_deletions:
        raise AuthFailed(
            "The API lists none of the store's products: the token is another account's.",
            "Set TESTIO_DB_PATH (or TESTIO_DATABASE_SCHEMA) to a place of its own; see testio-mcp doctor.",
        )

    def remove(conn: Connection) -> None:
        if not page.rejects:
            run.remove(conn, PRODUCTS, ACCOUNT, missing(conn, PRODUCTS, listed), "products")
        sections = {section.id for record in page.records for section in record.sections}
        gone = missing(conn, SECTIONS, sections, SECTIONS.table.c.product_id.in_(sorted(listed)))
        mark_gone(conn, SECTIONS, gone.ids, Scope(ACCOUNT, run.started_at), run.id)
        state.clear_old_letters(conn, PRODUCTS.name, ACCOUNT, run.started_at)
        state.forget_gone_products(conn)

    done = None if known else state.Point(None, run.started_at)
    await run.store(PRODUCTS, ACCOUNT, page.records, page.rejects, point=done, also=remove)
    await run.tell(PRODUCTS.name, "", len(page.records), len(page.records))
    names = known | {record.id: record.name or f"Product {record.id}" for record in page.records}
    for product_id in run.options.product_ids:
        if product_id not in names:
            raise NotFound(f"The account lists no product {product_id}.", "list_products shows the ids.")
    wanted = run.options.product_ids or names
    return {product_id: names[product_id] for product_id in wanted}


async def _one_by_one(run: Run, error: ApiError) -> tuple[Page[ProductPayload], dict[int, str]]:
    """The known products, asked for by id where one of them breaks their list, and their names of before.

    Raises `error` when none is known yet, or the API gives none of them.
    """
    known = await run.read(state.product_names)
    records: list[ProductPayload] = []
    rejects = [Reject("list of products", error.message, None)]
    for product_id in known:
        try:
            records.append(await run.api.get_product(product_id))
        except (ApiNotFound, ApiUnavailable, BadPayload) as failure:
            rejects.append(Reject(str(product_id), failure.message, None))
            if not records and len(rejects) > _IN_VAIN:
                break
    if not records:
        raise error
    return Page(records, rejects, len(records)), known


async def _product(run: Run, product_id: int, name: str) -> bool:
    """Copy what belongs to a product; when the API refuses it, the other products go on. False: it is forbidden."""
    try:
        if run.options.wants("features"):
            await _features(run, product_id)
        await copy_settings(run, product_id)
        if run.options.wants("tests"):
            await Walk(run, product_id, name).walk()
    except (*FATAL, ApiUnreachable):
        raise
    except ApiError as error:
        reject = Reject(f"product {product_id}", error.message, None)
        await run.store(TESTS, product_id, (), [reject])
        return not isinstance(error, ApiForbidden)
    await run.write(lambda conn: state.clear_letters(conn, TESTS.name, product_id, [f"product {product_id}"]))
    return True


async def _features(run: Run, product_id: int) -> None:
    try:
        page = await run.api.list_features(product_id)
    except (*BROKEN, ApiNotFound) as error:
        await run.api.check(error)
        await run.store(FEATURES, product_id, (), [Reject("list of features", error.message, None)])
        return
    listed = {record.id for record in page.records}
    named = (id_of_story(story, record.id) for record in page.records for story in record.user_stories)
    stories = {story_id for story_id in named if story_id is not None}

    def remove(conn: Connection) -> None:
        if not page.rejects:
            gone = missing(conn, FEATURES, listed, table_of(Feature).c.product_id == product_id)
            run.remove(conn, FEATURES, product_id, gone, f"product {product_id}")
            gone = missing(conn, STORIES, stories, STORIES.table.c.product_id == product_id)
            run.remove(conn, STORIES, product_id, gone, f"user stories of product {product_id}")
        state.clear_old_letters(conn, FEATURES.name, product_id, run.started_at)

    done = state.Point(None, run.started_at)
    await run.store(FEATURES, product_id, page.records, page.rejects, point=done, also=remove)
