"""Lists that are denied, empty or broken after a copy was made: nothing is taken for deleted."""

from typing import Any

import pytest

from testio_mcp.errors import ApiError
from testio_mcp.sandbox import World
from tests.sync.conftest import Account

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
