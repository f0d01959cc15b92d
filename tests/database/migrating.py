"""Run as a program: open stores in forked processes that die or race, and print as JSON what they left.

    python -m tests.database.migrating kill|race STORE [next]

STORE is a file or a PostgreSQL address. `kill`: a process is killed after the first statement of the migration, the
next one later, until one gets through. `race`: in each of several rounds, two processes start at the same moment.
`next` adds a revision to those of this build. Forking spares every process the second that the imports cost.
"""

import asyncio
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import asyncpg

from testio_mcp.database import cache, migrate
from testio_mcp.database.cache import PersistentCache

ROUNDS = 12
NEXT = "9999"
_NEXT_REVISION = f'''
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{NEXT}", "{migrate.HEAD}"


def upgrade():
    op.create_table("gadget", sa.Column("id", sa.BigInteger(), primary_key=True), sa.Column("name", sa.String()))
    op.create_index("ix_gadget_name", "gadget", ["name"])
    op.add_column("person", sa.Column("shouted", sa.String(), server_default=""))
    op.execute("UPDATE person SET shouted = upper(name)")
    op.execute("INSERT INTO gadget (id, name) SELECT id, name FROM person")
'''
_COLUMNS = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = $1"
_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1"


def next_build(directory: Path, replace: Callable[[object, str, object], None] = setattr) -> None:
    """Turn this program into one that knows a revision more."""
    scripts = directory / "migrations"
    shutil.copytree(migrate.MIGRATIONS, scripts)
    (scripts / "versions" / f"{NEXT}_next.py").write_text(_NEXT_REVISION)
    replace(migrate, "MIGRATIONS", scripts)
    replace(migrate, "REVISIONS", (*migrate.REVISIONS, NEXT))
    for module in (migrate, cache):
        replace(module, "HEAD", NEXT)


def state(store: str, schema: str) -> list[str]:
    """The whole schema, and the rows that the next revision changes, in words that can be compared."""
    if store.startswith("postgresql"):
        return asyncio.run(_postgres_state(store.replace("+asyncpg", ""), schema))
    if not Path(store).exists():
        return []
    connection = sqlite3.connect(store)
    found = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    tables = {name for name, _ in found}
    for table in ("alembic_version", "person", "gadget"):
        if table in tables:
            found += connection.execute(f"SELECT '{table}', * FROM {table}").fetchall()
    connection.close()
    return sorted(map(repr, found))


async def _postgres_state(address: str, schema: str) -> list[str]:
    connection = await asyncpg.connect(address)
    found = await connection.fetch(_COLUMNS, schema)
    tables = {row[0] for row in found}
    found += await connection.fetch(_INDEXES, schema)
    for table in {"alembic_version", "person", "gadget"} & tables:
        found += await connection.fetch(f"SELECT '{table}', * FROM {schema}.{table}")
    await connection.close()
    return sorted(repr(tuple(row)) for row in found)


def _open(store: str, schema: str) -> None:
    url = store if store.startswith("postgresql") else None

    async def use() -> None:
        async with PersistentCache("unused.db" if url else store, database_url=url, schema=schema):
            pass

    asyncio.run(use())


def _forked(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own and return its id."""
    if child := os.fork():
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the process ends here
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(store: str, step: int) -> dict[str, object]:
    """Kill a process after every `step`-th statement in turn; the exit codes, and the states that were seen."""
    states = [state(store, "testio")]
    codes: list[int] = []
    while not codes or codes[-1] < 0:
        os.environ["TESTIO_FAULT"] = f"migration.statement:{len(codes) * step + 1}:kill"
        codes.append(_exit_code(_forked(lambda: _open(store, "testio"))))
        if (now := state(store, "testio")) not in states:
            states.append(now)
    return {"codes": codes, "states": states}


def race(store: str) -> dict[str, object]:
    """Let two processes open the same new or older store at once, several times."""
    codes: list[int] = []
    states: list[list[str]] = []
    for number in range(ROUNDS):
        place, schema = store, f"race_{number}"
        if not store.startswith("postgresql"):
            place = f"{store}.{number}"
            if Path(store).exists():
                shutil.copy(store, place)
        codes += _both_at_once(place, schema)
        if (now := state(place, schema)) not in states:
            states.append(now)
    return {"codes": codes, "states": states}


def _both_at_once(store: str, schema: str) -> list[int]:
    gate, opener = os.pipe()

    def wait_and_open() -> None:
        os.close(opener)
        os.read(gate, 1)
        _open(store, schema)

    children = [_forked(wait_and_open) for _ in range(2)]
    os.close(gate)
    os.close(opener)
    return [_exit_code(child) for child in children]


if __name__ == "__main__":
    _action, _store, *_more = sys.argv[1:]
    with tempfile.TemporaryDirectory() as _directory:
        _open(str(Path(_directory) / "imports-everything.db"), "testio")
        if _action == "race" and _more and _store.startswith("postgresql"):
            for _number in range(ROUNDS):
                _open(_store, f"race_{_number}")
        if _more:
            next_build(Path(_directory))
        # The first migration has many statements, and they are all alike.
        sys.stdout.write(json.dumps(race(_store) if _action == "race" else kill(_store, 1 if _more else 9)))
