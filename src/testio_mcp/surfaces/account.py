"""The account of a running server: its registry and its store, loaded when the first question comes."""

import asyncio
import gc
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import date, datetime
from functools import cache, partial
from typing import TYPE_CHECKING

import anyio

from testio_mcp.errors import BadInput

if TYPE_CHECKING:
    from testio_mcp.app import App
    from testio_mcp.operations.registry import Operation
    from testio_mcp.settings import Settings

_CLOSING_SECONDS = 5


@contextmanager
def importing() -> Iterator[None]:
    """Import without the garbage collector, and keep what was imported out of its later rounds.

    Modules live as long as the process: tracing them again and again costs a tenth of the start. Where nothing
    was new, nothing is kept: what is frozen by chance is never collected.
    """
    was_enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        if was_enabled:
            gc.enable()


@cache
def registry() -> "dict[str, Operation]":
    """All operations by name; the first call imports them and the libraries below them."""
    with importing():
        from testio_mcp.operations.registry import operations
    return operations()


_READING_SECONDS = 10.0


async def read_settings(**overrides: object) -> "Settings":
    """The settings, read beside the loop: a keyring or a disk that hangs keeps no signal from ending the program.

    `overrides` win over the environment. Raises `BadInput`, also where reading takes longer than ten seconds.
    """
    with importing():
        from testio_mcp.settings import load_settings
        from testio_mcp.surfaces.logs import apply_log_settings
        from testio_mcp.timeouts import run_with_timeout
    try:
        settings = await run_with_timeout(_READING_SECONDS, partial(load_settings, **overrides))
    except TimeoutError:
        raise BadInput("The settings cannot be read in time.", "Look for a keyring or a disk that hangs.") from None
    apply_log_settings(settings)
    return settings


class Account:
    """One customer account, opened by whoever asks first and shared by all who ask.

    `overrides` win over the settings of the environment.
    """

    def __init__(self, **overrides: object) -> None:
        self._overrides = overrides
        self._opening = asyncio.Lock()
        self._closing = AsyncExitStack()
        self._app: App | None = None

    async def app(self) -> "App":
        """The opened account.

        Raises a `TestioError` when settings or store are unusable; the next call tries again.
        """
        async with self._opening:
            if self._app is None:
                self._app = await self._open()
            return self._app

    def calendar(self) -> tuple[date, int]:
        """The day that it is in the account's time zone, and the month in which the fiscal year begins.

        Raises `BadInput` when the settings are unusable.
        """
        with importing():
            from testio_mcp.settings import load_settings
        settings = load_settings(**self._overrides)
        return datetime.now(settings.zone).date(), settings.fiscal_year_starts

    async def _open(self) -> "App":
        with importing():
            from testio_mcp.app import open_app
        settings = await read_settings(**self._overrides)
        return await self._closing.enter_async_context(open_app(settings, refreshes=True))

    async def close(self) -> None:
        """Close the account, also when the caller is being cancelled; what was never opened needs no closing."""
        with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
            async with self._opening:
                self._app = None
                await self._closing.aclose()
