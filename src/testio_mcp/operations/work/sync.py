"""Bringing the copy up to date."""

from datetime import UTC, date, datetime
from typing import Annotated, get_args

from pydantic import Field

from testio_mcp.app import App, Report, silent
from testio_mcp.errors import BadInput
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.registry import operation
from testio_mcp.sync.engine import SyncOptions, SyncSummary, plan_sync, run_sync
from testio_mcp.sync.run import Entity


@operation("/sync", command="sync", toolset="sync", safety="write", examples=({"dry_run": True},))
async def sync_data(
    app: App,
    product_ids: Annotated[Ids, Field(description="Only these products; all when left out.")] = [],  # noqa: B006
    full: Annotated[bool, Field(description="Read every page again, not only up to known tests.")] = False,
    since: Annotated[date | None, Field(description="Not tests that ended before this day.")] = None,
    only: Annotated[
        list[Entity], AsList, Field(description=f"Any of {', '.join(get_args(Entity))}; all when left out.")
    ] = [],  # noqa: B006 - never changed
    accept_deletions: Annotated[
        bool, Field(description="Accept deletions even when a list shrank by over 20 %.")
    ] = False,
    dry_run: Annotated[bool, Field(description="Only tell what would be read.")] = False,
    report: Report = silent,
) -> SyncSummary:
    """Copy what is new or changed in the Test IO account into the local store.

    Nothing is written to Test IO. Use it when get_status shows an old copy; list_changes then tells what changed.
    """
    moment = bounds(Period(since, None), app.settings.zone)[0]
    if moment is not None and moment > datetime.now(UTC):
        raise BadInput(f"since: {since} has not come yet.", "Give a day that has.")
    options = SyncOptions(tuple(product_ids), full, moment, frozenset(only), accept_deletions)
    summary = await plan_sync(app, options) if dry_run else await run_sync(app, options, report)
    return summary.model_copy(update={"api": app.settings.unusual_api})
