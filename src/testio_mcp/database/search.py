"""The full text indexes: one per kind of record, written in the transaction that writes the records.

An index names the records that have a word. Its words carry a code of the slice of ids that the record belongs
to: a search reads the newest slices first and stops when it has enough, and looking up the beginning of a word costs
as much as a slice holds, not the store. Beside the words stand the folded texts, from which order, nearness and rank
are told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Delete,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    case,
    column,
    delete,
    func,
    insert,
    select,
    table,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite

from testio_mcp.database.dialect import Row, insert_tuples
from testio_mcp.database.tables import (
    Bug,
    BugComment,
    Execution,
    Feature,
    Product,
    SearchSlice,
    Test,
    TestFeature,
    TestStoryResult,
    UserStory,
    table_of,
)
from testio_mcp.database.tables.search import ALWAYS, NEVER
from testio_mcp.database.words import words_of

Kind = Literal["bug", "test", "user_story", "feature", "product"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SLICE = 12
"""A slice has 2^12 ids: with fewer, a rare word takes more look-ups; with more, a common one reads more records."""
_LONGEST = 40_000
"""Folded characters of one text that are indexed; PostgreSQL bounds what a record's words may add up to."""
_DIGITS, _FIRST_DIGIT = 6_400, 0xE000  # private characters: none of them is ever part of a word
BATCH = 500
_MERGED = 250
"""Pages of an index that are merged in one transaction: others may write between two."""


@dataclass(frozen=True, eq=False)
class Source:
    """Where the texts of one kind of record come from; `at` is the moment that a search by date is about.

    `named_by` are the columns of other records that may name one which the account does not list: as long as such a
    record counts, the name is found.
    """

    kind: Kind
    table: Table
    title: str
    body: tuple[str, ...] = ()
    at: str | None = None
    comments: tuple[Table, str, str] | None = None
    named_by: tuple[tuple[Table, str], ...] = ()

    @property
    def product(self) -> str:
        """The column with the product's id."""
        return "id" if self.kind == "product" else "product_id"


_COMMENT = table_of(BugComment)
SOURCES: dict[Kind, Source] = {
    source.kind: source
    for source in (
        Source(
            "bug",
            table_of(Bug),
            "title",
            ("steps", "actual_result", "expected_result", "location", "external_idx"),
            "reported_at",
            (_COMMENT, "bug_id", "body"),
        ),
        Source("test", table_of(Test), "title", ("goal", "instructions", "out_of_scope"), "end_at"),
        Source(
            "user_story",
            table_of(UserStory),
            "title",
            named_by=((table_of(TestStoryResult), "user_story_id"), (table_of(Execution), "user_story_id")),
        ),
        Source(
            "feature",
            table_of(Feature),
            "title",
            ("description", "howtofind"),
            named_by=((table_of(TestFeature), "feature_id"), (table_of(Bug), "feature_id")),
        ),
        Source("product", table_of(Product), "name", ("description",)),
    )
}
_SOURCE_OF = {source.table: source for source in SOURCES.values()}
SLICES = table_of(SearchSlice)


class Document(NamedTuple):
    """A record as it is indexed: its texts are folded, each word with the code of the slice before it."""

    id: int
    product_id: int
    at: datetime | None
    title: str
    body: str
    comments: str


def slice_code(number: int) -> str:
    """The characters that stand before every word of a slice; no code is the beginning of another one's words."""
    number &= 2**64 - 1
    code = chr(_FIRST_DIGIT + number % _DIGITS)
    while number := number // _DIGITS:
        code = chr(_FIRST_DIGIT + number % _DIGITS) + code
    return code


def folded(code: str, texts: Iterable[str | None]) -> str:
    """The words of texts in one line, each between its code and a space."""
    words = [word for text in texts if text for word in words_of(text)]
    if not words:
        return ""
    line = code + f" {code}".join(words) + " "
    return line if len(line) <= _LONGEST else line[: line.rindex(" ", 0, _LONGEST) + 1]


def scope_word(product_id: int) -> str:
    """A word that stands for a product; nobody can type it, as the sign is no letter."""
    return f"§{product_id}"


def document(source: Source, row: Mapping[str, Any], comments: Sequence[str | None] = ()) -> Document:
    """What is indexed of a record; of one that is only a name (or no more than that), the name alone."""
    code = slice_code(row["id"] >> SLICE)
    body = () if source.named_by and row["gone_at"] is not None else source.body
    return Document(
        row["id"],
        row[source.product],
        row[source.at] if source.at else None,
        folded(code, (row[source.title],)),
        folded(code, (row[name] for name in body)),
        folded(code, comments),
    )


