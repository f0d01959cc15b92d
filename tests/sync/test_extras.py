"""What stands beside tests and bugs."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime, time, timedelta

import pytest

from testio_mcp.app import App
from testio_mcp.errors import RateLimited
from testio_mcp.sync.lock import Lease, sync_lock
from testio_sandbox import World
from tests.sync.conftest import EVERYTHING, Account


@pytest.fixture
def world() -> World:
    """A small account: each test costs a request of its own here."""
    return World(seed=5, products=2, tests_per_product=12, bugs_per_test=1.5)


async def test_everything_is_copied_and_a_second_run_asks_little(account: Account) -> None:
    first = await account.sync(only=EVERYTHING)
    before = await account.contents()
    assert first.status == "completed"
    for table in (
        "execution",
        "test_metric",
        "test_story_result",
        "test_environment",
        "test_template",
        "reject_reason",
    ):
        assert before[table], table

    again = await account.sync(only=EVERYTHING)

    assert await account.contents() == before
    # Products; features and newest tests of two products; reasons; bugs of open tests; newest executions.
    assert again.requests == 1 + 2 * 2 + 1 + 1 + 1


async def test_metrics_are_those_of_the_single_answer(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    metrics = {row["id"]: row for row in await account.rows("test_metric")}
    everywhere = (account.world.test_ids(product_id) for product_id in account.world.product_ids)
    assert set(metrics) == {test_id for ids in everywhere for test_id in ids}
    for test_id, row in metrics.items():
        told = account.world.test(test_id)["analytics"]
        assert (row["testers"], row["total_bugs"], row["failed_user_stories"]) == (
            told["testers_count"],
            told["total_bugs"],
            told["failed_user_stories"],
        )


async def test_metrics_are_read_again_when_a_bug_changes(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    bug = account.world.open_bugs(account.world.product_ids[0])[0]
    test_id = account.world.bug(bug.id)["test"]["id"]
    account.world.add_bug(test_id)
    account.sandbox.requests.clear()

    await account.sync(only=EVERYTHING)

    asked = [request.path for request in account.sandbox.requests if request.path.startswith("/exploratory_tests/")]
    assert f"/exploratory_tests/{test_id}" in asked


async def test_executions_know_their_tester_and_device(account: Account) -> None:
    await account.sync(only=frozenset({"tests", "executions"}))

    executions = await account.rows("execution")
    people = {row["id"] for row in await account.rows("person")}
    assert {row["executed_by_id"] for row in executions} - {None} <= people
    assert {row["execution_id"] for row in await account.rows("execution_device")} == {
        row["id"] for row in executions
    }


async def test_an_account_without_templates_is_no_problem(account: Account) -> None:
    account.break_with("error", "test_templates", status=404)
    account.break_with("error", "test_environments", status=403)

    assert (await account.sync(only=EVERYTHING)).status == "completed"


async def test_only_one_kind_is_copied_on_request(account: Account) -> None:
    await account.sync(only=frozenset({"features"}))

    filled = {name for name, rows in (await account.contents()).items() if rows}
    copied = {"product", "section", "feature", "feature_section", "user_story"}
    about_the_copy = {"derived", "search_slice"} | {f"search_{name}" for name in copied}
    assert filled <= copied | about_the_copy


async def test_older_tests_are_left_out_on_request(account: Account) -> None:
    since = (account.world.now - timedelta(days=60)).date()

    await account.sync(since=datetime.combine(since, time.min, UTC))

    older = [row for row in await account.rows("test") if row["end_at"] and row["end_at"].date() < since]
    wanted = [
        test_id
        for product_id in account.world.product_ids
        for test_id in account.world.test_ids(product_id)
        if (end := account.world.test(test_id)["end_at"])
        and datetime.fromisoformat(end).astimezone(UTC).date() >= since
    ]
    assert len(older) < 25 * len(account.world.product_ids)
    assert set(wanted) <= {row["id"] for row in await account.rows("test")}
    tests = [row["completed_at"] for row in await account.rows("checkpoint", resource="tests")]
    assert not any(tests)


async def test_a_deleted_bug_leaves_the_counts(account: Account) -> None:
    await account.sync()
    product = account.world.product_ids[0]
    account.world.delete_bug(account.world.open_bugs(product)[0].id)

    await account.sync()

    assert await account.counts() == account.truth()


async def test_a_list_that_shrinks_suspiciously_is_not_believed(account: Account) -> None:
    await account.sync()
    before = await account.counts()
    product = account.world.product_ids[0]
    for test_id in account.world.test_ids(product)[-6:]:
        account.world.delete_test(test_id)

    doubtful = await account.sync(full=True)

    assert doubtful.status == "incomplete"
    assert f"list of product {product}" in {row["record_key"] for row in await account.rows("dead_letter")}
    assert await account.counts() == before

    believed = await account.sync(full=True, accept_deletions=True)

    assert believed.status == "completed"
    assert await account.counts() == account.truth()


async def test_a_holder_who_lost_the_lease_writes_nothing(account: Account) -> None:
    async with sync_lock(account.store) as late:
        pass
    async with sync_lock(account.store) as current:
        assert current.fence == late.fence + 1
        await account.store.write(current.confirm)
        with pytest.raises(Exception, match="taken over"):
            await account.store.write(late.confirm)
    assert isinstance(late, Lease)


async def test_a_long_pause_is_kept_across_runs(account: Account) -> None:
    account.break_with("rate_limit", times=1, retry_after="900")
    with pytest.raises(RateLimited):
        await account.sync()
    account.sandbox.requests.clear()

    (pause,) = await account.rows("api_pause")
    assert pause["until"] > datetime.now(UTC) + timedelta(seconds=800)
    async with AsyncExitStack() as closing:
        anew = Account(account.world, account.sandbox, App(account.app.settings, account.store, closing))
        with pytest.raises(RateLimited) as caught:
            await anew.sync()
    assert 800 < caught.value.retry_after <= 900
    assert account.sandbox.requests == []


async def test_departures_from_the_reference_are_counted(account: Account) -> None:
    account.break_with("retype", "bugs", field="bugs.*.severity", value="blocker")

    await account.sync()

    drift = {(row["resource"], row["note"]): row["records"] for row in await account.rows("drift")}
    assert drift["bugs", "severity=blocker"] == len(await account.rows("bug"))
    assert {row["level"] for row in await account.rows("bug")} == {"none"}


async def test_a_moment_that_is_yet_to_come_is_kept_and_flagged(account: Account) -> None:
    account.break_with("retype", "bugs", field="bugs.*.reported_at", value="2999-01-01T12:00:00Z")

    await account.sync()

    bugs = await account.rows("bug")
    assert {row["reported_at"] for row in bugs} == {datetime(2999, 1, 1, 12, tzinfo=UTC)}
    drift = {row["note"]: row["records"] for row in await account.rows("drift", resource="bugs")}
    assert drift["reported_at:future"] == len(bugs)
    tests = {row["note"] for row in await account.rows("drift", resource="tests")}
    assert not [note for note in tests if note.endswith(":future")], "a test may end whenever it likes"


async def test_of_one_id_twice_in_an_answer_the_later_record_counts(account: Account) -> None:
    product = account.world.product_ids[0]
    first, second = account.world.test_ids(product)[3:5]
    account.break_with(
        "retype", r"/exploratory_tests$", field="exploratory_tests.*.id", record_id=first, value=second
    )

    await account.sync()

    (row,) = await account.rows("test", id=second)
    assert row["title"] == account.world.test(second)["title"] != account.world.test(first)["title"]
    assert [row["records"] for row in await account.rows("drift", note="id:twice")] == [1]


async def test_broken_reasons_are_a_problem_of_their_own(account: Account) -> None:
    account.break_with("error", "bugs/reject_reasons", status=500)

    broken = await account.sync(only=EVERYTHING)
    account.sandbox.faults.clear()
    healed = await account.sync(only=EVERYTHING)

    assert (broken.status, broken.problems, healed.status) == ("incomplete", 1, "completed")
    assert await account.rows("bug") and await account.rows("reject_reason")


async def test_a_bug_that_names_only_the_test_s_copy_of_a_feature_is_on_that_feature(account: Account) -> None:
    await account.sync()

    world = account.world
    rows = await account.rows("bug")
    named = {row["id"]: world.bug(row["id"]) for row in rows}
    assert any("feature" not in payload and "app_section" in payload for payload in named.values())
    assert {row["id"]: row["feature_id"] for row in rows} == {
        row["id"]: world.bug_facts(row["id"]).feature_id for row in rows
    }
