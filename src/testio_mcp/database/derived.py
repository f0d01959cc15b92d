"""Which derived data a store holds, and by which definition they were computed.

Derived is what the store computes from other data of its own: the words of the search from texts, columns from
payloads. `sync/derived.py` has how each is computed; here stand only the versions, which every opening compares.
Raise a version with every change of what is computed: stores of other versions are then computed again before they
answer.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, delete, select

from testio_mcp.database.dialect import fetch, upsert
from testio_mcp.database.tables import Derived, Product, table_of
from testio_mcp.errors import StoreOutdated, StoreTooNew

_SEARCH = 1
VERSIONS: Mapping[str, int] = {
    "products": 1,
    "features": 2,
    "environments": 1,
    "templates": 2,
    "tests": 2,
    "metrics": 2,
    "bugs": 2,
    "executions": 2,
    "search of products": _SEARCH,
    "search of features": 2,
    "search of user stories": 2,
    "search of tests": _SEARCH,
    "search of bugs": _SEARCH,
}
"""The version of the definition of each kind of derived data, in the order in which they are computed."""
REBUILD = "Run 'testio-mcp db rebuild': it computes them again from what is stored."
_DERIVED = table_of(Derived)
_versions = select(_DERIVED.c.name, _DERIVED.c.version)
_any_record = select(table_of(Product).c.id).limit(1)


def find_outdated(conn: Connection) -> list[str]:
    """The derived data that another definition computed, or that were never computed whole.

    Raises `StoreTooNew` where the definition is one that this build does not know yet.
    """
    stored: dict[str, int] = {row[0]: row[1] for row in fetch(conn, _versions, {})}
    for name, version in stored.items():
        if version > VERSIONS.get(name, version):
            raise StoreTooNew(
                f"The store's derived data ({name}) were computed by a newer version of testio-mcp.",
                "Upgrade testio-mcp; a server that is still running has to be restarted.",
            )
    return [name for name, version in VERSIONS.items() if stored.get(name) != version]


def refuse_outdated(conn: Connection) -> None:
    """Raise `StoreOutdated` while derived data are not those of this build: answers from them may be wrong."""
    if outdated := find_outdated(conn):
        raise StoreOutdated(
            f"Derived data of the store ({', '.join(outdated)}) are not up to date: another version of testio-mcp "
            "computed them, or is about to.",
            "Ask again in a minute. If that does not help, run 'testio-mcp db rebuild'.",
        )


def is_empty(conn: Connection) -> bool:
    """Whether the store holds no records from which anything is derived."""
    return not fetch(conn, _any_record, {})


def save_versions(conn: Connection, names: Collection[str]) -> None:
    """Note that derived data are now those of this build."""
    upsert(conn, _DERIVED, [{"name": name, "version": VERSIONS[name]} for name in names])


def forget_versions(conn: Connection, names: Collection[str]) -> None:
    """Note that derived data are being computed anew and answer nothing until that is done."""
    conn.execute(delete(_DERIVED).where(_DERIVED.c.name.in_(names)))
