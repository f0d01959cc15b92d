"""The log of changes: a line per changed field of interest, and none for what is the same."""

from typing import Any

import pytest

from testio_sandbox import World
from tests.sync.conftest import EVERYTHING, Account

STORY = "exploratory_test.features.*.user_stories.*.execution_status"
FEATURE = "exploratory_test.features.*.execution_status"


@pytest.fixture
def world() -> World:
    """A small account: each test costs a request of its own here."""
    return World(seed=5, products=2, tests_per_product=8, bugs_per_test=1.5)


async def lines(account: Account, **equal: object) -> set[tuple[object, ...]]:
    """The lines of the log: entity, id, field, old and new value."""
    names = ("entity", "entity_id", "field", "old_value", "new_value")
    return {tuple(row[name] for name in names) for row in await account.rows("change_log", **equal)}


async def test_every_field_of_interest_of_a_bug_is_logged(account: Account) -> None:
    product = account.world.product_ids[0]
    bug = account.world.add_bug(account.world.test_ids(product)[0], severity="low", status="forwarded")["id"]
    account.world.update_bug(bug, title="Before", comments=[], known=False, fixed=False, exported_at=None)
    await account.sync()
    changes: dict[str, Any] = {
        "title": "After",
        "severity": "visual",
        "status": "rejected",
        "known": True,
        "fixed": True,
        "exported_at": "2026-11-01T08:00:00+01:00",
        "comments": [{"id": 1, "body": "Is it?", "author": {"name": "Ada"}, "created_at": "2026-11-01T08:00:00Z"}],
    }
    account.world.update_bug(bug, **changes)

    run = await account.sync()

    assert await lines(account, entity="bug", entity_id=bug) == {
        ("bug", bug, "title", "Before", "After"),
        ("bug", bug, "kind", "functional", "visual"),
        ("bug", bug, "level", "low", "none"),
        ("bug", bug, "status", "open", "rejected"),
        ("bug", bug, "is_known", "False", "True"),
        ("bug", bug, "is_fixed", "False", "True"),
        ("bug", bug, "exported_at", None, "2026-11-01T07:00:00.000000Z"),
        ("bug", bug, "comment_count", "0", "1"),
    }
    rows = await account.rows("change_log", entity="bug", entity_id=bug)
    assert {(row["run_id"], row["product_id"], row["changed_at"]) for row in rows} == {
        (run.run_id, product, run.started_at)
    }


async def test_every_field_of_interest_of_a_test_is_logged(account: Account) -> None:
    test = account.world.add_test(account.world.product_ids[0], title="Before", status="waiting")["id"]
    account.world.update_test(
        test, review_status="review_initialized", start_at="2026-11-01T08:00:00Z", end_at="2026-11-02T08:00:00Z"
    )
    await account.sync()
    account.world.update_test(
        test,
        title="After",
        status="running",
        review_status="review_successful",
        start_at="2026-11-03T08:00:00Z",
        end_at="2026-11-04T08:00:00Z",
    )

    await account.sync()

    assert await lines(account, entity="test", entity_id=test) == {
        ("test", test, "title", "Before", "After"),
        ("test", test, "status", "waiting", "running"),
        ("test", test, "review_status", "review_initialized", "review_successful"),
        ("test", test, "start_at", "2026-11-01T08:00:00.000000Z", "2026-11-03T08:00:00.000000Z"),
        ("test", test, "end_at", "2026-11-02T08:00:00.000000Z", "2026-11-04T08:00:00.000000Z"),
    }


async def a_test_with_stories(account: Account) -> tuple[int, int]:
    """A test whose user stories have results, and its product."""
    await account.sync(only=EVERYTHING)
    found = max(row["test_id"] for row in await account.rows("test_story_result"))
    (test,) = await account.rows("test", id=found)
    return test["id"], test["product_id"]


async def test_results_of_stories_and_features_are_logged(account: Account) -> None:
    test, product = await a_test_with_stories(account)
    assert await account.rows("change_log") == [], "what a first copy holds is no change"
    path = f"^/exploratory_tests/{test}$"
    stories = await account.rows("test_story_result", test_id=test)
    copies = {row["id"]: row["feature_id"] for row in await account.rows("test_feature", test_id=test)}
    features = await account.rows("test_feature_result", test_id=test)
    (metrics,) = await account.rows("test_metric", id=test)
    account.break_with("retype", path, field=STORY, value="blocked")
    account.break_with("retype", path, field=FEATURE, value="blocked")
    account.break_with("retype", path, field="exploratory_test.analytics.blocked_user_stories", value=77)

    run = await account.sync(only=EVERYTHING, full=True)

    told = await lines(account)
    story = ("user_story", "execution_status")
    assert told == {
        *((story[0], row["user_story_id"], story[1], row["execution_status"], "blocked") for row in stories),
        *(
            ("feature", copies[row["test_feature_id"]], "execution_status", row["execution_status"], "blocked")
            for row in features
        ),
        ("test", test, "blocked_user_stories", str(metrics["blocked_user_stories"]), "77"),
    }
    assert {row["product_id"] for row in await account.rows("change_log")} == {product}
    await account.sync(only=EVERYTHING, full=True)
    assert {row["run_id"] for row in await account.rows("change_log")} == {run.run_id}, "nothing else has changed"


async def test_executions_are_logged_with_the_product_of_their_test(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    execution = (await account.rows("execution", status="passed"))[0]
    (test,) = await account.rows("test", id=execution["test_id"])
    field = "user_story_version_executions.*.status"
    account.break_with(
        "retype", "user_story_version_executions", field=field, record_id=execution["id"], value="failed"
    )

    await account.sync(only=EVERYTHING, full=True)

    (line,) = await account.rows("change_log", entity="execution")
    assert (line["entity_id"], line["product_id"]) == (execution["id"], test["product_id"])
    assert (line["field"], line["old_value"], line["new_value"]) == ("status", "passed", "failed")


async def test_new_executions_are_told_after_the_first_copy(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    before = {row["id"] for row in await account.rows("execution")}
    account.world.advance(days=2, new_tests=2)

    await account.sync(only=EVERYTHING)

    new = {row["id"] for row in await account.rows("execution")} - before
    assert new
    assert {row["entity_id"] for row in await account.rows("change_log", entity="execution", field="created")} == new


async def test_the_same_in_another_order_is_no_change(account: Account) -> None:
    test, product = await a_test_with_stories(account)
    for test_id in account.world.test_ids(product):
        told = account.world.test(test_id)
        account.world.update_test(test_id, features=told["features"][::-1], requirements=told["requirements"][::-1])
    for bug in account.world.open_bugs(product):
        told = account.world.bug(bug.id)
        reordered = {name: told[name] for name in reversed(told)}
        account.world.update_bug(bug.id, **reordered | {"devices": told["devices"][::-1]})
    first = await account.sync(only=EVERYTHING, full=True)

    assert first.records_changed, "the order itself is kept"
    assert await account.rows("change_log") == []
    assert test in account.world.test_ids(product)
    again = await account.sync(only=EVERYTHING, full=True)
    assert again.records_changed == 0
    assert await account.rows("change_log") == []
