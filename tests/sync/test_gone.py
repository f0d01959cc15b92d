"""What the account no longer lists leaves the copy with all that belongs to it, and comes back when it is listed."""

from collections import Counter
from typing import Any

import httpx2
import pytest

from testio_mcp.operations.registry import operations
from testio_sandbox import World
from tests.sync.conftest import EVERYTHING, Account

OF_PRODUCT = ("test", "bug", "feature", "user_story", "test_environment", "test_template")


@pytest.fixture
def world() -> World:
    """Three small products: that one of them is missing is believed."""
    return World(seed=7, products=3, tests_per_product=8, bugs_per_test=2)


async def _gone(account: Account, product_id: int) -> Counter[str]:
    """How many records of a product are marked as gone, by table."""
    rows = {table: await account.rows(table, product_id=product_id) for table in OF_PRODUCT}
    return Counter(table for table, found in rows.items() for row in found if row["gone_at"])


async def _ask(account: Account, name: str, **arguments: Any) -> Any:
    return (await operations()[name].run(account.app, arguments)).model_dump(mode="json")


async def test_a_product_takes_everything_along_and_brings_it_back(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    before, counts = await account.contents(), await account.counts()
    lost, *others = account.world.product_ids
    theirs = Counter({table: len(await account.rows(table, product_id=lost)) for table in OF_PRODUCT})
    assert min(theirs.values()) > 0
    account.break_with("gone", "^/products", record_id=lost)

    assert (await account.sync(only=EVERYTHING)).status == "completed"

    assert await _gone(account, lost) == theirs
    assert [await _gone(account, other) for other in others] == [Counter(), Counter()]
    assert {key: value for key, value in (await account.counts()).items() if any(value)} == {
        other: counts[other] for other in others
    }
    for name in ("list_products", "list_tests", "list_bugs", "list_features", "list_user_stories"):
        named = {item.get("product_id", item["id"]) for item in (await _ask(account, name))["items"]}
        assert named <= set(others), name
    account.sandbox.faults.clear()

    # Environments and templates are read once a day unless they are asked for.
    assert (await account.sync(only=EVERYTHING, full=True)).status == "completed"

    assert await _gone(account, lost) == Counter()
    assert await account.contents() == before
    assert await account.counts() == counts == account.truth()
    digest = (await _ask(account, "list_changes", product_id=lost))["digest"]
    assert f"{theirs['test']} tests gone" in digest
    assert f"{theirs['bug']} bugs back again" in digest
    assert not [line for line in digest if "environment" in line or "story" in line]


async def test_a_test_that_comes_back_brings_its_bugs(account: Account) -> None:
    await account.sync()
    before, counts = await account.contents(), await account.counts()
    product = account.world.product_ids[0]
    lost = next(test_id for test_id in account.world.test_ids(product)[2:] if account.world.bugs_of(test_id))
    account.break_with("gone", record_id=lost)
    await account.sync(full=True)
    assert await account.counts() != counts
    account.sandbox.faults.clear()

    await account.sync()

    assert await account.contents() == before
    assert await account.counts() == counts == account.truth()
    lines = await account.rows("change_log", entity="test", entity_id=lost)
    assert [(line["field"], line["new_value"] is None) for line in lines] == [("gone_at", False), ("gone_at", True)]


async def test_a_deleted_story_no_longer_counts(account: Account, canary: str) -> None:
    await account.sync(only=EVERYTHING)
    product = account.world.product_ids[0]
    story = (await account.rows("user_story", product_id=product))[0]["id"]
    stories = (await _ask(account, "get_product", product_id=product))["user_stories"]
    sections = account.world.product(product)["sections"] or [{"id": None}]
    async with httpx2.AsyncClient(headers={"Authorization": f"Token {canary}"}, trust_env=False) as web:
        for section in sections:
            given = {} if section["id"] is None else {"section_id": section["id"]}
            answer = await web.delete(f"{account.sandbox.url}products/{product}/user_stories/{story}", params=given)
            if answer.status_code == 200:
                break
    assert answer.status_code == 200

    assert (await account.sync()).status == "completed"

    (row,) = await account.rows("user_story", id=story)
    assert row["gone_at"] is not None
    assert (await _ask(account, "get_product", product_id=product))["user_stories"] == stories - 1
    listed = await _ask(account, "list_user_stories", product_id=product, limit=100)
    assert story not in {item["id"] for item in listed["items"]}


@pytest.mark.parametrize("world", [World(seed=7, products=1, tests_per_product=1, bugs_per_test=2)])
@pytest.mark.parametrize("field", ["products", "exploratory_tests"])
async def test_an_only_record_that_is_missing_is_not_believed_to_be_deleted(account: Account, field: str) -> None:
    await account.sync()
    account.break_with("retype", field=field, value=[])

    doubtful = await account.sync(full=True)

    assert (doubtful.status, doubtful.problems) == ("incomplete", 1)
    assert await account.counts() == account.truth()
    account.sandbox.faults.clear()
    assert (await account.sync(full=True)).status == "completed"
