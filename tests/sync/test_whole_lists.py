"""Lists that come in one answer and cannot be read: each is a problem of its own, and all else is copied."""

import pytest

from testio_mcp.errors import ApiUnavailable
from testio_sandbox import World
from tests.sync.conftest import CORE, EVERYTHING, Account

LISTS = {
    "features": r"products/{product}/features$",
    "environments": r"products/{product}/test_environments$",
    "templates": r"test_templates$",
}
TABLES = {"features": "feature", "environments": "test_environment", "templates": "test_template"}


@pytest.fixture
def world() -> World:
    """A small account: every list is read several times."""
    return World(seed=7, products=2, tests_per_product=4, bugs_per_test=1)


async def _copied(account: Account, table: str) -> set[int]:
    """The products of which the table holds copied records."""
    return {row["product_id"] for row in await account.rows(table) if row["content_hash"]}


async def test_each_is_a_problem_of_its_own(account: Account) -> None:
    broken, other = account.world.product_ids
    for name, path in LISTS.items():
        query = {"product_id": str(broken)} if name == "templates" else {}
        account.break_with("error", path.format(product=broken), query=query)

    first = await account.sync(only=CORE | {"environments", "templates"})

    assert (first.status, first.problems) == ("incomplete", len(LISTS))
    letters = {(row["resource"], row["product_id"], row["record_key"]) for row in await account.rows("dead_letter")}
    assert letters == {(name, broken, f"list of {name}") for name in LISTS}
    assert await account.counts() == account.truth()
    assert [await _copied(account, table) for table in TABLES.values()] == [{other}] * len(LISTS)

    account.sandbox.faults.clear()
    assert (await account.sync(only=EVERYTHING)).status == "completed"
    assert await account.rows("dead_letter") == []
    assert [await _copied(account, table) for table in TABLES.values()] == [{broken, other}] * len(LISTS)


async def test_a_product_that_breaks_the_list_of_products_holds_up_nothing(account: Account) -> None:
    await account.sync()
    broken, other = account.world.product_ids
    account.break_with("poison", r"^/products", record_id=broken)
    new = [account.world.add_test(product)["id"] for product in (broken, other)]

    first = await account.sync()

    assert (first.status, first.problems) == ("incomplete", 2)
    assert {row["record_key"] for row in await account.rows("dead_letter")} == {"list of products", str(broken)}
    assert set(new) <= {row["id"] for row in await account.rows("test")}
    assert [row["gone_at"] for row in await account.rows("product")] == [None, None]

    account.sandbox.faults.clear()
    assert (await account.sync()).status == "completed"


async def test_without_any_product_there_is_nothing_to_copy(account: Account) -> None:
    account.break_with("error", "products", status=500)
    with pytest.raises(ApiUnavailable):
        await account.sync()
    account.sandbox.faults.clear()
    await account.sync()
    account.break_with("error", "products", status=500)
    with pytest.raises(ApiUnavailable):
        await account.sync()


async def test_the_problems_of_a_product_go_with_it(account: Account) -> None:
    broken, _ = account.world.product_ids
    account.break_with("error", rf"products/{broken}/features$")
    assert (await account.sync()).problems == 1
    account.world.delete_product(broken)

    assert (await account.sync()).status == "completed"
    assert await account.rows("dead_letter") == []
