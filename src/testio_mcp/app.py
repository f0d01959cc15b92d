"""One customer account, opened: settings, store and client."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from testio_mcp.database.cache import PersistentCache
from testio_mcp.settings import Settings

if TYPE_CHECKING:
    from testio_mcp.api.client import CustomerApi
    from testio_mcp.api.clock import Clock


class App:
    """What every operation works with. A server holds one per account; nothing of it is global."""

    def __init__(
        self,
        settings: Settings,
        store: PersistentCache,
        closing: AsyncExitStack,
        clock: "Clock | None" = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self._closing = closing
        self._clock = clock
        self._api: CustomerApi | None = None

    async def api(self) -> "CustomerApi":
        """The account's client of the Customer API, closed with the app.

        Made with the first request: most uses of the product never speak to the API.
        """
        if self._api is None:
            from testio_mcp.api.client import CustomerApi

            self._api = CustomerApi(self.settings, self._clock)
            await self._closing.enter_async_context(self._api)
        return self._api


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[App]:
    """Open the account that `settings` describe and close it at the end. Raises a `StoreError`."""
    url = settings.database_url
    store = PersistentCache(
        settings.db_path,
        database_url=url.get_secret_value() if url else None,
        schema=settings.database_schema,
        skip_migrations=settings.skip_migrations,
    )
    async with AsyncExitStack() as closing:
        await closing.enter_async_context(store)
        yield App(settings, store, closing)
