"""Verified copies of a SQLite store."""

import logging
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import aiosqlite

from testio_mcp import crash_points
from testio_mcp.database.engine import CHECKING_CACHE, USUAL_CACHE
from testio_mcp.database.faults import store_errors
from testio_mcp.errors import StoreCorrupt, StoreReadOnly

KEEP = 5
_WORTH_TELLING = 100 * 2**20
"""Bytes from which on a copy takes so long that people ask what is going on."""
_STAMP = "%Y%m%dT%H%M%S%fZ"
_WIDTH = len("20261122T211520000000Z")
_Copy = Callable[[aiosqlite.Connection, Path], Awaitable[dict[str, int] | None]]
logger = logging.getLogger(__name__)


def backup_directory(db_path: Path) -> Path:
    """Where the copies of a store go."""
    return db_path.parent / "backups"


def aside_directory(db_path: Path) -> Path:
    """Where the files go that a restore or a repair replaces."""
    return db_path.parent / "aside"


async def check_integrity(connection: aiosqlite.Connection) -> list[str]:
    """What SQLite finds wrong in the whole file; an empty list for a sound one.

    `quick_check` costs about as much and finds a fraction of the damage.
    """
    await connection.execute(CHECKING_CACHE)
    rows = await connection.execute_fetchall("PRAGMA integrity_check")
    await connection.execute(USUAL_CACHE)
    found = [str(row[0]) for row in rows]
    return [] if found == ["ok"] else found


async def _contents(connection: aiosqlite.Connection) -> dict[str, int]:
    names = await connection.execute_fetchall(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    )
    counts = {}
    for (name,) in names:
        quoted = '"' + str(name).replace('"', '""') + '"'
        rows = await connection.execute_fetchall(f"SELECT count(*) FROM {quoted}")  # noqa: S608 - quoted name
        counts[str(name)] = int(next(iter(rows))[0])
    return counts


async def back_up(connection: aiosqlite.Connection, db_path: Path, *, is_urgent: bool = False) -> Path:
    """Copy the store into its backup directory, verify the copy, and keep the newest five.

    An urgent copy is made page by page: larger, and several times as quick where memory is short. Returns the path
    of the copy. Raises `StoreCorrupt` when the copy does not hold what the store holds, or is damaged like it.
    """
    directory = backup_directory(db_path)
    with store_errors(str(db_path)):
        directory.mkdir(mode=0o700, exist_ok=True)
        with _making(directory, db_path):
            final = directory / f"{db_path.stem}-{_stamp(db_path)}.db"
            await _make(connection, db_path, final, _copy_pages if is_urgent else _copy_rows)
    for old in list_backups(db_path)[KEEP:]:
        old.unlink(missing_ok=True)
    crash_points.crash_point("backup.step")
    return final


async def _make(connection: aiosqlite.Connection, db_path: Path, final: Path, copy: _Copy) -> None:
    partial = final.with_suffix(".partial")
    # VACUUM INTO fills an existing empty file and keeps its mode; a file of its own making would be 0644.
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        crash_points.crash_point("backup.step")
        announce(db_path, f"Copying the store {db_path} to {final}.")
        contents = await copy(connection, partial)
        crash_points.crash_point("backup.step")
        announce(db_path, f"Reading every page of {partial}.")
        await _verify(partial, contents)
        flush(partial)
        crash_points.crash_point("backup.step")
        partial.rename(final)
        crash_points.crash_point("backup.step")
        flush(final.parent)
    finally:
        partial.unlink(missing_ok=True)


def announce(db_path: Path, what: str) -> None:
    """Log what is about to happen to a file; where it is large, so that people see it."""
    is_large = db_path.stat().st_size >= _WORTH_TELLING
    logger.log(logging.WARNING if is_large else logging.INFO, what)


@contextmanager
def _making(directory: Path, db_path: Path) -> Iterator[None]:
    """Tell other processes that a copy is under way, and where none is, remove what a killed one has left.

    The lock is one of the directory: on some systems, one of the file would keep SQLite out of it.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in _ours(db_path, "partial"):
                path.unlink(missing_ok=True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


async def _copy_rows(connection: aiosqlite.Connection, partial: Path) -> dict[str, int] | None:
    """Write the store anew, without gaps; the rows of its tables, None when they changed meanwhile."""
    before = await _data_version(connection)
    await connection.execute("VACUUM INTO ?", (str(partial),))
    contents = await _contents(connection)
    return contents if await _data_version(connection) == before else None


async def _copy_pages(connection: aiosqlite.Connection, partial: Path) -> dict[str, int]:
    """Write the pages of one snapshot; the rows of its tables."""
    async with _snapshot(connection), aiosqlite.connect(partial, isolation_level=None) as copy:
        # The whole file is flushed once it is verified, and nobody needs one that is not whole.
        await copy.execute("PRAGMA synchronous=OFF")
        await copy.execute("PRAGMA journal_mode=OFF")
        await connection.backup(copy)
        return await _contents(connection)


@asynccontextmanager
async def _snapshot(connection: aiosqlite.Connection) -> AsyncIterator[None]:
    await connection.execute("BEGIN")
    try:
        yield
    finally:
        with suppress(sqlite3.OperationalError):  # an error of the disk has ended it already
            await connection.execute("ROLLBACK")


def _stamp(db_path: Path) -> str:
    """The time, or when the clock was set back, the moment after the newest copy: their names tell their order."""
    now = datetime.now(UTC)
    for newest in list_backups(db_path)[:1]:
        with suppress(ValueError, OverflowError):  # a name may have the form of a moment and be none
            last = datetime.strptime(newest.stem[-_WIDTH:], _STAMP).replace(tzinfo=UTC)
            now = max(now, last + timedelta(microseconds=1))
    return now.strftime(_STAMP)


def list_backups(db_path: Path) -> list[Path]:
    """The verified copies of a store, newest first. Raises `StoreReadOnly` where this user may not look."""
    return _ours(db_path, "db")


def _ours(db_path: Path, suffix: str) -> list[Path]:
    # Another store of the directory may have this one's name as the beginning of its own.
    ours = re.compile(re.escape(db_path.stem) + r"-\d{8}T\d{12}Z\." + suffix)
    directory = backup_directory(db_path)
    try:
        found = sorted(directory.iterdir(), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise StoreReadOnly(f"The directory {directory} cannot be read.", "Let this user read it.") from None
    return [path for path in found if ours.fullmatch(path.name)]


async def _data_version(connection: aiosqlite.Connection) -> int:
    """A number that changes when anybody else writes to the file."""
    rows = await connection.execute_fetchall("PRAGMA data_version")
    return int(next(iter(rows))[0])


async def _verify(copy: Path, expected: dict[str, int] | None) -> None:
    """Check the whole copy, and compare its rows with `expected` unless the store changed meanwhile."""
    async with aiosqlite.connect(f"file:{quote(str(copy))}?mode=ro&immutable=1", uri=True) as connection:
        sound = not await check_integrity(connection)
        contents = await _contents(connection)
    if not sound or (expected is not None and contents != expected):
        raise StoreCorrupt(
            "The backup is damaged or does not hold what the store holds, so it was discarded.",
            "Run 'testio-mcp doctor': it shows whether the store itself is damaged.",
        )


def flush(path: Path) -> None:
    """Have a file, or the names in a directory, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
