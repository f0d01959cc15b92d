"""Values and bulk writes mean the same on both databases."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Table, func, select
from sqlalchemy.exc import DBAPIError

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.dialect import BATCH, Row, insert_missing, upsert
from testio_mcp.database.tables import FeatureSection, Product, SyncRun, table_of
from testio_mcp.database.types import UtcDateTime, utc_text

_product, _run, _membership = table_of(Product), table_of(SyncRun), table_of(FeatureSection)
_zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# A day from the ends of the calendar, so that every zone has the moment.
_moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.one_of(st.none(), _zones))  # noqa: DTZ001
_ids = st.sampled_from([1, 2**31 - 1, 2**31, 2**53 - 1, 2**53, 2**63 - 1])
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)
_NOW = datetime(2026, 11, 22, 21, 15, 20, tzinfo=UTC)


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _row(number: int, **values: object) -> Row:
    row = {"id": number, "name": "Shop", "type": None, "description": None, "default_section_id": None}
    return {**row, "content_hash": "", "synced_at": _NOW, "gone_at": None, "raw": "{}", **values}


def _replace(table: Table, rows: list[Row]) -> Callable[[Connection], None]:
    """Leave `rows` and nothing else in the table."""

    def work(connection: Connection) -> None:
        connection.execute(table.delete())
        upsert(connection, table, rows)

    return work


def _all(table: Table) -> Callable[[Connection], dict[int, Row]]:
    return lambda connection: {row.id: dict(row._mapping) for row in connection.execute(table.select())}


@given(synced_at=_moments, gone_at=st.none() | _moments, number=_ids, raw=_json)
async def test_round_trip(
    store: PersistentCache, synced_at: datetime, gone_at: datetime | None, number: int, raw: object
) -> None:
    given = _row(number, synced_at=synced_at, gone_at=gone_at, raw=json.dumps(raw), default_section_id=number)
    await store.write(_replace(_product, [given]))
    found = (await store.read(_all(_product)))[number]
    assert found["synced_at"] == _aware(synced_at)
    assert found["synced_at"].utcoffset() == timedelta(0)
    assert found["gone_at"] == (_aware(gone_at) if gone_at else None)
    assert isinstance(found["raw"], str)
    assert json.loads(found["raw"]) == raw
    assert found["id"] == found["default_section_id"] == number


@given(moments=st.lists(_moments, min_size=2, max_size=8, unique_by=_aware))
async def test_moments_sort_and_compare_by_time(store: PersistentCache, moments: list[datetime]) -> None:
    rows = [_row(number, synced_at=moment) for number, moment in enumerate(moments)]
    await store.write(_replace(_product, rows))
    expected = sorted(map(_aware, moments))
    column = _product.c.synced_at
    assert await store.read(lambda c: c.execute(select(column).order_by(column)).scalars().all()) == expected
    later = select(column).where(column > moments[0]).order_by(column)
    assert await store.read(lambda c: c.execute(later).scalars().all()) == [
        moment for moment in expected if moment > _aware(moments[0])
    ]


async def test_moments_may_be_given_as_text(store: PersistentCache) -> None:
    """Lists select moments as text, and cursors hand that text back."""
    await store.write(_replace(_product, [_row(1, synced_at=utc_text(_NOW))]))
    assert (await store.read(_all(_product)))[1]["synced_at"] == _NOW


@given(st.tuples(_moments, _moments))
def test_text_of_a_moment_has_a_fixed_width_and_the_order_of_time(pair: tuple[datetime, datetime]) -> None:
    first, second = map(utc_text, pair)
    assert len(first) == len(second) == 27
    assert (first < second) == (_aware(pair[0]) < _aware(pair[1]))
    assert datetime.fromisoformat(first) == _aware(pair[0])


def test_the_same_type_is_cached() -> None:
    assert UtcDateTime.cache_ok


async def test_ids_count_up_where_the_account_has_none(store: PersistentCache) -> None:
    values = {"mode": "full", "status": "running", "started_at": _NOW, "requests": 0}
    values |= {"records_new": 0, "records_changed": 0, "records_unchanged": 0}

    def add(connection: Connection) -> int:
        key: Any = connection.execute(_run.insert().values(values)).inserted_primary_key
        return int(key[0])

    assert [await store.write(add) for _ in range(3)] == [1, 2, 3]


async def test_ids_beyond_64_bits_are_refused(store: PersistentCache) -> None:
    with pytest.raises((OverflowError, DBAPIError)):
        await store.write(_replace(_product, [_row(2**63)]))
    assert await store.read(_all(_product)) == {}


_versions = st.dictionaries(
    st.integers(1, 8), st.text("abc", min_size=1, max_size=3).map(lambda name: {"name": name}), max_size=8
)


def _rows(version: dict[int, dict[str, str]]) -> list[Row]:
    return [_row(number, **values) for number, values in version.items()]


@given(before=_versions, after=_versions)
async def test_upsert_is_a_dict_update(
    store: PersistentCache, before: dict[int, dict[str, str]], after: dict[int, dict[str, str]]
) -> None:
    await store.write(_replace(_product, _rows(before)))
    for _ in range(2):  # the second time changes nothing
        await store.write(lambda c: upsert(c, _product, _rows(after)))
        found = await store.read(_all(_product))
        assert {number: row["name"] for number, row in found.items()} == {
            number: values["name"] for number, values in {**before, **after}.items()
        }


@given(before=_versions, after=_versions)
async def test_insert_missing_keeps_what_is_there(
    store: PersistentCache, before: dict[int, dict[str, str]], after: dict[int, dict[str, str]]
) -> None:
    await store.write(_replace(_product, _rows(before)))
    await store.write(lambda c: insert_missing(c, _product, _rows(after)))
    found = await store.read(_all(_product))
    assert {number: row["name"] for number, row in found.items()} == {
        number: values["name"] for number, values in {**after, **before}.items()
    }


async def test_upsert_changes_the_given_columns_only(store: PersistentCache) -> None:
    await store.write(_replace(_product, [_row(1, description="kept")]))
    some = {"id": 1, "name": "Changed", "content_hash": "h", "synced_at": _NOW, "raw": "{}"}
    await store.write(lambda c: upsert(c, _product, [some]))
    found = (await store.read(_all(_product)))[1]
    assert (found["name"], found["description"]) == ("Changed", "kept")


async def test_the_last_of_two_rows_with_one_key_wins(store: PersistentCache) -> None:
    await store.write(lambda c: upsert(c, _product, [_row(1, name="first"), _row(1, name="last")]))
    assert (await store.read(_all(_product)))[1]["name"] == "last"


async def test_more_rows_than_a_batch(store: PersistentCache) -> None:
    rows = [_row(number) for number in range(2 * BATCH + 1)]
    await store.write(lambda c: upsert(c, _product, rows))
    assert await store.read(lambda c: c.execute(select(func.count(_product.c.id))).scalar()) == len(rows)
    await store.write(lambda c: upsert(c, _product, []))


async def test_table_that_is_all_key(store: PersistentCache) -> None:
    def work(connection: Connection) -> list[tuple[int, int]]:
        upsert(connection, _product, [_row(1)])
        connection.execute(table_of_section.insert(), [{"id": 2, "product_id": 1, "name": "App"}])
        feature = {"id": 3, "product_id": 1, "title": "Cart", "synced_at": _NOW, "content_hash": "", "raw": "{}"}
        connection.execute(table_of_feature.insert(), [feature])
        for _ in range(2):
            upsert(connection, _membership, [{"feature_id": 3, "section_id": 2}])
        return [tuple(row) for row in connection.execute(_membership.select())]

    metadata = _product.metadata
    table_of_section, table_of_feature = metadata.tables["section"], metadata.tables["feature"]
    assert await store.write(work) == [(3, 2)]
