"""Lists that change while their pages are read: no record is lost, and of two versions the later one counts."""

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_mcp.settings import load_settings
from testio_sandbox import Fault, World, serve_sandbox
from tests.support.hasty import hasty_client
from tests.sync.conftest import Account

pytestmark = pytest.mark.slow

LIST = r"/exploratory_tests$"
PAGES = 4


async def _copied(shifts: list[Fault], store: Path) -> tuple[set[int], set[int]]:
    """The tests that the account has in the end, and those of the copy that was made meanwhile."""
    world = World(seed=3, products=1, tests_per_product=25 * PAGES, bugs_per_test=0)
    product = world.product_ids[0]
    async with AsyncExitStack() as closing, serve_sandbox(world, token="t") as sandbox:
        sandbox.faults.add(*shifts)
        cache = await closing.enter_async_context(PersistentCache(store))
        given_settings = load_settings(customer_api_base_url=sandbox.url, customer_api_token="t", db_path=store)
        account = Account(world, sandbox, App(given_settings, cache, closing, client=hasty_client))
        await account.sync(only=frozenset({"tests"}))
        stored = {row["id"] for row in await account.rows("test", gone_at=None)}
        await closing.aclose()
        return set(world.test_ids(product)), stored


# Which page of the first pass, and how many of the newest tests come and go before it is answered.
_shifts = st.lists(st.tuples(st.integers(1, PAGES - 1), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=2)


@given(shifts=_shifts)
@example(shifts=[(1, 0, 1)])
@example(shifts=[(1, 0, 4), (3, 0, 4)])
@example(shifts=[(2, 4, 4)])
@settings(max_examples=12)
def test_tests_that_come_and_go_while_pages_are_read(
    shifts: list[tuple[int, int, int]], _migrated_file: Path, tmp_path: Path
) -> None:
    store = tmp_path / "shifted.db"
    store.unlink(missing_ok=True)
    shutil.copy(_migrated_file, store)
    faults = [Fault("shift", LIST, skip=page, times=1, insert=new, delete=old) for page, new, old in shifts]

    present, stored = asyncio.run(_copied(faults, store))

    assert present <= stored


async def test_of_two_versions_on_two_pages_the_later_one_counts(account: Account) -> None:
    """A test that is inserted moves the last one of a page to the next page, where it is met again, renamed."""
    product = account.world.product_ids[0]
    twice = account.world.test_ids(product)[24]
    account.break_with("shift", rf"products/{product}/exploratory_tests", skip=1, times=1, insert=1)
    account.break_with("retype", LIST, field="exploratory_tests.*.title", record_id=twice, value="Later", skip=1)

    summary = await account.sync()

    assert summary.status == "completed"
    assert [row["title"] for row in await account.rows("test", id=twice)] == ["Later"]
    assert await account.counts() == account.truth()
