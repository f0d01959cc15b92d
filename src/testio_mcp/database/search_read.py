"""Reading the full text indexes: the newest slices of ids first, until there are enough hits."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql

from testio_mcp.database.dialect import among, fetch
from testio_mcp.database.search import SLICE, SLICES, SOURCES, Kind, index_table, scope_word, slice_code
from testio_mcp.database.search_query import LANGUAGES, Both, Counts, Query, Term, condition
from testio_mcp.database.tables import Feature, Test, table_of
from testio_mcp.database.tables.search import ALWAYS, NEVER

_WIDEST = 32
"""Look-ups in one statement, at most: what FTS5 does for each row grows with them."""
_BATCH, _READ_AT_MOST = 4_000, 10_000
_ENOUGH = 2_000
_DENSE = 100
"""From how many records of a slice on its index is read in place of their texts."""
_SAMPLE = 7
_MUCH_MORE = 8
"""A word that so many times more records have than the rarest one is compared with their texts, not looked up."""


@dataclass(frozen=True)
class Among:
    """Which records are looked at: of one product, and with a moment from `start` to before `end`."""

    product_id: int | None = None
    start: datetime | None = None
    end: datetime | None = None


class Hit(NamedTuple):
    """A record that matches, its terms' counts in title, body and comments, and the length of the three."""

    kind: Kind
    id: int
    counts: list[Counts]
    length: int


class Found(NamedTuple):
    """Records that match, highest id first, and whether there may be more of them."""

    hits: list[Hit]
    is_capped: bool


