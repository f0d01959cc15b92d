"""Looking at a store that may be damaged, of any revision, or in a closed directory: nothing is changed."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection

from testio_mcp.database.backup import list_backups
from testio_mcp.database.engine import CHECKING_CACHE, USUAL_CACHE, create_sqlite_reader
from testio_mcp.database.faults import store_errors
from testio_mcp.database.migrate import HEAD, current_revision, refuse_newer
from testio_mcp.database.tables import metadata
from testio_mcp.errors import StoreCorrupt, StoreForeign

REPAIR = "Run 'testio-mcp doctor --repair'."
_MAKING_SECONDS = 1.0
_MAGIC, _WRITE_AHEAD_LOG = b"SQLite format 3\0", 2
_SIZE = sum(len(table.c) for table in metadata.sorted_tables)
_COLUMNS = {
    "sqlite": "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'",
    "postgresql": (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
    ),
}


def files_of(db_path: Path) -> list[Path]:
    """The files that a SQLite store consists of, main file first; only those that exist."""
    names = (db_path.name + suffix for suffix in ("", "-journal", "-wal", "-shm"))
    return [path for path in map(db_path.with_name, names) if path.exists()]


@contextmanager
def reading(db_path: Path, *, at_rest: bool = False) -> Iterator[Connection]:
    """A read-only connection that neither creates nor migrates nor checkpoints.

    `at_rest` says that nobody writes to the file, so that none is made beside it. Raises a `StoreError`.
    """
    log = db_path.with_name(f"{db_path.name}-wal")
    has_log = log.exists()
    is_closed = not os.access(db_path.parent, os.W_OK) and not (has_log and log.stat().st_size)
    engine = create_sqlite_reader(db_path, 1, immutable=at_rest or is_closed)
    try:
        with store_errors(str(db_path)):
            # Before the connection: to close a file anywhere gives up all locks that this process has on it.
            header = _header(db_path)
            with engine.connect() as connection:
                _refuse_strange(header, db_path)
                yield connection
    finally:
        engine.dispose()
        if log.exists() and not has_log:
            _remove_empty_files(db_path)


def _remove_empty_files(db_path: Path) -> None:
    """Have SQLite remove the empty files beside a store that nobody else has open: a reader may only make them.

    On a damaged file even the text of SQLite's error may be none that Python can decode.
    """
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(sqlite3.connect(db_path)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()


def _header(db_path: Path) -> bytes:
    with db_path.open("rb") as file:
        return file.read(20)


def _refuse_strange(header: bytes, db_path: Path) -> None:
    """SQLite reads a file whose header asks for a later way of writing, and then calls it read-only."""
    if header.startswith(_MAGIC) and header[18] > _WRITE_AHEAD_LOG:
        raise StoreCorrupt(f"The header of the store {db_path} is damaged.", REPAIR)


def revision_of(conn: Connection, place: str) -> str | None:
    """The store's revision, None for an empty store. Raises `StoreTooNew`, `StoreForeign` or `StoreCorrupt`."""
    try:
        revision = current_revision(conn, place)
    except StoreForeign:
        if conn.dialect.name == "sqlite" and len(missing_parts(conn)) < _SIZE / 2:
            raise StoreCorrupt(f"The store {place} has lost its schema revision.", REPAIR) from None
        raise
    refuse_newer(revision, place)
    return revision


def find_damage(conn: Connection, revision: str | None) -> list[str]:
    """What is wrong inside a SQLite store; an empty list for a sound one.

    The integrity check reads every page; a damaged name is only seen by comparing the schema.
    """
    conn.exec_driver_sql(CHECKING_CACHE)
    found = [str(row[0]) for row in conn.exec_driver_sql("PRAGMA integrity_check")]
    conn.exec_driver_sql(USUAL_CACHE)
    damage = [] if found == ["ok"] else found
    return damage + missing_parts(conn) if revision == HEAD else damage


def missing_parts(conn: Connection) -> list[str]:
    """Columns of the newest schema that the store lacks."""
    present = {tuple(row) for row in conn.exec_driver_sql(_COLUMNS[conn.dialect.name])}
    wanted = [(table.name, column.name) for table in metadata.sorted_tables for column in table.c]
    return [f"column {table}.{column} is missing" for table, column in wanted if (table, column) not in present]


def refuse_damaged(db_path: Path, *, at_rest: bool = False) -> None:
    """Raise a `StoreError` unless the file is a sound store that this build can use."""
    refuse_emptied(db_path)
    with reading(db_path, at_rest=at_rest) as conn:
        damage = find_damage(conn, revision_of(conn, str(db_path)))
    if damage:
        more = f", and {len(damage) - 1} more" if len(damage) > 1 else ""
        raise StoreCorrupt(
            f"The store {db_path} is damaged: {_line(damage[0])}{more}.", "Run 'testio-mcp doctor --repair'."
        )


def refuse_emptied(db_path: Path) -> None:
    """Raise `StoreCorrupt` for a file of no length that has backups: it was a store, and no new one.

    Another process that makes a new store is waited for.
    """
    deadline = time.monotonic() + _MAKING_SECONDS
    while db_path.exists() and not db_path.stat().st_size and list_backups(db_path):
        if time.monotonic() > deadline:
            raise StoreCorrupt(
                f"The store {db_path} is damaged: it is empty, and there are backups of it.",
                f"{REPAIR} It keeps the file, and restores the newest sound backup.",
            )
        time.sleep(0.02)


def _line(text: str) -> str:
    return " ".join(text.split())[:120]
