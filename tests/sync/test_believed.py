"""Lists that are denied, empty or broken after a copy was made: nothing is taken for deleted."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from testio_mcp.app import App, silent
from testio_mcp.errors import ApiError, AuthFailed
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_sandbox import World, serve_sandbox
from tests.conftest import ON_SQLITE, SettingsFor
from tests.support.hasty import hasty_client
from tests.sync.conftest import Account

pytestmark = ON_SQLITE

COLLECTIONS = {
    "products": r"^/products$",
    "features": r"/features$",
    "tests": r"/exploratory_tests$",
    "bugs": r"^/bugs$",
}
FAULTS: dict[str, dict[str, Any]] = {
    "404": {"kind": "error", "status": 404},
    "empty": {"kind": "retype", "value": []},
    "no list": {"kind": "retype", "value": None},
}
FIELDS = {"products": "products", "features": "features", "tests": "exploratory_tests", "bugs": "bugs"}


@pytest.fixture
def world() -> World:
    """A small account in which every test has bugs."""
    return World(seed=7, products=2, tests_per_product=6, bugs_per_test=3)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_list_that_is_not_given_deletes_nothing(account: Account, fault: str) -> None:
    await account.sync()
    before = await account.counts()
    for collection, path in COLLECTIONS.items():
        field = {"field": FIELDS[collection]} if "value" in FAULTS[fault] else {}
        account.break_with(path=path, **FAULTS[fault], **field)
        try:
            status = (await account.sync(full=True)).status
        except ApiError:
            status = "failed"
        account.sandbox.faults.clear()
        assert status in ("failed", "incomplete"), collection
        for table in ("product", "feature", "test", "bug"):
            assert [row["id"] for row in await account.rows(table) if row["gone_at"]] == [], (collection, table)
        assert await account.counts() == before, collection

    assert (await account.sync(full=True)).status == "completed"
    assert await account.counts() == account.truth()


async def test_the_token_of_another_account_changes_nothing(
    account: Account, settings_for: SettingsFor, canary: str
) -> None:
    await account.sync()
    before = await account.contents()
    other = World(seed=3, products=4, tests_per_product=4, bugs_per_test=1)
    for product_id in account.world.product_ids:
        other.delete_product(product_id)
    async with AsyncExitStack() as closing, serve_sandbox(other, token=canary) as sandbox:
        app = App(settings_for(customer_api_base_url=sandbox.url), account.store, closing, client=hasty_client)
        with pytest.raises(AuthFailed, match="another account's"):
            await run_sync(app, SyncOptions(), silent)
        await closing.aclose()
    assert await account.contents() == before
