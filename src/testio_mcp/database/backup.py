"""Verified copies of a SQLite store."""

import os
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import aiosqlite

from testio_mcp.database.faults import store_errors
from testio_mcp.errors import StoreCorrupt, StoreReadOnly

KEEP = 5
_STAMP = "%Y%m%dT%H%M%S%fZ"
_WIDTH = len("20261122T211520000000Z")


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
    rows = await connection.execute_fetchall("PRAGMA integrity_check")
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


async def back_up(connection: aiosqlite.Connection, db_path: Path) -> Path:
    """Copy the store into its backup directory, verify the copy, and keep the newest five.

    Returns the path of the copy. Raises `StoreCorrupt` when the copy does not hold what the store holds.
    """
    directory = backup_directory(db_path)
    final = directory / f"{db_path.stem}-{_stamp(db_path)}.db"
    partial = final.with_suffix(".partial")
    with store_errors(str(db_path)):
        directory.mkdir(mode=0o700, exist_ok=True)
        # VACUUM INTO fills an existing empty file and keeps its mode; a file of its own making would be 0644.
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            before = await _data_version(connection)
            await connection.execute("VACUUM INTO ?", (str(partial),))
            contents = await _contents(connection)
            changed = await _data_version(connection) != before
            await _verify(partial, None if changed else contents)
            flush(partial)
            partial.rename(final)
            flush(directory)
        finally:
            partial.unlink(missing_ok=True)
    for old in list_backups(db_path)[KEEP:]:
        old.unlink(missing_ok=True)
    return final


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
    # Another store of the directory may have this one's name as the beginning of its own.
    ours = re.compile(re.escape(db_path.stem) + r"-\d{8}T\d{12}Z\.db")
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
    async with aiosqlite.connect(f"file:{quote(str(copy))}?mode=ro", uri=True) as connection:
        sound = not await check_integrity(connection)
        contents = await _contents(connection)
    if not sound or (expected is not None and contents != expected):
        raise StoreCorrupt(
            "The backup does not hold what the store holds, so it was discarded.",
            "Run 'testio-mcp db check', then try again.",
        )


def flush(path: Path) -> None:
    """Have a file, or the names in a directory, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
