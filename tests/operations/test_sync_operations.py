"""Changes, problems, status and plans."""

import asyncio
from typing import Any

import pytest

from testio_mcp.errors import BadInput, NotFound
from tests.operations.conftest import ask
from tests.sync.conftest import EVERYTHING, Account


async def test_a_first_copy_is_no_change(account: Account) -> None:
    await account.sync()

    page = await ask(account, "list_changes")

    assert (page.items, page.digest) == ([], [])


async def test_changes_are_told_with_titles_and_summed_up(account: Account) -> None:
    await account.sync()
    product = account.world.product_ids[0]
    bug = account.world.open_bugs(product)[0]
    account.world.update_bug(bug.id, status="rejected")
    new = account.world.add_test(product, title="A brand new test")
    await account.sync()

    page = await ask(account, "list_changes", product_id=product)

    told = {(item.entity, item.entity_id, item.field, item.old, item.new) for item in page.items}
    assert ("bug", bug.id, "status", "open", "rejected") in told
    assert ("test", new["id"], "created", None, None) in told
    assert {item.title for item in page.items if item.entity_id == new["id"]} == {"A brand new test"}
    assert "1 bug is now rejected" in page.digest
    assert "1 new test" in page.digest
    only_tests = await ask(account, "list_changes", entities="test")
    assert {item.entity for item in only_tests.items} == {"test"}


async def test_changes_can_be_asked_for_by_run_and_time(account: Account) -> None:
    await account.sync()
    account.world.advance(days=1)
    run = await account.sync()
    account.world.advance(days=1)
    later = await account.sync()

    of_run = await ask(account, "list_changes", run_id=run.run_id, limit=200)
    assert len(of_run.items) == len(await account.rows("change_log", run_id=run.run_id)) > 0
    since = await ask(account, "list_changes", since=later.started_at.isoformat(), limit=200)
    assert {item.id for item in since.items} == {
        row["id"] for row in await account.rows("change_log", run_id=later.run_id)
    }
    assert (await ask(account, "list_changes", since="2999-01-01")).items == []


async def test_a_reader_sees_each_change_once(account: Account) -> None:
    await account.sync()
    account.world.advance(days=1)
    await account.sync()
    lines = len(await account.rows("change_log"))

    seen: list[int] = []
    for _ in range(lines):
        page = await ask(account, "list_changes", reader="Ada", limit=3)
        seen += [item.id for item in page.items]

    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen) == lines
    assert (await ask(account, "list_changes", reader="Ada")).items == []
    assert len((await ask(account, "list_changes", reader="Grace", limit=200)).items) == lines
    with pytest.raises(BadInput, match="reader"):
        await ask(account, "list_changes", reader="Ada", since="2026-01-01")


async def test_looks_under_one_name_at_a_time_lose_and_repeat_nothing(account: Account) -> None:
    await account.sync()
    account.world.advance(days=1)
    await account.sync()
    lines = {row["id"] for row in await account.rows("change_log")}

    pages = await asyncio.gather(*(ask(account, "list_changes", reader="Ada", limit=3) for _ in range(len(lines))))

    seen = [item.id for page in pages for item in page.items]
    assert len(seen) == len(set(seen))
    assert set(seen) == lines
    assert [row["last_change_id"] for row in await account.rows("reader")] == [max(lines)]


async def test_a_look_at_a_part_passes_over_nothing_of_the_rest(account: Account) -> None:
    await account.sync()
    account.world.advance(days=1)
    await account.sync()
    product = account.world.product_ids[1]
    rows = await account.rows("change_log")

    part = await ask(account, "list_changes", reader="Ada", product_id=product, entities="test", limit=200)
    whole = await ask(account, "list_changes", reader="Ada", limit=200)

    wanted = [row["id"] for row in rows if (row["product_id"], row["entity"]) == (product, "test")]
    assert [item.id for item in part.items] == wanted
    assert wanted
    assert [item.id for item in whole.items] == [row["id"] for row in rows]
    assert (await ask(account, "list_changes", reader="Ada", product_id=product, entities="test")).items == []


