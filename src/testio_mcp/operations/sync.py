"""Bringing the copy up to date."""

from typing import Annotated

from pydantic import Field

from testio_mcp.app import App
from testio_mcp.operations.arguments import Ids
from testio_mcp.operations.registry import operation
from testio_mcp.sync.engine import SyncOptions, SyncSummary, run_sync
from testio_mcp.sync.progress import Report, silent


@operation("/sync", command="sync", toolset="sync", safety="write", open_world=False, examples=({},))
async def sync_data(
    app: App,
    product_ids: Annotated[Ids, Field(description="Only these products; all when left out.")] = [],  # noqa: B006
    full: Annotated[bool, Field(description="Read every page again instead of stopping at known tests.")] = False,
    report: Report = silent,
) -> SyncSummary:
    """Copy what is new or changed in the Test IO account into the local store.

    Nothing is written to Test IO. Use it when get_status shows an old copy; every other tool reads the copy.
    """
    return await run_sync(app, SyncOptions(product_ids=tuple(product_ids), full=full), report)
