"""The list of executions: large pages, an API that gives smaller ones, a list that changes, and what is deleted."""

import pytest

from testio_mcp.app import Progress
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_mcp.sync.run import Entity
from testio_mcp.sync.steps.executions import EXECUTIONS_AT_ONCE
from testio_sandbox import World
from tests.sync.conftest import Account

ONLY: frozenset[Entity] = frozenset({"features", "tests", "executions"})
_LIST = r"user_story_version_executions$"
_EACH = 12
"""Executions of each test of a simulated account."""


@pytest.fixture
def world() -> World:
    """An account with two large pages of executions and a part of a third."""
    return World(seed=5, products=2, tests_per_product=45, bugs_per_test=0)


def _tests(world: World) -> list[int]:
    return [test_id for product in world.product_ids for test_id in world.test_ids(product)]


async def _there(account: Account) -> int:
    return len([row for row in await account.rows("execution") if row["gone_at"] is None])


def _pages(account: Account) -> list[tuple[int, int]]:
    asked = [request.query for request in account.sandbox.requests if "executions" in request.path]
    return [(int(query["page"]), int(query["per_page"])) for query in asked]


async def test_the_list_takes_few_requests(account: Account) -> None:
    await account.sync(only=ONLY)
    assert _pages(account) == [(1, EXECUTIONS_AT_ONCE), (2, EXECUTIONS_AT_ONCE), (3, EXECUTIONS_AT_ONCE), (1, 1)]
    assert await _there(account) == _EACH * len(_tests(account.world))

    account.sandbox.requests.clear()
    await account.sync(only=ONLY)
    assert len(_pages(account)) == 1


@pytest.mark.parametrize("largest", [100, 30])
async def test_an_api_that_gives_smaller_pages_loses_nothing(account: Account, largest: int) -> None:
    account.break_with("capped", _LIST, size=largest)
    assert (await account.sync(only=ONLY)).status == "completed"
    assert await _there(account) == _EACH * len(_tests(account.world))
    assert len(_pages(account)) <= 2 + -(-_EACH * len(_tests(account.world)) // largest)


async def test_a_list_that_changes_while_it_is_read_is_read_again(account: Account) -> None:
    """A test that is deleted takes the newest executions along: all others move up, some past the reader."""
    world = account.world
    newest = _tests(world)[0]

    async def meddle(progress: Progress) -> None:
        if progress.resource == "executions" and newest in _tests(world):
            world.delete_test(newest)

    await run_sync(account.app, SyncOptions(only=frozenset({"executions"})), meddle)

    assert newest not in _tests(world)
    left = {row["test_id"] for row in await account.rows("execution")}
    assert left >= set(_tests(world))
    assert _pages(account).count((1, 1)) == 2


async def test_deleted_executions_are_gone_after_a_complete_reading(account: Account) -> None:
    await account.sync(only=ONLY)
    gone = _tests(account.world)[3]
    account.world.delete_test(gone)

    await account.sync(only=ONLY, full=True)

    marked = [row for row in await account.rows("execution") if row["gone_at"] is not None]
    assert {row["test_id"] for row in marked} == {gone}
    assert len(marked) == _EACH
    lines = [row for row in await account.rows("change_log", entity="execution") if row["field"] == "gone_at"]
    assert {row["product_id"] for row in lines} <= set(account.world.product_ids)
    assert len(lines) == _EACH


async def test_a_list_that_shrinks_suspiciously_is_not_believed(account: Account) -> None:
    await account.sync(only=ONLY)
    for test_id in _tests(account.world)[::2]:
        account.world.delete_test(test_id)

    summary = await account.sync(only=frozenset({"executions"}), full=True)

    assert summary.status == "incomplete"
    assert [row["id"] for row in await account.rows("execution") if row["gone_at"] is not None] == []


async def test_an_execution_that_stays_broken_is_tried_once_a_run(account: Account) -> None:
    await account.sync(only=ONLY)
    known = sorted(row["id"] for row in await account.rows("execution"))
    account.break_with("poison", _LIST, record_id=known[len(known) // 2])
    assert (await account.sync(only=ONLY, full=True)).status == "incomplete"

    account.sandbox.requests.clear()
    assert (await account.sync(only=ONLY)).status == "incomplete"
    assert len(_pages(account)) <= 1 + 5, "its place fails five times"

    account.sandbox.faults.clear()
    assert (await account.sync(only=ONLY)).status == "completed"
    assert sorted(row["id"] for row in await account.rows("execution")) == known