async def test_results_and_executions_are_told_with_the_story(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    (row, *_) = await account.rows("test_story_result", execution_status="passed")
    path = f"^/exploratory_tests/{row['test_id']}$"
    field = "exploratory_test.features.*.user_stories.*.execution_status"
    account.break_with("retype", path, field=field, value="failed")
    account.world.advance(days=1)
    await account.sync(only=EVERYTHING, full=True)

    page = await ask(account, "list_changes", entities="user_story,execution", limit=200)

    (story,) = await account.rows("user_story", id=row["user_story_id"])
    told = [item for item in page.items if item.entity_id == story["id"] and item.old == "passed"]
    assert [(item.title, item.field, item.new) for item in told] == [(story["title"], "execution_status", "failed")]
    assert any("stor" in line and line.endswith("now failed") for line in page.digest)
    stories = {row["id"]: row["title"] for row in await account.rows("user_story")}
    runs = {row["id"]: row["user_story_id"] for row in await account.rows("execution")}
    executions = [item for item in page.items if item.entity == "execution"]
    assert executions
    assert all(item.title in (stories.get(runs[item.entity_id]), item.product) for item in executions)


async def test_problems_are_listed_retried_and_cleared(account: Account) -> None:
    product = account.world.product_ids[0]
    broken = account.world.test_ids(product)[2]
    account.break_with("poison", record_id=broken)
    await account.sync()

    (problem,) = (await ask(account, "list_problems")).items
    assert (problem.resource, problem.attempts) == ("tests", 1)
    with pytest.raises(NotFound, match="list_problems"):
        await ask(account, "clear_problems", problem_ids=[problem.id + 1])
    assert (await ask(account, "retry_problems")).status == "incomplete"
    account.sandbox.faults.clear()
    assert (await ask(account, "retry_problems")).status == "completed"
    assert (await ask(account, "list_problems")).items == []


async def test_cleared_problems_are_forgotten(account: Account) -> None:
    account.break_with("poison", record_id=account.world.test_ids(account.world.product_ids[0])[2])
    await account.sync()

    assert (await ask(account, "clear_problems")).cleared == 1
    assert (await ask(account, "list_problems")).total == 0


async def test_drift_is_shown_with_the_problems(account: Account) -> None:
    await account.sync()

    drift = (await ask(account, "list_problems")).drift

    assert drift
    assert all(note.records > 0 for note in drift)
    assert [note.records for note in drift] == sorted((note.records for note in drift), reverse=True)


async def test_the_status_counts_what_the_lists_count(account: Account) -> None:
    await account.sync()

    status = await ask(account, "get_status")

    truth = account.truth().values()
    assert (status.tests, status.bugs, status.open_bugs) == tuple(sum(column) for column in zip(*truth, strict=True))
    assert status.last_run.status == "completed"


async def test_a_dry_run_asks_nothing_and_estimates_well(account: Account) -> None:
    first = await ask(account, "sync_data", dry_run=True)
    assert [step.step for step in first.planned] == ["products", "everything"]
    assert account.sandbox.requests == []
    await account.sync()
    account.sandbox.requests.clear()

    plan = await ask(account, "sync_data", dry_run=True, only="features,tests,bugs")

    assert account.sandbox.requests == []
    assert plan.requests == (await account.sync()).requests


MODES: dict[str, dict[str, Any]] = {
    "incremental": {},
    "full": {"full": True},
    "only metrics": {"only": ["metrics"], "full": True},
    "only results": {"only": ["results"]},
    "only lists": {"only": ["environments", "templates", "reasons"]},
    "only executions": {"only": ["executions"]},
    "since": {"full": True, "only": ["tests", "bugs"], "since": "2026-01-01"},
}


@pytest.mark.parametrize("mode", MODES)
async def test_a_dry_run_tells_what_an_unchanged_account_is_really_asked(account: Account, mode: str) -> None:
    for product in account.world.product_ids:
        account.world.update_test(account.world.test_ids(product)[-1], status="locked")
    await ask(account, "sync_data")
    account.sandbox.requests.clear()

    plan = await ask(account, "sync_data", dry_run=True, **MODES[mode])
    assert account.sandbox.requests == []
    done = await ask(account, "sync_data", **MODES[mode])

    assert plan.requests == sum(step.requests for step in plan.planned)
    assert plan.requests == done.requests == len(account.sandbox.requests)