def index_rows(conn: Connection, table: Table, rows: Sequence[Row], parts: Mapping[Table, Sequence[Row]]) -> None:
    """Index rows that were just written, with their rows in the tables of parts; other tables' rows are no matter."""
    source = _SOURCE_OF.get(table)
    if source is None or not rows:
        return
    comments: dict[int, list[str]] = {}
    if source.comments:
        part, owner, column = source.comments
        for own in parts.get(part, ()):
            comments.setdefault(own[owner], []).append(own[column])
    store_documents(conn, source.kind, [document(source, row, comments.get(row["id"], ())) for row in rows])


def index_again(conn: Connection, table: Table, ids: Sequence[int]) -> None:
    """Index records as they are stored now; other tables' rows are no matter."""
    source = _SOURCE_OF.get(table)
    if source is None:
        return
    for start in range(0, len(ids), BATCH):
        store_documents(conn, source.kind, documents_of(conn, source.kind, ids[start : start + BATCH]))


def _texts(source: Source) -> list[str]:
    """The columns that a document is made of."""
    names = ["id", source.product, source.title, *source.body, *([source.at] if source.at else [])]
    return list(dict.fromkeys([*names, *(["gone_at"] if source.named_by else [])]))


# --- the tables of each database: FTS5 has a rowid of its own, PostgreSQL the words in a column -------------------


@cache
def index_table(dialect: str, kind: Kind) -> Table:
    """The index of one kind of record; it is made by the migrations, as no model could describe it."""
    texts = [Column(name, Text) for name in ("title", "body", "comments")]
    name = f"search_{kind}"
    if dialect == "sqlite":
        return Table(name, MetaData(), Column("rowid", Integer, key="id"), *texts, Column("words", Text, key="scope"))
    return Table(name, MetaData(), Column("id", BigInteger), *texts, Column("words", postgresql.TSVECTOR))


@cache
def _insert_text(kind: Kind) -> str:
    return str(insert(index_table("sqlite", kind)).compile(dialect=sqlite.dialect()))


@cache
def _stored(dialect: str, kind: Kind) -> Select[Any]:
    table = index_table(dialect, kind).c
    texts = (table.id, table.title, table.body, table.comments)
    return select(*texts).where(table.id.in_(bindparam("ids", expanding=True)))


@cache
def _delete(dialect: str, kind: Kind) -> Delete:
    table = index_table(dialect, kind)
    return delete(table).where(table.c.id.in_(bindparam("ids", expanding=True)))


def store_documents(conn: Connection, kind: Kind, documents: Sequence[Document]) -> None:
    """Index the documents in place of what the index holds of them; those it holds unchanged are left alone."""
    for start in range(0, len(documents), BATCH):
        batch = {document.id: document for document in documents[start : start + BATCH]}
        dialect = conn.dialect.name
        stored = {row[0]: tuple(row) for row in conn.execute(_stored(dialect, kind), {"ids": list(batch)})}
        changed = [d for key, d in batch.items() if stored.get(key) != (key, d.title, d.body, d.comments)]
        if old := [document.id for document in changed if document.id in stored]:
            conn.execute(_delete(dialect, kind), {"ids": old})
        if changed and dialect == "sqlite":
            rows: list[Any] = [
                (d.id, d.title, d.body, d.comments, slice_code(d.id >> SLICE) + scope_word(d.product_id))
                for d in changed
            ]
            insert_tuples(conn, _insert_text(kind), rows)
        elif changed:
            conn.execute(insert(index_table(dialect, kind)), [_with_words(d) for d in changed])
        _note_slices(conn, kind, batch.values())


def _with_words(d: Document) -> dict[str, Any]:
    words = {
        *d.title.split(),
        *d.body.split(),
        *d.comments.split(),
        slice_code(d.id >> SLICE) + scope_word(d.product_id),
    }
    vector = " ".join(f"'{word}'" for word in sorted(words))
    return {"id": d.id, "title": d.title, "body": d.body, "comments": d.comments, "words": vector}


def _note_slices(conn: Connection, kind: Kind, documents: Iterable[Document]) -> None:
    """Widen the slices of these documents by their moments."""
    found: dict[tuple[int, int], tuple[datetime, datetime]] = {}
    for document in documents:
        for product_id in (0, document.product_id):
            key = (product_id, document.id >> SLICE)
            first, last = found.get(key, (ALWAYS, NEVER))
            if document.at is not None:
                first, last = min(first, document.at), max(last, document.at)
            found[key] = (first, last)
    rows = [
        {"kind": kind, "product_id": product_id, "number": number, "first_at": first, "last_at": last}
        for (product_id, number), (first, last) in sorted(found.items())
    ]
    conn.execute(_widen(conn.dialect.name), rows)


