"""The newest records whose ids begin with what somebody has typed so far."""

from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, select

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import Bug, Product, Test, table_of

_TABLES: dict[str, Table] = {"product": table_of(Product), "test": table_of(Test), "bug": table_of(Bug)}
_DIGITS = 19


@lru_cache(maxsize=8)
def _between(kind: str) -> Select[Any]:
    """One range of ids, from its end: a walk of the primary key."""
    columns = _TABLES[kind].c
    return (
        select(columns.id)
        .where(columns.id.between(bindparam("first"), bindparam("last")), columns.gone_at.is_(None))
        .order_by(columns.id.desc())
        .limit(bindparam("limit"))
    )


def newest_ids(conn: Connection, kind: str, typed: str, limit: int) -> list[int]:
    """Ids of products, tests or bugs that begin with `typed`, the newest (the largest) first.

    One short range of the primary key for each possible length of the id.
    """
    if not typed:
        return [row[0] for row in fetch(conn, _between(kind), {"first": 0, "last": 2**63 - 1, "limit": limit})]
    if not (typed.isascii() and typed.isdigit()) or typed[0] == "0":
        return []
    found: list[int] = []
    for more in range(_DIGITS - len(typed), -1, -1):
        first = int(typed) * 10**more
        last = min(first + 10**more, 2**63) - 1
        if first <= last:
            keys = {"first": first, "last": last, "limit": limit - len(found)}
            found += [row[0] for row in fetch(conn, _between(kind), keys)]
        if len(found) == limit:
            break
    return found
