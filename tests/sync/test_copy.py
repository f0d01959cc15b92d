"""A sync against the truth of the account."""

import asyncio
import contextlib
import sqlite3

import pytest

from testio_mcp.database.engine import BUSY_TIMEOUT_MS
from testio_mcp.errors import Conflict, NotFound
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_mcp.sync.lock import sync_lock
from tests.sync.conftest import CORE, Account


async def test_the_copy_holds_what_the_account_holds(account: Account) -> None:
    summary = await account.sync()

    assert summary.status == "completed"
    assert summary.problems == 0
    assert await account.counts() == account.truth()
    stored = {row["id"] for row in await account.rows("test")}
    assert stored == {test_id for product in account.world.product_ids for test_id in account.world.test_ids(product)}


async def test_each_bug_belongs_to_the_test_and_product_that_the_account_says(account: Account) -> None:
    await account.sync()

    product_of_test = {row["id"]: row["product_id"] for row in await account.rows("test")}
    for row in await account.rows("bug"):
        assert row["id"] in {bug["id"] for bug in account.world.bugs_of(row["test_id"])}
        assert row["product_id"] == product_of_test[row["test_id"]]


async def test_running_twice_changes_nothing_and_asks_little(account: Account) -> None:
    await account.sync()
    before = await account.contents()
    account.sandbox.requests.clear()

    again = await account.sync()

    assert (again.records_new, again.records_changed) == (0, 0)
    assert await account.contents() == before
    assert await account.rows("change_log") == []
    # One request for the products, two a product for features and newest tests, one for the bugs of open tests.
    assert again.requests == len(account.sandbox.requests) == 1 + 2 * len(account.world.product_ids) + 1


async def test_a_full_run_reads_all_and_changes_nothing(account: Account) -> None:
    await account.sync()
    before = await account.contents()

    again = await account.sync(full=True)

    assert (again.records_new, again.records_changed) == (0, 0)
    assert again.records_unchanged >= sum(tests + bugs for tests, bugs, _ in account.truth().values())
    assert await account.contents() == before


async def test_a_day_later_the_copy_follows(account: Account) -> None:
    await account.sync()
    account.world.advance(days=1)

    summary = await account.sync()

    assert summary.records_new > 0
    assert await account.counts() == account.truth()
    created = await account.rows("change_log", field="created", entity="test")
    assert len(created) == len(account.world.product_ids)


async def test_what_changes_is_logged_with_its_old_and_new_value(account: Account) -> None:
    await account.sync()
    product = account.world.product_ids[0]
    bug = account.world.open_bugs(product)[0]
    account.world.update_bug(bug.id, status="rejected", known=True)

    await account.sync()

    lines = await account.rows("change_log", entity="bug", entity_id=bug.id)
    assert {(line["field"], line["old_value"], line["new_value"]) for line in lines} == {
        ("status", "open", "rejected"),
        ("is_known", "False", "True"),
    }
    assert await account.counts() == account.truth()


async def test_an_old_test_that_can_still_change_is_refreshed(account: Account) -> None:
    product = account.world.product_ids[0]
    oldest = account.world.test_ids(product)[-1]
    account.world.update_test(oldest, status="locked")
    await account.sync()
    account.world.update_test(oldest, title="Renamed at last")

    await account.sync()

    assert [row["title"] for row in await account.rows("test", id=oldest)] == ["Renamed at last"]


async def test_only_the_wanted_products_are_copied(account: Account) -> None:
    wanted, other = account.world.product_ids

    await account.sync(product_ids=(wanted,))

    assert {row["product_id"] for row in await account.rows("test")} == {wanted}
    assert not any(str(other) in request.path for request in account.sandbox.requests)


async def test_an_unknown_product_is_named(account: Account) -> None:
    with pytest.raises(NotFound, match="The account lists no product 5"):
        await account.sync(product_ids=(5,))


async def test_testers_are_one_row_each(account: Account) -> None:
    await account.sync()
    account.world.advance(days=1)
    await account.sync(full=True)

    names = [row["name"] for row in await account.rows("person")]
    authors = {
        author if isinstance(author, str) else author["name"]
        for product in account.world.product_ids
        for test_id in account.world.test_ids(product)
        for bug in account.world.bugs_of(test_id)
        if (author := bug.get("author"))
    }
    assert len(names) == len(set(names))
    assert authors <= set(names)


async def test_one_sync_at_a_time(account: Account) -> None:
    async with sync_lock(account.store):
        with pytest.raises(Conflict, match="already running"):
            await account.sync()

    assert (await account.sync()).status == "completed"


async def test_a_sync_waits_for_a_write_lock_that_is_held_longer_than_the_busy_time_out(account: Account) -> None:
    if account.store.connection is None:
        pytest.skip("PostgreSQL has no such lock: its writers wait for each other's rows")
    with contextlib.closing(sqlite3.connect(account.store.db_path, isolation_level=None)) as other:
        held = asyncio.Event()

        async def hold_after_the_products(_: object) -> None:
            if not held.is_set():
                other.execute("BEGIN IMMEDIATE")
                held.set()

        syncing = asyncio.create_task(run_sync(account.app, SyncOptions(only=CORE), hold_after_the_products))
        await held.wait()
        await asyncio.wait([syncing], timeout=BUSY_TIMEOUT_MS / 1000 + 1)
        assert not syncing.done()
        other.execute("ROLLBACK")
        assert (await syncing).status == "completed"
    assert await account.counts() == account.truth()


async def test_a_cancelled_run_is_noted_and_the_next_one_completes_it(account: Account) -> None:
    stored = asyncio.Event()

    async def stop_at_first_tests(progress: object) -> None:
        if getattr(progress, "resource", "") == "tests":
            stored.set()
            await asyncio.Event().wait()

    from testio_mcp.sync.engine import SyncOptions, run_sync

    task = asyncio.create_task(run_sync(account.app, SyncOptions(), stop_at_first_tests))
    await stored.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [row["status"] for row in await account.rows("sync_run")] == ["interrupted"]
    assert (await account.sync()).status == "completed"
    assert await account.counts() == account.truth()