def find(conn: Connection, kind: Kind, query: Query, among: Among, most: int) -> Found:
    """The newest records that match, and no more than `most`; those that are gone do not match.

    Where the index cannot tell (a phrase of words that are everywhere), the newest records that it names are read
    up to `_READ_AT_MOST`.
    """
    found: list[Hit] = []
    read = 0
    slices = _slices(conn, kind, among)
    indexed = _rarest(conn, kind, query, among, slices)
    is_exact = indexed is query and query.is_indexed
    for numbers in _groups(slices, max(1, _WIDEST // len(indexed.terms))):
        last = ((numbers[0] + 1) << SLICE) - 1
        batch = most + 1 - len(found) if is_exact else _BATCH
        while rows := _candidates(conn, kind, indexed, among, numbers, last, batch):
            found += _hits(kind, query, rows)
            if len(found) > most:
                return Found(found[:most], is_capped=True)
            read += len(rows)
            if read >= _READ_AT_MOST and not is_exact:
                return Found(found, is_capped=True)
            if len(rows) < batch:
                break
            last = rows[-1][0] - 1
    return Found(found, is_capped=False)


def _hits(kind: Kind, query: Query, rows: Sequence[Sequence[Any]]) -> Iterator[Hit]:
    """Those of the rows (an id and the three texts) that match."""
    for number, some in groupby(rows, lambda row: row[0] >> SLICE):
        count = query.counter(slice_code(number))
        for key, *texts in some:
            counts = count(texts)
            if counts is not None:
                yield Hit(kind, key, counts, sum(map(len, texts)))


def _rarest(conn: Connection, kind: Kind, query: Query, among: Among, slices: list[int]) -> Query:
    """The query without the words that are much more common than its rarest one, as the newest slices tell.

    Looking up a common word in every slice would cost more than reading the few records that have the rare one.
    """
    tree, dialect = query.tree, conn.dialect.name
    if len(slices) <= _SAMPLE or not isinstance(tree, Both):
        return query
    counts: dict[Term, int] = {}
    for term in tree.parts:
        if isinstance(term, Term):
            words = {"words": _words(dialect, Query(term), among, slices[:_SAMPLE])}
            counts[term] = fetch(conn, _count(dialect, kind), words)[0][0]
    few = min(counts.values(), default=0) * _MUCH_MORE
    rare = tuple(term for term, count in counts.items() if count <= few)
    return query if len(rare) in (0, len(counts)) else Query(Both(rare) if len(rare) > 1 else rare[0])


@cache
def _count(dialect: str, kind: Kind) -> Select[Any]:
    index = index_table(dialect, kind)
    return select(func.count()).select_from(index).where(_matches(dialect, index))


def find_ids(
    conn: Connection, kind: Kind, query: Query, among: Among, *, is_newest: bool = True
) -> Iterator[list[int]]:
    """The ids of all records that match, also of those that are gone, in order: some at a time, always more."""
    found, enough = list[int](), _ENOUGH
    slices = _slices(conn, kind, among)
    for numbers in _groups(slices if is_newest else slices[::-1], max(1, _WIDEST // len(query.terms))):
        found += sorted(_ids(conn, kind, query, among, numbers), reverse=is_newest)
        if len(found) >= enough:
            yield found
            found, enough = [], 2 * enough
    if found:
        yield found


def _ids(conn: Connection, kind: Kind, query: Query, among: Among, numbers: list[int]) -> list[int]:
    """The ids of what matches in some slices, in no order."""
    dialect = conn.dialect.name
    words = {"words": _words(dialect, query, among, numbers)}
    rows = fetch(conn, _matching(dialect, kind, not query.is_indexed), words)
    return [row[0] for row in rows] if query.is_indexed else [hit.id for hit in _hits(kind, query, rows)]


def having_words(conn: Connection, kind: Kind, query: Query, ids: Sequence[int]) -> set[int]:
    """Those of some records that match, and perhaps others: where many are of one slice, all that match in it."""
    often = Counter(key >> SLICE for key in ids)
    whole = [number for number, many in often.items() if many > _DENSE]
    found: set[int] = set()
    for numbers in _groups(whole, max(1, _WIDEST // len(query.terms))):
        found |= {*_ids(conn, kind, query, Among(), numbers)}
    few = [key for key in ids if often[key >> SLICE] <= _DENSE]
    rows = fetch(conn, _texts(conn.dialect.name, kind), {"ids": json.dumps(few)}) if few else ()
    return found | {hit.id for hit in _hits(kind, query, rows)}


def most_records(conn: Connection, kind: Kind) -> int:
    """How many records the search knows at most."""
    return len(_slices(conn, kind, Among())) << SLICE


@cache
def _texts(dialect: str, kind: Kind) -> Select[Any]:
    index = index_table(dialect, kind)
    texts = (index.c.id, index.c.title, index.c.body, index.c.comments)
    return select(*texts).where(among(index.c.id, bindparam("ids", type_=Text)))


@cache
def _matching(dialect: str, kind: Kind, with_texts: bool) -> Select[Any]:
    index = index_table(dialect, kind)
    texts = (index.c.title, index.c.body, index.c.comments) if with_texts else ()
    return select(index.c.id, *texts).where(_matches(dialect, index))


def _words(dialect: str, query: Query, among: Among, numbers: list[int]) -> str:
    scope = None if among.product_id is None else scope_word(among.product_id)
    return condition(query, LANGUAGES[dialect], [slice_code(number) for number in numbers], scope)


def _groups(numbers: list[int], widest: int) -> Iterator[list[int]]:
    """Slices that are read by one statement: the newest alone, then always twice as many."""
    start, width = 0, 1
    while start < len(numbers):
        yield numbers[start : start + width]
        start, width = start + width, min(2 * width, widest)


@cache
def _slices_statement(by_date: bool) -> Select[Any]:
    c = SLICES.c
    conditions = [c.kind == bindparam("kind"), c.product_id == bindparam("product_id")]
    if by_date:
        moment = c.first_at.type
        conditions += [c.last_at >= bindparam("start", type_=moment), c.first_at < bindparam("end", type_=moment)]
    return select(c.number).where(*conditions).order_by(c.number.desc())


def _slices(conn: Connection, kind: Kind, among: Among) -> list[int]:
    values: dict[str, Any] = {"kind": kind, "product_id": among.product_id or 0}
    by_date = among.start is not None or among.end is not None
    if by_date:
        values |= {"start": among.start or NEVER, "end": among.end or ALWAYS}
    return [row[0] for row in fetch(conn, _slices_statement(by_date), values)]


@cache
def _candidates_statement(dialect: str, kind: Kind, by_date: bool) -> Select[Any]:
    index, source = index_table(dialect, kind), SOURCES[kind]
    record = source.table.c
    conditions: list[ColumnElement[bool]] = [_matches(dialect, index), index.c.id <= bindparam("last")]
    listed: ColumnElement[bool] = record.gone_at.is_(None)
    joined = index.join(source.table, index.c.id == record.id)
    if kind == "user_story":
        feature = table_of(Feature)
        joined = joined.join(feature, record.feature_id == feature.c.id)
        listed = and_(listed, feature.c.gone_at.is_(None))
    conditions.append(or_(listed, *(_is_named(table, column, record.id) for table, column in source.named_by)))
    if by_date and source.at:
        at = record[source.at]
        conditions += [at >= bindparam("start", type_=at.type), at < bindparam("end", type_=at.type)]
    texts = (index.c.id, index.c.title, index.c.body, index.c.comments)
    newest = select(*texts).select_from(joined).where(*conditions).order_by(index.c.id.desc())
    return newest.limit(bindparam("batch"))


def _is_named(table: Table, column: str, key: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a record of this table that counts names the one with this id."""
    named = exists().where(table.c[column] == key)
    if "gone_at" in table.c:
        return named.where(table.c.gone_at.is_(None))
    test = table_of(Test).c
    return named.where(table.c.test_id == test.id, test.gone_at.is_(None))


def _matches(dialect: str, index: Table) -> ColumnElement[bool]:
    if dialect == "sqlite":
        return literal_column(index.name).op("MATCH", is_comparison=True)(bindparam("words", type_=Text))
    return index.c.words.op("@@", is_comparison=True)(cast(bindparam("words", type_=Text), postgresql.TSQUERY))


def _candidates(
    conn: Connection, kind: Kind, query: Query, among: Among, numbers: list[int], last: int, batch: int
) -> Sequence[Any]:
    by_date = among.start is not None or among.end is not None
    dialect = conn.dialect.name
    numbers = [number for number in numbers if number <= last >> SLICE]
    values: dict[str, Any] = {"words": _words(dialect, query, among, numbers), "last": last, "batch": batch}
    if by_date:
        values |= {"start": among.start or NEVER, "end": among.end or ALWAYS}
    return fetch(conn, _candidates_statement(dialect, kind, by_date), values)
