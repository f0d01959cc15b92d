"""The calls that are measured: an operation with arguments, and the same statements on bare sqlite3."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, event

from testio_mcp.app import App
from testio_mcp.database.engine import create_sqlite_reader
from testio_mcp.operations.paging import encode_cursor
from testio_mcp.operations.registry import Operation, operations
from testio_mcp.settings import load_settings

T = TypeVar("T")
_LARGEST = "SELECT product_id, tests FROM product_count ORDER BY tests DESC, product_id LIMIT 1"
_NTH = "SELECT sort_at, id FROM test {where} ORDER BY sort_at DESC, id DESC LIMIT 1 OFFSET ?"


@dataclass(frozen=True)
class Case:
    """One call of an operation."""

    name: str
    operation: str
    arguments: dict[str, Any]

    @property
    def definition(self) -> Operation:
        """The operation that is called."""
        return operations()[self.operation]


def cases_of(path: Path) -> dict[str, Case]:
    """Pages of 20 under every kind of filter, at the beginning and in the middle, by name."""
    with closing(sqlite3.connect(path)) as db:
        product_id, tests = db.execute(_LARGEST).fetchone()
        total = db.execute("SELECT sum(tests) FROM product_count").fetchone()[0]
        middle, test_id = _nth(db, "", total // 2)
        of_product, _ = _nth(db, f"WHERE product_id = {product_id}", tests // 2)
    filters: dict[str, dict[str, Any]] = {
        "no filter": {},
        "middle": {"cursor": middle},
        "product": {"product_id": product_id},
        "product, middle": {"product_id": product_id, "cursor": of_product},
        "one status": {"statuses": ["archived"]},
        "rare status": {"statuses": ["cancelled"]},
        "two statuses": {"statuses": ["running", "archived"]},
        "product, two statuses": {"product_id": product_id, "statuses": ["locked", "archived"]},
        "type": {"testing_types": ["usability"]},
        "dates": {"end_from": "2026-01-01", "end_to": "2026-06-30"},
        "oldest": {"sort": "oldest"},
    }
    cases = [Case("list_products", "list_products", {"limit": 20})]
    cases += [Case(f"list_tests, {name}", "list_tests", {"limit": 20, **given}) for name, given in filters.items()]
    cases.append(Case("get_test", "get_test", {"test_id": test_id}))
    return {case.name: case for case in cases}


def _nth(db: sqlite3.Connection, where: str, number: int) -> tuple[str, int]:
    """The cursor after the test at this place of the list, and its id."""
    sort_at, test_id = db.execute(_NTH.format(where=where), (number,)).fetchone()
    return encode_cursor(sort_at, test_id), test_id


class _Recorder:
    """A store that runs reads at once and keeps the statements that reach SQLite, with their values in them."""

    def __init__(self, path: Path) -> None:
        self.statements: list[str] = []
        self.settings = load_settings(db_path=path, database_url=None)
        self.refreshes = False
        self._engine = create_sqlite_reader(path, 1)
        event.listen(self._engine, "connect", lambda db, _: db.set_trace_callback(self.statements.append))

    @property
    def store(self) -> "_Recorder":
        """The store of the app that this stands in for; its copy counts as fresh."""
        return self

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run the read."""
        with self._engine.connect() as connection:
            self.statements.clear()
            return work(connection)


async def statements_of(path: Path, case: Case) -> list[str]:
    """The statements that a call sends."""
    recorder = _Recorder(path)
    await case.definition.run(cast(App, recorder), case.arguments)
    return recorder.statements


def bare(db: sqlite3.Connection, statements: list[str]) -> list[list[dict[str, Any]]]:
    """Run the statements in this thread and fetch every row as a dictionary."""
    answer = []
    for statement in statements:
        cursor = db.execute(statement)
        names = [column[0] for column in cursor.description]
        answer.append([dict(zip(names, row, strict=True)) for row in cursor])
    return answer
