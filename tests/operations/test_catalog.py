"""Features, stories, people, environments, templates and executions against the account's truth."""

from collections import Counter
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from testio_mcp.api.payloads import parse_bug, parse_execution, parse_test
from testio_mcp.errors import NotFound
from tests.operations.conftest import ask
from tests.operations.truth import has_run
from tests.sync.conftest import EVERYTHING, Account


async def _all_pages(account: Account, name: str, **arguments: Any) -> list[Any]:
    items: list[Any] = []
    cursor = None
    while True:
        page = await ask(account, name, cursor=cursor, **arguments)
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            assert (page.total, page.total_is_capped) == (len(items), False)
            return items


def _tests(account: Account) -> list[dict[str, Any]]:
    world = account.world
    return [world.test(test_id) for product in world.product_ids for test_id in world.test_ids(product)]


def _bugs(account: Account) -> list[Any]:
    """The bugs of tests that ran; one that names only the test's copy of a feature is about the feature."""
    ran = [parse_test(test) for test in _tests(account) if has_run(test)]
    copies = {copy.id: copy.feature_id for test in ran for copy in test.features}
    bugs = [parse_bug(bug) for test in ran for bug in account.world.bugs_of(test.id)]
    return [replace(bug, feature_id=bug.feature_id or copies.get(bug.test_feature_id or 0)) for bug in bugs]


async def _asked(account: Account, path: str, canary: str, **params: Any) -> list[dict[str, Any]]:
    """A list as the simulated API tells it, all pages of it."""
    found: list[dict[str, Any]] = []
    async with httpx2.AsyncClient(trust_env=False, headers={"Authorization": f"Token {canary}"}) as client:
        for page in range(1, 1000):
            asked = await client.get(account.sandbox.url.rstrip("/") + path, params={**params, "page": page})
            records = next(value for value in asked.json().values() if isinstance(value, list))
            if not records or records[0] in found:
                break
            found += records
    return found


async def test_features_with_their_stories_and_bugs(account: Account) -> None:
    await account.sync()
    world = account.world
    features = [
        (product, feature) for product in world.product_ids for feature in world.features(product, objects=True)
    ]
    bugs = _bugs(account)
    tested = {copy.feature_id for test in _tests(account) if has_run(test) for copy in parse_test(test).features}

    items = await _all_pages(account, "list_features", limit=3)

    assert {item.id: (item.product_id, item.title, item.user_stories) for item in items} == {
        feature["id"]: (product, feature["title"], len(feature["user_stories"])) for product, feature in features
    }
    on = Counter(bug.feature_id for bug in bugs)
    undecided = Counter(bug.feature_id for bug in bugs if bug.status == "open")
    assert all((item.bugs, item.open_bugs) == (on[item.id], undecided[item.id]) for item in items)
    assert {item.id for item in items if item.tested} == tested


async def test_stories_with_their_executions(account: Account, canary: str) -> None:
    await account.sync(only=EVERYTHING)
    found = await _asked(account, "/user_story_version_executions", canary, per_page=100)
    runs = [parse_execution(run) for run in found]
    status = Counter((run.user_story_id, run.status) for run in runs)
    ran = Counter(run.user_story_id for run in runs)

    items = await _all_pages(account, "list_user_stories", limit=9)

    assert items
    for item in items:
        shown = (item.executions, item.passed, item.failed, item.blocked)
        assert shown == (ran[item.id], *(status[item.id, word] for word in ("passed", "failed", "blocked")))


async def test_executions_are_those_of_the_account(account: Account, canary: str) -> None:
    await account.sync(only=EVERYTHING)
    runs = await _asked(account, "/user_story_version_executions", canary, per_page=100)

    items = await _all_pages(account, "list_executions", limit=60)

    assert [item.id for item in items] == sorted((run["id"] for run in runs), reverse=True)


async def test_people_with_what_they_did(account: Account, canary: str) -> None:
    await account.sync(only=EVERYTHING)
    runs = await _asked(account, "/user_story_version_executions", canary, per_page=100)
    reported = Counter(bug.author for bug in _bugs(account))
    tests = [parse_test(test) for test in _tests(account)]
    created, submitted = Counter(test.created_by for test in tests), Counter(test.submitted_by for test in tests)

    items = await _all_pages(account, "list_people", limit=13)

    executed = sum(item.executions for item in items)
    assert executed == len(runs)
    for item in items:
        found = (item.bugs_reported, item.tests_created, item.tests_submitted)
        assert found == (reported[item.name], created[item.name], submitted[item.name])
    assert submitted.keys() - created.keys() - {None}


async def test_environments_and_templates(account: Account, canary: str) -> None:
    await account.sync(only=EVERYTHING)
    on = Counter((test["test_environment"] or {}).get("id") for test in _tests(account))
    for product in account.world.product_ids:
        environments = await _asked(account, f"/products/{product}/test_environments", canary)
        templates = await _asked(account, "/test_templates", canary, product_id=product)

        listed = await _all_pages(account, "list_test_environments", product_id=product, limit=1)
        offered = await _all_pages(account, "list_test_templates", product_id=product, limit=1)

        assert {(item.id, item.title, item.tests) for item in listed} == {
            (item["id"], item["title"], on[item["id"]]) for item in environments
        }
        assert {item.id for item in offered} == {item["id"] for item in templates}


@pytest.mark.parametrize(
    "name", ["list_features", "list_user_stories", "list_executions", "list_test_environments", "list_test_templates"]
)
async def test_an_unknown_product_is_not_an_empty_list(account: Account, name: str) -> None:
    await account.sync()
    with pytest.raises(NotFound, match="Product 999999999 is not in the store"):
        await ask(account, name, product_id=999999999)
