"""A PostgreSQL database of another encoding is refused by name at once; one with the locale C folds as any other."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.tables import Person, table_of
from testio_mcp.domain import person_id
from testio_mcp.errors import StoreError
from testio_mcp.operations.lists.people import list_people
from tests.conftest import SettingsFor
from tests.postgres import PostgresServer

NAMES = ("Émile Größe", "ИВАН Ёлкин", "ΣΟΦΙΑ", "Łukasz", "plain Name")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP", "WIN1252"])
async def test_another_encoding_is_refused_by_name(
    encoding: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    options = f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    async with postgres_server.empty_database(options) as url:
        store = PersistentCache(tmp_path / "unused.db", database_url=url)
        with pytest.raises(StoreError, match=f"encoding {encoding}; a store needs UTF8") as refused:
            await store.initialize()
        assert "ENCODING 'UTF8'" in refused.value.next_step
        with pytest.raises(StoreError, match=f"encoding {encoding}"):  # nothing was made that a second try finds
            await store.initialize()


async def test_the_locale_c_folds_as_any_other(
    postgres_server: PostgresServer, settings_for: SettingsFor, tmp_path: Path
) -> None:
    settings = settings_for()

    def fill(conn: Connection) -> None:
        conn.execute(insert(table_of(Person)), [{"id": person_id(name), "name": name} for name in NAMES])

    def find(conn: Connection) -> dict[str, Any]:
        ways = [(name, way) for name in NAMES for way in (name, name.upper(), name.lower(), name.casefold())]
        return {
            way: (name, [found.name for found in list_people(conn, settings, text=way).items]) for name, way in ways
        }

    async with (
        postgres_server.empty_database("ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0") as url,
        PersistentCache(tmp_path / "unused.db", database_url=url) as store,
    ):
        await store.write(fill)
        found = await store.read(find)
    assert all(names == [name] for name, names in found.values()), json.dumps(found, ensure_ascii=False)
