"""Keeping answers fresh: what is too old is refreshed before it is read, within a small time budget."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, select

from testio_mcp.app import App
from testio_mcp.database.tables import Checkpoint, SyncRun, table_of
from testio_mcp.errors import Conflict, TestioError
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_mcp.sync.progress import silent

RETRY_AFTER = timedelta(seconds=60)
"""How long a refresh that failed is not tried again."""
_REFRESH = SyncOptions(only=frozenset({"tests", "bugs"}))
_POINT, _RUN = table_of(Checkpoint).c, table_of(SyncRun).c
_LAST_TRY = select(_RUN.started_at).order_by(_RUN.id.desc()).limit(1)
logger = logging.getLogger(__name__)


async def refresh(app: App, needs: tuple[str, ...]) -> None:
    """Bring what an answer needs up to date if it is too old, in the background and once for all who wait.

    Waits at most the configured budget: then the stored answer serves, and its `as_of` says how old it is. Failures
    are noted in the run and never spoil an answer.
    """
    limit = timedelta(minutes=app.settings.refresh_after_minutes)
    if not (app.refreshes and needs and limit and app.settings.customer_api_token):
        return
    now = datetime.now(UTC)
    if now < app.fresh_until.get(needs, now) <= now + max(limit, RETRY_AFTER):  # later ones: the clock was set back
        return
    until = await app.store.read(lambda conn: _fresh_until(conn, needs, limit, now))
    app.fresh_until[needs] = until
    if until <= now:
        task = app.single_flight("refresh", lambda: _quietly(app))
        await asyncio.wait({task}, timeout=app.settings.refresh_budget_seconds)


def _fresh_until(conn: Connection, needs: tuple[str, ...], limit: timedelta, now: datetime) -> datetime:
    """Until when the copy is fresh enough, or not to be refreshed because that has just been tried; else `now`.

    A moment in the future is that of a clock that was wrong: it says nothing, and keeps no copy fresh for ever.
    """
    statement = select(func.count(), func.count(_POINT.completed_at), func.min(_POINT.completed_at))
    points, complete, oldest = conn.execute(statement.where(_POINT.resource.in_(needs))).one()
    if points and points == complete and oldest <= now < oldest + limit:
        last: datetime = oldest
        return last + limit
    tried: datetime | None = conn.execute(_LAST_TRY).scalar()
    return now if tried is None or tried > now else max(now, tried + RETRY_AFTER)


async def _quietly(app: App) -> None:
    try:
        await run_sync(app, _REFRESH, silent)
    except Conflict:
        logger.debug("Another process is syncing already.")
    except TestioError as error:
        logger.warning("The refresh failed: %s", error)


async def watch(app: App, every: float, options: SyncOptions, after: Callable[[], Awaitable[None]]) -> None:
    """Sync again and again, about every `every` seconds, until cancelled; `after` runs after each of them.

    A run that fails is noted in its row and in the log, and the next one tries again. The time between runs varies
    by a tenth, so that many installations do not ask at the same moment.
    """
    while True:
        try:
            await run_sync(app, options, silent)
        except TestioError as error:
            logger.warning("The sync failed: %s", error)
        await after()
        await asyncio.sleep(every * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, hides nothing
