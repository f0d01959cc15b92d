"""Bugs against the account's truth; their filters are tried in `test_every_list`."""

from datetime import date
from typing import Any

import pytest

from testio_mcp.api.payloads import BugPayload, parse_bug
from testio_mcp.errors import BadInput, NotFound
from tests.operations.conftest import ask
from tests.sync.conftest import Account


def _bugs(account: Account) -> list[BugPayload]:
    world = account.world
    tests = [test_id for product in world.product_ids for test_id in world.test_ids(product)]
    ran = [
        test_id for test_id in tests if world.test(test_id)["status"] not in ("initialized", "waiting", "cancelled")
    ]
    return [parse_bug(bug) for test_id in ran for bug in world.bugs_of(test_id)]


async def _all_pages(account: Account, **arguments: Any) -> list[Any]:
    items: list[Any] = []
    cursor = None
    while True:
        page = await ask(account, "list_bugs", cursor=cursor, **arguments)
        items += page.items
        assert (page.total, page.total_is_capped) == (page.total, False)
        cursor = page.next_cursor
        if cursor is None:
            assert page.total == len(items)
            return items


def _by_report(bugs: list[BugPayload], *, is_newest: bool) -> list[int]:
    """The ids in the order of the reports; bugs without a time of report last."""
    known = [(bug.reported_at, bug.id) for bug in bugs if bug.reported_at]
    unknown = [bug.id for bug in bugs if not bug.reported_at]
    return [key for _, key in sorted(known, reverse=is_newest)] + sorted(unknown, reverse=is_newest)


@pytest.mark.parametrize("sort", ["newest", "oldest"])
async def test_bugs_are_those_of_the_account(account: Account, sort: str) -> None:
    await account.sync()
    expected = _bugs(account)

    items = await _all_pages(account, sort=sort, limit=7)

    ids = [item.id for item in items]
    assert sorted(ids) == sorted(bug.id for bug in expected)
    assert ids == _by_report(expected, is_newest=sort == "newest")
    shown = {item.id: (item.title, item.level, item.kind, item.status, item.reporter) for item in items}
    assert shown == {bug.id: (bug.title, bug.level, bug.kind, bug.status, bug.author) for bug in expected}


async def test_only_the_fields_that_were_asked_for(account: Account) -> None:
    await account.sync()
    from testio_mcp.operations.registry import operations

    answer = await operations()["list_bugs"].answer(account.app, {"fields": "title, level", "limit": 2})

    assert [set(item) for item in answer["items"]] == [{"id", "title", "level"}] * 2
    with pytest.raises(BadInput, match="there is no field 'severity'") as caught:
        await ask(account, "list_bugs", fields=["severity"])
    assert "level" in caught.value.next_step


async def test_an_unknown_id_is_not_an_empty_list(account: Account) -> None:
    await account.sync()
    for name, what in (("product_id", "Product"), ("test_ids", "Test"), ("feature_ids", "Feature")):
        with pytest.raises(NotFound, match=f"{what} 999999999 is not in the store"):
            await ask(account, "list_bugs", **{name: 999999999})
    assert (await ask(account, "list_bugs", reporters=["Nobody"])).items == []
    assert (await ask(account, "list_bugs", reported_to=date(1999, 1, 1))).total == 0
