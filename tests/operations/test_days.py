"""A day in a list is a day of the account's time zone, as in metrics and reports."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, update

from testio_mcp.database.tables import ChangeLog, table_of
from testio_mcp.operations.metrics.engine import measure
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.metrics.questions import Question
from tests.conftest import SettingsFor
from tests.operations.conftest import ask
from tests.sync.conftest import Account

_ZONES = {"America/New_York": "2026-03-09T03:30:00Z", "Europe/Berlin": "2026-03-29T22:30:00Z"}
"""Each with a moment that is the day before, or the day after, where the account is."""
_LISTS = (
    ("list_tests", "end_at", "end_from", "end_to"),
    ("list_bugs", "reported_at", "reported_from", "reported_to"),
    ("list_executions", "executed_at", "executed_from", "executed_to"),
)


@pytest.fixture(params=_ZONES)
async def zone(
    request: pytest.FixtureRequest, account: Account, settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch
) -> ZoneInfo:
    """The zone of an account that is copied with its runs; a test and a bug in it are of that moment."""
    monkeypatch.setenv("TESTIO_TIME_ZONE", request.param)
    account.app.settings = settings_for(customer_api_base_url=account.app.settings.customer_api_base_url)
    tests = map(account.world.test, account.world.test_ids(account.world.product_ids[0]))
    test_id = next(test["id"] for test in tests if test["status"] == "archived")
    account.world.update_test(test_id, end_at=_ZONES[request.param])
    bug = account.world.add_bug(test_id)
    account.world.update_bug(bug["id"], reported_at=_ZONES[request.param])
    await account.sync(only=frozenset({"features", "tests", "bugs", "metrics", "executions"}))
    return ZoneInfo(request.param)


async def _all(account: Account, name: str, **filters: Any) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = await ask(account, name, limit=100, cursor=cursor, **filters)
        found += page.items
        if (cursor := page.next_cursor) is None:
            return found


def _by_day(records: list[Any], field: str, zone: ZoneInfo) -> dict[date, set[int]]:
    days: dict[date, set[int]] = defaultdict(set)
    for record in records:
        if moment := getattr(record, field):
            days[moment.astimezone(zone).date()].add(record.id)
    return days


@pytest.mark.parametrize(("name", "field", "first", "last"), _LISTS)
async def test_a_day_is_one_of_the_account(
    account: Account, zone: ZoneInfo, name: str, field: str, first: str, last: str
) -> None:
    everything = await _all(account, name)
    days = _by_day(everything, field, zone)
    assert days != _by_day(everything, field, ZoneInfo("UTC")), "nothing tells the zone from UTC"
    for day, ids in days.items():
        asked = {first: day.isoformat(), last: day.isoformat()}
        assert {record.id for record in await _all(account, name, **asked)} == ids, day


async def test_lists_search_and_metrics_agree(account: Account, zone: ZoneInfo) -> None:
    moment = datetime.fromisoformat(_ZONES[zone.key])
    day = moment.astimezone(zone).date()
    assert day != moment.date()
    asked = {"end_from": day.isoformat(), "end_to": day.isoformat()}
    bugs = await _all(account, "list_bugs", **asked)
    assert bugs
    start, end = bounds(Period(day, day), zone)
    question = Question(metrics=("test_count", "bug_count"), start=start, end=end, zone=zone)
    measured = await account.store.read(lambda conn: measure(conn, question))
    assert measured.total == {"test_count": len(await _all(account, "list_tests", **asked)), "bug_count": len(bugs)}

    newest = next(bug for bug in bugs if bug.reported_at == moment)
    hits = [
        {hit.id for hit in (await ask(account, "search", query=newest.title, kinds="bug", limit=50, **dates)).items}
        for dates in (
            {"date_from": day.isoformat(), "date_to": day.isoformat()},
            {"date_from": moment.date().isoformat(), "date_to": moment.date().isoformat()},
        )
    ]
    assert newest.id in hits[0]
    assert newest.id not in hits[1]


async def test_changes_since_a_day_of_the_account(account: Account, zone: ZoneInfo) -> None:
    account.world.update_test(account.world.test_ids(account.world.product_ids[0])[-1], end_at="2026-05-01T12:00:00Z")
    await account.sync(full=True)
    moment = datetime.fromisoformat(_ZONES[zone.key])
    day = moment.astimezone(zone).date()

    def found_then(conn: Connection) -> None:
        conn.execute(update(table_of(ChangeLog)).values(changed_at=moment))

    await account.store.write(found_then)
    assert (await ask(account, "list_changes", since=day.isoformat())).items
    assert not (await ask(account, "list_changes", since=(day + timedelta(days=1)).isoformat())).items
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    assert (await ask(account, "list_changes", since=f"{day}T00:00:00")).since == midnight


async def test_a_sync_since_a_day_of_the_account(account: Account, zone: ZoneInfo) -> None:
    day = datetime.fromisoformat(_ZONES[zone.key]).astimezone(zone).date()
    planned = [
        (await ask(account, "sync_data", since=since.isoformat(), full=True, dry_run=True)).model_dump()
        for since in (day, day + timedelta(days=1))
    ]
    assert planned[0] != planned[1]
