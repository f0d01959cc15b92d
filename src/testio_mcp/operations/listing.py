"""Lists: filters, order, keyset pages and totals, written once for all of them.

A page is one statement, however large the store: the inner query picks the ids of the page in the order of an index,
the outer one fetches the columns of those few rows, and the total is counted up to a limit. Only a page without rows
takes a second statement, which says why it is empty.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    ScalarSelect,
    Select,
    SelectBase,
    Subquery,
    Table,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    select,
    tuple_,
    union,
    union_all,
)

from testio_mcp.database.dialect import fetch
from testio_mcp.database.types import utc_text
from testio_mcp.errors import NotFound
from testio_mcp.operations.paging import as_of, decode_cursor, encode_cursor

_BRANCHES = 40
"""How many indexes a page is merged from at most."""
COUNTED = 1_000
"""How far matching records are counted; beyond that a total says that there are more."""


@dataclass(frozen=True, eq=False)
class Order:
    """The sort keys of a list, the last one unique, and their types in a cursor.

    `source` joins what the keys need to the list's table. `above` and `below` name the filters that bound the first
    key: a cursor takes the place of the one on its side, as SQLite would otherwise walk from the bound to the cursor.
    `instead` has conditions that take the place of the filters of their names, so that no index of theirs breaks the
    order; an order with some is not split.
    """

    keys: tuple[ColumnElement[Any], ...]
    kinds: tuple[Any, ...]
    is_descending: bool = True
    source: FromClause | None = None
    above: str | None = None
    below: str | None = None
    instead: Mapping[str, ColumnElement[bool]] = field(default_factory=dict)

    @property
    def bound(self) -> str | None:
        """The filter on the side from which the list begins."""
        return self.below if self.is_descending else self.above


@dataclass(frozen=True, eq=False)
class Part:
    """Filters that one and the same row of a table of parts has to meet, such as one device of a bug."""

    belongs: ColumnElement[bool]
    filters: Mapping[str, ColumnElement[bool]]


@dataclass(frozen=True, eq=False)
class Listing:
    """One list: its table, what its records show, how they are chosen and ordered.

    A filter is a condition whose variable has the filter's name; those of `parts` are met by one row of the parts.
    `counted` has conditions that choose the same as the filters of their names, and suit a count better.
    `split` names a filter that takes a list, and the column it is about: each value walks an index of its own.
    `either` is the same of a filter about several columns, any of which may have the value.
    `known` names, for a filter by id, the table and the words for an id that is not there.
    """

    table: Table
    columns: tuple[ColumnElement[Any], ...]
    orders: Mapping[str, Order]
    resources: tuple[str, ...]
    filters: Mapping[str, ColumnElement[bool]] = field(default_factory=dict)
    always: tuple[ColumnElement[bool], ...] = ()
    parts: tuple[Part, ...] = ()
    joins: tuple[tuple[FromClause, ColumnElement[bool]], ...] = ()
    counted: Mapping[str, ColumnElement[bool]] = field(default_factory=dict)
    split: tuple[str, ColumnElement[Any]] | None = None
    either: tuple[str, tuple[ColumnElement[Any], ...]] | None = None
    known: Mapping[str, tuple[Table, str, str]] = field(default_factory=dict)

    def page(
        self, conn: Connection, given: Mapping[str, Any], *, order: str, cursor: str | None, limit: int
    ) -> dict[str, Any]:
        """What a `Page` holds: the records that match what was `given` (None and empty lists match all).

        What is given under a name that no filter has is for the variables of columns and joins.

        Raises `BadInput` for a foreign cursor, `NotFound` when nothing matches because a given id is unknown.
        """
        values = {name: value for name, value in given.items() if value not in (None, [])}
        way = self.orders[order]
        position = _position(way, cursor, values)
        name, columns = ("", ()) if way.instead else self.way_apart(frozenset(values))
        apart = list(dict.fromkeys(values[name])) if name else []
        branches = len(apart) if 1 < len(apart) * len(columns) <= _BRANCHES else 0
        statement = _page(self, self.names.intersection(values), order, position is not None, branches)
        binds = values | {"limit": limit + 1} | {f"last_{n}": key for n, key in enumerate(position or ())}
        if branches:
            binds |= {f"branch_{n}": value for n, value in enumerate(apart)}
        rows = fetch(conn, statement, binds)
        if not rows:
            return self._nothing(conn, values, order)
        names = [column.key for column in self.columns]
        ends = len(names) + len(way.keys)
        total, moment = rows[0][ends:]
        last = rows[:limit][-1][len(names) : ends]
        following = encode_cursor(*map(_in_cursor, last)) if len(rows) > limit else None
        items = [dict(zip(names, row, strict=False)) for row in rows[:limit]]
        return {"items": items, "next_cursor": following, "as_of": moment, **_total(total)}

    def way_apart(self, names: frozenset[str]) -> tuple[str, tuple[ColumnElement[Any], ...]]:
        """The filter among these whose values walk indexes of their own, and its columns; no name for none."""
        if self.either and self.either[0] in names:
            return self.either
        return (self.split[0], (self.split[1],)) if self.split and self.split[0] in names else ("", ())

    def page_of_parts(
        self,
        conn: Connection,
        given: Mapping[str, Any],
        name: str,
        parts: Iterator[Any],
        *,
        order: str,
        cursor: str | None,
        limit: int,
    ) -> dict[str, Any]:
        """A page with what the filter `name` matches in parts that come in the list's order.

        No more parts are read than it takes to fill the page and to count as far as a page counts.
        """
        given = {**given, name: next(parts, "[]")}
        page = self.page(conn, given, order=order, cursor=cursor, limit=limit)
        while not (page["next_cursor"] and page["total_is_capped"]) and (part := next(parts, None)) is not None:
            more = self.page(conn, {**given, name: part}, order=order, cursor=cursor, limit=limit)
            page = _joined(page, more, limit)
        return page

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all filters."""
        return frozenset(self.filters).union(*(part.filters for part in self.parts))

    def _nothing(self, conn: Connection, values: dict[str, Any], order: str) -> dict[str, Any]:
        asked = [name for name in self.known if name in values]
        statement = _empty(self, self.names.intersection(values), order, tuple(asked))
        total, moment, *found = fetch(conn, statement, values)[0]
        for name, count in zip(asked, found, strict=True):
            if not count:
                _, what, step = self.known[name]
                wanted = values[name][0] if isinstance(values[name], list) else values[name]
                raise NotFound(f"{what} {wanted} is not in the store.", step)
        return {"items": [], "next_cursor": None, "as_of": moment, **_total(total)}

    def conditions(
        self, names: frozenset[str], order: Order | None = None, *, counting: bool = False
    ) -> list[ColumnElement[bool]]:
        """The conditions of the filters with these names, as the order wants them, and those that always hold."""
        filters = {**self.filters, **(self.counted if counting else {}), **(order.instead if order else {})}
        chosen = [*self.always, *(condition for name, condition in filters.items() if name in names)]
        inside = ((part, [part.filters[name] for name in part.filters if name in names]) for part in self.parts)
        return chosen + [exists().where(part.belongs, *conditions) for part, conditions in inside if conditions]


