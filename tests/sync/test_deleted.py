"""What was deleted in the account: seen as soon as something tells it, taken along with all that belongs to it."""

from datetime import datetime
from typing import Any

import pytest

from testio_mcp.operations.registry import operations
from testio_sandbox import World
from tests.sync.conftest import EVERYTHING, Account, FirstCopy
from tests.sync.same import differences

EACH = 12
"""Executions of each test of a simulated account."""


@pytest.fixture
def world() -> World:
    """A product with tests on two pages."""
    return World(seed=5, products=1, tests_per_product=34, bugs_per_test=1.5)


async def _status(account: Account) -> dict[str, Any]:
    return (await operations()["get_status"].run(account.app, {})).model_dump()


async def _living(account: Account, test_id: int) -> dict[str, int]:
    """How many records of a test are there, by table."""
    rows = {
        "test": await account.rows("test", id=test_id, gone_at=None),
        "bug": await account.rows("bug", test_id=test_id, gone_at=None),
        "execution": await account.rows("execution", test_id=test_id, gone_at=None),
        "test_metric": await account.rows("test_metric", id=test_id, gone_at=None),
    }
    return {name: len(found) for name, found in rows.items()}


def _running(account: Account) -> int:
    tests = account.world.test_ids(account.world.product_ids[0])
    return next(test_id for test_id in tests if account.world.test(test_id)["status"] == "running")


async def test_a_deleted_running_test_is_gone_at_once_with_all_that_belongs_to_it_and_comes_back(
    account: Account, first_copy: FirstCopy
) -> None:
    test_id = _running(account)
    account.world.add_bug(test_id)
    await account.sync(only=EVERYTHING)
    before = await _living(account, test_id)
    assert min(before.values()) > 0 and before["execution"] == EACH
    account.world.delete_test(test_id)

    assert (await account.sync(only=EVERYTHING)).status == "completed"

    assert await _living(account, test_id) == dict.fromkeys(before, 0)
    assert await differences(account, await first_copy(account)) == {}
    assert (await _status(account))["maybe_gone"] == []

    state = account.world.product_state(account.world.product_ids[0])
    account.world.gone_tests.clear()
    state.gone.clear()
    assert (await account.sync(only=EVERYTHING)).status == "completed"
    assert await _living(account, test_id) == before
    assert await differences(account, await first_copy(account)) == {}


async def test_an_old_test_that_can_still_change_is_gone_at_once(account: Account, first_copy: FirstCopy) -> None:
    """Its own address does not know it, and the page of the list on which it would be does not show it."""
    tests = account.world.test_ids(account.world.product_ids[0])
    oldest = tests[-3]
    account.world.update_test(oldest, status="locked")
    await account.sync(only=EVERYTHING)
    account.world.delete_test(oldest)
    account.sandbox.requests.clear()

    assert (await account.sync(only=EVERYTHING)).status == "completed"

    lists = [request for request in account.sandbox.requests if request.path.endswith("/exploratory_tests")]
    assert [request.query["page"] for request in lists] == ["1", "2"]
    assert set((await _living(account, oldest)).values()) == {0}
    assert await differences(account, await first_copy(account)) == {}


async def test_a_test_that_its_address_denies_and_the_list_shows_is_said_to_be_in_doubt(account: Account) -> None:
    oldest = account.world.test_ids(account.world.product_ids[0])[-3]
    account.world.update_test(oldest, status="locked")
    await account.sync()
    account.break_with("error", rf"^/exploratory_tests/{oldest}$", status=404)

    assert (await account.sync()).status == "incomplete"

    assert [row["gone_at"] for row in await account.rows("test", id=oldest)] == [None]
    assert (await _status(account))["maybe_gone"] == [f"tests, {oldest}: the API no longer knows it"]
    account.sandbox.faults.clear()
    assert (await account.sync()).status == "completed"
    assert [row["gone_at"] for row in await account.rows("test", id=oldest)] == [None]
    assert (await _status(account))["maybe_gone"] == []


async def test_until_when_deletions_of_archived_tests_are_known_is_said(account: Account) -> None:
    first = await account.sync()
    deleted = account.world.test_ids(account.world.product_ids[0])[-1]
    account.world.delete_test(deleted)

    await account.sync()
    assert [row["gone_at"] for row in await account.rows("test", id=deleted)] == [None]
    assert (await _status(account))["deletions_as_of"] == first.started_at

    whole = await account.sync(full=True)
    assert [row["gone_at"] is not None for row in await account.rows("test", id=deleted)] == [True]
    assert (await _status(account))["deletions_as_of"] == whole.started_at
    lines = await account.rows("change_log", entity="test", entity_id=deleted)
    assert [line["field"] for line in lines] == ["gone_at"]


async def test_an_archived_test_among_the_newest_is_gone_at_once(account: Account, first_copy: FirstCopy) -> None:
    tests = account.world.test_ids(account.world.product_ids[0])
    await account.sync(only=EVERYTHING)
    deleted = next(test_id for test_id in tests[8:20] if account.world.test(test_id)["status"] == "archived")
    account.world.delete_test(deleted)

    assert (await account.sync(only=EVERYTHING)).status == "completed"

    assert set((await _living(account, deleted)).values()) == {0}
    assert await differences(account, await first_copy(account)) == {}


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_deleted_execution_is_gone_at_once(account: Account, first_copy: FirstCopy, is_running: bool) -> None:
    """Looked for where executions still go on, in one request, and in the whole list if it is not there."""
    tests = account.world.test_ids(account.world.product_ids[0])
    test_id = _running(account) if is_running else tests[-1]
    await account.sync(only=EVERYTHING)
    rows = [row["id"] for row in await account.rows("execution", test_id=test_id) if row["user_story_version_id"]]
    account.world.delete_execution(rows[0])
    account.sandbox.requests.clear()

    assert (await account.sync(only=EVERYTHING)).status == "completed"

    asked = [request.query for request in account.sandbox.requests if "executions" in request.path]
    assert len(asked) == (2 if is_running else 4)
    assert [row["gone_at"] is not None for row in await account.rows("execution", id=rows[0])] == [True]
    assert await differences(account, await first_copy(account)) == {}
    account.sandbox.requests.clear()
    await account.sync(only=EVERYTHING)
    assert len([request for request in account.sandbox.requests if "executions" in request.path]) == 1


async def test_an_api_that_counts_too_few_executions_is_read_whole_once(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    account.break_with("retype", "user_story_version_executions$", field="meta.record_count", value=100)
    counts = []
    for _ in range(2):
        account.sandbox.requests.clear()
        await account.sync(only=EVERYTHING)
        counts.append(len([request for request in account.sandbox.requests if "executions" in request.path]))
    assert counts[0] > 2 and counts[1] == 1
    assert {row["gone_at"] for row in await account.rows("execution")} == {None}


async def test_a_moment_is_a_moment(account: Account) -> None:
    """Before anything was read to its end, nothing is known of what was deleted."""
    assert (await _status(account))["deletions_as_of"] is None
    await account.sync()
    assert isinstance((await _status(account))["deletions_as_of"], datetime)
