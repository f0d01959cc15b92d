"""The summaries of a test and of a bug against the account's truth."""

from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from testio_mcp.app import App
from testio_mcp.errors import NotFound
from testio_mcp.operations.lists.details import LINES
from testio_mcp.operations.registry import operations
from testio_sandbox import World
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import EVERYTHING, Account


@pytest.fixture
def world() -> World:
    """An account whose tests have enough bugs for all statuses."""
    return World(seed=3, products=2, tests_per_product=16, bugs_per_test=5, now=NOW)


@pytest.fixture
async def synced(account: Account) -> Account:
    """The account, copied with everything."""
    await account.sync(only=EVERYTHING)
    return account


async def test_a_test_shows_its_bugs(synced: Account) -> None:
    world = synced.world
    for test_id in truth.tests_of(world, world.product_ids[0]):
        detail = await ask(synced, "get_test", test_id=test_id)

        bugs = world.bugs_of(test_id)
        truth.same_bugs(detail, bugs)
        assert detail.bugs_by_kind == truth.counts(bugs, truth.kind)
        assert detail.rates.model_dump() == truth.rates(bugs)
        assert detail.active_testers == len({truth.name(bug["author"]) for bug in bugs})
        assert [bug.id for bug in detail.recent_bugs] == truth.newest(bugs)
        end = truth.moment(world.test(test_id)["end_at"])
        waits = any(truth.status(bug) == "open" for bug in bugs)
        assert detail.auto_accept_at == (end + timedelta(days=10) if end and waits else None)
        assert detail.bugs_by_operating_system == truth.per_device(bugs, "operating_system")
        assert detail.bugs_by_device == truth.per_device(bugs, "device")
        assert {feature.feature_id: feature.bugs for feature in detail.features} == {
            feature["feature_id"]: sum(truth.feature_of(world, bug) == feature["feature_id"] for bug in bugs)
            for feature in world.test(test_id)["features"]
        }


async def test_a_test_shows_its_configuration_and_execution(synced: Account) -> None:
    world = synced.world
    stories = linked = 0
    for test_id in truth.tests_of(world, world.product_ids[0]):
        detail = await ask(synced, "get_test", test_id=test_id)

        told = world.test(test_id, objects=True)
        assert detail.allowed_bug_types == told["allowed_bug_types"]
        assert detail.allowed_levels == [word for word in truth.LEVELS if told[f"enable_{word}"]]
        assert detail.attachments == [file["url"] for file in told["attachments"]]
        assert detail.section == (told["section"] or {}).get("name")
        runs = [run for run in truth.executions(world) if run["test_cycle"]["id"] == test_id]
        done = Counter(run["status"] for run in runs)
        assert detail.executions == dict(done)
        assert detail.pass_rate == truth.of(done["passed"], done["passed"] + done["failed"] + done["blocked"])
        linked += len(detail.attachments)
        analytics = told["analytics"]
        assert detail.metrics.testers == analytics["testers_count"]
        assert detail.metrics.blocked_user_stories == analytics["blocked_user_stories"]
        assert [feature.execution_status for feature in detail.features] == [
            feature["execution_status"] for feature in told["features"]
        ]
        expected = [
            (story["id"], feature["title"], story["execution_status"], story["bugs_found"])
            for feature in told["features"]
            for story in feature["user_stories"]
        ]
        shown = [(s.user_story_id, s.feature, s.execution_status, s.bugs) for s in detail.user_stories]
        assert shown == expected
        stories += len(shown)
    assert stories
    assert linked


async def test_a_bug_shows_everything_it_was_told_with(synced: Account) -> None:
    world = synced.world
    seen: Counter[str] = Counter()
    for bug in truth.all_bugs(world):
        detail = await ask(synced, "get_bug", bug_id=bug["id"])

        steps = bug["steps"] if isinstance(bug["steps"], str) else "\n".join(bug["steps"])
        assert (detail.title, detail.steps, detail.actual_result) == (bug["title"], steps, bug["actual_result"])
        assert (detail.kind, detail.level, detail.status) == (truth.kind(bug), truth.level(bug), truth.status(bug))
        assert (detail.known, detail.is_fixed) == (bug["known"], bug.get("fixed", False))
        assert detail.external_idx == bug["external_idx"]
        assert (detail.exported_at, detail.reported_at) == (
            truth.moment(bug["exported_at"]),
            truth.moment(bug["reported_at"]),
        )
        test = world.test(bug["test"]["id"])
        assert (detail.test_id, detail.test_end_at) == (test["id"], truth.moment(test["end_at"]))
        assert detail.reporter == truth.name(bug["author"])
        assert detail.attachments == [file["url"] for file in bug["attachments"]]
        assert [device.name for device in detail.devices] == [
            (device.get("device") or {}).get("name") for device in bug["devices"] if device
        ]
        assert {comment.body for comment in detail.comments} == {comment["body"] for comment in bug["comments"]}
        assert detail.comments_left_out == 0
        data = truth.answers(bug)
        assert [(field.name, field.value) for field in detail.custom_fields] == [
            (item["name"], truth.as_text(item["value"])) for item in data
        ]
        end = truth.moment(test["end_at"])
        assert detail.auto_accept_at == (end + timedelta(days=10) if end and truth.status(bug) == "open" else None)
        if place := bug.get("feature") or bug.get("test_feature") or bug.get("app_section"):
            assert detail.feature == place["title"]
        assert detail.rejection_reason == world.rejection_reason(bug["id"])
        assert (detail.rejection_match is not None) == (truth.status(bug) == "rejected")
        seen.update([truth.status(bug), *(["custom"] if data else []), *(["attached"] if detail.attachments else [])])
    assert seen.keys() >= {"open", "accepted", "auto_accepted", "rejected", "attached"}


