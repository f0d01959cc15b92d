"""Products and tests against the account's truth."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.registry import operations
from tests.operations.conftest import ask
from tests.sync.conftest import Account


def _tests(account: Account) -> dict[int, dict[str, Any]]:
    world = account.world
    return {test_id: world.test(test_id) for product in world.product_ids for test_id in world.test_ids(product)}


async def _all_pages(account: Account, **arguments: Any) -> list[Any]:
    items: list[Any] = []
    cursor = None
    while True:
        page = await ask(account, "list_tests", cursor=cursor, **arguments)
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            return items


async def test_products_carry_the_true_numbers(account: Account) -> None:
    await account.sync()

    page = await ask(account, "list_products")

    assert {item.id: (item.tests, item.bugs, item.open_bugs) for item in page.items} == account.truth()
    assert [item.name for item in page.items] == sorted(item.name for item in page.items)
    assert page.total == len(account.world.product_ids)
    assert page.as_of is not None


async def test_the_newest_activity_is_a_bug_or_a_start_of_the_past(account: Account) -> None:
    await account.sync()

    for item in (await ask(account, "list_products")).items:
        bugs = [bug["reported_at"] for test in account.world.test_ids(item.id) for bug in account.world.bugs_of(test)]
        starts = [test["start_at"] for test in _tests(account).values() if test["product"]["id"] == item.id]
        moments = [datetime.fromisoformat(moment).astimezone(UTC) for moment in (*bugs, *starts) if moment]
        assert item.last_activity_at == max(moment for moment in moments if moment <= datetime.now(UTC))


@pytest.mark.parametrize("sort", ["newest", "oldest"])
async def test_a_contact_created_each_test_of_theirs(account: Account, sort: str) -> None:
    await account.sync()
    tests = _tests(account)
    creators = {key: _name(test["created_by"]) for key, test in tests.items()}
    names = sorted({name for name in creators.values() if name})
    submitters = {key: _name(test["submitted_by"]) for key, test in tests.items()}
    submitted = next(name for key, name in submitters.items() if name and name != creators[key])
    ordered = [item.id for item in await _all_pages(account, sort=sort, limit=100)]

    for wanted in ([submitted], names[:2], [*names[:2], names[0]], ["Nobody"], [*names, *map(str, range(50))]):
        expected = [test_id for test_id in ordered if creators[test_id] in wanted]
        for arguments in ({}, {"statuses": ["archived", "locked"]}):
            page = await ask(account, "list_tests", contacts=wanted, sort=sort, **arguments)
            found = await _all_pages(account, contacts=wanted, sort=sort, limit=2, **arguments)
            statuses = arguments.get("statuses") or {test["status"] for test in tests.values()}
            assert [item.id for item in found] == [key for key in expected if tests[key]["status"] in statuses]
            assert page.total == len(found)


def _name(person: Any) -> Any:
    return person["name"] if isinstance(person, dict) else person


async def test_bug_counts_are_those_of_the_bugs(account: Account) -> None:
    await account.sync()
    items = await _all_pages(account, limit=1)

    assert sorted(item.id for item in items) == sorted(_tests(account))
    for item in items:
        bugs = account.world.bugs_of(item.id)
        levels = [bug["severity"] for bug in bugs]
        assert item.bugs.total == len(bugs)
        assert (item.bugs.critical, item.bugs.high, item.bugs.low) == tuple(
            levels.count(level) for level in ("critical", "high", "low")
        )
        assert item.bugs.open == [bug["status"] for bug in bugs].count("forwarded")
        assert item.bugs.total == item.bugs.critical + item.bugs.high + item.bugs.low + item.bugs.other


async def test_a_test_shows_its_features_and_platforms(account: Account) -> None:
    await account.sync()
    test_id = next(test_id for test_id, test in _tests(account).items() if test["features"] and test["requirements"])

    detail = await ask(account, "get_test", test_id=test_id)

    told = account.world.test(test_id)
    assert [feature.id for feature in detail.features] == [feature["id"] for feature in told["features"]]
    assert len(detail.platforms) == len(told["requirements"])
    assert sum(detail.bugs_by_status.values()) == detail.bugs.total == len(account.world.bugs_of(test_id))


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """The statements that reach the database, however they were sent."""
    seen: list[str] = []

    def trace(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):  # a reader's; nothing else asks about lists on SQLite
            connection.set_trace_callback(seen.append)

    def note(connection: Connection, _: object, statement: str, *__: object) -> None:
        if connection.dialect.name == "postgresql":
            seen.append(statement)

    event.listen(Engine, "connect", trace)
    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "connect", trace)
    event.remove(Engine, "before_cursor_execute", note)


def asked(statements: list[str]) -> list[str]:
    """Those that read, without the looks at how fresh the copy is and by which build its derived data was made."""
    reads = [line for line in statements if line.startswith(("SELECT", "WITH"))]
    return [
        line
        for line in reads
        if not line.startswith(
            ("SELECT checkpoint.resource, count(", "SELECT sync_run.status", "SELECT derived.name, derived.version")
        )
    ]


LOOKS = {"statuses": 1, "role": 1, "operating_system": 2, "untested_on": 5}
"""What is read before a page: records that match, values to fold, and whether few lines of devices have them."""


async def test_a_list_takes_two_statements_at_most(statements: list[str], account: Account) -> None:
    """More for filters: records that match are looked for, and values are folded, before a page is read."""
    await account.sync()
    product = account.world.product_ids[0]
    calls: list[tuple[str, dict[str, Any]]] = [
        ("list_tests", {"statuses": "running,locked", "product_id": product}),
        ("list_tests", {"end_from": "2100-01-01"}),
        ("list_bugs", {"product_id": product, "statuses": "open,accepted", "operating_system": "ios"}),
        ("list_bugs", {"reported_to": "1999-01-01"}),
        ("list_features", {"untested_on": "ios"}),
        ("list_people", {"role": "contact"}),
    ]
    lists = [op for op in operations().values() if op.name.startswith("list_") and op.name != "list_changes"]

    for name, arguments in [*((op.name, {}) for op in lists), *calls]:
        statements.clear()
        await ask(account, name, **arguments)
        sent = asked(statements)
        looks = sum(count for filter_name, count in LOOKS.items() if filter_name in arguments)
        assert 1 <= len(sent) <= (3 if name == "list_problems" else 2) + looks, (name, sent)


async def test_what_is_not_there_is_said(account: Account) -> None:
    await account.sync()

    with pytest.raises(NotFound, match=r"Product 1 is not in the store\. list_products"):
        await ask(account, "list_tests", product_id=1)
    with pytest.raises(NotFound, match=r"Test 1 is not in the store\. list_tests"):
        await ask(account, "get_test", test_id=1)
    with pytest.raises(BadInput, match="cursor: is not one"):
        await ask(account, "list_tests", cursor="bm9uc2Vuc2U")
