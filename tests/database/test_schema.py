"""The schema that a store really has."""

import pytest
from sqlalchemy import Connection, Table, inspect

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.tables import metadata
from testio_mcp.database.types import BigId, JsonText, UtcDateTime

TABLES = metadata.sorted_tables
LONGEST = 63


def _names(connection: Connection) -> dict[str, set[str | None]]:
    inspector = inspect(connection)
    return {
        table.name: {
            inspector.get_pk_constraint(table.name)["name"],
            *(key["name"] for key in inspector.get_foreign_keys(table.name)),
            *(key["name"] for key in inspector.get_unique_constraints(table.name)),
            *(index["name"] for index in inspector.get_indexes(table.name) if not index.get("duplicates_constraint")),
        }
        for table in TABLES
    }


def _expected(table: Table) -> set[str | None]:
    columns = "_".join
    names: set[str | None] = {f"pk_{table.name}"}
    for key in table.foreign_key_constraints:
        names.add(f"fk_{table.name}_{columns(key.column_keys)}")
    for index in table.indexes:
        name = f"ix_{table.name}_{columns(c.name for c in index.columns)}"
        names.add(name if len(name) <= LONGEST else f"ix_{table.name}_wide_{index.columns[0].name}")
    for constraint in table.constraints:
        if type(constraint).__name__ == "UniqueConstraint":
            names.add(f"uq_{table.name}_{columns(c.name for c in constraint.columns)}")  # type: ignore[attr-defined]
    return names


async def test_every_constraint_and_index_has_the_name_of_the_convention(store: PersistentCache) -> None:
    """PostgreSQL cuts names at 63 characters; a later migration could not find a cut one."""
    found = await store.read(_names)
    for table in TABLES:
        expected = _expected(table)
        assert found[table.name] == expected
        assert max(len(str(name)) for name in expected) <= LONGEST


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_columns_have_the_types_of_the_store(table: Table) -> None:
    for column in table.columns:
        name = column.name
        if name == "id" or name.endswith("_id"):
            assert column.type is BigId, name
        if name.endswith("_at"):
            assert isinstance(column.type, UtcDateTime), name
    assert [c.name for c in table.columns if isinstance(c.type, JsonText)] in ([], ["raw"])
    if "raw" in table.columns:
        assert table.columns.keys()[-1] == "raw", "lists never read past it"
