"""Pages of a range of dates, in both orders: every test once, none of another day."""

from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.dialect import upsert
from testio_mcp.database.tables import Product, Test, table_of
from testio_mcp.domain import FAR_FUTURE
from testio_mcp.operations.registry import operations
from tests.conftest import SettingsFor

_FIRST = datetime(2026, 3, 1, tzinfo=UTC)
# The first and last moment of each of four days, two tests of one moment, and a draft.
_DAYS = [_FIRST + timedelta(days=n, microseconds=m) for n in range(4) for m in (0, 86_399_999_999)]
_ENDS = (*_DAYS, _DAYS[2], None)


@pytest.fixture
async def app(store: PersistentCache, settings_for: SettingsFor) -> App:
    """An account with tests that end at `_ENDS`, with ids from 1."""
    about = {"content_hash": "x", "synced_at": _FIRST, "raw": "{}"}
    kind = {"product_id": 1, "title": "T", "status": "archived", "testing_type": "rapid"}
    tests = [{"id": n, "end_at": end, "sort_at": end or FAR_FUTURE, **kind} for n, end in enumerate(_ENDS, 1)]

    def fill(conn: Connection) -> None:
        upsert(conn, table_of(Product), [{"id": 1, "name": "Shop", **about}])
        upsert(conn, table_of(Test), [test | about for test in tests])

    await store.write(fill)
    return App(settings_for(), store, AsyncExitStack())


def _expected(start: date | None, end: date | None) -> list[int]:
    found = []
    for number, moment in enumerate(_ENDS, 1):
        if moment is None:
            inside = start is None and end is None
        else:
            inside = (start is None or moment.date() >= start) and (end is None or moment.date() <= end)
        found += [number] if inside else []
    return sorted(found, key=lambda number: (_ENDS[number - 1] or FAR_FUTURE, number))


@pytest.mark.parametrize("sort", ["oldest", "newest"])
@pytest.mark.parametrize("start", [None, date(2026, 3, 2)])
@pytest.mark.parametrize("end", [None, date(2026, 3, 3)])
async def test_every_test_of_the_range_once(app: App, sort: str, start: date | None, end: date | None) -> None:
    arguments: dict[str, Any] = {"sort": sort, "end_from": start, "end_to": end, "limit": 3}
    found: list[int] = []
    cursor = None
    for _ in range(len(_ENDS)):
        page: Any = await operations()["list_tests"].run(app, arguments | {"cursor": cursor})
        found += [item.id for item in page.items]
        if (cursor := page.next_cursor) is None:
            break
    expected = _expected(start, end)
    assert found == (expected if sort == "oldest" else expected[::-1])


async def test_a_cursor_of_another_list_never_widens_the_range(app: App) -> None:
    list_tests = operations()["list_tests"]
    first: Any = await list_tests.run(app, {"limit": 1})
    day = {"end_from": "2026-03-02", "end_to": "2026-03-02"}
    page: Any = await list_tests.run(app, {**day, "cursor": first.next_cursor})
    assert [item.id for item in page.items] == [4, 9, 3]
