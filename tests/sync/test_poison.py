"""Records that break the list they stand in, wherever that is: they are set aside, and all others are copied."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from testio_mcp.api.resilience import RetryPolicy
from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_sandbox import Fault, World, serve_sandbox
from tests.conftest import SettingsFor
from tests.support.hasty import hasty_client
from tests.sync.conftest import Account

pytestmark = pytest.mark.slow

LIST = r"/exploratory_tests$"
# Which tests of a product, of which there are two pages of 25 and one more.
PLACES = {
    "the first": [0],
    "several": [26, 27, 41],
    "the last, alone on its page": [50],
    "a whole page": list(range(25, 50)),
    "a whole page and the one after it": list(range(25, 51)),
}


@pytest.fixture
def world() -> World:
    """Products that differ in which of their tests break their pages."""
    return World(seed=6, products=len(PLACES), tests_per_product=51, bugs_per_test=0)


@pytest.fixture
async def account(world: World, sqlite_file: Path, settings_for: SettingsFor, canary: str) -> AsyncIterator[Account]:
    """A client with few attempts, since each of them fails; what it asks for does not depend on the database."""
    impatient = partial(hasty_client, policy=RetryPolicy(attempts=2))
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        store = await closing.enter_async_context(PersistentCache(sqlite_file))
        settings = settings_for(customer_api_base_url=sandbox.url)
        yield Account(world, sandbox, App(settings, store, closing, client=impatient))
        await closing.aclose()


def _broken(world: World) -> dict[int, tuple[int, int]]:
    """The broken tests: of which product, and at which place from 1."""
    return {
        world.test_ids(product)[index]: (product, index + 1)
        for product, indexes in zip(world.product_ids, PLACES.values(), strict=True)
        for index in indexes
    }


async def test_wherever_broken_tests_stand_all_others_are_copied(account: Account) -> None:
    broken = _broken(account.world)
    everything = {test_id for product in account.world.product_ids for test_id in account.world.test_ids(product)}
    account.sandbox.faults.add(*(Fault("poison", LIST, record_id=test_id) for test_id in broken))

    first = await account.sync(only=frozenset({"tests", "templates"}))

    assert (first.status, first.problems) == ("incomplete", len(broken))
    assert {row["id"] for row in await account.rows("test")} == everything - broken.keys()
    letters = await account.rows("dead_letter")
    places = {(row["product_id"], int(row["record_key"].removeprefix("position "))) for row in letters}
    assert places == set(broken.values())
    assert {row["product_id"] for row in await account.rows("test_template")} == set(account.world.product_ids)

    account.sandbox.faults.clear()
    assert (await account.sync(only=frozenset({"tests"}))).status == "completed"
    assert {row["id"] for row in await account.rows("test")} == everything


async def test_a_list_that_breaks_off_is_read_from_its_top_again(account: Account) -> None:
    """So many records in a row cannot be told from an API that is down for this list; what is new is seen though."""
    product = account.world.product_ids[0]
    newest = account.world.test_ids(product)[:25]
    past = account.world.test_ids(product)[25:]
    for _ in range(25):  # a third page, and a fourth
        account.world.add_test(product)
    account.sandbox.faults.add(*(Fault("poison", LIST, record_id=test_id) for test_id in [*newest, *past[:25]]))
    only = frozenset({"tests"})

    first = await account.sync(only=only, product_ids=(product,))

    assert (first.status, first.problems) == ("incomplete", 1)
    assert len(await account.rows("test")) == 25
    new = account.world.add_test(product)["id"]
    assert (await account.sync(only=only, product_ids=(product,))).status == "incomplete"
    assert await account.rows("test", id=new)

    account.sandbox.faults.clear()
    assert (await account.sync(only=only, product_ids=(product,))).status == "completed"
    assert {row["id"] for row in await account.rows("test")} == set(account.world.test_ids(product))
