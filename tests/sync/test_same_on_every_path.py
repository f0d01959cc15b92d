"""However a copy came about, it holds what a first copy of the account holds now."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import Connection, update

from testio_mcp.database.tables import Checkpoint, SyncRun, table_of
from testio_mcp.domain import AWAITING
from testio_mcp.operations.registry import operations
from testio_sandbox import World
from tests.sync.conftest import EVERYTHING, Account, FirstCopy
from tests.sync.same import differences

pytestmark = pytest.mark.slow

STATUSES = (
    *("initialized", "waiting", "running", "locked", "archived", "cancelled", "customer_finalized"),
    "paused for maintenance",
)
PAIRS = tuple(product(STATUSES, STATUSES))
BUGS_EACH = 6
SMALL = World(seed=7, products=1, tests_per_product=30, bugs_per_test=0)


@pytest.fixture
def world() -> World:
    """A product with a test for each pair of statuses, and another one to be left alone."""
    return World(seed=7, products=2, tests_per_product=len(PAIRS) + 8, bugs_per_test=0)


def _runs_of(world: World, test_id: int) -> list[int]:
    first = 3_000_000_001 + (test_id - 130_001) * 12
    return list(range(first, first + 12))


def _prepare(world: World) -> dict[int, tuple[str, str]]:
    """A test of the first status of each pair, with bugs that wait and bugs that were decided on."""
    tests = dict(zip(world.test_ids(world.product_ids[0])[4:], PAIRS, strict=False))
    for test_id, (before, _) in tests.items():
        world.update_test(test_id, status=before)
        for place in range(BUGS_EACH):
            world.add_bug(test_id, status="forwarded" if place < 3 else "accepted")
    return tests


def _meddle(world: World, tests: dict[int, tuple[str, str]]) -> None:
    """Every test gets its second status; one bug of each is decided on, one comes, one goes; so with executions."""
    for test_id, (before, after) in tests.items():
        world.update_test(test_id, status=after)
        decided, deleted, renamed, *_ = (bug["id"] for bug in world.bugs_of(test_id))
        world.update_bug(decided, status="accepted")
        world.update_bug(renamed, title="Now it says something else")
        world.delete_bug(deleted)
        world.add_bug(test_id, status="rejected")
        if before != after:
            changed, removed, *_ = _runs_of(world, test_id)
            world.update_execution(changed, "blocked")
            world.delete_execution(removed)


async def test_whatever_a_test_becomes_a_sync_equals_a_first_copy(account: Account, first_copy: FirstCopy) -> None:
    tests = _prepare(account.world)
    await account.sync(only=EVERYTHING)
    _meddle(account.world, tests)

    assert (await account.sync(only=EVERYTHING)).status == "completed"

    assert await differences(account, await first_copy(account)) == {}
    again = await account.sync(only=EVERYTHING)
    assert (again.records_new, again.records_changed) == (0, 0)


async def test_whatever_a_test_becomes_answers_that_refresh_equal_a_first_copy(
    account: Account, first_copy: FirstCopy
) -> None:
    tests = _prepare(account.world)
    await account.sync(only=EVERYTHING)
    _meddle(account.world, tests)
    moment = datetime.now(UTC) - timedelta(hours=1)

    def make_older(conn: Connection) -> None:
        conn.execute(update(table_of(Checkpoint)).values(completed_at=moment))
        conn.execute(update(table_of(SyncRun)).values(started_at=moment, finished_at=moment))

    await account.store.write(make_older)
    account.app.refreshes = True
    for name in ("list_tests", "list_bugs", "list_executions", "list_features", "test_case_results"):
        await operations()[name].answer(account.app, {})
        if flight := account.app.flight("refresh"):
            await flight
    feature = (await account.rows("feature"))[0]["id"]
    await operations()["get_feature"].answer(account.app, {"feature_id": feature})
    if flight := account.app.flight("refresh"):
        await flight

    assert await differences(account, await first_copy(account)) == {}


@pytest.mark.parametrize("world", [SMALL], ids=["small"])
@pytest.mark.parametrize("status", STATUSES)
async def test_a_bug_that_waits_is_read_until_somebody_decides(account: Account, status: str) -> None:
    """Also in a test that nothing can change any more by the API's own words."""
    test_id = account.world.test_ids(account.world.product_ids[0])[-1]
    account.world.update_test(test_id, status=status)
    bug = account.world.add_bug(test_id, status="forwarded")["id"]
    await account.sync()
    assert [row["status"] in AWAITING for row in await account.rows("bug", id=bug)] == [True]
    account.world.update_bug(bug, status="accepted")

    await account.sync()

    assert [row["status"] for row in await account.rows("bug", id=bug)] == ["accepted"]


@pytest.mark.parametrize("world", [SMALL], ids=["small"])
@pytest.mark.parametrize("status", STATUSES)
async def test_a_full_sync_reads_the_bugs_of_all_tests(account: Account, status: str) -> None:
    test_id = account.world.test_ids(account.world.product_ids[0])[-1]
    account.world.update_test(test_id, status=status)
    await account.sync()
    bug = account.world.add_bug(test_id, status="accepted")["id"]

    await account.sync(full=True)

    assert [row["status"] for row in await account.rows("bug", id=bug)] == ["accepted"]
