"""Answers from a copy that is too old: refreshed first, or with its age and the reason why it was not."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, update

from testio_mcp.app import App, silent
from testio_mcp.database.tables import Checkpoint, SyncRun, table_of
from testio_mcp.errors import NotFound
from testio_mcp.operations.registry import operations
from testio_mcp.sync.engine import SyncOptions, run_sync
from tests.operations.conftest import ask
from tests.sync.conftest import EVERYTHING, Account

HOUR = timedelta(hours=1)


async def answer(account: Account, name: str, **arguments: Any) -> dict[str, Any]:
    """What every surface shows of an operation's answer."""
    return await operations()[name].answer(account.app, arguments)


async def older(account: Account, age: timedelta) -> None:
    """Make the whole copy as old as if nothing had been read since."""
    moment = datetime.now(UTC) - age

    def work(conn: Connection) -> None:
        conn.execute(update(table_of(Checkpoint)).values(completed_at=moment))
        conn.execute(update(table_of(SyncRun)).values(started_at=moment, finished_at=moment))

    await account.store.write(work)
    account.app.fresh_until.clear()
    account.app.tried.clear()


async def an_old_copy(account: Account, age: timedelta = HOUR, **settings: Any) -> None:
    """A complete copy that was made some time ago, in a program that refreshes."""
    await account.sync(only=EVERYTHING)
    await older(account, age)
    account.app.refreshes = True
    account.app.settings = account.app.settings.model_copy(update=settings)
    account.sandbox.requests.clear()


async def landed(account: Account) -> None:
    """Wait until no refresh is under way."""
    if flight := account.app.flight("refresh"):
        await flight


async def met(account: Account, path: str) -> None:
    """Wait until the API was asked for a path."""
    async with asyncio.timeout(30):
        while not any(request.path == path for request in account.sandbox.requests):  # noqa: ASYNC110 - a plain list
            await asyncio.sleep(0)


def asked_for(account: Account) -> set[int]:
    """The tests that the API was asked for by their ids."""
    found: set[int] = set()
    for request in account.sandbox.requests:
        found |= {int(number) for number in re.findall(r"^/exploratory_tests/(\d+)$", request.path)}
        found |= {int(number) for number in request.query.get("filter_test_cycle_ids", "").split(",") if number}
    return found


async def test_many_questions_cause_one_refresh_and_all_see_it(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=60)
    product = account.world.product_ids[0]
    new = account.world.add_test(product, status="running")
    before = datetime.now(UTC)

    questions: list[tuple[str, dict[str, Any]]] = [
        ("list_tests", {"statuses": "running"}),
        ("list_bugs", {}),
        ("triage_queue", {}),
        ("get_digest", {}),
    ]
    answers = await asyncio.gather(*(answer(account, name, **given) for name, given in questions * 5))

    assert all("not_refreshed" not in found for found in answers)
    assert all(datetime.fromisoformat(found["as_of"]) >= before for found in answers)
    assert new["id"] in {item["id"] for item in answers[0]["items"]}
    paths = [request.path for request in account.sandbox.requests]
    # Products; the newest tests of two products; the bugs of open tests.
    assert sorted(paths) == sorted(
        ["/products", *(f"/products/{p}/exploratory_tests" for p in account.world.product_ids), "/bugs"]
    )
    assert len(await account.rows("sync_run")) == 2


async def test_who_comes_while_a_refresh_runs_waits_for_it_too(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=60)
    account.break_with("latency", "^/bugs$", ms=300)
    before = datetime.now(UTC)

    first = asyncio.create_task(answer(account, "list_bugs"))
    await met(account, "/bugs")
    second = await answer(account, "list_tests")

    assert datetime.fromisoformat(second["as_of"]) >= before
    assert second["as_of"] == (await first)["as_of"]
    assert len(await account.rows("sync_run")) == 2


async def test_what_a_question_needs_is_what_is_refreshed(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=60)
    before = datetime.now(UTC)

    metrics = await answer(account, "query_metrics", metrics="executions")

    assert datetime.fromisoformat(metrics["as_of"]) >= before
    paths = {request.path for request in account.sandbox.requests}
    assert "/user_story_version_executions" in paths
    assert "/test_templates" not in paths
    account.sandbox.requests.clear()
    test = await answer(account, "get_test", test_id=account.world.test_ids(account.world.product_ids[0])[0])
    assert "not_refreshed" not in test
    assert {request.path for request in account.sandbox.requests} == {"/products"}, "no metrics have changed"


async def test_every_question_about_copied_records_says_what_it_needs() -> None:
    told = {name: operation.needs for name, operation in operations().items() if operation.safety == "read"}

    without = {name for name, needs in told.items() if not needs}
    assert without == {"metric_capabilities", "get_status", "list_problems"}


