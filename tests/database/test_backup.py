"""Copies of a store: killed at any step, beside a writer, of an older schema, large."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from testio_mcp.database import backup, migrate
from testio_mcp.database.backup import backup_directory, list_backups
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.examine import refuse_damaged
from testio_mcp.database.restore import complaint, restore
from testio_mcp.errors import StoreCorrupt, StoreFull
from tests.database.filled import PEOPLE, count_people, fill
from tests.database.migrating import NEXT, next_build

_KILLED = """
import asyncio, os, shutil, sys
from pathlib import Path
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.migrate import HEAD

async def work(path):
    async with PersistentCache(path) as store:
        await store.backup()

number, code = 0, -9
while code:
    number += 1
    copy = Path(sys.argv[2]) / str(number)
    shutil.copytree(sys.argv[1], copy)
    os.environ["TESTIO_FAULT"] = f"backup.step:{number}:kill"
    if not (child := os.fork()):
        asyncio.run(work(copy / "store.db"))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def _names(path: Path) -> list[str]:
    return sorted(file.name for file in backup_directory(path).iterdir())


@pytest.mark.slow
def test_a_backup_that_is_killed_leaves_only_sound_ones(
    sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is left of a copy is private, is not taken for a backup, and goes with the next one."""
    fill(sqlite_file, backup=True)
    place = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", _KILLED, str(sqlite_file.parent), str(place)], check=True)
    left = sorted(place.iterdir())
    assert len(left) == 6  # made, copied, verified, renamed, done; and the one that came through
    partials = 0
    for directory in left:
        path = directory / "store.db"
        found = list_backups(path)
        partials += len(_names(path)) - len(found)
        assert [complaint(copy) for copy in found] == [None] * len(found)
        assert {stat.S_IMODE(file.stat().st_mode) for file in backup_directory(path).iterdir()} == {0o600}
        refuse_damaged(path)
        fill(path, PEOPLE + 1, backup=True)
        assert _names(path) == sorted(copy.name for copy in list_backups(path))
        assert len(list_backups(path)) == len(found) + 1
    assert partials == 3


async def test_two_backups_at_once_leave_each_other_alone(sqlite_file: Path) -> None:
    async with PersistentCache(sqlite_file) as one, PersistentCache(sqlite_file) as other:
        made = await asyncio.gather(one.backup(), other.backup(), one.backup(), other.backup())
    assert sorted(list_backups(sqlite_file)) == sorted(made)


async def test_the_copy_before_a_migration_is_a_whole_store(
    sqlite_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its pages are copied, those in the log of another process too; people are told what takes long."""
    await asyncio.to_thread(fill, sqlite_file)
    writer = sqlite3.connect(sqlite_file)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    with writer:
        writer.execute("INSERT INTO person (id, name) VALUES (?, 'in the log')", (PEOPLE + 1,))
    monkeypatch.setattr(backup, "_WORTH_TELLING", 0)
    with monkeypatch.context() as newer:
        next_build(tmp_path / "next", newer.setattr)
        async with PersistentCache(sqlite_file) as store:
            assert await store.read(lambda c: c.execute(text("SELECT count(*) FROM gadget")).scalar()) == PEOPLE + 1
    writer.close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert str(backup_directory(sqlite_file)) in caplog.text
    (copy,) = list_backups(sqlite_file)
    assert [complaint(copy), _names(sqlite_file)] == [None, [copy.name]]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    # This build knows the copy's revision, and not the store's any more.
    assert NEXT not in migrate.REVISIONS
    await asyncio.to_thread(restore, sqlite_file)
    assert await asyncio.to_thread(count_people, sqlite_file) == PEOPLE + 1


async def test_a_damaged_store_is_not_migrated(
    sqlite_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its copy is as damaged as it is: neither pushes a sound backup out, nor lets the migration go ahead."""
    await asyncio.to_thread(fill, sqlite_file, backup=True)
    content = sqlite_file.read_bytes()
    at = content.rindex(b"person 00007 ")
    damaged = content[:at] + b"nobody" + content[at + 6 :]
    sqlite_file.write_bytes(damaged)
    sound = _names(sqlite_file)
    next_build(tmp_path / "next", monkeypatch.setattr)
    with pytest.raises(StoreCorrupt, match="doctor"):
        await PersistentCache(sqlite_file).initialize()
    assert _names(sqlite_file) == sound
    assert sqlite_file.read_bytes() == damaged


async def _back_up(path: Path) -> str | None:
    async with PersistentCache(path) as store:
        try:
            return (await store.backup()).name
        except StoreFull:
            return None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_disk_that_fills_up_at_any_moment_of_a_backup(sqlite_file: Path, tmp_path: Path) -> None:
    """With however little room, there is a sound backup or none, and the store is what it was."""
    fill(sqlite_file)
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    path = place / "store.db"
    outcomes = []
    for room in range(0, 3_000, 300):
        size = sqlite_file.stat().st_size // 1024 + 200 + room
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k,mode=0700", "tmpfs", str(place)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a file system")
        try:
            shutil.copy(sqlite_file, path)
            made = asyncio.run(_back_up(path))
            assert _names(path) == ([made] if made else [])
            assert [complaint(copy) for copy in list_backups(path)] == ([None] if made else [])
            assert count_people(path) == PEOPLE
            outcomes.append(made is not None)
        finally:
            subprocess.run(["umount", str(place)], check=True)
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}
