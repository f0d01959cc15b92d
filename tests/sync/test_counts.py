"""The counts that the sync keeps: always what counting the records gives, also in a store that was made before."""

from collections import Counter
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, select

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.migrate import MIGRATIONS, upgrade
from testio_mcp.database.tables import ChangeCount, ChangeLog, KeptCount, ProductCount, table_of
from testio_mcp.sandbox import World
from testio_mcp.sync.counts import ALL
from tests.sync.conftest import EVERYTHING, Account

Counts = dict[tuple[Any, ...], int]
BEFORE = "0003"
"""The last revision without kept counts."""


@pytest.fixture
def world() -> World:
    """A small account with bugs in every state."""
    return World(seed=7, products=2, tests_per_product=30, bugs_per_test=2)


def _kept(conn: Connection) -> Counts:
    return {tuple(row[:-1]): row[-1] for row in conn.execute(select(table_of(KeptCount)))}


def _of_products(conn: Connection) -> Counts:
    rows = conn.execute(select(table_of(ProductCount))).mappings()
    return {(row["product_id"], name): row[name] for row in rows for name in ("tests", "bugs", "open_bugs")}


def _counted(conn: Connection) -> Counts:
    """The same from the records, one by one."""
    found: Counter[tuple[Any, ...]] = Counter()
    for kept in ALL:
        for record in conn.execute(select(kept.table).where(kept.table.c.gone_at.is_(None))).mappings():
            words = [record[word] if word in kept.split else "" for word in ("status", "level", "kind")]
            product = record["product_id"] if "product_id" in kept.split else 0
            if record[kept.owner] is not None:
                found[kept.name, record[kept.owner], product, *words] += 1
    return dict(found)


def _counted_of_products(kept: Counts) -> Counts:
    found: Counter[tuple[Any, ...]] = Counter()
    for (name, owner, _, status, *_), number in kept.items():
        if name in ("product_tests", "product_bugs"):
            found[owner, name.removeprefix("product_")] += number
        if (name, status) == ("product_bugs", "open"):
            found[owner, "open_bugs"] += number
    return found


def _alike(conn: Connection) -> tuple[Counts, Counts]:
    """The kept counts of changes, and the same from the log, line by line."""
    kept = {tuple(row[:-1]): row[-1] for row in conn.execute(select(table_of(ChangeCount)))}
    found: Counter[tuple[Any, ...]] = Counter()
    for line in conn.execute(select(table_of(ChangeLog))).mappings():
        new = line["new_value"] or ""
        words = {"status": new, "execution_status": new, "gone_at": "gone" if line["new_value"] else ""}
        about = [line[name] for name in ("changed_at", "run_id", "product_id", "entity", "field")]
        found[*about, words.get(line["field"], "")] += 1
    return kept, dict(found)


def _downgrade(conn: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = conn
    command.downgrade(config, BEFORE)


async def _check(store: PersistentCache) -> Counts:
    kept, counted, products = await store.read(lambda conn: (_kept(conn), _counted(conn), _of_products(conn)))
    assert kept == counted
    changes, lines = await store.read(_alike)
    assert changes == lines
    found = _counted_of_products(counted)
    assert products == {key: found.get(key, 0) for key in products}
    assert found.keys() <= products.keys()
    return kept


async def test_every_count_is_what_counting_gives_after_every_change(account: Account) -> None:
    world = account.world
    await account.sync(only=EVERYTHING)
    first = await _check(account.store)
    assert {key[0] for key in first} == {kept.name for kept in ALL}

    product, other = world.product_ids
    bug = world.open_bugs(product)[0]
    world.update_bug(bug.id, status="rejected")
    world.update_test(world.test_ids(product)[-1], status="cancelled", created_by={"name": "Somebody New"})
    await account.sync(full=True)
    second = await _check(account.store)
    assert second != first

    world.delete_test(world.test_ids(product)[5])
    world.delete_bug(world.open_bugs(other)[0].id)
    await account.sync(full=True)
    third = await _check(account.store)
    assert sum(third.values()) < sum(second.values())

    world.advance(days=20)  # the clock accepts what was open
    await account.sync(only=EVERYTHING, full=True)
    assert await _check(account.store) != third
    assert {word for *_, word in (await account.store.read(_alike))[0]} > {"gone", "rejected", "cancelled", ""}


async def test_a_store_from_before_is_counted_when_it_is_migrated(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    account.world.advance(days=1)
    await account.sync(full=True)
    kept = await _check(account.store)
    changes, _ = await account.store.read(_alike)
    async with account.store.engine.begin() as connection:
        await connection.run_sync(_downgrade)
    await upgrade(account.store.engine)
    assert await _check(account.store) == kept
    assert (await account.store.read(_alike))[0] == changes != {}