async def test_archived_and_cancelled_tests_are_never_asked_for_again(account: Account) -> None:
    account.world.advance(days=1)
    await an_old_copy(account, refresh_budget_seconds=60)
    ended = {row["id"] for status in ("archived", "cancelled") for row in await account.rows("test", status=status)}
    open_ids = {row["id"] for row in await account.rows("test")} - ended
    assert ended
    assert open_ids

    for _ in range(3):
        for name, arguments in (("list_bugs", {}), ("query_metrics", {"metrics": "bug_count"})):
            await answer(account, name, **arguments)
        for test_id in sorted(ended)[:3]:
            await answer(account, "get_test", test_id=test_id)
        await older(account, HOUR)

    assert asked_for(account) <= open_ids
    assert asked_for(account)


async def test_a_test_that_is_archived_is_asked_for_once_more(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=60)
    ending = next(row["id"] for row in await account.rows("test", status="locked"))
    account.world.update_test(ending, status="archived")
    waiting, *others = account.world.bugs_of(ending)
    for bug in others:
        account.world.update_bug(bug["id"], status="accepted")
    account.world.update_bug(waiting["id"], status="forwarded")

    for status in ("forwarded", "accepted"):  # as long as a bug waits, its test is asked for
        account.sandbox.requests.clear()
        account.world.update_bug(waiting["id"], status=status)
        await answer(account, "list_bugs")
        assert ending in asked_for(account)
        await older(account, HOUR)
    for _ in range(2):
        await older(account, HOUR)
        account.sandbox.requests.clear()
        await answer(account, "get_test", test_id=ending)
        assert account.sandbox.requests
    assert ending not in asked_for(account)


def _down(account: Account) -> None:
    account.break_with("error", status=503)


def _erring(account: Account) -> None:
    account.break_with("error", status=500)


def _refusing(account: Account) -> None:
    account.break_with("error", status=401)


def _limiting(account: Account) -> None:
    account.break_with("rate_limit", retry_after="3600")


@pytest.mark.parametrize(
    ("fault", "reason"), [(_down, "503"), (_erring, "500"), (_refusing, "(401)"), (_limiting, "pause of 3600 s")]
)
async def test_an_api_that_fails_spoils_no_answer(
    account: Account, fault: Callable[[Account], None], reason: str
) -> None:
    await an_old_copy(account, refresh_budget_seconds=60)
    stored = (await ask(account, "list_tests", limit=100)).items
    await landed(account)
    await older(account, HOUR)
    fault(account)

    page = await answer(account, "list_tests", limit=100)

    assert [item["id"] for item in page["items"]] == [item.id for item in stored]
    assert datetime.now(UTC) - datetime.fromisoformat(page["as_of"]) > HOUR - timedelta(minutes=1)
    assert page["not_refreshed"].startswith("Not refreshed: tests, bugs (1 h old). ")
    assert reason in page["not_refreshed"]
    requests = len(account.sandbox.requests)
    again = await answer(account, "triage_queue")
    assert reason in again["not_refreshed"]
    assert len(account.sandbox.requests) == requests, "what failed just now is not tried again at once"


async def test_a_slow_api_leaves_the_stored_answer_and_goes_on(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=0.05)
    account.break_with("stall", "^/bugs$", times=1)
    before = datetime.now(UTC)

    page = await answer(account, "list_bugs")

    assert page["items"]
    assert datetime.fromisoformat(page["as_of"]) < before - HOUR + timedelta(minutes=1)
    assert page["not_refreshed"].endswith("A refresh goes on in the background; ask again in a moment.")
    await met(account, "/bugs")
    await account.app.end_tasks()
    assert [run["status"] for run in await account.rows("sync_run")] == ["completed", "interrupted"]
    await older(account, HOUR)
    account.app.settings = account.app.settings.model_copy(update={"refresh_budget_seconds": 60})
    fresh = await answer(account, "list_bugs")
    assert "not_refreshed" not in fresh
    assert datetime.fromisoformat(fresh["as_of"]) >= before


async def test_a_refresh_that_outlasts_its_budget_is_there_for_the_next_question(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=0)
    bug = account.world.open_bugs(account.world.product_ids[0])[0]
    account.world.update_bug(bug.id, status="rejected")

    first = await answer(account, "get_bug", bug_id=bug.id)
    await landed(account)
    second = await answer(account, "get_bug", bug_id=bug.id)

    assert (first["status"], second["status"]) == ("open", "rejected")
    assert "not_refreshed" in first
    assert "not_refreshed" not in second


async def test_offline_the_age_is_told(account: Account) -> None:
    await an_old_copy(account, 3 * 24 * HOUR, customer_api_token=None)

    page = await answer(account, "list_products")

    assert page["items"]
    assert page["not_refreshed"] == (
        "Not refreshed: tests, bugs (3 days old). No API token is configured. Set TESTIO_CUSTOMER_API_TOKEN."
    )
    assert account.sandbox.requests == []


async def test_refreshes_can_be_switched_off(account: Account) -> None:
    await an_old_copy(account, refresh_after_minutes=0)

    page = await answer(account, "list_products")

    assert "not_refreshed" not in page
    assert datetime.now(UTC) - datetime.fromisoformat(page["as_of"]) > HOUR - timedelta(minutes=1)
    assert account.sandbox.requests == []