@cache
def _widen(dialect: str) -> Any:
    new = (sqlite if dialect == "sqlite" else postgresql).insert(SLICES)
    old, given = SLICES.c, new.excluded
    return new.on_conflict_do_update(
        index_elements=["kind", "product_id", "number"],
        set_={
            "first_at": case((given.first_at < old.first_at, given.first_at), else_=old.first_at),
            "last_at": case((given.last_at > old.last_at, given.last_at), else_=old.last_at),
        },
    )


def documents_of(conn: Connection, kind: Kind, ids: Sequence[int]) -> list[Document]:
    """What is to be indexed of these records."""
    source = SOURCES[kind]
    columns = source.table.c
    names = _texts(source)
    statement = select(*(columns[name] for name in names)).where(columns.id.in_(ids)).order_by(columns.id)
    rows = [dict(zip(names, row, strict=True)) for row in conn.execute(statement).all()]
    comments: dict[int, list[str]] = {}
    if source.comments and rows:
        part, owner, body = source.comments
        for own in _comments(conn, source, rows)[part]:
            comments.setdefault(own[owner], []).append(own[body])
    return [document(source, row, comments.get(row["id"], ())) for row in rows]


def stored_words(conn: Connection, kind: Kind, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """What the index holds of these records, as `words_in` gives it for a document."""
    table = index_table(conn.dialect.name, kind).c
    words = table.scope if conn.dialect.name == "sqlite" else func.tsvector_to_array(table.words)
    rows = conn.execute(select(table.id, table.title, table.body, table.comments, words).where(table.id.in_(ids)))
    return {row[0]: (*row[1:4], row[4] if isinstance(row[4], str) else frozenset(row[4])) for row in rows}


def words_in(conn: Connection, document: Document) -> tuple[Any, ...]:
    """The texts of a document, and the words by which it is found."""
    texts = (document.title, document.body, document.comments)
    scope = slice_code(document.id >> SLICE) + scope_word(document.product_id)
    if conn.dialect.name == "sqlite":
        return (*texts, scope)
    return (*texts, frozenset((scope, *(word for text in texts for word in text.split()))))


def lacking_slices(conn: Connection, kind: Kind, documents: Sequence[Document]) -> set[int]:
    """The documents whose slice is not noted, or not with their moment."""
    stored = {
        (row[0], row[1]): (row[2], row[3])
        for row in conn.execute(
            select(SLICES.c.product_id, SLICES.c.number, SLICES.c.first_at, SLICES.c.last_at).where(
                SLICES.c.kind == kind, SLICES.c.number.in_({each.id >> SLICE for each in documents})
            )
        )
    }
    found = set()
    for each in documents:
        for product_id in (0, each.product_id):
            first, last = stored.get((product_id, each.id >> SLICE), (None, None))
            if first is None or last is None or (each.at is not None and not first <= each.at <= last):
                found.add(each.id)
    return found


def remove_documents(conn: Connection, kind: Kind, ids: Sequence[int]) -> None:
    """Take records out of the index."""
    if ids:
        conn.execute(_delete(conn.dialect.name, kind), {"ids": list(ids)})


def merge_search_index(conn: Connection) -> bool:
    """Merge some of the pieces that writing leaves of the indexes, and say whether there is more to merge.

    FTS5 looks a word up in every piece; merged, a word in many slices is found in a fifth of the time. PostgreSQL's
    indexes have no pieces.
    """
    if conn.dialect.name != "sqlite":
        return False
    driver: Any = conn.connection.driver_connection
    is_more = False
    for kind in KINDS:
        before, name = driver.total_changes, index_table("sqlite", kind).name
        conn.execute(table(name, column(name), column("rank")).insert().values({name: "merge", "rank": _MERGED}))
        # The statement itself counts as one change.
        is_more |= driver.total_changes - before > 1
    return is_more


def fill(conn: Connection) -> None:
    """Index all records of a store whose indexes are empty, some at a time."""
    for source in SOURCES.values():
        columns = source.table.c
        # Rows without a hash only hold the place of a record, or a name by which it is found.
        copied = true() if source.named_by else columns.content_hash != ""
        some = select(*(columns[name] for name in _texts(source))).where(columns.id > bindparam("after"), copied)
        some = some.order_by(columns.id).limit(BATCH)
        after = -(2**63)
        while rows := [dict(row) for row in conn.execute(some, {"after": after}).mappings()]:
            after = rows[-1]["id"]
            index_rows(conn, source.table, rows, _comments(conn, source, rows))


def _comments(conn: Connection, source: Source, rows: list[Row]) -> dict[Table, list[Row]]:
    if not source.comments:
        return {}
    part, owner, column = source.comments
    statement = select(part.c[owner], part.c[column]).where(part.c[owner].in_([row["id"] for row in rows]))
    found = conn.execute(statement.order_by(*part.primary_key)).mappings()
    return {part: [dict(row) for row in found]}