def _joined(page: dict[str, Any], more: dict[str, Any], limit: int) -> dict[str, Any]:
    """A page with what follows it in a later part; both are sorted by id."""
    items = page["items"] + more["items"]
    is_capped = page["total_is_capped"] or more["total_is_capped"]
    total = _total(COUNTED + 1 if is_capped else page["total"] + more["total"])
    following = page["next_cursor"] or more["next_cursor"]
    if len(items) > limit:
        following = encode_cursor(items[limit - 1]["id"])
    return {**page, "items": items[:limit], "next_cursor": following, **total}


def _total(count: int) -> dict[str, Any]:
    return {"total": min(count, COUNTED), "total_is_capped": count > COUNTED}


def _in_cursor(key: Any) -> str | int:
    return utc_text(key) if isinstance(key, datetime) else key


def _position(order: Order, cursor: str | None, values: dict[str, Any]) -> list[Any] | None:
    """The sort keys of the row that the page begins after; None at the start, or where a date already bounds it."""
    if not cursor:
        return None
    keys = decode_cursor(cursor, *order.kinds)
    bound = values.get(order.bound or "")
    if bound is not None and (keys[0] >= bound if order.is_descending else keys[0] < bound):
        return None
    return keys


def _ordered(order: Order, columns: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [column.desc() for column in columns] if order.is_descending else list(columns)


def _branch(
    listing: Listing, names: frozenset[str], order: Order, is_later: bool, *same: ColumnElement[bool]
) -> Subquery:
    """The ids and sort keys of a page, from one walk along an index."""
    if is_later and order.bound:
        names -= {order.bound}
    chosen = [*listing.conditions(names, order), *same]
    if is_later:
        last = [bindparam(f"last_{n}", type_=key.type) for n, key in enumerate(order.keys)]
        here, there = (order.keys[0], last[0]) if len(last) == 1 else (tuple_(*order.keys), tuple_(*last))
        chosen.append(here < there if order.is_descending else here > there)
    keys = [key.label(f"key_{n}") for n, key in enumerate(order.keys)]
    chosen_ids = select(listing.table.c.id.label("id"), *keys).select_from(_source(listing, order)).where(*chosen)
    return chosen_ids.order_by(*_ordered(order, order.keys)).limit(bindparam("limit")).subquery()


def _ways(columns: Sequence[ColumnElement[Any]], branches: int) -> list[ColumnElement[bool]]:
    return [column == bindparam(f"branch_{number}") for number in range(branches) for column in columns]


def _source(listing: Listing, order: Order) -> FromClause:
    return listing.table if order.source is None else order.source


@lru_cache(maxsize=1024)
def _page(listing: Listing, names: frozenset[str], order: str, is_later: bool, branches: int) -> Select[Any]:
    way = listing.orders[order]
    if branches:
        name, columns = listing.way_apart(names)
        ways = _ways(columns, branches)
        parts = (select(_branch(listing, names - {name}, way, is_later, same)) for same in ways)
        # A record that has the value in two columns is in two branches.
        page = (union_all if len(columns) == 1 else union)(*parts).subquery("page")
    else:
        page = select(_branch(listing, names, way, is_later)).subquery("page")
    keys = [page.c[f"key_{n}"] for n in range(len(way.keys))]
    joined: FromClause = page.join(listing.table, listing.table.c.id == page.c.id)
    for table, condition in listing.joins:
        joined = joined.outerjoin(table, condition)
    about = _about(listing, names, way, branches)
    return (
        select(*listing.columns, *keys, *about)
        .select_from(joined)
        .order_by(*_ordered(way, keys))
        .limit(bindparam("limit"))
    )


def _matching(listing: Listing, names: frozenset[str], order: Order) -> Select[Any]:
    conditions = listing.conditions(names, order, counting=True)
    return select(literal_column("1")).select_from(_source(listing, order)).where(*conditions).limit(COUNTED + 1)


def _counted(rows: SelectBase) -> ScalarSelect[int]:
    return select(func.count()).select_from(rows.subquery()).scalar_subquery()


def _total_of_ways(
    matching: Select[Any], ways: Sequence[ColumnElement[bool]], key: ColumnElement[int]
) -> ColumnElement[int]:
    """How many records are on any way: counted together only if there are few on each."""
    parts = [matching.where(way) for way in ways]
    together = union(*(select(part.with_only_columns(key).subquery()) for part in parts))
    return case(*((_counted(part) > COUNTED, COUNTED + 1) for part in parts), else_=_counted(together))


def _about(listing: Listing, names: frozenset[str], order: Order, branches: int = 0) -> list[ColumnElement[Any]]:
    """How many records match, counted up to the limit, and as of when."""
    name, columns = listing.way_apart(names)
    if branches and len(columns) > 1:
        others = _matching(listing, names - {name}, order)
        total = _total_of_ways(others, _ways(columns, branches), listing.table.c.id)
    else:
        total = _counted(_matching(listing, names, order))
    product: BindParameter[int] | None = bindparam("product_id") if "product_id" in names else None
    return [total.label("total"), as_of(*listing.resources, product_id=product).label("as_of")]


@lru_cache(maxsize=1024)
def _empty(listing: Listing, names: frozenset[str], order: str, asked: tuple[str, ...]) -> Select[Any]:
    """The total without a cursor, the moment, and how many of the ids in each filter are known."""
    known = []
    for name in asked:
        column = listing.known[name][0].c.id
        is_list = listing.filters[name].compile().binds[name].expanding
        wanted = column.in_(bindparam(name, expanding=True)) if is_list else column == bindparam(name)
        known.append(select(func.count(column)).where(wanted).scalar_subquery())
    return select(*_about(listing, names, listing.orders[order]), *known)


def any_of(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The filter `name` for any of the values in a list."""
    return column.in_(bindparam(name, expanding=True))


def part_of_text(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The filter `name` for text that holds what `containing` made a pattern of, whatever its case."""
    return column.ilike(bindparam(name), escape="\\")


def containing(text: str | None) -> str | None:
    """A LIKE pattern for what contains `text`; its escape character is the backslash."""
    if not text:
        return None
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
