"""A large product on a bad day, one sync at a time, and how much is asked."""

import asyncio
import sys
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from testio_mcp.api.resilience import RetryPolicy
from testio_mcp.app import App, silent
from testio_mcp.database.cache import PersistentCache
from testio_mcp.errors import Conflict
from testio_mcp.operations.registry import operations
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_mcp.sync.run import Entity
from testio_sandbox import Fault, World, serve_sandbox
from tests.conftest import SettingsFor
from tests.support.hasty import hasty_client
from tests.sync.conftest import CORE, EVERYTHING, Account

pytestmark = pytest.mark.slow

LIST = r"exploratory_tests$"
IMPATIENT = partial(hasty_client, policy=RetryPolicy(read=1))


@pytest.fixture
def world() -> World:
    """An account of two products, one of them small."""
    return World(seed=6, products=2, tests_per_product=6, bugs_per_test=1)


async def test_one_run_copies_all_but_what_is_broken_and_the_next_one_heals(
    sqlite_file: Path, settings_for: SettingsFor, canary: str
) -> None:
    world = World(seed=8, products=1, tests_per_product=1400, bugs_per_test=0.3)
    product = world.product_ids[0]
    broken = world.test_ids(product)[700]
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        store = await closing.enter_async_context(PersistentCache(sqlite_file))
        settings = settings_for(customer_api_base_url=sandbox.url)
        account = Account(world, sandbox, App(settings, store, closing, client=IMPATIENT))
        sandbox.faults.add(
            Fault("poison", record_id=broken),
            Fault("rate_limit", LIST, skip=3, times=1, retry_after="2"),
            Fault("truncate", LIST, skip=5, times=1),
            Fault("stall", LIST, skip=7, times=1),
            Fault("shift", LIST, skip=9, times=1, delete=1),
            Fault("shift", LIST, skip=15, times=1, insert=2),
        )

        first = await account.sync()

        assert (first.status, first.problems) == ("incomplete", 1)
        stored = {row["id"] for row in await account.rows("test", gone_at=None)}
        assert set(world.test_ids(product)) - stored == {broken}
        (problem,) = (await operations()["list_problems"].run(account.app, {})).model_dump()["items"]
        assert problem["resource"] == "tests"
        sandbox.faults.clear()

        healed = await account.sync()

        assert (healed.status, healed.problems) == ("completed", 0)
        assert await account.counts() == account.truth()
        await closing.aclose()


async def test_a_first_copy_and_an_unchanged_account_cost_few_requests(
    sqlite_file: Path, settings_for: SettingsFor, canary: str
) -> None:
    world = World(seed=4, products=5, tests_per_product=200, bugs_per_test=5)
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        store = await closing.enter_async_context(PersistentCache(sqlite_file))
        app = App(settings_for(customer_api_base_url=sandbox.url), store, closing, client=hasty_client)
        account = Account(world, sandbox, app)

        first = await account.sync(only=frozenset(get_args(Entity)) - {"metrics", "results"})
        asked = Counter(request.path.rsplit("/", 1)[-1] for request in sandbox.requests)
        assert await account.counts() == account.truth()
        assert first.requests == len(sandbox.requests) <= 150, asked
        await account.sync(only=frozenset({"metrics", "results"}))
        unchanged = await account.sync(only=EVERYTHING)
        assert (unchanged.records_new, unchanged.records_changed) == (0, 0)
        assert unchanged.requests <= 15
        await closing.aclose()


async def test_sixty_testers_are_sixty_rows(account: Account) -> None:
    await account.sync()
    account.world.advance(days=2)
    await account.sync(full=True)

    testers = {
        author["name"] if isinstance(author, dict) else author
        for product in account.world.product_ids
        for test_id in account.world.test_ids(product)
        for bug in account.world.bugs_of(test_id)
        if (author := bug["author"])
    }
    people = Counter(row["name"] for row in await account.rows("person"))
    assert {name: people[name] for name in testers} == dict.fromkeys(testers, 1)


async def test_a_name_is_a_person_in_whatever_way_it_is_written(account: Account) -> None:
    """Authors, commenters, creators, submitters and executors; what nobody sees makes no second person."""
    ways = [
        "Zoë Ångström",
        " Zoë  Ångström\n",
        "Zoë\u00a0Ångström",
        "Zoe\u0308 A\u030angstro\u0308m",
        "Zoë\u200b Ångström",
    ]
    fields = [
        ("bugs", r"^/bugs$", "author"),
        ("exploratory_tests", r"/exploratory_tests$", "created_by"),
        ("exploratory_tests", r"/exploratory_tests$", "submitted_by"),
        ("user_story_version_executions", "executions", "executed_by"),
        ("bugs", r"^/bugs$", "comments.*.author"),
    ]
    for way, (collection, path, name) in zip(ways, fields, strict=True):
        account.break_with("retype", path, field=f"{collection}.*.{name}", value={"name": way})

    await account.sync(only=CORE | {"executions"})

    (person,) = await account.rows("person")
    assert person["name"] == ways[0]
    assert {row["author_id"] for row in await account.rows("bug")} == {person["id"]}
    found = await operations()["list_bugs"].run(account.app, {"reporters": [ways[1]]})
    assert found.model_dump()["items"]

    account.break_with("retype", r"^/bugs$", field="bugs.*.author", value={"name": ways[0].upper()})
    await account.sync(full=True)
    assert len(await account.rows("person")) == 2, "case is seen"


async def test_a_name_that_shows_nothing_is_nobody(account: Account) -> None:
    account.break_with("retype", r"^/bugs$", field="bugs.*.author", value=" \u200b\n")

    assert (await account.sync()).status == "completed"

    assert {row["author_id"] for row in await account.rows("bug")} == {None}


async def test_while_one_process_syncs_others_read_and_may_not_sync(
    sqlite_file: Path, settings_for: SettingsFor, canary: str, world: World
) -> None:
    """The other process stands still in the middle of its transaction while this one asks."""
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        settings = settings_for(customer_api_base_url=sandbox.url, db_path=sqlite_file)
        store = await closing.enter_async_context(PersistentCache(sqlite_file))
        app = App(settings, store, closing, client=hasty_client)
        await run_sync(app, SyncOptions(only=CORE), silent)
        world.advance(days=1)
        holding = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "testio_mcp", "sync", "--only", "features,tests,bugs"),
            env={
                "TESTIO_FAULT": "page-written:2:hold",
                "TESTIO_DB_PATH": str(sqlite_file),
                "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
                "TESTIO_CUSTOMER_API_TOKEN": canary,
            },
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert holding.stderr is not None
        while b"reached page-written" not in (line := await holding.stderr.readline()):
            assert line, "the other process ended"

        page = await operations()["list_products"].run(app, {})
        assert len(page.model_dump()["items"]) == 2
        with pytest.raises(Conflict, match=f"already running since .*process {holding.pid} on"):
            await run_sync(app, SyncOptions(only=CORE), silent)

        await holding.communicate(b"\n")
        assert holding.returncode == 0
        assert (await run_sync(app, SyncOptions(only=CORE), silent)).status == "completed"
        await closing.aclose()
