"""A sync is cancelled wherever it waits: pages are whole, no lock is left, the next run ends as if undisturbed."""

from typing import Any

import pytest
from sqlalchemy import Connection, Select, func, select

from testio_mcp.app import silent
from testio_mcp.database.tables import metadata
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_sandbox import World
from tests.support.waiting import cancelled_at
from tests.sync.conftest import BOOKKEEPING, EVERYTHING, Account

pytestmark = pytest.mark.slow

PLACES = 10
"""At how many waits, evenly spread over a run, it is cancelled."""


@pytest.fixture
def world() -> World:
    """A small account: a run waits a few hundred times."""
    return World(seed=7, products=2, tests_per_product=5, bugs_per_test=2)


def _by_product(columns: Any) -> Select[Any]:
    alive = select(columns.product_id, func.count()).where(columns.gone_at.is_(None))
    return alive.group_by(columns.product_id)


async def _counted(account: Account) -> dict[int, tuple[int, int]]:
    """Tests and bugs of each product, counted anew."""
    tests, bugs = (metadata.tables[name].c for name in ("test", "bug"))

    def count(conn: Connection) -> dict[int, tuple[int, int]]:
        found = [{row[0]: row[1] for row in conn.execute(_by_product(of))} for of in (tests, bugs)]
        return {key: (number, found[1].get(key, 0)) for key, number in found[0].items()}

    return await account.store.read(count)


async def _empty(account: Account) -> None:
    """Bring the copy back to its beginning, so that every cancelled run has all to do."""

    def work(conn: Connection) -> None:
        for table in reversed(metadata.sorted_tables):
            if table.name not in BOOKKEEPING - {"checkpoint"}:
                conn.execute(table.delete())

    await account.store.write(work)


async def test_cancelled_at_any_wait_no_lock_is_left_and_no_page_is_torn(account: Account) -> None:
    options = SyncOptions(only=EVERYTHING, full=True)
    waits = await cancelled_at(run_sync(account.app, options, silent), 0)
    assert waits is not None and waits > 8 * PLACES
    truth = await account.contents()

    cancelled = 0
    for wait in range(1, waits, waits // PLACES):
        await _empty(account)
        ended = await cancelled_at(run_sync(account.app, options, silent), wait)
        cancelled += ended is None
        # The write lock is free, and what is stored are whole pages with their counts.
        await account.store.write(lambda conn: None)
        counts = {key: value[:2] for key, value in (await account.counts()).items() if any(value)}
        assert counts == {key: value for key, value in (await _counted(account)).items() if any(value)}, wait
        # The right to sync is free, and the next run ends as if nobody had been there before.
        assert (await run_sync(account.app, options, silent)).status == "completed", wait
        assert await account.contents() == truth, wait

    assert cancelled >= PLACES // 2
    assert {row["status"] for row in await account.rows("sync_run")} == {"interrupted", "completed"}
