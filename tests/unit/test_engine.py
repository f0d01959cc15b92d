"""The connection settings that the store relies on are really in force."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.dialect import insert_missing
from testio_mcp.database.engine import (
    BUSY_TIMEOUT_MS,
    MEMORY,
    create_async_engine_for_sqlite,
    create_session_factory,
    create_sqlite_reader,
    get_async_session,
    initialize_database,
)
from testio_mcp.database.tables import Person, table_of

_person = table_of(Person)


@pytest.fixture
async def engine(sqlite_file: Path) -> AsyncIterator[AsyncEngine]:
    """The writing engine of a store on disk."""
    engine = create_async_engine_for_sqlite(sqlite_file)
    yield engine
    await engine.dispose()


@pytest.fixture
def statements(engine: AsyncEngine) -> list[str]:
    """Every statement that reaches SQLite on the writing connection, once it is set up."""
    seen: list[str] = []

    def watch(connection: Any, _record: object) -> None:
        connection.run_async(lambda driver: driver.set_trace_callback(seen.append))

    event.listen(engine.sync_engine, "connect", watch)
    return seen


async def _people(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return (await connection.execute(select(func.count(_person.c.id)))).scalar_one()


@pytest.mark.parametrize(
    ("pragma", "expected"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", BUSY_TIMEOUT_MS)],
)
async def test_writer_settings(sqlite_file: Path, engine: AsyncEngine, pragma: str, expected: object) -> None:
    async with engine.connect() as connection:
        assert (await connection.execute(text(f"PRAGMA {pragma}"))).scalar() == expected
    async with PersistentCache(sqlite_file) as store:
        assert await store.write(lambda c: c.execute(text(f"PRAGMA {pragma}")).scalar()) == expected


@pytest.mark.parametrize(("pragma", "expected"), [("query_only", 1), ("busy_timeout", BUSY_TIMEOUT_MS)])
def test_reader_settings(sqlite_file: Path, pragma: str, expected: object) -> None:
    engine = create_sqlite_reader(sqlite_file, 1)
    with engine.connect() as connection:
        assert connection.execute(text(f"PRAGMA {pragma}")).scalar() == expected
    engine.dispose()


def test_reader_path_with_url_characters(sqlite_file: Path) -> None:
    odd = sqlite_file.with_name("a?b#c%41 d.db")
    sqlite_file.rename(odd)
    engine = create_sqlite_reader(odd, 1)
    with engine.connect() as connection:
        assert connection.execute(select(func.count(_person.c.id))).scalar() == 0
    engine.dispose()


async def test_every_transaction_takes_the_write_lock_first(engine: AsyncEngine, statements: list[str]) -> None:
    """A transaction that reads before it writes fails at once beside another writer."""
    async with engine.begin() as connection:
        await connection.execute(select(func.count(_person.c.id)))
        await connection.execute(_person.insert(), [{"id": 1, "name": "Ada"}])
    async with get_async_session(create_session_factory(engine)) as session:
        session.add(Person(id=2, name="Grace"))
    with suppress(IntegrityError):
        async with engine.begin() as connection:
            await connection.execute(_person.insert(), [{"id": 1, "name": "Ada"}])
    async with engine.begin() as connection, connection.begin_nested():
        await connection.run_sync(insert_missing, _person, [{"id": 3, "name": "Alan"}])
    await initialize_database(engine)

    ends = [n for n, statement in enumerate(statements) if statement in ("COMMIT", "ROLLBACK")]
    firsts = [statements[n] for n in [0, *(end + 1 for end in ends)] if n < len(statements)]
    assert len(firsts) == 5
    assert set(firsts) == {"BEGIN IMMEDIATE"}
    assert statements[-1] == "COMMIT"


async def test_foreign_keys_are_enforced(engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        async with engine.begin() as connection:
            await connection.execute(text("INSERT INTO section (id, product_id, name) VALUES (1, 99, 'x')"))


async def test_session_commits(engine: AsyncEngine) -> None:
    async with get_async_session(create_session_factory(engine)) as session:
        person = Person(id=1, name="Ada")
        session.add(person)
    assert person.name == "Ada", "the object stays readable after the commit"
    assert await _people(engine) == 1


@pytest.mark.parametrize("failure", [RuntimeError, asyncio.CancelledError, KeyboardInterrupt])
async def test_session_rolls_back_on(engine: AsyncEngine, failure: type[BaseException]) -> None:
    with pytest.raises(failure):
        async with get_async_session(create_session_factory(engine)) as session:
            session.add(Person(id=1, name="Ada"))
            await session.flush()
            raise failure
    assert await _people(engine) == 0
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_session_is_rolled_back_and_closed_when_the_commit_fails(mock_async_session: AsyncMock) -> None:
    mock_async_session.commit.side_effect = OSError("disk")
    factory = MagicMock()
    factory.return_value.__aenter__ = AsyncMock(return_value=mock_async_session)
    factory.return_value.__aexit__ = AsyncMock(return_value=None)
    with pytest.raises(OSError, match="disk"):
        async with get_async_session(factory):
            pass
    mock_async_session.rollback.assert_awaited_once()
    factory.return_value.__aexit__.assert_awaited_once()


async def test_memory_is_one_shared_connection() -> None:
    engine = create_async_engine_for_sqlite(MEMORY)
    await initialize_database(engine)
    async with get_async_session(create_session_factory(engine)) as session:
        session.add(Person(id=1, name="Ada"))
    assert await _people(engine) == 1
    await engine.dispose()


async def test_initialize_database_twice_changes_nothing(engine: AsyncEngine, statements: list[str]) -> None:
    await initialize_database(engine)
    assert not [s for s in statements if s.startswith(("CREATE", "DROP", "ALTER", "INSERT", "UPDATE", "DELETE"))]


async def test_async_session_fixture_undoes_commits(async_engine: AsyncEngine) -> None:
    async with async_engine.connect() as connection:
        outer = await connection.begin()
        async with AsyncSession(bind=connection, join_transaction_mode="create_savepoint") as session:
            session.add(Person(id=1, name="Ada"))
            await session.commit()
        await outer.rollback()
    assert await _people(async_engine) == 0


async def test_relationships_load(async_session: AsyncSession) -> None:
    from testio_mcp.database.tables import Product, Section

    now = datetime(2026, 11, 22, tzinfo=UTC)
    async_session.add(Product(id=1, name="Shop", synced_at=now, raw="{}"))
    async_session.add(Section(id=2, product_id=1, name="App"))
    await async_session.flush()
    product = await async_session.get_one(Product, 1)
    await async_session.refresh(product, ["sections"])
    assert [section.name for section in product.sections] == ["App"]
    assert product.sections[0].product is product


async def test_memory_store_opens_and_closes() -> None:
    async with PersistentCache(MEMORY) as store:
        await store.write(lambda c: c.execute(_person.insert(), [{"id": 1, "name": "Ada"}]))
        assert await store.read(lambda c: c.execute(select(_person.c.name)).scalars().all()) == ["Ada"]
