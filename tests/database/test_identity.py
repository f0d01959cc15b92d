"""A store whose file is deleted, replaced, emptied or cut short while it is open."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select

from testio_mcp.database.backup import list_backups
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.restore import repair, restore
from testio_mcp.database.tables import Person, table_of
from testio_mcp.errors import StoreCorrupt, StoreGone
from tests.database.filled import PEOPLE, fill

_person = table_of(Person)


def _count(conn: Connection) -> int:
    return conn.execute(select(func.count(_person.c.id))).scalar_one()


async def _count_anew(path: Path) -> int:
    async with PersistentCache(path) as store:
        return await store.read(_count)


async def _add_people(store: PersistentCache, first: int, count: int = 50) -> None:
    def work(conn: Connection) -> None:
        conn.execute(insert(_person), [{"id": first + n, "name": f"one more {first + n}"} for n in range(count)])

    await store.write(work)


@pytest.fixture
def filled(sqlite_file: Path) -> Path:
    """A store with people, and a backup with the same people."""
    fill(sqlite_file, backup=True)
    return sqlite_file


def _names(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir() if found.name.startswith(path.name))


@pytest.mark.parametrize("with_log", [True, False])
async def test_a_deleted_store_is_said_and_opened_again_once_it_is_back(filled: Path, with_log: bool) -> None:
    async with PersistentCache(filled) as store:
        await _add_people(store, 10_000)
        filled.unlink()
        if with_log:
            for name in _names(filled):
                filled.with_name(name).unlink()
        for _ in range(2):
            with pytest.raises(StoreGone, match="deleted or moved away") as caught:
                await store.read(_count)
            assert "db restore" in caught.value.next_step
            with pytest.raises(StoreGone):
                await _add_people(store, 20_000)
            assert not filled.exists()
        restore(filled)
        assert await store.read(_count) == PEOPLE
        await _add_people(store, 20_000)
        assert await store.read(_count) == PEOPLE + 50
        assert await store.check() == []
    assert await _count_anew(filled) == PEOPLE + 50


async def test_a_store_that_is_moved_away_and_back_is_read_on(filled: Path) -> None:
    async with PersistentCache(filled) as store:
        await _add_people(store, 10_000)
        elsewhere = filled.with_name("elsewhere.db")
        filled.rename(elsewhere)
        with pytest.raises(StoreGone):
            await store.read(_count)
        elsewhere.rename(filled)
        assert await store.read(_count) >= PEOPLE
        assert await store.check() == []


async def test_an_older_store_in_its_place_is_what_is_read_and_written(filled: Path) -> None:
    [backup] = list_backups(filled)
    async with PersistentCache(filled) as store:
        await _add_people(store, 10_000)
        assert await store.read(_count) == PEOPLE + 50
        shutil.copy(backup, filled.with_name("older.db"))
        filled.with_name("older.db").replace(filled)
        assert await store.read(_count) == PEOPLE
        await _add_people(store, 20_000, 7)
        assert await store.read(_count) == PEOPLE + 7
        assert await store.check() == []
    assert await _count_anew(filled) == PEOPLE + 7
    with closing(sqlite3.connect(filled)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_many_questions_at_once_open_the_new_file_once(filled: Path) -> None:
    [backup] = list_backups(filled)
    async with PersistentCache(filled) as store:
        await _add_people(store, 10_000)
        shutil.copy(backup, filled.with_name("older.db"))
        filled.with_name("older.db").replace(filled)
        assert set(await asyncio.gather(*(store.read(_count) for _ in range(30)))) == {PEOPLE}


@pytest.mark.parametrize("size", [0, 100, 4096, 30_000])
async def test_a_store_that_is_cut_short_is_damage_with_the_way_back(filled: Path, size: int) -> None:
    store = PersistentCache(filled)
    await store.initialize()
    try:
        await _add_people(store, 10_000)
        os.truncate(filled, size)
        for _ in range(2):
            with pytest.raises(StoreCorrupt) as caught:
                await store.read(_count)
            assert "doctor --repair" in caught.value.next_step
            with pytest.raises(StoreCorrupt):
                await _add_people(store, 20_000)
        assert repair(filled) is not None  # nothing of it is open any more
        assert await store.read(_count) == PEOPLE
    finally:
        await store.close()
    assert await _count_anew(filled) == PEOPLE


async def test_an_older_store_copied_over_it_is_read_or_called_damaged(filled: Path) -> None:
    [backup] = list_backups(filled)
    async with PersistentCache(filled) as store:
        await _add_people(store, 10_000, 20_000)
        await store.write(lambda conn: conn.exec_driver_sql("SELECT 1"))
    async with PersistentCache(filled) as store:
        await _add_people(store, 50_000)
        shutil.copyfile(backup, filled)
        try:
            found = await store.read(_count)
        except StoreCorrupt as damage:
            assert "doctor --repair" in damage.next_step
        else:
            assert found == PEOPLE
            assert await store.check() == []


async def test_an_empty_file_beside_backups_is_damage_and_repaired(filled: Path) -> None:
    filled.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="it is empty, and there are backups") as caught:
            await PersistentCache(filled).initialize()
        assert "doctor --repair" in caught.value.next_step
        assert filled.stat().st_size == 0
    assert repair(filled) is not None
    assert await _count_anew(filled) == PEOPLE


async def test_an_empty_file_without_backups_is_new(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    assert await _count_anew(path) == 0


async def test_a_store_without_a_file_is_new_whatever_lies_beside(filled: Path) -> None:
    filled.unlink()
    assert await _count_anew(filled) == 0
