"""What changed: the API cannot say it, the store can."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, and_, bindparam, case, func, select

from testio_mcp.app import App
from testio_mcp.database.dialect import fetch, fetch_records, upsert
from testio_mcp.database.tables import Bug, ChangeCount, ChangeLog, Feature, Product, Reader, Test, table_of
from testio_mcp.errors import BadInput
from testio_mcp.operations.arguments import AsList
from testio_mcp.operations.paging import Cursor, Fit, Page, as_of, decode_cursor, encode_cursor, unlimited
from testio_mcp.operations.periods import instant
from testio_mcp.operations.registry import operation

Entity = Literal["product", "feature", "test", "bug"]
_change, _count, _reader = table_of(ChangeLog).c, table_of(ChangeCount).c, table_of(Reader)
_product, _feature, _test, _bug = table_of(Product), table_of(Feature), table_of(Test), table_of(Bug)


class Change(BaseModel):
    """One changed field of one record; field `created` is a new record, `gone_at` one that the account lost."""

    id: int
    changed_at: datetime
    entity: str
    entity_id: int
    title: str | None
    product: str | None
    field: str
    old: str | None
    new: str | None


class ChangePage(Page):
    """Changes, oldest first, and what they come to."""

    items: list[Change]
    since: datetime | None
    digest: list[str] = Field(description="All matching changes in a few lines, also those of later pages.")


_titles = func.coalesce(_test.c.title, _bug.c.title, _feature.c.title, _product.c.name)
_list = (
    select(
        _change.id,
        _change.changed_at,
        _change.entity,
        _change.entity_id,
        _titles.label("title"),
        _product.c.name.label("product"),
        _change.field,
        _change.old_value.label("old"),
        _change.new_value.label("new"),
    )
    .outerjoin_from(table_of(ChangeLog), _product, _change.product_id == _product.c.id)
    .outerjoin(_test, (_change.entity == "test") & (_change.entity_id == _test.c.id))
    .outerjoin(_bug, (_change.entity == "bug") & (_change.entity_id == _bug.c.id))
    .outerjoin(_feature, (_change.entity == "feature") & (_change.entity_id == _feature.c.id))
    .where(_change.id > bindparam("after"))
    .order_by(_change.id)
    .limit(bindparam("limit"))
)
_word = case(
    (_change.field == "status", func.coalesce(_change.new_value, "")),
    (and_(_change.field == "gone_at", _change.new_value.is_not(None)), "gone"),
    else_="",
).label("word")
_later = (
    select(_change.entity, _change.field, _word, func.count())
    .where(_change.id > bindparam("after"))
    # The word first: in the other order SQLite walks the index of entities through the whole log.
    .group_by("word", _change.entity, _change.field)
)
_all = select(_count.entity, _count.field, _count.word, func.sum(_count.number)).group_by(
    _count.entity, _count.field, _count.word
)
_as_of = select(as_of("products", "tests", "bugs"))


@operation(
    "/changes",
    command="changes",
    toolset="sync",
    idempotent=False,
    needs=("tests", "bugs"),
    examples=({"since": "2020-01-01"},),
)
async def list_changes(
    app: App,
    since: Annotated[
        datetime | None,
        Field(description="Found since this day or moment (2026-11-01 or 2026-11-01T08:00:00Z)."),
    ] = None,
    run_id: Annotated[int | None, Field(ge=1, description="Only those of one sync run; get_status shows it.")] = None,
    reader: Annotated[
        str | None,
        Field(min_length=1, max_length=100, description="Your name: shows what is new since your last look."),
    ] = None,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    entities: Annotated[
        list[Entity], AsList, Field(description="Any of product, feature, test, bug; all when left out.")
    ] = [],  # noqa: B006 - never changed
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=200, description="Changes per page, 1 to 200.")] = 50,
    fit: Fit = unlimited,
) -> ChangePage:
    """Tell what changed in the account: new tests and bugs, new statuses, dates, decisions, and what is gone.

    Without since, run_id or reader, those found in the last 24 hours. What a first sync copies is no change.
    """
    if reader and (cursor or since or run_id):
        raise BadInput("reader: goes with neither since, run_id nor cursor.", "Call again to see what comes next.")
    if not (since or run_id or reader):
        since = datetime.now(UTC) - timedelta(hours=24)
    elif since:
        since = instant(since, app.settings.zone)
    values = {"since": since, "run_id": run_id, "product_id": product_id, "entities": entities or None}
    after = int(decode_cursor(cursor, int)[0]) if cursor else 0

    def read(conn: Connection) -> ChangePage:
        start = _last_look(conn, reader) if reader else after
        return _page(conn, {name: value for name, value in values.items() if value is not None}, start, limit)

    page = await app.store.read(read)
    if (room := fit(page)) < len(page.items):
        kept = page.items[:room]
        page = page.model_copy(update={"items": kept, "next_cursor": encode_cursor(kept[-1].id)})
    if reader and page.items:
        look = {"name": reader, "last_change_id": page.items[-1].id, "looked_at": datetime.now(UTC)}
        await app.store.write(lambda conn: upsert(conn, _reader, [look]))
    return page


def _last_look(conn: Connection, name: str) -> int:
    return conn.execute(select(_reader.c.last_change_id).where(_reader.c.name == name)).scalar() or 0


@lru_cache(maxsize=64)
def _statements(names: frozenset[str]) -> tuple[Select[Any], Select[Any], Select[Any]]:
    """A page, the groups of all its changes, and those of the changes after one, chosen by what has these names."""

    def chosen(columns: Any) -> list[Any]:
        known = {
            "since": columns.changed_at >= bindparam("since", type_=columns.changed_at.type),
            "run_id": columns.run_id == bindparam("run_id"),
            "product_id": columns.product_id == bindparam("product_id"),
            "entities": columns.entity.in_(bindparam("entities", expanding=True)),
        }
        return [condition for name, condition in known.items() if name in names]

    return _list.where(*chosen(_change)), _all.where(*chosen(_count)), _later.where(*chosen(_change))


def _page(conn: Connection, values: dict[str, Any], after: int, limit: int) -> ChangePage:
    page, every, later = _statements(frozenset(values))
    rows = fetch_records(conn, page, values | {"after": after, "limit": limit + 1})
    groups = fetch(conn, later, values | {"after": after}) if after else fetch(conn, every, values)
    answer = {
        "items": rows[:limit],
        "since": values.get("since"),
        "digest": _digest([(row[0], row[1], row[2], row[3]) for row in groups]),
        "next_cursor": encode_cursor(rows[limit - 1]["id"]) if len(rows) > limit else None,
        "as_of": fetch(conn, _as_of, {})[0][0],
    }
    return ChangePage.model_validate(answer)


def _digest(groups: Sequence[tuple[str, str, str, int]]) -> list[str]:
    """`12 new bugs`, `5 bugs are now accepted`, `3 tests: end_at changed`."""
    lines: dict[str, int] = {}
    for entity, field, new, count in groups:
        lines[_line(entity, field, new)] = lines.get(_line(entity, field, new), 0) + count
    ordered = sorted(lines.items(), key=lambda line: (-line[1], line[0]))
    return [
        text.format(n=count, s="" if count == 1 else "s", are="is" if count == 1 else "are")
        for text, count in ordered
    ]


def _line(entity: str, field: str, new: str) -> str:
    if field == "created":
        return f"{{n}} new {entity}{{s}}"
    if field == "gone_at":
        return f"{{n}} {entity}{{s}} {'gone' if new else 'back again'}"
    if field == "status":
        return f"{{n}} {entity}{{s}} {{are}} now {new.replace('{', '').replace('}', '')}"
    return f"{{n}} {entity}{{s}}: {field} changed"
