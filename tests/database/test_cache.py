"""The life of a store: opened once, closed whole, read while it is written."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, func, select, text
from sqlalchemy.exc import IntegrityError

from testio_mcp.database import cache, engine
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.engine import get_async_session
from testio_mcp.database.tables import Person, table_of
from testio_mcp.errors import BadInput, StoreBusy, StoreError, StoreReadOnly
from tests.database.conftest import LockedBy

_person = table_of(Person)
Work = Callable[[Connection], object]


def _count(connection: Connection) -> int:
    return int(connection.execute(select(func.count(_person.c.id))).scalar_one())


def _add(number: int) -> Work:
    return lambda connection: connection.execute(_person.insert(), [{"id": number, "name": f"person {number}"}])


def _open_files(directory: Path) -> list[str]:
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(link) for link in links if link.is_relative_to(directory)]


async def test_initialize_twice_opens_once(closed_store: PersistentCache) -> None:
    await asyncio.gather(closed_store.initialize(), closed_store.initialize())
    first = closed_store.engine, closed_store.connection, closed_store.async_session_maker
    await closed_store.initialize()
    assert first == (closed_store.engine, closed_store.connection, closed_store.async_session_maker)
    await closed_store.close()


async def test_close_twice_and_open_again(closed_store: PersistentCache) -> None:
    for number in (1, 2):
        await closed_store.initialize()
        await closed_store.write(_add(number))
        await closed_store.close()
        await closed_store.close()
    async with closed_store:
        assert await closed_store.read(_count) == 2


async def test_closed_store_says_so(closed_store: PersistentCache) -> None:
    with pytest.raises(StoreError, match="not open"):
        await closed_store.read(_count)
    with pytest.raises(StoreError, match="not open"):
        _ = closed_store.async_session_maker


@pytest.mark.parametrize("step", ["_open", "_migrate", "_revision"])
async def test_half_way_failure_leaves_nothing_open(
    closed_store: PersistentCache, monkeypatch: pytest.MonkeyPatch, step: str, tmp_path: Path
) -> None:
    original = getattr(PersistentCache, step)

    async def fail(self: PersistentCache) -> None:
        await original(self)
        raise RuntimeError(step)

    with monkeypatch.context() as patch:
        patch.setattr(PersistentCache, step, fail)
        with pytest.raises(RuntimeError, match=step):
            await closed_store.initialize()
    assert _open_files(tmp_path) == []
    assert [t.name for t in threading.enumerate() if t.name.startswith("store-reader")] == []
    async with closed_store:
        assert await closed_store.read(_count) == 0


async def test_close_closes_the_rest_when_a_part_fails(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with PersistentCache(sqlite_file) as store:
        await store.read(_count)
        connection = store.connection
        assert connection is not None
        close = connection.close

        async def fail() -> None:
            await close()
            raise RuntimeError("close")

        monkeypatch.setattr(connection, "close", fail)
        with pytest.raises(RuntimeError, match="close"):
            await store.close()
    assert _open_files(sqlite_file.parent) == []


async def test_write_is_all_or_nothing(store: PersistentCache) -> None:
    def work(connection: Connection) -> None:
        _add(1)(connection)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        await store.write(work)
    assert await store.read(_count) == 0


async def test_sessions_and_reads_see_the_same_store(store: PersistentCache) -> None:
    async with get_async_session(store.async_session_maker) as session:
        session.add(Person(id=1, name="Ada"))
    assert await store.read(_count) == 1


async def test_reads_go_on_while_a_write_is_open(store: PersistentCache) -> None:
    async with store.engine.begin() as writer:
        await writer.run_sync(_add(1))
        assert await asyncio.gather(*(store.read(_count) for _ in range(20))) == [0] * 20
    assert await asyncio.gather(*(store.read(_count) for _ in range(20))) == [1] * 20


async def test_concurrent_writes_follow_each_other(store: PersistentCache) -> None:
    await asyncio.gather(*(store.write(_add(number)) for number in range(20)))
    assert await store.read(_count) == 20


async def test_every_write_takes_the_lock_first_and_no_read_does(sqlite_file: Path) -> None:
    """Whoever reads before he writes in one transaction fails at once beside another writer."""
    seen: list[str] = []

    def trace(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(seen.append)

    event.listen(Engine, "connect", trace)
    try:
        async with PersistentCache(sqlite_file) as store:
            seen.clear()  # opening reads what the store holds
            await store.write(lambda c: c.execute(select(func.count(_person.c.id))).scalar())
            await store.write(_add(1))
            with pytest.raises(IntegrityError):
                await store.write(_add(1))
            writes = [line for line in seen if "PRAGMA" not in line]
            seen.clear()
            await store.read(_count)
    finally:
        event.remove(Engine, "connect", trace)
    begins = [line for line in writes if line.startswith(("BEGIN", "COMMIT", "ROLLBACK"))]
    assert begins == ["BEGIN IMMEDIATE", "COMMIT"] * 2 + ["BEGIN IMMEDIATE", "ROLLBACK"]
    assert writes[0] == "BEGIN IMMEDIATE"
    assert [line for line in seen if line.startswith("BEGIN")] == ["BEGIN"]


async def test_a_read_sees_one_moment(sqlite_file: Path) -> None:
    """Another write between two statements of a read does not show in the second."""
    async with PersistentCache(sqlite_file) as store:
        loop = asyncio.get_running_loop()

        def work(connection: Connection) -> tuple[int, int]:
            before = _count(connection)
            asyncio.run_coroutine_threadsafe(store.write(_add(1)), loop).result()
            return before, _count(connection)

        assert await store.read(work) == (0, 0)
        assert await store.read(_count) == 1


@pytest.mark.parametrize(
    "statement", ["INSERT INTO person (id, name) VALUES (1, 'x')", "DELETE FROM person", "CREATE TABLE x (y INTEGER)"]
)
async def test_reader_cannot_write(store: PersistentCache, statement: str) -> None:
    with pytest.raises(StoreReadOnly):
        await store.read(lambda connection: connection.execute(text(statement)))
    assert await store.read(_count) == 0, "the reader still works"


@pytest.mark.parametrize("failure", [StopIteration, RuntimeError, KeyboardInterrupt])
async def test_failure_of_a_read_reaches_the_caller(sqlite_file: Path, failure: type[BaseException]) -> None:
    def work(_: Connection) -> None:
        raise failure

    async with PersistentCache(sqlite_file) as store:
        for _ in range(5):  # more often than there are readers: each of them lives on
            with pytest.raises(RuntimeError if failure is StopIteration else failure):
                await store.read(work)
        assert await store.read(_count) == 0


async def test_cancelled_read_frees_its_reader(sqlite_file: Path) -> None:
    async with PersistentCache(sqlite_file) as store:
        started, go_on = threading.Event(), threading.Event()

        def work(_: Connection) -> None:
            started.set()
            assert go_on.wait(60)

        readers = [asyncio.create_task(store.read(work)) for _ in range(8)]
        assert await asyncio.to_thread(started.wait, 60)
        for reader in readers:
            reader.cancel()
        go_on.set()
        await asyncio.gather(*readers, return_exceptions=True)
        assert all(reader.cancelled() for reader in readers)
        assert await store.read(_count) == 0


async def test_locked_by_another_process(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch, locked_by_another_process: LockedBy
) -> None:
    monkeypatch.setattr(engine, "_PRAGMAS", tuple(_without_waiting(engine._PRAGMAS)))
    async with PersistentCache(sqlite_file) as store:
        with locked_by_another_process(sqlite_file):
            with pytest.raises(StoreBusy) as caught:
                await store.write(_add(1))
            assert str(sqlite_file) in caught.value.message
            assert await store.read(_count) == 0
        await store.write(_add(1))
        assert await store.read(_count) == 1


def _without_waiting(pragmas: tuple[str, ...]) -> list[str]:
    return ["PRAGMA busy_timeout=0" if "busy_timeout" in pragma else pragma for pragma in pragmas]


async def test_writer_that_never_ends_makes_the_next_one_busy(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PersistentCache(sqlite_file) as store:
        monkeypatch.setattr(store.engine.pool, "_timeout", 0)
        async with store.engine.begin():
            with pytest.raises(StoreBusy):
                await store.write(_add(1))
        await store.write(_add(1))


async def test_place_hides_the_password(tmp_path: Path, canary: str) -> None:
    store = PersistentCache(
        tmp_path / "x.db", database_url=f"postgresql+asyncpg://user:{canary}@127.0.0.1:1/data", schema="acme"
    )
    with pytest.raises(StoreError) as caught:
        await store.initialize()
    assert store.place == "127.0.0.1/data (schema acme)"
    assert canary not in str(caught.value)
    assert canary not in repr(store)


@pytest.mark.parametrize("url", ["mysql://host/x", "postgresql://host", "nonsense", "postgresql+asyncpg://h:port/x"])
def test_unusable_address(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadInput, match="TESTIO_DATABASE_URL"):
        PersistentCache(tmp_path / "x.db", database_url=url)


async def test_unknown_database_and_stopped_server(postgres_url: str, tmp_path: Path) -> None:
    for url in (postgres_url.replace("/t_", "/missing_"), postgres_url.partition("?")[0] + f"?host={tmp_path}"):
        with pytest.raises(StoreError, match="did not answer") as caught:
            await PersistentCache(tmp_path / "x.db", database_url=url).initialize()
        assert "TESTIO_DATABASE_URL" in caught.value.next_step


async def test_defect_of_a_statement_is_not_blamed_on_the_store(store: PersistentCache) -> None:
    with pytest.raises(Exception, match="no_such_column") as caught:
        await store.read(lambda connection: connection.execute(text("SELECT no_such_column FROM person")))
    assert not isinstance(caught.value, StoreError)


async def test_skipped_migrations_warn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "upgrade", None)
    async with PersistentCache(tmp_path / "new.db", skip_migrations=True) as store:
        names = await store.read(lambda c: c.execute(text("SELECT name FROM sqlite_master")).scalars().all())
    assert names == []
    assert "TESTIO_SKIP_MIGRATIONS" in caplog.text


async def test_sqlite_only_commands(store: PersistentCache) -> None:
    if store.connection is not None:
        assert await store.check() == []
        assert (await store.backup()).is_file()
        return
    with pytest.raises(BadInput, match="SQLite"):
        await store.check()
    with pytest.raises(BadInput, match="SQLite"):
        await store.backup()


async def test_a_store_that_was_just_made_is_one_file_once_it_is_closed(tmp_path: Path) -> None:
    async with PersistentCache(tmp_path / "new.db") as store:
        await store.write(_add(1))
        assert await store.read(_count) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]
