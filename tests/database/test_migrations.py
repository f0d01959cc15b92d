"""The schema's way from one revision to the next: from a shell, at start, twice at once, and killed."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from testio_mcp.database import engine, migrate
from testio_mcp.database.backup import list_backups
from testio_mcp.database.cache import PersistentCache
from testio_mcp.errors import StoreBusy, StoreCorrupt, StoreTooNew
from tests.database import migrating
from tests.database.conftest import LockedBy
from tests.database.migrating import NEXT, next_build, state

ROOT = Path(__file__).parents[2]
SCHEMA = "testio"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The place of a store that does not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def older_store(request: pytest.FixtureRequest) -> str:
    """The place of a store with the newest schema, which is an older one to the next build."""
    return str(request.getfixturevalue("sqlite_file" if request.param == "sqlite" else "postgres_url"))


def _opened(place: str) -> PersistentCache:
    if place.startswith("postgresql"):
        return PersistentCache("unused.db", database_url=place)
    return PersistentCache(place)


async def _add_person(place: str) -> None:
    async with _opened(place) as store:
        await store.write(lambda c: c.execute(text("INSERT INTO person (id, name) VALUES (1, 'Ada')")))


def _run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def _migrating(*arguments: str) -> dict[str, Any]:
    done = _run("-m", "tests.database.migrating", *arguments)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return {**report, "stderr": done.stderr}


def _alembic(place: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    variable = "TESTIO_DATABASE_URL" if place.startswith("postgresql") else "TESTIO_DB_PATH"
    return _run("-m", "alembic", *arguments, **{variable: place})


@pytest.mark.slow
async def test_alembic_from_a_checkout(empty_store: str) -> None:
    assert _alembic(empty_store, "upgrade", "head").returncode == 0
    made_by_alembic = await _state(empty_store)
    assert f"('alembic_version', '{migrate.HEAD}')" in made_by_alembic
    check = _alembic(empty_store, "check")
    assert check.returncode == 0, check.stdout
    assert _alembic(empty_store, "downgrade", "base").returncode == 0
    assert [line for line in await _state(empty_store) if "alembic_version" not in line] == []
    async with _opened(empty_store):
        assert await _state(empty_store) == made_by_alembic, "the program makes the same schema"


def test_alembic_has_one_head_and_the_program_knows_every_revision(tmp_path: Path) -> None:
    done = _alembic(str(tmp_path / "unused.db"), "heads")
    assert done.stdout.split() == [migrate.HEAD, "(head)"]
    assert not (tmp_path / "unused.db").exists()

    from alembic.config import Config
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
    assert [script.revision for script in reversed(list(scripts.walk_revisions()))] == list(migrate.REVISIONS)


async def _state(place: str) -> list[str]:
    return await asyncio.to_thread(state, place, SCHEMA)


@pytest.mark.slow
def test_killed_at_many_moments_of_the_first_migration(empty_store: str) -> None:
    report = _migrating("kill", empty_store)
    assert len(report["codes"]) > 5
    assert report["codes"][-1] == 0, report["stderr"]
    assert len(report["states"]) == 2, "there is nothing between the old schema and the new one"
    assert report["states"] == [[], state(empty_store, SCHEMA)]


@pytest.mark.slow
async def test_killed_after_each_statement_of_the_next_migration(older_store: str) -> None:
    await _add_person(older_store)
    before = await _state(older_store)
    report = _migrating("kill", older_store, "next")
    assert report["codes"] == [-9] * (len(report["codes"]) - 1) + [0], report["stderr"]
    assert len(report["codes"]) > (1 if older_store.startswith("postgresql") else 5)
    assert report["states"] == [before, await _state(older_store)]
    assert any("ADA" in line for line in report["states"][1])


@pytest.mark.slow
def test_two_processes_make_the_same_new_store(empty_store: str) -> None:
    report = _migrating("race", empty_store)
    assert report["codes"] == [0] * 2 * migrating.ROUNDS, report["stderr"]
    assert len(report["states"]) == (1 if not empty_store.startswith("postgresql") else migrating.ROUNDS)


@pytest.mark.slow
async def test_two_processes_migrate_the_same_older_store(older_store: str) -> None:
    await _add_person(older_store)
    report = _migrating("race", older_store, "next")
    assert report["codes"] == [0] * 2 * migrating.ROUNDS, report["stderr"]
    is_file = not older_store.startswith("postgresql")
    assert len(report["states"]) == (1 if is_file else migrating.ROUNDS)
    for found in report["states"]:
        assert f"('alembic_version', '{NEXT}')" in found
        assert is_file == any("ADA" in line for line in found)


@pytest.fixture
async def held_lock(older_store: str, locked_by_another_process: LockedBy) -> AsyncIterator[str]:
    """A store that another process seems to migrate, and never ends."""
    if not older_store.startswith("postgresql"):
        with locked_by_another_process(Path(older_store)):
            yield older_store
        return
    connection = await asyncpg.connect(older_store.replace("+asyncpg", ""))
    await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", SCHEMA)
    yield older_store
    await connection.close()


async def test_a_migration_waits_for_another_one_and_then_says_so(
    held_lock: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    impatient = ["PRAGMA busy_timeout=1" if "busy_timeout" in line else line for line in engine._PRAGMAS]
    monkeypatch.setattr(engine, "_PRAGMAS", tuple(impatient))
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 1)
    monkeypatch.setattr(engine, "MIGRATION_SECONDS", 0.5)
    before = await _state(held_lock)
    next_build(tmp_path, monkeypatch.setattr)
    with pytest.raises(StoreBusy, match="Another process is writing"):
        await _opened(held_lock).initialize()
    assert await _state(held_lock) == before


async def _shouted(place: str) -> object:
    async with _opened(place) as store:
        return await store.read(lambda c: c.execute(text("SELECT shouted FROM person")).scalar())


async def test_an_older_store_is_migrated_with_its_rows(
    older_store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await _add_person(older_store)
    next_build(tmp_path, monkeypatch.setattr)
    assert await _shouted(older_store) == "ADA"


async def test_an_older_file_is_backed_up_first(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await _add_person(str(sqlite_file))
    before = await _state(str(sqlite_file))
    assert list_backups(sqlite_file) == [], "a new file and an up-to-date one need no copy"
    next_build(tmp_path, monkeypatch.setattr)
    assert await _shouted(str(sqlite_file)) == "ADA"
    (copy,) = list_backups(sqlite_file)
    assert await _state(str(copy)) == before
    assert await _shouted(str(sqlite_file)) == "ADA"
    assert list_backups(sqlite_file) == [copy]


async def test_no_backup_no_migration(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = await _state(str(sqlite_file))
    next_build(tmp_path, monkeypatch.setattr)
    (tmp_path / "backups").write_text("in the way")
    with pytest.raises(Exception, match=r"store\.db"):
        await _shouted(str(sqlite_file))
    assert await _state(str(sqlite_file)) == before


async def test_newer_store_is_refused_untouched(older_store: str) -> None:
    async with _opened(older_store) as store:
        await store.write(lambda c: c.execute(text(f"UPDATE alembic_version SET version_num = '{NEXT}'")))
    before = await _state(older_store)
    content = None if older_store.startswith("postgresql") else Path(older_store).read_bytes()
    with pytest.raises(StoreTooNew) as caught:
        await _opened(older_store).initialize()
    assert NEXT in caught.value.message
    assert migrate.HEAD in caught.value.message
    assert "Upgrade testio-mcp" in caught.value.next_step
    assert await _state(older_store) == before
    assert content is None or Path(older_store).read_bytes() == content


@pytest.mark.parametrize("schema", ["user", "acme_2"])
async def test_any_schema_name_works(empty_postgres_url: str, schema: str) -> None:
    for _ in range(2):
        async with PersistentCache("unused.db", database_url=empty_postgres_url, schema=schema) as store:
            names = await store.read(lambda c: c.execute(text("SELECT current_schema()")).scalar())
            assert names == schema


async def test_two_schemas_are_two_stores(empty_postgres_url: str) -> None:
    async with (
        PersistentCache("unused.db", database_url=empty_postgres_url, schema="one") as one,
        PersistentCache("unused.db", database_url=empty_postgres_url, schema="two") as two,
    ):
        await one.write(lambda c: c.execute(text("INSERT INTO person (id, name) VALUES (1, 'Ada')")))
        assert await two.read(lambda c: c.execute(text("SELECT count(*) FROM person")).scalar()) == 0


async def test_database_that_another_program_made(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE product (price REAL)")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="another program"):
        await PersistentCache(path).initialize()
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


async def test_schema_that_another_program_made(empty_postgres_url: str) -> None:
    place = partial(PersistentCache, "unused.db", database_url=empty_postgres_url, schema="public")
    async with place(skip_migrations=True) as other:
        await other.write(lambda c: c.execute(text("CREATE TABLE price (amount INTEGER)")))
    with pytest.raises(StoreCorrupt, match="another program"):
        await place().initialize()
