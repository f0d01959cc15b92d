"""The registry of derived data: how each is computed, checked against what it comes from, and computed again.

A definition compares records some at a time, so that a check may look at a sample or at all, and a rebuild goes on
while others write: each batch is a transaction. `database/derived.py` has the versions.
"""

import json
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

import orjson
from sqlalchemy import Connection, Select, Table, bindparam, delete, func, select, update

from testio_mcp.api.payloads import (
    parse_bug,
    parse_environment,
    parse_execution,
    parse_feature,
    parse_product,
    parse_template,
    parse_test,
)
from testio_mcp.database import search
from testio_mcp.database.derived import VERSIONS, forget_versions, save_versions
from testio_mcp.database.dialect import Row, among, fetch, stored_values, upsert
from testio_mcp.database.tables import TestFeature, table_of
from testio_mcp.fields import StoredPayload
from testio_mcp.sync import state
from testio_mcp.sync.rows import (
    BUGS,
    ENVIRONMENTS,
    EXECUTIONS,
    FEATURES,
    METRICS,
    PRODUCTS,
    TEMPLATES,
    TESTS,
    Record,
    Resource,
    Scope,
)
from testio_mcp.sync.writer import find_lacking, rows_by_table, store_references

SAMPLE = 200
"""How many records of each kind a check looks at when it does not look at all."""
_BATCH = 500
_KEY = "id_of_record"
"""A variable of statements that no column is named like."""
T = TypeVar("T")
_COPY = table_of(TestFeature).c
Write = Callable[[Callable[[Connection], Any]], Awaitable[Any]]
"""Runs a function of a connection as one transaction."""


class Definition(Protocol):
    """One kind of derived data."""

    name: str

    def records(self, conn: Connection, until: datetime | None = None) -> list[int]:
        """The ids of all records that have such data, or of those last written before a moment."""

    def differences(self, conn: Connection, ids: Sequence[int]) -> dict[int, str]:
        """What is stored of these records other than it is computed now, in words, by id."""

    def mend(self, conn: Connection, ids: Sequence[int]) -> None:
        """Compute the data of these records again and store what differs."""

    def strays(self, conn: Connection) -> list[int]:
        """Ids under which data are stored and no record is."""

    def remove(self, conn: Connection, ids: Sequence[int]) -> None:
        """Remove data that belong to no record."""


@dataclass(frozen=True)
class _Wrong:
    """A record that is stored other than its payload gives it: which columns, and the rows of which parts."""

    record: Record
    columns: tuple[str, ...]
    parts: tuple[Table, ...]
    words: str


_Parts = dict[int, dict[Any, tuple[Any, ...]]]
"""Rows of one table of parts, by the record that they belong to and their key."""