async def test_a_bug_shows_links_of_the_web_and_the_newest_comments_only(account: Account) -> None:
    bug = truth.all_bugs(account.world)[0]
    hostile = [{"id": 1, "url": "javascript:alert(1)"}, {"id": 2, "url": "data:text/html,x"}]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    said = [
        {"id": n, "body": f"comment {n}", "author": "A", "created_at": (start + timedelta(hours=n)).isoformat()}
        for n in range(60)
    ]
    attached = [*hostile, {"id": 3, "url": "https://files.example/1.png"}]
    account.world.update_bug(bug["id"], attachments=attached, comments=said, status="question", reproductions=[1, 2])
    test_id = bug["test"]["id"]
    account.world.update_test(test_id, status="locked", attachments=attached)
    await account.sync()

    detail = await ask(account, "get_bug", bug_id=bug["id"])

    assert detail.attachments == ["https://files.example/1.png"]
    assert [comment.body for comment in detail.comments] == [f"comment {n}" for n in range(10, 60)]
    assert detail.comments_left_out == 10
    assert detail.reproductions == 2
    end = truth.moment(account.world.test(test_id)["end_at"])
    assert end is not None
    assert detail.auto_accept_at == end + timedelta(days=10)
    test = await ask(account, "get_test", test_id=test_id)
    assert test.attachments == ["https://files.example/1.png"]
    assert test.auto_accept_at == end + timedelta(days=10)


async def test_timelines_tell_the_last_changes_oldest_first(account: Account) -> None:
    world = account.world
    test_id = next(t for t in world.test_ids(world.product_ids[0]) if world.test(t)["status"] == "locked")
    first, second, *_ = world.bugs_of(test_id)
    await account.sync()
    assert (await ask(account, "get_bug", bug_id=first["id"])).timeline == []
    world.update_bug(first["id"], status="question")
    await account.sync()
    world.update_bug(first["id"], status="accepted")
    world.update_test(test_id, title="Another title")
    await account.sync()

    bug = (await ask(account, "get_bug", bug_id=first["id"])).timeline
    test = (await ask(account, "get_test", test_id=test_id)).timeline

    assert [(line.field, line.new) for line in bug] == [("status", "question"), ("status", "accepted")]
    assert bug[1].old == "question"
    about = [(line.entity, line.entity_id, line.field, line.new) for line in test]
    assert ("test", test_id, "title", "Another title") in about
    assert [line for line in about if line[0] == "bug"] == [
        ("bug", first["id"], "status", "question"),
        ("bug", first["id"], "status", "accepted"),
    ]
    assert [line.at for line in test] == sorted(line.at for line in test)
    for _ in range(LINES + 2):
        world.add_bug(test_id)
    world.delete_bug(second["id"])
    await account.sync()
    last = (await ask(account, "get_test", test_id=test_id)).timeline
    assert len(last) == LINES
    assert {line.field for line in last[:-1]} == {"created"}


async def test_what_is_gone_is_still_shown_and_what_never_was_is_not(synced: Account) -> None:
    world = synced.world
    product_id = world.product_ids[1]
    test_id = next(test_id for test_id in world.test_ids(product_id) if world.bugs_of(test_id))
    bug_id = world.bugs_of(test_id)[0]["id"]
    world.delete_test(test_id)
    await synced.sync(full=True)

    bug, test = await ask(synced, "get_bug", bug_id=bug_id), await ask(synced, "get_test", test_id=test_id)

    assert bug.gone_at is not None
    assert test.gone_at is not None
    assert test.bugs.total == 0
    assert test.timeline[-1].field == "gone_at"
    for operation, argument, what in (
        ("get_product", "product_id", r"Product 9 is not in the store\. list_products"),
        ("get_test", "test_id", r"Test 9 is not in the store\. list_tests"),
        ("get_bug", "bug_id", r"Bug 9 is not in the store\. list_bugs"),
        ("get_feature", "feature_id", r"Feature 9 is not in the store\. list_features"),
        ("get_user_story", "user_story_id", r"User story 9 is not in the store\. list_user_stories"),
        ("get_person", "person_id", r"Person 9 is not in the store\. list_people"),
    ):
        with pytest.raises(NotFound, match=what):
            await ask(synced, operation, **{argument: 9})


async def test_the_clock_is_configurable(synced: Account) -> None:
    world = synced.world
    ended = {bug["id"]: world.test(bug["test"]["id"])["end_at"] for bug in truth.all_bugs(world)}
    bug = next(bug for bug in truth.all_bugs(world) if truth.status(bug) == "open" and ended[bug["id"]])
    end = truth.moment(world.test(bug["test"]["id"])["end_at"])
    async with AsyncExitStack() as closing:
        patient = App(synced.app.settings.model_copy(update={"auto_accept_days": 21}), synced.store, closing)

        for name, key in (("get_bug", {"bug_id": bug["id"]}), ("get_test", {"test_id": bug["test"]["id"]})):
            detail: Any = await operations()[name].run(patient, key)
            assert end and detail.auto_accept_at == end + timedelta(days=21)
