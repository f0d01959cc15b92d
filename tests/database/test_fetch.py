"""Reading lists: the driver's way on SQLite gives what SQLAlchemy's gives, on both databases."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, String, bindparam, select, type_coerce

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.dialect import fetch, fetch_records, upsert
from testio_mcp.database.tables import Product, Test, table_of

_MOMENT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
_test = table_of(Test).c
_some = (
    select(_test.id, _test.title, type_coerce(_test.sort_at, String).label("sort_at"))
    .where(_test.id.in_(bindparam("ids", expanding=True)), _test.status.in_(("running", "locked")))
    .where(_test.sort_at >= bindparam("since", type_=_test.sort_at.type))
    .order_by(_test.id)
    .limit(bindparam("limit"))
)


@pytest.fixture
async def filled(store: PersistentCache) -> PersistentCache:
    """A store with five tests."""
    about = {"content_hash": "x", "synced_at": _MOMENT, "raw": "{}"}
    tests = [
        {"id": n, "product_id": 1, "title": f"T{n}", "status": "running", "testing_type": "rapid", "sort_at": _MOMENT}
        for n in range(1, 6)
    ]

    def fill(conn: Connection) -> None:
        upsert(conn, table_of(Product), [{"id": 1, "name": "Shop", **about}])
        upsert(conn, table_of(Test), [test | about for test in tests])

    await store.write(fill)
    return store


@pytest.mark.parametrize("ids", [[2], [4, 1, 3], [], [9]])
async def test_lists_of_any_length_are_values(filled: PersistentCache, ids: list[int]) -> None:
    values = {"ids": ids, "since": _MOMENT, "limit": 10}
    found = await filled.read(lambda conn: [row[0] for row in fetch(conn, _some, values)])
    assert found == sorted(set(ids) & {1, 2, 3, 4, 5})


async def test_a_statement_serves_other_values_the_next_time(filled: PersistentCache) -> None:
    def read(conn: Connection) -> list[int]:
        asked = (([1, 2], 10), ([3, 4], 10), ([3, 4], 1))
        return [len(fetch(conn, _some, {"ids": ids, "since": _MOMENT, "limit": limit})) for ids, limit in asked]

    assert await filled.read(read) == [2, 2, 1]


async def test_moments_are_compared_as_moments(filled: PersistentCache) -> None:
    later = {"ids": [1], "since": _MOMENT.replace(minute=31), "limit": 10}
    assert await filled.read(lambda conn: list(fetch(conn, _some, later))) == []


async def test_records_carry_the_names_of_their_columns(filled: PersistentCache) -> None:
    values = {"ids": [1], "since": _MOMENT, "limit": 1}
    (record,) = await filled.read(lambda conn: fetch_records(conn, _some, values))
    moment = record.pop("sort_at")
    assert record == {"id": 1, "title": "T1"}
    assert (datetime.fromisoformat(moment) if isinstance(moment, str) else moment) == _MOMENT
