"""The full text indexes: slices of ids, many hits, and how a migration fills them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from testio_mcp.database import migrate
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.dialect import upsert
from testio_mcp.database.search import KINDS, index_rows, index_table, merge_search_index, slice_code
from testio_mcp.database.search_query import read_query
from testio_mcp.database.search_read import Among, find, find_ids
from testio_mcp.database.tables import Bug, Product, Test, table_of
from testio_mcp.database.types import utc_text
from testio_mcp.database.words import words_of
from testio_mcp.operations.work.search import SCORED, search
from tests.conftest import SettingsFor
from tests.sync.conftest import Account
from tests.sync.conftest import account as account
from tests.sync.conftest import world as world

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MIRRORED = {"content_hash": "x", "synced_at": NOW, "raw": "{}"}
FAR = (0, 1, 4_095, 4_096, 10_000, 2**31, 2**40, 2**63 - 1)
"""Ids of seven slices, whose codes have one to four characters."""


def _bug(number: int, title: str, **fields: Any) -> dict[str, Any]:
    words = {"kind": "functional", "level": "low", "status": "open", "comment_count": 0}
    words |= {"is_known": False, "is_fixed": False}
    texts = dict.fromkeys(("steps", "actual_result", "expected_result", "location", "external_idx"))
    about = {"id": number, "test_id": 1, "product_id": 1, "title": title, "reported_at": NOW, "gone_at": None}
    return MIRRORED | words | texts | about | fields


def _store_bugs(conn: Connection, rows: list[dict[str, Any]]) -> None:
    products = [MIRRORED | {"id": number, "name": f"Product {number}"} for number in (1, 2)]
    upsert(conn, table_of(Product), products)
    test = {"id": 1, "product_id": 1, "title": "Test", "status": "archived", "testing_type": "rapid", "sort_at": NOW}
    upsert(conn, table_of(Test), [MIRRORED | test])
    upsert(conn, table_of(Bug), rows)
    index_rows(conn, table_of(Bug), rows, {})


def _found(conn: Connection, text: str, among: Among = Among()) -> list[int]:  # noqa: B008 - frozen
    query = read_query(text)
    found = find(conn, "bug", query, among, 10_000)
    assert not found.is_capped
    if among.start is among.end is None:
        for is_newest in (True, False):
            ids = [key for some in find_ids(conn, "bug", query, among, is_newest=is_newest) for key in some]
            assert ids == sorted((hit.id for hit in found.hits), reverse=is_newest)
    return [hit.id for hit in found.hits]


async def test_hits_of_all_slices_come_newest_first(store: PersistentCache) -> None:
    rows = [_bug(number, f"kiwi {number}", product_id=1 + number % 2) for number in FAR]
    rows += [_bug(number + 7, "apple") for number in FAR[:-1]]

    def work(conn: Connection) -> None:
        _store_bugs(conn, rows)
        assert _found(conn, "kiw") == sorted(FAR, reverse=True)
        assert _found(conn, "kiwi", Among(2)) == [number for number in sorted(FAR, reverse=True) if number % 2]
        assert _found(conn, str(2**40)) == [2**40]
        assert _found(conn, "kiwi apple") == []

    await store.write(work)


async def test_writing_again_and_again_leaves_few_pieces(store: PersistentCache) -> None:
    def pieces(conn: Connection) -> int:
        if conn.dialect.name != "sqlite":
            return 0
        return int(conn.exec_driver_sql("SELECT count(DISTINCT segid) FROM search_bug_idx").scalar_one())

    for number in range(1, 11):
        await store.write(lambda conn, number=number: _store_bugs(conn, [_bug(number, f"kiwi {number}")]))  # type: ignore[misc]
    before = await store.read(pieces)
    while await store.write(merge_search_index):
        pass

    assert await store.read(pieces) == min(before, 1)
    assert await store.read(lambda conn: _found(conn, "kiwi")) == list(range(10, 0, -1))


async def test_a_date_picks_records_also_where_slices_overlap(store: PersistentCache) -> None:
    days = {number: NOW + timedelta(days=number % 3) for number in range(1, 9_000, 1_000)}
    rows = [_bug(number, "kiwi", reported_at=at) for number, at in days.items()]
    rows.append(_bug(9_999, "kiwi", reported_at=None))

    def work(conn: Connection) -> None:
        _store_bugs(conn, rows)
        start = NOW + timedelta(days=1)
        later = [number for number, at in days.items() if at >= start]
        assert sorted(_found(conn, "kiwi", Among(start=start))) == later
        assert sorted(_found(conn, "kiwi", Among(end=start))) == sorted(days.keys() - set(later))
        assert len(_found(conn, "kiwi")) == len(rows)

    await store.write(work)


async def test_of_a_word_that_is_everywhere_the_newest_hits_are_ranked(
    store: PersistentCache, settings_for: SettingsFor
) -> None:
    count = SCORED + 30
    rows = [_bug(7 * number, "kiwi", steps="melon" if number == 2 else None) for number in range(1, count + 1)]
    await store.write(lambda conn: _store_bugs(conn, rows))

    page = await store.read(lambda conn: search(conn, settings_for(), "kiwi", limit=50))
    assert (page.total, page.total_is_capped, page.scored) == (SCORED, True, SCORED)
    assert [hit.id for hit in page.items] == [7 * number for number in range(count, count - 50, -1)]
    rare = await store.read(lambda conn: search(conn, settings_for(), "kiwi melon"))
    assert (rare.total, rare.total_is_capped, [hit.id for hit in rare.items]) == (1, False, [14])


async def test_a_rare_word_beside_a_common_one_finds_the_records_with_both(store: PersistentCache) -> None:
    common = [_bug(number, "kiwi") for number in range(1, 20 * 4_096, 1_024)]
    rare = [_bug(number, "kiwi melon") for number in range(2, 20 * 4_096, 16_384)]
    other = [_bug(number, "melon") for number in range(3, 20 * 4_096, 16_384)]

    def work(conn: Connection) -> None:
        _store_bugs(conn, common + rare + other)
        assert _found(conn, "kiwi melon") == [bug["id"] for bug in reversed(rare)]
        assert _found(conn, "melon kiwi nowhere") == []

    await store.write(work)


async def test_very_long_texts_are_indexed_as_far_as_both_databases_can(store: PersistentCache) -> None:
    letters = "".join(chr(code) for code in range(0x20000, 0x2A000))
    rows = [
        _bug(2**62, "begin " + "x" * 300 + " end", steps=letters * 4, actual_result="z" * 200_000),
        _bug(2**62 + 1, " ".join(f"w{number}" for number in range(50_000)), steps="ends"),
    ]

    def work(conn: Connection) -> None:
        _store_bugs(conn, rows)
        assert _found(conn, "x" * 300) == [2**62]
        assert _found(conn, letters[:40]) == [2**62]
        assert _found(conn, "w1500 ends") == [2**62 + 1]

    await store.write(work)


@pytest.mark.parametrize("number", [0, 1, 6_399, 6_400, 2**51, -1])
def test_a_code_is_never_part_of_a_word(number: int) -> None:
    assert words_of(f"a{slice_code(number)}b") == ["a", "b"]


def test_codes_differ() -> None:
    codes = [slice_code(number) for number in (*range(20_000), *range(6_400**2, 6_400**2 + 20_000))]
    assert len(set(codes)) == len(codes)


def test_moments_of_slices_are_kept_in_the_order_of_time() -> None:
    from testio_mcp.database.tables.search import ALWAYS, NEVER

    assert utc_text(NEVER) < utc_text(NOW) < utc_text(ALWAYS)


def _indexes(conn: Connection) -> dict[str, list[tuple[Any, ...]]]:
    tables = [index_table(conn.dialect.name, kind) for kind in KINDS]
    return {table.name: sorted(tuple(row) for row in conn.execute(table.select())) for table in tables}


async def test_the_migration_indexes_what_is_there(account: Account) -> None:
    """What a migration makes of stored rows is what the sync makes of the API's answers."""
    await account.sync()
    written = await account.store.read(_indexes)
    assert min(len(rows) for rows in written.values()) > 1
    slices = await account.rows("search_slice")

    def migrated(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(migrate.MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        command.upgrade(config, "head")

    async with account.store.engine.begin() as connection:
        await connection.run_sync(migrated)
    assert await account.store.read(_indexes) == written
    assert sorted(map(str, await account.rows("search_slice"))) == sorted(map(str, slices))
