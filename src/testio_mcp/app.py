"""One customer account, opened: settings, store and client."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testio_mcp.api.client import CustomerApi
    from testio_mcp.database.cache import PersistentCache
    from testio_mcp.settings import Settings


REBUILD = "rebuild"
"""The background task that computes derived data of another version again; nothing is answered before it ends."""
REFRESH = "refresh"
"""The background task that brings the copy up to date for the questions that wait for it."""
RETRY_AFTER = timedelta(seconds=60)
"""How long a refresh that failed is not tried again; also the age from which a record that is missing refreshes."""


@dataclass(frozen=True)
class Progress:
    """One step forward: `done` of `total` records of a resource (`total` is None while unknown)."""

    resource: str
    product: str
    done: int
    total: int | None = None


Report = Callable[[Progress], Awaitable[None]]
"""How an action tells its progress."""


async def silent(progress: Progress) -> None:
    """Tell nobody."""


class App:
    """What every operation works with. A server holds one per account; nothing of it is global.

    `client` makes the client of the API where another than the usual one is wanted. `fresh_until` remembers up to
    when the copy of which resources need not be looked at again, and `tried` when each was refreshed last (of the
    monotonic clock) and whether that went well. With `is_brief` the program ends with its answer.
    """

    def __init__(
        self,
        settings: "Settings",
        store: "PersistentCache",
        closing: AsyncExitStack,
        client: "Callable[[Settings], CustomerApi] | None" = None,
        *,
        refreshes: bool = False,
        is_brief: bool = False,
    ) -> None:
        self.settings = settings
        self.store = store
        self._closing = closing
        self._client = client
        self._api: CustomerApi | None = None
        self.refreshes = refreshes
        self.is_brief = is_brief
        self.count_sessions: Callable[[], int] | None = None
        """How many MCP sessions this program holds; only the HTTP server does."""
        self.fresh_until: dict[tuple[str, ...], datetime] = {}
        self.tried: dict[str, tuple[float, bool]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._begun: dict[str, float] = {}

    async def api(self) -> "CustomerApi":
        """The account's client of the Customer API, closed with the app.

        Made with the first request: most uses of the product never speak to the API.
        """
        if self._api is None:
            from testio_mcp.api.client import CustomerApi

            self._api = (self._client or CustomerApi)(self.settings)
            await self._closing.enter_async_context(self._api)
        return self._api

    async def refresh(self, needs: tuple[str, ...], max_age: timedelta | None = None) -> str | None:
        """Bring what an answer needs up to date; None when all is fresh, else what was not refreshed and why.

        `max_age` is the age that is too old, where it is not the configured one. How the copy is brought up to date
        belongs to the sync, which questions do not import.
        """
        if not (needs and self.settings.refresh_after_minutes):
            return None
        note: str | None = await import_module("testio_mcp.sync.freshness").refresh(self, needs, max_age)
        return note

    @property
    def is_refreshing(self) -> bool:
        """Whether a refresh goes on in the background."""
        return self.flight(REFRESH) is not None

    def single_flight(self, name: str, work: Callable[[], Coroutine[None, None, None]]) -> "asyncio.Task[None]":
        """The background task of this name; started unless it runs already, and cancelled when the app closes."""
        task = self._tasks.get(name)
        if task is None or task.done():
            task = self._tasks[name] = asyncio.create_task(work())
            self._begun[name] = time.monotonic()
        return task

    def flight(self, name: str) -> "asyncio.Task[None] | None":
        """The background task of this name if it is under way."""
        task = self._tasks.get(name)
        return None if task is None or task.done() else task

    async def end_of(self, name: str) -> None:
        """Wait until the background task of this name has ended, if it is under way."""
        if task := self.flight(name):
            await asyncio.wait({task})

    async def wait_for(self, name: str, seconds: float) -> None:
        """Wait until the background task of this name has ended, or is as old as `seconds`."""
        left = self._begun[name] + seconds - time.monotonic()
        if left > 0:
            await asyncio.wait({self._tasks[name]}, timeout=left)

    async def end_tasks(self) -> None:
        """Cancel what runs in the background and wait until it has ended."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


# Records come and go by the thousand and hold no cycles: looking for some every 700 objects costs a tenth of a sync.
_COLLECT = (10_000, 20, 20)


@asynccontextmanager
async def open_app(settings: "Settings", *, refreshes: bool = False, is_brief: bool = False) -> AsyncIterator[App]:
    """Open the account that `settings` describe and close it at the end. Raises a `StoreError`.

    With `refreshes`, questions bring what is too old up to date; with `is_brief`, the program ends with its answer.
    A program that goes on is open while derived data of another version are computed again in the background.
    """
    from testio_mcp.database.cache import PersistentCache  # questions know its type alone

    gc.set_threshold(*_COLLECT)
    url = settings.database_url
    store = PersistentCache(
        settings.db_path,
        database_url=url.get_secret_value() if url else None,
        schema=settings.database_schema,
        skip_migrations=settings.skip_migrations,
        rebuilds_later=refreshes and not is_brief,
    )
    async with AsyncExitStack() as closing:
        await closing.enter_async_context(store)
        app = App(settings, store, closing, refreshes=refreshes, is_brief=is_brief)
        closing.push_async_callback(app.end_tasks)
        if store.outdated:
            app.single_flight(REBUILD, store.rebuild_outdated)
        yield app
