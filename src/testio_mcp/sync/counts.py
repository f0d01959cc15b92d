"""The totals of products, kept exact by what each change adds to them or takes away."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, func, select, update

from testio_mcp.database.dialect import insert_missing
from testio_mcp.database.tables import Bug, ProductCount, Test, table_of

_COUNT, _TEST, _BUG = table_of(ProductCount), table_of(Test), table_of(Bug)
_Share = dict[int, dict[str, int]]


@contextmanager
def counted(conn: Connection, table: Table, ids: list[int]) -> Iterator[None]:
    """Add the difference that the enclosed change of these records makes to the counts of their products."""
    if table not in (_TEST, _BUG):
        yield
        return
    before = _share(conn, table, ids)
    yield
    _add(conn, before, _share(conn, table, ids))


@cache
def _share_statement(table: Table) -> Select[Any]:
    if table is _TEST:
        counts: list[ColumnElement[int]] = [func.count().label("tests")]
    else:
        counts = [func.count().label("bugs"), func.count().filter(table.c.status == "open").label("open_bugs")]
    return (
        select(table.c.product_id, *counts)
        .where(table.c.id.in_(bindparam("ids", expanding=True)), table.c.gone_at.is_(None))
        .group_by(table.c.product_id)
    )


def _share(conn: Connection, table: Table, ids: list[int]) -> _Share:
    """What the given records contribute to each count of each product."""
    rows = conn.execute(_share_statement(table), {"ids": ids}).mappings()
    return {row["product_id"]: {name: row[name] for name in row if name != "product_id"} for row in rows}


def _add(conn: Connection, before: _Share, after: _Share) -> None:
    for product_id in before.keys() | after.keys():
        old, new = before.get(product_id, {}), after.get(product_id, {})
        difference = {name: new.get(name, 0) - old.get(name, 0) for name in old.keys() | new.keys()}
        if any(difference.values()):
            insert_missing(conn, _COUNT, [{"product_id": product_id, "tests": 0, "bugs": 0, "open_bugs": 0}])
            added = {name: _COUNT.c[name] + value for name, value in difference.items()}
            conn.execute(update(_COUNT).where(_COUNT.c.product_id == product_id).values(added))
