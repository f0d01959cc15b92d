"""Copying what stands beside tests and bugs: environments, templates, reasons."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from testio_mcp.api.payloads import RejectReasonPayload
from testio_mcp.api.records import Page, ProblemRecord
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.errors import ApiError, ApiForbidden, ApiNotFound
from testio_mcp.rejections import Reason
from testio_mcp.sync import state
from testio_mcp.sync.rows import ENVIRONMENTS, TEMPLATES, Resource
from testio_mcp.sync.run import Entity, Run, SyncOptions
from testio_mcp.sync.walk import BROKEN, FATAL, joined
from testio_mcp.sync.writer import missing

SLOW = timedelta(hours=24)
"""How long lists that hardly ever change are left alone."""
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
        await run.store(resource, product_id, (), [ProblemRecord(f"list of {resource.name}", error.message, None)])
        return
    listed = {record.id for record in page.records}

    def finish(conn: Connection) -> None:
        doubt = None
        if is_whole and not page.problems:
            gone = missing(conn, resource, listed, resource.table.c.product_id == product_id)
            doubt = run.remove(conn, resource, product_id, gone, f"product {product_id}")
        state.clear_old_problems(conn, resource.name, product_id, run.started_at)
        if not page.problems and doubt is None:
            state.save_checkpoint(conn, resource.name, product_id, state.Point(None, run.started_at))

    await run.store(resource, product_id, page.records, page.problems, also=finish)


async def copy_reasons(run: Run) -> None:
    """Copy the reasons to problem a bug: they are few, and every rejection is matched against them."""
    point = await run.read(lambda conn: state.checkpoint(conn, "reasons", ACCOUNT))
    if not reasons_are_due(run.options, point):
        return
    name = "list of reasons"
    problems: list[ProblemRecord] = []
    page: Page[RejectReasonPayload] | None = None
    try:
        page = await run.api.reject_reasons()
    except FATAL:
        raise
    except ApiError as error:
        await run.api.check(error)
        problems = (
            [] if isinstance(error, (ApiNotFound, ApiForbidden)) else [ProblemRecord(name, error.message, None)]
        )
    else:
        problems = page.problems

    def store(conn: Connection) -> None:
        if page is not None:
            listed = [Reason(each.key, each.name, each.default_comment) for each in page.records]
            state.replace_reasons(conn, listed, is_whole=not problems)
        state.save_problems(conn, "reasons", ACCOUNT, problems, run.started_at)
        state.clear_old_problems(conn, "reasons", ACCOUNT, run.started_at)
        if not problems:
            state.save_checkpoint(conn, "reasons", ACCOUNT, state.Point(None, run.started_at))

    await run.write(store)


def reasons_are_due(options: SyncOptions, point: state.Point) -> bool:
    """Whether a run reads the reasons: whenever it may, and with bugs where they were never read."""
    return options.wants("reasons") or (options.wants("bugs") and point.completed_at is None)