async def test_fresh_answers_ask_nothing(account: Account) -> None:
    await an_old_copy(account, timedelta(minutes=14))

    page = await answer(account, "list_tests")

    assert "not_refreshed" not in page
    assert account.sandbox.requests == []


async def test_the_first_question_to_an_empty_store_copies_the_account(account: Account) -> None:
    account.app.refreshes = True
    account.app.settings = account.app.settings.model_copy(update={"refresh_budget_seconds": 0})

    first = await answer(account, "list_bugs")
    await landed(account)
    then = await answer(account, "list_bugs")

    assert (first["items"], first["as_of"]) == ([], None)
    assert "never copied completely" in first["not_refreshed"]
    assert then["total"] == sum(bugs for _, bugs, _ in account.truth().values())
    assert "not_refreshed" not in then
    account.sandbox.requests.clear()
    product = account.world.product_ids[0]
    for name, arguments in (
        ("query_metrics", {"metrics": "executions"}),
        ("list_test_environments", {}),
        ("execution_matrix", {"product_id": product}),
    ):
        assert "not_refreshed" not in await answer(account, name, **arguments)
    assert account.sandbox.requests == [], "the first copy is one of everything"


async def test_a_record_that_is_newer_than_the_copy_is_found(account: Account) -> None:
    await an_old_copy(account, timedelta(minutes=5), refresh_budget_seconds=60)
    new = account.world.add_test(account.world.product_ids[0], title="Made a minute ago", status="running")

    assert (await answer(account, "get_test", test_id=new["id"]))["title"] == "Made a minute ago"

    account.sandbox.requests.clear()
    for _ in range(3):
        with pytest.raises(NotFound, match="Bug 999 is not in the store"):
            await answer(account, "get_bug", bug_id=999)
    paths = [request.path for request in account.sandbox.requests]
    assert paths.count("/products") <= 1, "ids that nobody knows cause one refresh a minute"


async def test_a_record_that_may_be_under_way_is_said_to_be(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=0)
    new = account.world.add_test(account.world.product_ids[0])

    with pytest.raises(NotFound, match="A refresh is under way: ask again in a moment"):
        await answer(account, "get_test", test_id=new["id"])
    await landed(account)

    assert (await answer(account, "get_test", test_id=new["id"]))["id"] == new["id"]


async def test_beside_a_running_sync_no_second_one_is_tried(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=0)
    account.break_with("stall", "^/bugs$", times=1)
    sync = asyncio.create_task(run_sync(account.app, SyncOptions(), silent))
    await met(account, "/bugs")
    account.sandbox.requests.clear()

    page = await answer(account, "list_tests")

    assert page["items"]
    assert page["not_refreshed"].startswith("Not refreshed: bugs (1 h old).")
    assert "/products" not in {request.path for request in account.sandbox.requests}
    sync.cancel()
    await asyncio.wait({sync})
    await landed(account)
    assert len(await account.rows("sync_run")) == 2


async def test_a_second_server_waits_for_the_refresh_of_the_first(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=60)
    account.break_with("latency", "^/bugs$", ms=300)
    before = datetime.now(UTC)
    other = App(account.app.settings, account.store, account.app._closing, refreshes=True)

    first = asyncio.create_task(answer(account, "list_tests"))
    await met(account, "/bugs")
    second = await operations()["list_tests"].answer(other, {})

    assert datetime.fromisoformat(second["as_of"]) >= before
    assert "not_refreshed" not in second
    await first
    assert len(await account.rows("sync_run")) == 2
    await other.end_tasks()


async def test_a_product_that_is_gone_makes_nothing_old(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=60)
    account.world.delete_product(account.world.product_ids[1])
    before = datetime.now(UTC)

    page = await answer(account, "list_tests")

    assert datetime.fromisoformat(page["as_of"]) >= before
    assert "not_refreshed" not in page


async def test_a_product_that_is_refused_is_not_asked_for_all_the_time(account: Account) -> None:
    await an_old_copy(account, refresh_budget_seconds=60)
    account.break_with("error", f"^/products/{account.world.product_ids[1]}/", status=403)

    pages = [await answer(account, "list_tests") for _ in range(3)]

    assert all(page["not_refreshed"].startswith("Not refreshed: tests (1 h old). list_prob") for page in pages)
    assert len(await account.rows("sync_run")) == 2


@pytest.mark.parametrize("remembered", [False, True])
async def test_a_copy_from_the_future_is_refreshed_once(account: Account, remembered: bool) -> None:
    """The clock was a day ahead and has been set back, before the server started or while it runs."""
    await an_old_copy(account, -timedelta(days=1))
    if remembered:
        account.app.fresh_until["tests", "bugs"] = datetime.now(UTC) + timedelta(days=1)

    for _ in range(3):
        page = await answer(account, "list_tests")
        await landed(account)

    assert len(await account.rows("sync_run")) == 2
    assert page["as_of"] is not None
    assert (await ask(account, "get_status")).as_of <= datetime.now(UTC)
