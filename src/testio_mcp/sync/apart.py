"""Lists that cannot be read: each is a problem of its own, and the others are copied."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection

from testio_mcp.api.payloads import Page, Reject
from testio_mcp.errors import ApiError, ApiUnreachable, AuthFailed
from testio_mcp.sync import state
from testio_mcp.sync.removal import missing
from testio_mcp.sync.resources import FEATURES, STORIES, Resource
from testio_mcp.sync.run import Run
from testio_mcp.sync.walk import FATAL


@asynccontextmanager
async def apart(
    run: Run, resource: Resource, product_id: int, name: str = "the whole list", *, but: type[ApiError] = AuthFailed
) -> AsyncIterator[None]:
    """Keep a list that the API does not give as the dead letter `name`, so that what comes after it is copied.

    Raises what would fail every other request too, and errors of the kind `but`.
    """
    try:
        yield
    except (*FATAL, ApiUnreachable, but):
        raise
    except ApiError as error:
        await run.store(resource, product_id, (), [Reject(name, error.message, None)])


async def copy_list(run: Run, resource: Resource, product_id: int, page: Page[Any], *, is_whole: bool = True) -> None:
    """Store a product's records; those that a whole list does not name are gone, as are user stories with them."""

    def drop(conn: Connection, kind: Resource, listed: set[int]) -> None:
        gone = missing(conn, kind, listed, kind.table.c.product_id == product_id)
        run.remove(conn, kind, product_id, gone, f"product {product_id}")

    def remove(conn: Connection) -> None:
        if page.rejects or not is_whole:
            return
        drop(conn, resource, {record.id for record in page.records})
        if resource is FEATURES:
            stories = [story.id for record in page.records for story in record.user_stories]
            if None not in stories:  # plain texts do not say which stories there are
                drop(conn, STORIES, set(stories))

    done = state.Point(None, run.started_at)
    await run.store(resource, product_id, page.records, page.rejects, point=done, also=remove)
