"""Lists that stay broken: all else is copied, each run tries again once, and little is asked in vain."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from testio_mcp.api.resilience import RetryPolicy
from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_mcp.errors import ApiUnreachable
from testio_sandbox import World, serve_sandbox
from tests.conftest import SettingsFor
from tests.support.hasty import hasty_client
from tests.sync.conftest import CORE, Account

pytestmark = pytest.mark.slow

LIST = r"/exploratory_tests$"


@pytest.fixture
def world() -> World:
    """An account of one product with a few pages of tests."""
    return World(seed=7, products=1, tests_per_product=101, bugs_per_test=1)


@pytest.fixture
def closed_store(sqlite_file: Path) -> PersistentCache:
    """What is asked of the API does not depend on the database."""
    return PersistentCache(sqlite_file)


async def _problem_reasons(account: Account) -> dict[str, int]:
    """The problems, and how often each was tried."""
    return {row["record_key"]: row["attempts"] for row in await account.rows("dead_letter")}


def _positions(*places: int) -> set[str]:
    return {f"position {place}" for place in places}


async def test_records_that_stay_broken_are_tried_once_a_run(account: Account) -> None:
    """One on the first page, two side by side, and one alone on the last page."""
    (product,) = account.world.product_ids
    ids = account.world.test_ids(product)
    count, broken = len(ids), {ids[3], ids[60], ids[61], ids[-1]}
    for test_id in broken:
        account.break_with("poison", LIST, record_id=test_id)
    assert count % 25 == 1

    assert (await account.sync()).status == "incomplete"

    assert set(ids) - {row["id"] for row in await account.rows("test")} == broken
    tried = await _problem_reasons(account)
    assert set(tried) == _positions(4, 61, 62, count)

    account.sandbox.requests.clear()
    assert (await account.sync()).problems == 4

    assert await _problem_reasons(account) == {key: times + 1 for key, times in tried.items()}
    asked = [request.query for request in account.sandbox.requests if request.path.endswith("/exploratory_tests")]
    attempts = RetryPolicy().attempts
    for place in (4, 61, 62, count):
        assert asked.count({**asked[0], "page": str(place), "per_page": "1"}) == attempts
    assert {query["page"] for query in asked if query["per_page"] == "25"} == {"1"}


async def test_broken_records_that_move_are_found_again(account: Account) -> None:
    (product,) = account.world.product_ids
    ids = account.world.test_ids(product)
    for test_id in (ids[3], ids[60], ids[61]):
        account.break_with("poison", LIST, record_id=test_id)
    await account.sync()
    tried = await _problem_reasons(account)

    account.world.add_test(product)
    account.sandbox.requests.clear()
    assert (await account.sync()).problems == 3
    assert set(await _problem_reasons(account)) == _positions(5, 62, 63)
    assert sorted((await _problem_reasons(account)).values()) == sorted(times + 1 for times in tried.values())
    asked = [request.query for request in account.sandbox.requests if request.query.get("per_page") == "25"]
    assert {query["page"] for query in asked} == {"1", "2"}, "up to the first page without anything new"

    account.world.delete_test(ids[40])
    assert (await account.sync()).problems == 3
    assert set(await _problem_reasons(account)) == _positions(5, 61, 62)

    account.sandbox.faults.clear()
    assert (await account.sync()).status == "completed"
    assert await account.rows("test", id=ids[60])


@pytest.mark.parametrize("kind", ["error", "stall"])
async def test_a_page_that_always_fails_is_read_in_parts(
    kind: str, sqlite_file: Path, settings_for: SettingsFor, canary: str, world: World
) -> None:
    impatient = partial(hasty_client, policy=RetryPolicy(attempts=2, read=0.5))
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        store = await closing.enter_async_context(PersistentCache(sqlite_file))
        settings = settings_for(customer_api_base_url=sandbox.url)
        account = Account(world, sandbox, App(settings, store, closing, client=impatient))
        account.break_with(kind, LIST, query={"page": "3", "per_page": "25"})

        assert (await account.sync()).status == "completed"
        assert await account.counts() == account.truth()
        await closing.aclose()


@pytest.mark.parametrize("status", [403, 404, 422, 500])
async def test_bugs_that_are_given_of_no_test_are_one_problem(account: Account, status: int) -> None:
    account.break_with("error", r"^/bugs$", status=status)

    broken = await account.sync(only=CORE | {"executions"})

    assert (broken.status, broken.problems) == ("incomplete", 1)
    assert set(await _problem_reasons(account)) == {"list of bugs"}
    assert await account.rows("execution")
    in_vain = [request for request in account.sandbox.requests if request.path == "/bugs"]
    assert len(in_vain) < 2 * len(await account.rows("test"))

    account.sandbox.faults.clear()
    assert (await account.sync()).status == "completed"
    assert await account.counts() == account.truth()


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_one_test_whose_bugs_are_not_given_is_isolated(account: Account, status: int) -> None:
    test_id = next(key for key in account.world.test_ids(account.world.product_ids[0]) if account.world.bugs_of(key))
    account.break_with("poison", r"^/bugs$", record_id=account.world.bugs_of(test_id)[0]["id"], status=status)

    assert (await account.sync()).problems == 1

    assert set(await _problem_reasons(account)) == {f"test {test_id}"}
    missing = {bug["id"] for bug in account.world.bugs_of(test_id)}
    (truth,) = account.truth().values()
    assert len(await account.rows("bug")) == truth[1] - len(missing)


async def test_a_test_is_gone_only_after_two_denials(account: Account) -> None:
    """A failure of another kind is none."""
    (product,) = account.world.product_ids
    oldest = account.world.test_ids(product)[-1]
    account.world.update_test(oldest, status="locked")
    await account.sync()
    single = rf"/exploratory_tests/{oldest}$"
    for status in (500, 404):
        account.break_with("error", single, status=status)
        assert (await account.sync()).problems == 1
        assert [row["gone_at"] for row in await account.rows("test", id=oldest)] == [None], status
        account.sandbox.faults.clear()
    account.break_with("error", single, status=404)
    assert (await account.sync()).status == "completed"
    assert [row["gone_at"] is not None for row in await account.rows("test", id=oldest)] == [True]


async def test_an_api_that_goes_down_among_single_tests_ends_the_run(account: Account) -> None:
    """The tests that were not asked for are not broken."""
    await account.sync()
    account.break_with("error", r"/exploratory_tests/\d+$|^/products$", status=503, skip=4)

    with pytest.raises(ApiUnreachable):
        await account.sync(only=frozenset({"metrics"}))

    assert await _problem_reasons(account) == {}


async def test_reasons_that_never_come_hold_nothing_up(
    sqlite_file: Path, settings_for: SettingsFor, canary: str
) -> None:
    world = World(seed=7, products=1, tests_per_product=3, bugs_per_test=1)
    impatient = partial(hasty_client, policy=RetryPolicy(attempts=2, read=0.5))
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        store = await closing.enter_async_context(PersistentCache(sqlite_file))
        settings = settings_for(customer_api_base_url=sandbox.url)
        account = Account(world, sandbox, App(settings, store, closing, client=impatient))
        account.break_with("stall", "reject_reasons")

        assert (await account.sync(only=CORE | {"reasons"})).problems == 1
        assert await account.counts() == account.truth()
        await closing.aclose()
