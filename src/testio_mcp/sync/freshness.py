"""Keeping answers fresh: what is too old is refreshed before it is read, within a small time budget."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, func, select

from testio_mcp.app import REFRESH, RETRY_AFTER, App, silent
from testio_mcp.database.tables import Checkpoint, SyncRun, table_of
from testio_mcp.errors import Conflict, TestioError

if TYPE_CHECKING:
    from testio_mcp.sync.engine import SyncOptions

_LOOK_SECONDS = 0.25
"""How often a refresh looks whether the sync of another process has ended."""
_POINT, _RUN = table_of(Checkpoint).c, table_of(SyncRun).c
_points = (
    select(_POINT.resource, func.count(), func.count(_POINT.completed_at), func.min(_POINT.completed_at))
    .where(_POINT.resource.in_(bindparam("needs", expanding=True)))
    .group_by(_POINT.resource)
)
_last_run = select(_RUN.status, _RUN.started_at, _RUN.finished_at, _RUN.error).order_by(_RUN.id.desc()).limit(1)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Look:
    """How fresh the copy is.

    `stale` is what was last read too long ago or never, the oldest of all as of `oldest` (None: never completely).
    `until` is the moment up to which nothing is stale. `run` is the newest run of the sync.
    """

    stale: tuple[str, ...]
    oldest: datetime | None
    until: datetime
    run: Any


async def refresh(app: App, needs: tuple[str, ...], max_age: timedelta | None = None) -> str | None:
    """Bring what an answer needs up to date if it is too old, in the background and once for all who wait.

    Waits until the refresh is as old as the configured budget: then the stored answer serves. Returns None when all
    is fresh, else what was not refreshed and why, in words for people. Failures are noted in the run and never spoil
    an answer. `max_age` is the age that is too old, where it is not the configured one.
    """
    limit = timedelta(minutes=app.settings.refresh_after_minutes)
    limit = min(limit, max_age or limit)
    now = datetime.now(UTC)
    if max_age is None and now < app.fresh_until.get(needs, now) <= now + limit:  # later ones: the clock was set back
        return None
    look = await _looked(app, needs, limit)
    if look.stale and _may_refresh(app, look):
        due = [name for name in look.stale if not _rests(app, name, limit, look.run)]
        flight = app.flight(REFRESH)
        if flight is None and due:
            flight = app.single_flight(REFRESH, lambda: _refreshed(app, look, due))
        if flight is not None:
            await app.wait_for(REFRESH, app.settings.refresh_budget_seconds)
            look = await _looked(app, needs, limit)
    return _describe_stale(app, look) if look.stale else None


async def _looked(app: App, needs: tuple[str, ...], limit: timedelta) -> _Look:
    now = datetime.now(UTC)
    look = await app.store.read(lambda conn: _read_freshness(conn, needs, limit, now))
    app.fresh_until[needs] = look.until
    return look


def _read_freshness(conn: Connection, needs: tuple[str, ...], limit: timedelta, now: datetime) -> _Look:
    """How fresh the copy of `needs` is; a moment in the future is that of a clock that was wrong: it says nothing."""
    found = {row[0]: row[1:] for row in conn.execute(_points, {"needs": list(needs)})}
    read_at: dict[str, datetime | None] = {}
    for name in needs:
        points, complete, oldest = found.get(name, (0, -1, None))
        read_at[name] = oldest if points == complete else None
    stale = tuple(name for name, at in read_at.items() if at is None or not at <= now < at + limit)
    moments = [at for at in read_at.values() if at is not None and at <= now]
    oldest = min(moments) if len(moments) == len(needs) else None
    until = oldest + limit if oldest and not stale else now
    return _Look(stale, oldest, until, conn.execute(_last_run).first())


def _may_refresh(app: App, look: _Look) -> bool:
    """Whether a refresh may run at all; a first copy is not begun by a program that ends with its answer."""
    lasts = not app.is_brief or look.oldest is not None
    return app.refreshes and lasts and app.settings.customer_api_token is not None


def _rests(app: App, name: str, limit: timedelta, run: Any) -> bool:
    """Whether a resource has just been tried: by this process, or by a run of any process that did not succeed."""
    tried, succeeded = app.tried.get(name, (0.0, False))
    rest = limit if succeeded else RETRY_AFTER
    if tried and time.monotonic() - tried < rest.total_seconds():
        return True
    if run is None or run.status not in ("failed", "interrupted"):
        return False
    ended, now = run.finished_at or run.started_at, datetime.now(UTC)
    return bool(ended <= now < ended + RETRY_AFTER)


async def _refreshed(app: App, look: _Look, due: Collection[str]) -> None:
    """Copy what is too old, or everything where nothing was copied yet."""
    from testio_mcp.sync.engine import run_sync  # most questions find the copy fresh
    from testio_mcp.sync.run import ENTITIES, SyncOptions

    tried, succeeded = time.monotonic(), False
    try:
        await run_sync(app, SyncOptions(only=ENTITIES.intersection(due if look.run else ())), silent)
        succeeded = True
    except Conflict:
        await _others_end(app)
        return
    except TestioError as error:
        logger.warning("The refresh failed: %s", error)
        tried = time.monotonic()
    app.tried.update(dict.fromkeys(due, (tried, succeeded)))


async def _others_end(app: App) -> None:
    """Wait until the sync that runs already has ended: what it copies is fresh enough."""
    while await app.store.read(_is_running):  # noqa: ASYNC110 - another process ends it
        await asyncio.sleep(_LOOK_SECONDS)


def _is_running(conn: Connection) -> bool:
    run = conn.execute(_last_run).first()
    return run is not None and run.status == "running"


def _describe_stale(app: App, look: _Look) -> str:
    """What was not refreshed and why, in a line."""
    age = "" if look.oldest is None else f" ({_age(datetime.now(UTC) - look.oldest)} old)"
    never = "" if look.oldest else " Part of it was never copied completely."
    return f"Not refreshed: {', '.join(look.stale)}{age}.{never} {_reason(app, look)}"


def _reason(app: App, look: _Look) -> str:
    if app.settings.customer_api_token is None:
        return "No API token is configured. Set TESTIO_CUSTOMER_API_TOKEN."
    if app.is_brief and (app.is_refreshing or look.oldest is None):
        return "sync_data copies all of it, however long it takes."
    if app.is_refreshing:
        return "A refresh goes on in the background; ask again in a moment."
    status = look.run.status if look.run else None
    if status == "failed" and look.run.error:
        return str(look.run.error)
    if status == "running":
        return "A sync is under way; ask again when it has ended."
    if status == "interrupted":
        return "The last sync was interrupted; sync_data goes on with it."
    return "list_problems tells what could not be copied; sync_data tries it again."


def _age(age: timedelta) -> str:
    """An age in words, rounded down: `16 min`, `3 h`, `2 days`."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


async def watch(app: App, every: float, options: "SyncOptions", after: Callable[[], Awaitable[None]]) -> None:
    """Sync again and again, about every `every` seconds, until cancelled; `after` runs after each of them.

    A run that fails is noted in its row and in the log, and the next one tries again. The time between runs varies
    by a tenth, so that many installations do not ask at the same moment.
    """
    from testio_mcp.sync.engine import run_sync

    while True:
        try:
            await run_sync(app, options, silent)
        except TestioError as error:
            logger.warning("The sync failed: %s", error)
        await after()
        await asyncio.sleep(every * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, hides nothing
