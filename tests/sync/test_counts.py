"""Counts in lists and summaries: always what counting the copied records gives, whatever changed in the account."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection

from testio_mcp.operations.lists.environments import list_test_environments
from testio_mcp.operations.lists.features import get_feature, get_user_story, list_features, list_user_stories
from testio_mcp.operations.lists.people import get_person, list_people
from testio_mcp.operations.lists.products import get_product, list_products
from testio_mcp.operations.work.changes import list_changes
from testio_mcp.operations.work.status import get_status
from testio_mcp.settings import Settings
from testio_sandbox import World
from tests.sync.conftest import EVERYTHING, Account

pytestmark = pytest.mark.slow

_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
Rows = list[dict[str, Any]]


@pytest.fixture
def world() -> World:
    """A small account with bugs in every state."""
    return World(seed=7, products=2, tests_per_product=30, bugs_per_test=2)


async def _records(account: Account) -> dict[str, Rows]:
    """The records that are not gone."""
    return {name: await account.rows(name, gone_at=None) for name in ("test", "bug", "execution")}


def _count(rows: Rows, owner: str, **words: str) -> Counter[Any]:
    return Counter(row[owner] for row in rows if all(row[name] == word for name, word in words.items()))


def _check_lists(conn: Connection, settings: Settings, tests: Rows, bugs: Rows, runs: Rows) -> None:
    """Every count of every list is that of the records, and filters by counts choose those that have any."""
    for product in list_products(conn).items:
        of_product = [
            _count(tests, "product_id"),
            _count(bugs, "product_id"),
            _count(bugs, "product_id", status="open"),
        ]
        assert [product.tests, product.bugs, product.open_bugs] == [count[product.id] for count in of_product]
    for feature in list_features(conn, settings, limit=100).items:
        of_feature = [_count(bugs, "feature_id"), _count(bugs, "feature_id", status="open")]
        assert [feature.bugs, feature.open_bugs] == [count[feature.id] for count in of_feature]
    stories = list_user_stories(conn, settings, limit=100).items
    for story in stories:
        assert story.executions == _count(runs, "user_story_id")[story.id]
        for word, number in (("passed", story.passed), ("failed", story.failed), ("blocked", story.blocked)):
            assert number == _count(runs, "user_story_id", status=word)[story.id]
    executed = {story.id for story in list_user_stories(conn, settings, executed=True, limit=100).items}
    assert executed == {story.id for story in stories if story.executions}
    for environment in list_test_environments(conn, settings, limit=100).items:
        assert environment.tests == _count(tests, "test_environment_id")[environment.id]
    people = list_people(conn, settings, limit=100).items
    owners = (bugs, "author_id"), (runs, "executed_by_id"), (tests, "created_by_id"), (tests, "submitted_by_id")
    for person in people:
        expected = [_count(rows, owner)[person.id] for rows, owner in owners]
        assert [person.bugs_reported, person.executions, person.tests_created, person.tests_submitted] == expected
    testers = {person.id for person in list_people(conn, settings, role="tester", limit=100).items}
    assert testers == {person.id for person in people if person.bugs_reported or person.executions}


def _check_details(conn: Connection, settings: Settings, tests: Rows, bugs: Rows, runs: Rows) -> None:
    """A summary counts what the list counts, and splits it without losing anything."""
    for product in list_products(conn).items:
        whole = get_product(conn, product.id)
        assert whole.tests_by_status == _words(tests, product_id=product.id)
        assert whole.bugs_by_status == _words(bugs, product_id=product.id)
        assert (whole.tests, whole.bugs.total, whole.bugs.open) == (product.tests, product.bugs, product.open_bugs)
    for feature in list_features(conn, settings).items:
        detail = get_feature(conn, feature.id)
        assert detail.bugs_by_status == _words(bugs, feature_id=feature.id)
        for story in detail.user_stories:
            assert story.executions == _words(runs, user_story_id=story.id)
            assert get_user_story(conn, story.id).executions_by_status == story.executions
    for person in list_people(conn, settings).items:
        found = get_person(conn, person.id)
        assert found.bugs_by_status == _words(bugs, author_id=person.id)
        assert found.executions_by_status == _words(runs, executed_by_id=person.id)
        assert (found.tests_created, found.tests_submitted) == (person.tests_created, person.tests_submitted)


def _words(rows: Rows, **equal: int) -> dict[str, int]:
    (name, value), *_ = equal.items()
    return dict(Counter(row["status"] for row in rows if row[name] == value))


async def _check(account: Account) -> dict[str, Rows]:
    records = await _records(account)
    tests, bugs, runs = records.values()
    await account.store.read(lambda conn: _check_lists(conn, account.app.settings, tests, bugs, runs))
    await account.store.read(lambda conn: _check_details(conn, account.app.settings, tests, bugs, runs))
    status = await get_status(account.app)
    assert (status.tests, status.bugs, status.open_bugs) == (
        len(tests),
        len(bugs),
        sum(bug["status"] == "open" for bug in bugs),
    )
    lines = await account.rows("change_log")
    for entities in ([], ["bug"], ["test", "feature"]):
        page = await list_changes(account.app, run_id=None, since=_LONG_AGO, entities=entities)  # type: ignore[arg-type]
        told = sum(int(line.partition(" ")[0]) for line in page.digest)
        assert told == sum(line["entity"] in (entities or {line["entity"]}) for line in lines)
    return records


async def test_every_count_is_that_of_the_records_after_every_change(account: Account) -> None:
    world = account.world
    await account.sync(only=EVERYTHING)
    first = await _check(account)
    assert all(first.values())

    product, other = world.product_ids
    bug = world.open_bugs(product)[0]
    world.update_bug(bug.id, status="rejected")
    world.update_test(world.test_ids(product)[-1], status="cancelled", created_by={"name": "Somebody New"})
    await account.sync(full=True)
    second = await _check(account)
    assert second != first

    world.delete_test(world.test_ids(product)[5])
    world.delete_bug(world.open_bugs(other)[0].id)
    await account.sync(full=True)
    third = await _check(account)
    assert len(third["test"]) < len(second["test"])
    assert len(third["bug"]) < len(second["bug"])

    world.advance(days=20)  # what was open is accepted automatically
    await account.sync(only=EVERYTHING, full=True)
    fourth = await _check(account)
    assert {bug["status"] for bug in fourth["bug"]} != {bug["status"] for bug in third["bug"]}
