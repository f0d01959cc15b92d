"""The statements that an operation sends, and running them on bare sqlite3."""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from benchmarks.cases import Case
from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.engine import create_sqlite_reader
from testio_mcp.settings import load_settings

T = TypeVar("T")

# What the full text index asks its own tables is traced too, as a comment: it happens again with each statement.
_QUESTION = re.compile(r"\s*(SELECT|WITH)\b")


@contextmanager
def hurried(db: Any, seconds: float) -> Iterator[None]:
    """Let whatever runs on a connection for longer raise `sqlite3.OperationalError`."""
    end = time.perf_counter() + seconds
    db.set_progress_handler(lambda: time.perf_counter() > end, 100_000)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)


class Recorder:
    """Stands in for a store: runs reads at once and keeps the statements that reach SQLite.

    With `patience` a read ends after so many seconds, and what it would have asked next is not known.
    """

    def __init__(self, path: Path, patience: float = 3600.0) -> None:
        settings = load_settings(db_path=path, database_url=None, refresh_after_minutes=0)
        self.place = str(path)
        self._app = App(settings, cast(PersistentCache, self), AsyncExitStack())
        self._statements: list[str] = []
        self._patience = patience
        self._engine = create_sqlite_reader(path, 1)
        event.listen(self._engine, "connect", lambda db, _: db.set_trace_callback(self._note))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run the read."""
        with self._engine.connect() as connection, hurried(connection.connection, self._patience):
            return work(connection)

    async def statements_of(self, case: Case) -> list[str]:
        """The statements that a call sends, with their values in them."""
        self._statements = []
        with suppress(sqlite3.OperationalError, OperationalError):
            await case.definition.run(self._app, case.arguments)
        return self._statements

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    def _note(self, statement: str) -> None:
        if _QUESTION.match(statement):
            self._statements.append(statement)


async def statements_of(path: Path, case: Case) -> list[str]:
    """The statements that a call sends to a store."""
    with closing(Recorder(path)) as recorder:
        return await recorder.statements_of(case)


def connect(path: Path) -> sqlite3.Connection:
    """Open a store to read from, with a cache of the size that the product's readers have."""
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("query_only=ON", "cache_size=-2048", "temp_store=MEMORY"):
        db.execute(f"PRAGMA {pragma}")
    return db


def bare(db: sqlite3.Connection, statements: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Run the statements in this thread and fetch every row as a dictionary."""
    answer = []
    for statement in statements:
        cursor = db.execute(statement)
        names = [column[0] for column in cursor.description]
        answer.append([dict(zip(names, row, strict=True)) for row in cursor])
    return answer
