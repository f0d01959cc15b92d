"""Bugs against the account's truth: every filter, every order, every page."""

from collections.abc import Callable
from datetime import UTC, date, datetime
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


def _end(account: Account, bug: BugPayload) -> datetime | None:
    assert bug.test_id is not None
    end = account.world.test(bug.test_id)["end_at"]
    return datetime.fromisoformat(end).astimezone(UTC) if end else None


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


def _on(bug: BugPayload, **wanted: str) -> bool:
    return any(all(word in (getattr(d, name) or "").lower() for name, word in wanted.items()) for d in bug.devices)


def _is_exported(bug: BugPayload) -> bool:
    return bug.exported_at is not None or bug.external_idx is not None


Chosen = Callable[[BugPayload], bool]
FILTERS: list[tuple[dict[str, Any], Chosen]] = [
    ({}, lambda bug: True),
    ({"statuses": ["open"]}, lambda bug: bug.status == "open"),
    ({"statuses": "accepted,auto_accepted,open"}, lambda bug: bug.status in ("accepted", "auto_accepted", "open")),
    ({"levels": ["critical", "high"]}, lambda bug: bug.level in ("critical", "high")),
    ({"kinds": "visual", "levels": "none"}, lambda bug: bug.kind == "visual" and bug.level == "none"),
    ({"known": True}, lambda bug: bool(bug.known)),
    ({"known": False}, lambda bug: not bug.known),
    ({"exported": True}, lambda bug: _is_exported(bug)),
    ({"exported": False, "statuses": ["accepted"]}, lambda bug: not _is_exported(bug) and bug.status == "accepted"),
    ({"operating_system": "IOS"}, lambda bug: _on(bug, operating_system="ios")),
    (
        {"device_category": "phone", "operating_system": "and"},
        lambda b: _on(b, category="phone", operating_system="and"),
    ),
    ({"device": "%"}, lambda bug: _on(bug, name="%")),
    ({"reported_from": "2020-01-01"}, lambda bug: bug.reported_at is not None),
]


@pytest.mark.parametrize("sort", ["newest", "oldest"])
@pytest.mark.parametrize(("arguments", "chosen"), FILTERS, ids=[str(arguments) for arguments, _ in FILTERS])
async def test_filters_choose_what_they_say(
    account: Account, sort: str, arguments: dict[str, Any], chosen: Chosen
) -> None:
    await account.sync()
    expected = [bug for bug in _bugs(account) if chosen(bug)]

    items = await _all_pages(account, sort=sort, limit=7, **arguments)

    ids = [item.id for item in items]
    assert sorted(ids) == sorted(bug.id for bug in expected)
    assert ids == _by_report(expected, is_newest=sort == "newest")
    shown = {item.id: (item.title, item.level, item.kind, item.status, item.reporter) for item in items}
    assert shown == {bug.id: (bug.title, bug.level, bug.kind, bug.status, bug.author) for bug in expected}


@pytest.mark.parametrize("sort", ["newest", "oldest"])
async def test_days_of_reports_and_of_ends_of_tests_are_inclusive(account: Account, sort: str) -> None:
    await account.sync()
    bugs = _bugs(account)
    days = sorted({bug.reported_at.date() for bug in bugs if bug.reported_at})
    first, last = days[len(days) // 4], days[3 * len(days) // 4]

    reported = await _all_pages(account, sort=sort, limit=3, reported_from=first, reported_to=last)
    ended = await _all_pages(account, sort=sort, limit=3, end_from=first, end_to=last)

    assert [item.reported_at for item in reported] == sorted(
        (bug.reported_at for bug in bugs if bug.reported_at and first <= bug.reported_at.date() <= last),
        reverse=sort == "newest",
    )
    ends = {bug.id: _end(account, bug) for bug in bugs}
    within = [key for key, end in ends.items() if end and first <= end.date() <= last]
    assert sorted(item.id for item in ended) == sorted(within)
    moments = [ends[item.id] for item in ended]
    assert moments == sorted(moments, key=str, reverse=sort == "newest")


async def test_bugs_of_tests_features_and_testers(account: Account) -> None:
    await account.sync()
    bugs = _bugs(account)
    feature = next(bug.feature_id for bug in bugs if bug.feature_id)
    tester, tests = bugs[0].author, [bugs[0].test_id, bugs[-1].test_id]

    on_feature = await _all_pages(account, feature_ids=[feature])
    by_tester = await _all_pages(account, reporters=[tester])
    of_tests = await _all_pages(account, test_ids=tests)

    assert {item.id for item in on_feature} == {bug.id for bug in bugs if bug.feature_id == feature}
    assert {item.id for item in by_tester} == {bug.id for bug in bugs if bug.author == tester}
    assert {item.id for item in of_tests} == {bug.id for bug in bugs if bug.test_id in tests}


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


async def test_a_foreign_cursor_is_refused(account: Account) -> None:
    await account.sync()
    tests = await ask(account, "list_tests", limit=1)
    with pytest.raises(BadInput, match="cursor"):
        await ask(account, "list_bugs", cursor=tests.next_cursor)