class FromPayloads:
    """The columns and parts of one kind of record, from the payload that is stored with it."""

    def __init__(self, resource: Resource, noun: str, parse: Callable[[dict[str, Any]], Any]) -> None:
        self.name = resource.name
        self._resource, self._noun, self._parse = resource, noun, parse
        columns = resource.table.c
        self._rows = select(resource.table).where(among(columns.id, bindparam("ids")))
        self._places = {column.name: place for place, column in enumerate(columns)}
        self._part_rows = [
            (part, part.c[owner], select(part).where(among(part.c[owner], bindparam("ids"))))
            for part, owner in resource.parts
        ]

    def records(self, conn: Connection, until: datetime | None = None) -> list[int]:
        """The ids of all records that were copied; others only hold a place."""
        columns = self._resource.table.c
        copied = _older(select(columns.id).where(columns.content_hash != ""), columns, until)
        return list(conn.execute(copied.order_by(columns.id)).scalars())

    def differences(self, conn: Connection, ids: Sequence[int]) -> dict[int, str]:
        """Which column or part differs, for each record where one does."""
        return {key: wrong.words for key, wrong in self._examine(conn, ids).items()}

    def mend(self, conn: Connection, ids: Sequence[int]) -> None:
        """Write the columns and parts that differ."""
        found = _locked(conn, self._resource.table, ids, self._examine)
        if not found:
            return
        store_references(conn, (wrong.record.needs for wrong in found.values()))
        store_references(conn, (wrong.record.members for wrong in found.values()))
        changes: dict[tuple[str, ...], list[Row]] = {}
        for key, wrong in found.items():
            if wrong.columns:
                row = {name: wrong.record.row[name] for name in wrong.columns}
                changes.setdefault(wrong.columns, []).append({_KEY: key, **row})
        table = self._resource.table
        for names, rows in changes.items():
            values: dict[str, Any] = {name: bindparam(name) for name in names}
            conn.execute(update(table).where(table.c.id == bindparam(_KEY)).values(values), rows)
        for part, owner, _ in self._part_rows:
            of = {key: wrong.record for key, wrong in found.items() if part in wrong.parts}
            if of:
                conn.execute(delete(part).where(among(owner, bindparam("ids"))), {"ids": json.dumps(list(of))})
                upsert(conn, part, rows_by_table(record.parts for record in of.values()).get(part, []))

    def strays(self, conn: Connection) -> list[int]:
        """None: the columns are those of the records."""
        return []

    def remove(self, conn: Connection, ids: Sequence[int]) -> None:
        """Nothing is ever stray."""

    def _examine(self, conn: Connection, ids: Sequence[int]) -> dict[int, _Wrong]:
        """The records that differ; one whose payload cannot be read any more stays as it is."""
        values = {"ids": json.dumps(list(ids))}
        stored = {row[self._places["id"]]: row for row in fetch(conn, self._rows, values)}
        records = self._compute(conn, list(stored.values()))
        dialect = conn.dialect.name
        wrong_parts: dict[int, list[Table]] = {}
        for part, owner, statement in self._part_rows:
            held = _group(part, owner.name, fetch(conn, statement, values))
            given = _computed_parts(part, owner.name, records.values(), dialect)
            for key in records:
                if held.get(key) != given.get(key):
                    wrong_parts.setdefault(key, []).append(part)
        lacking = find_lacking(conn, records.values())
        found: dict[int, _Wrong] = {}
        for key, record in records.items():
            names = tuple(record.row)
            computed = stored_values(self._resource.table, names, dialect)(record.row)
            held_row = [stored[key][self._places[name]] for name in names]
            unnamed = [
                lacking[table, row["id"]]
                for table, row in (*record.needs, *record.members)
                if (table, row["id"]) in lacking
            ]
            if key in wrong_parts or unnamed or held_row != list(computed):
                found[key] = self._describe(record, held_row, computed, tuple(wrong_parts.get(key, ())), unnamed)
        return found

    def _describe(
        self,
        record: Record,
        held: Sequence[Any],
        computed: Sequence[Any],
        parts: tuple[Table, ...],
        unnamed: Sequence[str],
    ) -> _Wrong:
        about = f"{self._noun} {record.row['id']}"
        other = {
            name: f"{about}: {name}: {old!r} is stored where its payload gives {new!r}"
            for name, old, new in zip(record.row, held, computed, strict=True)
            if old != new
        }
        said = [
            *other.values(),
            *(f"{about}: its rows in {part.name} are not those of its payload" for part in parts),
            *(f"{about}: {words}" for words in unnamed),
        ]
        return _Wrong(record, tuple(other), parts, said[0])

    def _compute(self, conn: Connection, rows: Sequence[Sequence[Any]]) -> dict[int, Record]:
        """The records as the payloads of these rows give them."""
        key, raw, product, test = (self._places.get(name) for name in ("id", "raw", "product_id", "test_id"))
        assert key is not None and raw is not None  # noqa: S101 - every resource has both
        gone = self._places.get("gone_at")
        of_test = key if self._resource is METRICS else test
        products = {} if of_test is None else state.products_of(conn, {row[of_test] or 0 for row in rows})
        now, reasons = datetime.now(UTC), state.reasons(conn)
        found: dict[int, Record] = {}
        for row in rows:
            product_id = row[product] if product is not None else products.get(row[of_test or key], 0)
            try:
                payload = StoredPayload(orjson.loads(row[raw]))
                payload.setdefault("id", row[key])
                scope = Scope(product_id or 0, now, products, reasons)
                found[row[key]] = record = self._resource.record(self._parse(payload), scope)
            except (ValueError, KeyError):
                continue
            if gone is not None and row[gone] is not None:
                record.members.clear()  # they are gone with it
        if self._resource is BUGS:
            _find_features(conn, list(found.values()))
        return found


