"""What changed: the API cannot say it, the store can."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, and_, bindparam, case, func, select, update

from testio_mcp.app import App
from testio_mcp.database.dialect import fetch, fetch_records, insert_missing
from testio_mcp.database.tables import (
    Bug,
    ChangeLog,
    Execution,
    Feature,
    Product,
    Reader,
    Test,
    UserStory,
    table_of,
)
from testio_mcp.errors import BadInput
from testio_mcp.operations.arguments import AsList
from testio_mcp.operations.lists.paging import Cursor, Fit, Page, as_of, decode_cursor, encode_cursor, unlimited
from testio_mcp.operations.metrics.periods import instant
from testio_mcp.operations.registry import operation

Entity = Literal["product", "feature", "user_story", "test", "execution", "bug"]
_change, _reader = table_of(ChangeLog).c, table_of(Reader)
_product, _feature, _test, _bug = table_of(Product), table_of(Feature), table_of(Test), table_of(Bug)
_execution, _story = table_of(Execution), table_of(UserStory)
_STATUSES = ("status", "execution_status")
_NOUNS = {"user_story": ("user story", "user stories")}


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


# An execution has the title of its user story.
_titles = func.coalesce(_test.c.title, _bug.c.title, _feature.c.title, _story.c.title, _product.c.name)
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
    .outerjoin(_execution, (_change.entity == "execution") & (_change.entity_id == _execution.c.id))
    .outerjoin(
        _story,
        _story.c.id == case((_change.entity == "user_story", _change.entity_id), else_=_execution.c.user_story_id),
    )
    .where(_change.id > bindparam("after"))
    .order_by(_change.id)
    .limit(bindparam("limit"))
)
_word = case(
    (_change.field.in_(_STATUSES), func.coalesce(_change.new_value, "")),
    (and_(_change.field == "gone_at", _change.new_value.is_not(None)), "gone"),
    else_="",
).label("word")
_groups = (
    select(_change.entity, _change.field, _word, func.count())
    .where(_change.id > bindparam("after"))
    # The word first: in the other order SQLite walks the index of entities through the whole log.
    .group_by("word", _change.entity, _change.field)
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
        Field(description="Found since a day or moment (2026-11-01T08:00:00Z)."),
    ] = None,
    run_id: Annotated[int | None, Field(ge=1, description="Of one sync run; get_status shows it.")] = None,
    reader: Annotated[
        str | None,
        Field(min_length=1, max_length=100, description="Your name: shows what is new since your last look."),
    ] = None,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    entities: Annotated[
        list[Entity],
        AsList,
        Field(description="Any of product, feature, user_story, test, execution, bug; all when left out."),
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

    filters = {name: value for name, value in values.items() if value is not None}
    if reader:
        return await _read_new_changes(app, _name_subscriber(reader, product_id, entities), filters, limit, fit)
    return _cut_to_fit(await app.store.read(lambda conn: _page(conn, filters, after, limit)), fit)


async def _read_new_changes(app: App, name: str, filters: dict[str, Any], limit: int, fit: Fit) -> ChangePage:
    """What is new since the subscriber's last call; of two calls at a time, one sees what follows the other."""

    def read(conn: Connection) -> tuple[int, ChangePage]:
        start = conn.execute(select(_reader.c.last_change_id).where(_reader.c.name == name)).scalar() or 0
        return start, _page(conn, filters, start, limit)

    while True:
        start, whole = await app.store.read(read)
        page = _cut_to_fit(whole, fit)
        if not page.items or await app.store.write(
            partial(_note_last_seen, name=name, start=start, end=page.items[-1].id)
        ):
            return page


def _cut_to_fit(page: ChangePage, fit: Fit) -> ChangePage:
    if (most := fit(page)) >= len(page.items):
        return page
    items = page.items[:most]
    return page.model_copy(update={"items": items, "next_cursor": encode_cursor(items[-1].id)})


def _name_subscriber(reader: str, product_id: int | None, entities: Sequence[str]) -> str:
    """The name under which a subscriber is kept: all changes, of a product or of some kinds are apart."""
    product = [] if product_id is None else [f"product {product_id}"]
    return " / ".join([reader, *product, *sorted(set(entities))])


def _note_last_seen(conn: Connection, name: str, start: int, end: int) -> bool:
    """Note that a subscriber has seen the changes up to `end`; False when another call of it noted some meanwhile."""
    now = datetime.now(UTC)
    insert_missing(conn, _reader, [{"name": name, "last_change_id": 0, "looked_at": now}])
    advance = update(_reader).where(_reader.c.name == name, _reader.c.last_change_id == start)
    return conn.execute(advance.values(last_change_id=end, looked_at=now)).rowcount == 1


@lru_cache(maxsize=64)
def _statements(names: frozenset[str]) -> tuple[Select[Any], Select[Any]]:
    """A page of the changes after one, and the groups of them all, chosen by what has these names."""
    conditions = {
        "since": _change.changed_at >= bindparam("since", type_=_change.changed_at.type),
        "run_id": _change.run_id == bindparam("run_id"),
        "product_id": _change.product_id == bindparam("product_id"),
        "entities": _change.entity.in_(bindparam("entities", expanding=True)),
    }
    chosen = [condition for name, condition in conditions.items() if name in names]
    return _list.where(*chosen), _groups.where(*chosen)


def _page(conn: Connection, values: dict[str, Any], after: int, limit: int) -> ChangePage:
    page, groups_of_all = _statements(frozenset(values))
    rows = fetch_records(conn, page, values | {"after": after, "limit": limit + 1})
    groups = fetch(conn, groups_of_all, values | {"after": after})
    answer = {
        "items": rows[:limit],
        "since": values.get("since"),
        "digest": _digest([(row[0], row[1], row[2], row[3]) for row in groups]),
        "next_cursor": encode_cursor(rows[limit - 1]["id"]) if len(rows) > limit else None,
        "as_of": fetch(conn, _as_of, {})[0][0],
    }
    return ChangePage.model_validate(answer)


def _digest(groups: Sequence[tuple[str, str, str, int]]) -> list[str]:
    """`12 new bugs`, `5 bugs are now accepted`, `2 user stories are now failed`, `3 tests: end_at changed`."""
    lines: Counter[tuple[str, str]] = Counter()
    for entity, field, word, count in groups:
        lines[entity, _describe_change(field, word)] += count
    sentences = []
    for (entity, text), count in lines.items():
        noun, nouns = _NOUNS.get(entity, (entity, f"{entity}s"))
        are = ("is", noun) if count == 1 else ("are", nouns)
        sentences.append((-count, text.format(are=are[0], noun=are[1])))
    return [f"{-count} {text}" for count, text in sorted(sentences)]


def _describe_change(field: str, new: str) -> str:
    if field == "created":
        return "new {noun}"
    if field == "gone_at":
        return f"{{noun}} {'gone' if new else 'back again'}"
    if field in _STATUSES:
        return f"{{noun}} {{are}} now {new.replace('{', '').replace('}', '')}"
    return f"{{noun}}: {field} changed"
