"""A clock that is wrong or set back: no record is lost, and the order of runs is that of their numbers."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from testio_mcp.app import App, open_app
from testio_mcp.database.tables import metadata
from testio_mcp.errors import RateLimited
from testio_mcp.settings import load_settings
from testio_sandbox import Sandbox, World, serve_sandbox
from tests.operations.conftest import ask
from tests.support.wrong_clock import wrong_clock
from tests.surfaces.programs import Finished, command
from tests.sync.conftest import Account

DAY = timedelta(days=1)
MOMENTS = (("sync_run", "started_at"), ("api_pause", "until"), ("dead_letter", "last_seen_at"))


@asynccontextmanager
async def looking(world: World, sandbox: Sandbox, path: Path) -> AsyncIterator[Account]:
    """An account whose copy is the store at `path`."""
    settings = load_settings(db_path=path, customer_api_base_url=sandbox.url, customer_api_token=sandbox.token)
    async with open_app(settings) as app:
        yield Account(world, sandbox, app)


@pytest.mark.slow
async def test_a_clock_that_jumps_loses_nothing_and_breaks_no_order(sqlite_file: Path, canary: str) -> None:
    world = World(seed=7, products=1, tests_per_product=30, bugs_per_test=1)
    product = world.product_ids[0]
    far = datetime(2999, 1, 1, 12, tzinfo=UTC)
    async with serve_sandbox(world, token=canary) as sandbox:
        base = {
            "TESTIO_DB_PATH": str(sqlite_file),
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": canary,
        }

        for offset, fault in (("+1d", ""), ("+1d", "page-committed:2:kill"), ("-1d", ""), ("+0", "")):
            environment = base | wrong_clock(offset) | ({"TESTIO_FAULT": fault} if fault else {})
            done = await command(environment, "sync", "--only", "features,tests,bugs", cwd=sqlite_file.parent)
            assert done.code == (-9 if fault else 0), done.err
            world.advance(days=1)
            world.add_test(product, title=f"At {offset}", end_at=far.isoformat())
        async with looking(world, sandbox, sqlite_file) as account:
            await account.sync(full=True)
            assert await account.counts() == account.truth()
            status = await ask(account, "get_status")
            runs = await account.rows("sync_run")
            stored = await account.rows("test", end_at=far)
            log = await account.rows("change_log")

    assert [row["id"] for row in runs] == [1, 2, 3, 4, 5]
    assert [row["status"] for row in runs] == ["completed", "interrupted", "completed", "completed", "completed"]
    assert [row["started_at"] for row in runs] != sorted(row["started_at"] for row in runs)
    assert all(row["started_at"] <= row["finished_at"] for row in runs)
    assert sorted(row["title"] for row in stored) == ["At +0", "At +1d", "At +1d", "At -1d"]
    assert (status.last_run.id, status.last_run.status) == (5, "completed")
    assert status.last_run.started_at == status.as_of <= datetime.now(UTC)
    assert {3, 4, 5} <= {row["run_id"] for row in log}
    assert [row["run_id"] for row in log] == sorted(row["run_id"] for row in log)


@pytest.mark.slow
async def test_the_doctor_sees_a_copy_from_the_future(sqlite_file: Path, canary: str) -> None:
    async with serve_sandbox(World(seed=7, products=1, tests_per_product=3), token=canary) as sandbox:
        base = {
            "TESTIO_DB_PATH": str(sqlite_file),
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": canary,
        }
        ahead = base | wrong_clock("+1d")
        assert (await command(ahead, "sync", cwd=sqlite_file.parent)).code == 0
        wrong = await command(ahead, "doctor", "--json", cwd=sqlite_file.parent)
        right = await command(base, "doctor", "--json", cwd=sqlite_file.parent)

    def found(done: Finished, name: str) -> str:
        return next(str(check["found"]) for check in json.loads(done.out)["checks"] if check["check"] == name)

    assert found(wrong, "sync").endswith("min old")
    assert "ahead" in found(wrong, "clock")
    assert "from the future" in found(right, "sync")
    assert "agrees" in found(right, "clock")


def _set_ahead(by: timedelta) -> Any:
    """What the store would hold, had the clock been ahead so far until now."""

    def work(conn: Connection) -> None:
        for name, column in MOMENTS:
            table = metadata.tables[name]
            for row in conn.execute(select(table)).mappings().all():
                same = (key == row[key.name] for key in table.primary_key)
                conn.execute(update(table).where(*same).values({column: row[column] + by}))

    return work


async def test_a_pause_lasts_as_long_as_the_api_asked_for(account: Account) -> None:
    account.break_with("rate_limit", times=1, retry_after="900")
    with pytest.raises(RateLimited):
        await account.sync()
    asked = len(account.sandbox.requests)
    with pytest.raises(RateLimited):
        await account.sync()
    assert len(account.sandbox.requests) == asked

    await account.store.write(_set_ahead(DAY))

    # A clock that was a day ahead does not make a day of a quarter of an hour.
    async with AsyncExitStack() as closing:
        anew = Account(account.world, account.sandbox, App(account.app.settings, account.store, closing))
        assert (await anew.sync()).status == "completed"
    assert await account.counts() == account.truth()


async def test_a_problem_that_is_over_is_forgotten_after_the_clock_was_set_back(account: Account) -> None:
    product = account.world.product_ids[0]
    broken = account.world.test_ids(product)[2]
    account.break_with("drop", field="exploratory_tests.*.id", record_id=broken)
    assert (await account.sync()).problems == 1
    await account.store.write(_set_ahead(DAY))
    account.sandbox.faults.clear()
    account.world.delete_test(broken)

    summary = await account.sync()

    assert (summary.status, summary.problems) == ("completed", 0)
    assert await account.counts() == account.truth()