def _locked(
    conn: Connection, table: Table, ids: Sequence[int], examine: Callable[[Connection, Sequence[int]], dict[int, T]]
) -> dict[int, T]:
    """What `examine` finds, of records that nobody else writes before this transaction ends.

    On SQLite a transaction that writes is alone anyway.
    """
    found = examine(conn, ids)
    if found and conn.dialect.name != "sqlite":
        conn.execute(select(table.c.id).where(table.c.id.in_(list(found))).order_by(table.c.id).with_for_update())
        found = examine(conn, list(found))
    return found


def _older(statement: Select[Any], columns: Any, until: datetime | None) -> Select[Any]:
    """Only records that were last written before a moment, if one is given."""
    return statement if until is None else statement.where(columns.synced_at < until)


def _group(part: Table, owner: str, rows: Sequence[Sequence[Any]]) -> _Parts:
    names = [column.name for column in part.c]
    whose, keys = names.index(owner), [names.index(column.name) for column in part.primary_key]
    found: _Parts = {}
    for row in rows:
        found.setdefault(row[whose], {})[tuple(row[place] for place in keys)] = tuple(row)
    return found


def _computed_parts(part: Table, owner: str, records: Iterable[Record], dialect: str) -> _Parts:
    values = stored_values(part, tuple(column.name for column in part.c), dialect)
    return _group(part, owner, [values(row) for record in records for table, row in record.parts if table is part])


def _find_features(conn: Connection, records: Sequence[Record]) -> None:
    """Give bugs that name no feature that of the test's copy, as the sync does."""
    rows = [record.row for record in records if record.row["feature_id"] is None]
    copies = {row["test_feature_id"] for row in rows if row["test_feature_id"] is not None}
    features = {
        row[0]: row[1] for row in conn.execute(select(_COPY.id, _COPY.feature_id).where(_COPY.id.in_(copies)))
    }
    for row in rows:
        row["feature_id"] = features.get(row["test_feature_id"])


class SearchIndex:
    """The words by which one kind of record is found."""

    def __init__(self, kind: search.Kind, name: str) -> None:
        self.name = name
        self._kind, self._noun = kind, kind.replace("_", " ")
        self._table = search.SOURCES[kind].table

    def records(self, conn: Connection, until: datetime | None = None) -> list[int]:
        """The ids of all records that are indexed."""
        columns = self._table.c
        if search.SOURCES[self._kind].named_by:  # also what is a name alone, without a hash
            return list(conn.execute(select(columns.id).order_by(columns.id)).scalars())
        # Rows without a hash only hold the place of a record.
        copied = _older(select(columns.id).where(columns.content_hash != ""), columns, until)
        return list(conn.execute(copied.order_by(columns.id)).scalars())

    def differences(self, conn: Connection, ids: Sequence[int]) -> dict[int, str]:
        """Which records the index lacks, or knows by other words."""
        return {key: words for key, (_, words) in self._examine(conn, ids).items()}

    def mend(self, conn: Connection, ids: Sequence[int]) -> None:
        """Index those again that differ."""
        if found := _locked(conn, self._table, ids, self._examine):
            search.remove_documents(conn, self._kind, list(found))
            search.store_documents(conn, self._kind, [document for document, _ in found.values()])

    def _examine(self, conn: Connection, ids: Sequence[int]) -> dict[int, tuple[search.Document, str]]:
        documents = search.documents_of(conn, self._kind, ids)
        stored = search.stored_words(conn, self._kind, ids)
        lacking = search.lacking_slices(conn, self._kind, documents)
        found: dict[int, tuple[search.Document, str]] = {}
        for document in documents:
            about = f"{self._noun} {document.id}"
            if document.id not in stored:
                found[document.id] = document, f"{about} is not in the search index"
            elif stored[document.id] != search.words_in(conn, document):
                found[document.id] = document, f"{about} is in the search index with other words than its own"
            elif document.id in lacking:
                found[document.id] = document, f"{about} is left out by searches of its product or time"
        return found

    def strays(self, conn: Connection) -> list[int]:
        """Ids that the index finds and the store has no record of."""
        index = search.index_table(conn.dialect.name, self._kind).c
        if conn.execute(select(func.count()).select_from(index.id.table)).scalar_one() == len(self.records(conn)):
            return []
        return sorted(set(conn.execute(select(index.id)).scalars()) - set(self.records(conn)))

    def remove(self, conn: Connection, ids: Sequence[int]) -> None:
        """Take records that do not exist out of the index."""
        search.remove_documents(conn, self._kind, ids)


