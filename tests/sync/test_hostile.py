"""A sync against an API that misbehaves."""

import asyncio
import itertools
import json
from datetime import UTC, datetime

import pytest

from testio_mcp.app import Progress
from testio_mcp.errors import AuthFailed
from testio_mcp.scrub import MAX_TEXT
from testio_mcp.sync.engine import SyncOptions, run_sync
from tests.sync.conftest import CORE, Account

pytestmark = pytest.mark.slow

LIST = r"products/\d+/exploratory_tests$"
BY_TEST = "filter_test_cycle_ids"


async def test_a_record_that_breaks_its_page_is_set_aside_and_comes_back(account: Account) -> None:
    product = account.world.product_ids[0]
    broken = account.world.test_ids(product)[27]
    account.break_with("poison", record_id=broken)

    first = await account.sync()

    assert (first.status, first.problems) == ("incomplete", 1)
    stored = {row["id"] for row in await account.rows("test", product_id=product)}
    assert set(account.world.test_ids(product)) - stored == {broken}
    letters = await account.rows("dead_letter")
    assert [(row["resource"], row["product_id"]) for row in letters] == [("tests", product)]

    account.sandbox.faults.clear()
    healed = await account.sync()

    assert (healed.status, healed.problems) == ("completed", 0)
    assert await account.counts() == account.truth()


async def test_a_test_whose_bugs_break_the_request_is_isolated(account: Account) -> None:
    test_id = next(
        test_id for test_id in account.world.test_ids(account.world.product_ids[0]) if account.world.bugs_of(test_id)
    )
    bug_id = account.world.bugs_of(test_id)[0]["id"]
    account.break_with("poison", "bugs", record_id=bug_id)

    first = await account.sync()

    assert (first.status, first.problems) == ("incomplete", 1)
    missing = {bug["id"] for bug in account.world.bugs_of(test_id)}
    assert not missing & {row["id"] for row in await account.rows("bug")}
    assert sum(counts[1] for counts in (await account.counts()).values()) == (
        sum(truth[1] for truth in account.truth().values()) - len(missing)
    )

    account.sandbox.faults.clear()
    assert (await account.sync()).status == "completed"
    assert await account.counts() == account.truth()


async def test_a_record_without_an_id_is_a_dead_letter_until_it_has_one(account: Account) -> None:
    product = account.world.product_ids[1]
    broken = account.world.test_ids(product)[3]
    account.break_with("drop", LIST, field="exploratory_tests.*.id", record_id=broken)

    first = await account.sync()

    assert (first.status, first.problems) == ("incomplete", 1)
    assert await account.rows("test", id=broken) == []

    account.sandbox.faults.clear()
    assert (await account.sync()).status == "completed"
    assert await account.counts() == account.truth()


@pytest.mark.parametrize("change", ["insert", "delete"])
async def test_pages_that_shift_while_they_are_read_lose_nothing(account: Account, change: str) -> None:
    product = account.world.product_ids[0]
    account.break_with("shift", rf"products/{product}/exploratory_tests", skip=1, times=1, **{change: 1})

    await account.sync()

    stored = {row["id"] for row in await account.rows("test", product_id=product)}
    assert set(account.world.test_ids(product)) <= stored


async def test_a_server_that_ignores_paging_is_read_once(account: Account) -> None:
    account.break_with("staging", LIST)

    await account.sync()

    assert await account.counts() == account.truth()
    lists = [request for request in account.sandbox.requests if request.path.endswith("exploratory_tests")]
    assert len(lists) == len(account.world.product_ids)


async def test_a_bad_hour_passes(account: Account) -> None:
    account.break_with("rate_limit", times=2, retry_after="3")
    account.break_with("error", LIST, skip=2, times=3, status=503)
    account.break_with("truncate", "bugs", times=1)
    account.break_with("html", LIST, skip=4, times=1)
    account.break_with("reset", "features", times=1)

    assert (await account.sync()).status == "completed"
    assert await account.counts() == account.truth()


async def test_a_wrong_token_ends_the_run_and_says_so(account: Account) -> None:
    account.break_with("error", "features", status=401, times=1)

    with pytest.raises(AuthFailed, match="TESTIO_CUSTOMER_API_TOKEN"):
        await account.sync()

    (run,) = await account.rows("sync_run")
    assert (run["status"], "TESTIO_CUSTOMER_API_TOKEN" in run["error"]) == ("failed", True)


async def test_a_forbidden_product_is_skipped_and_named(account: Account) -> None:
    forbidden, other = account.world.product_ids
    account.break_with("error", rf"products/{forbidden}/", status=403)

    summary = await account.sync()

    assert (summary.status, summary.problems) == ("incomplete", 1)
    assert {row["product_id"] for row in await account.rows("test")} == {other}
    account.sandbox.faults.clear()
    assert (await account.sync()).status == "completed"
    assert await account.counts() == account.truth()

    account.break_with("error", rf"products/{forbidden}/", status=403)
    account.sandbox.requests.clear()
    assert (await account.sync(full=True)).problems == 1
    asked = {key for request in account.sandbox.requests for key in request.query.get(BY_TEST, "").split(",")}
    assert str(account.world.test_ids(other)[-1]) in asked
    assert not asked & set(map(str, account.world.test_ids(forbidden)))


async def test_a_failed_walk_resumes_where_it_was(account: Account) -> None:
    product = account.world.product_ids[0]
    account.break_with("error", rf"products/{product}/exploratory_tests", skip=1, status=401)
    with pytest.raises(AuthFailed):
        await account.sync()
    (point,) = await account.rows("checkpoint", resource="tests", product_id=product)
    assert (point["next_page"], point["completed_at"]) == (2, None)
    account.sandbox.faults.clear()
    account.sandbox.requests.clear()

    assert (await account.sync()).status == "completed"

    assert await account.counts() == account.truth()
    path = f"/products/{product}/exploratory_tests"
    first = next(request for request in account.sandbox.requests if request.path == path)
    assert first.query["page"] == "2"


async def test_nothing_of_a_page_for_people_is_kept(account: Account) -> None:
    account.break_with("html", LIST)

    assert (await account.sync()).status == "incomplete"

    kept = repr([await account.rows(table) for table in ("dead_letter", "sync_run", "drift", "test")])
    assert "a web page in place of JSON" in kept
    assert not {word for word in ("Maintenance", "Back soon", "DOCTYPE") if word in kept}


async def test_no_secret_of_an_environment_is_stored(account: Account) -> None:
    await account.sync()

    sent = json.dumps(
        [account.world.test(test_id) for test_id in account.world.test_ids(account.world.product_ids[0])]
    )
    stored = repr(await account.contents())
    assert "s3cret" in sent
    assert "production." in stored
    assert "s3cret" not in stored


async def test_a_text_without_end_is_cut_and_says_so(account: Account) -> None:
    product = account.world.product_ids[0]
    test_id = account.world.test_ids(product)[0]
    account.world.update_test(test_id, goal_text="x" * 10_000_000, goal="y" * 10_000_000)

    assert (await account.sync()).status == "completed"

    (row,) = await account.rows("test", id=test_id)
    assert len(row["goal"]) < MAX_TEXT + 100
    assert row["goal"].endswith(f"{10_000_000 - MAX_TEXT} more characters were not kept]")
    assert len(row["raw"]) < 3 * MAX_TEXT


async def test_cancelled_at_any_step_nothing_is_left_behind(account: Account) -> None:
    """Whatever step a run is cancelled at: the lock is free, no transaction is open, and the next run completes."""
    for step in itertools.count(1):
        if await _cancelled_at(account, step):
            runs = await account.rows("sync_run")
            assert {row["status"] for row in runs} == {"interrupted"}
        else:
            break

    assert step > 2 + 2 * len(account.world.product_ids)
    assert await account.counts() == account.truth()
    (lease,) = await account.rows("sync_lease")
    assert lease["expires_at"] <= datetime.now(UTC)


async def _cancelled_at(account: Account, step: int) -> bool:
    """Cancel a run when it reports for the `step`-th time; False if it ends before that."""
    steps = itertools.count(1)

    async def stop(_: Progress) -> None:
        if next(steps) == step:
            task.cancel()
            await asyncio.Event().wait()

    task = asyncio.create_task(run_sync(account.app, SyncOptions(only=CORE, full=True), stop))
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False