DEFINITIONS: Mapping[str, Definition] = {
    definition.name: definition
    for definition in (
        FromPayloads(PRODUCTS, "product", parse_product),
        FromPayloads(FEATURES, "feature", parse_feature),
        FromPayloads(ENVIRONMENTS, "test environment", parse_environment),
        FromPayloads(TEMPLATES, "test template", parse_template),
        FromPayloads(TESTS, "test", parse_test),
        FromPayloads(METRICS, "metrics of test", parse_test),
        FromPayloads(BUGS, "bug", parse_bug),
        FromPayloads(EXECUTIONS, "execution", parse_execution),
        SearchIndex("product", "search of products"),
        SearchIndex("feature", "search of features"),
        SearchIndex("user_story", "search of user stories"),
        SearchIndex("test", "search of tests"),
        SearchIndex("bug", "search of bugs"),
    )
}
"""Everything derived, in the order in which it is computed; the names are those of `VERSIONS`."""


def first_differences(conn: Connection, *, deep: bool) -> list[str]:
    """For each kind of derived data that is wrong, the first difference in words: of a sample, or of all records."""
    return [found for definition in DEFINITIONS.values() if (found := _first_difference(conn, definition, deep=deep))]


def _first_difference(conn: Connection, definition: Definition, *, deep: bool) -> str | None:
    ids = definition.records(conn)
    if not deep:
        ids = sorted(random.sample(ids, min(SAMPLE, len(ids))))
    for start in range(0, len(ids), _BATCH):
        if found := definition.differences(conn, ids[start : start + _BATCH]):
            return f"{definition.name}: {found[min(found)]}"
    if strays := definition.strays(conn):
        return f"{definition.name}: {strays[0]} can be found and is not in the store"
    return None


async def rebuild(
    write: Write,
    names: Sequence[str] = tuple(VERSIONS),
    *,
    until: datetime | None = None,
    told: Callable[[str], object] = lambda _: None,
) -> None:
    """Compute derived data again and write what differs, a batch a transaction.

    With `until`, records that were written since that moment are left alone: whoever wrote them computed them. What
    was killed is begun again by the next opening, with the kinds that were not done.
    """
    for name in VERSIONS:
        if name in names:
            told(name)
            await _rebuild(write, DEFINITIONS[name], until)
            await write(partial(save_versions, names=[name]))


async def _rebuild(write: Write, definition: Definition, until: datetime | None) -> None:
    ids: list[int] = await write(partial(definition.records, until=until))
    for start in range(0, len(ids), _BATCH):
        await write(partial(definition.mend, ids=ids[start : start + _BATCH]))
    await write(lambda conn: definition.remove(conn, definition.strays(conn)))


async def rebuild_outdated(write: Write, names: Sequence[str]) -> None:
    """Compute again what another definition computed; nothing is answered from it meanwhile."""
    await write(lambda conn: forget_versions(conn, names))
    await rebuild(write, names)
