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
    CompoundSelect,
    Connection,
    FromClause,
    ScalarSelect,
    Select,
    SelectBase,
    String,
    Subquery,
    Table,
    Text,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)

from testio_mcp.database.dialect import among_texts, fetch
from testio_mcp.database.types import utc_text
from testio_mcp.errors import NotFound
from testio_mcp.operations.lists.paging import as_of, decode_cursor, encode_cursor, foreign_cursor

_BRANCHES = 40
"""How many indexes a page is merged from at most."""
_FIRST_KEYS = 200
"""How many ids a walk reads at first."""
COUNTED = 1_000
"""How far matching records are counted; beyond that a total says that there are more."""


@dataclass(frozen=True, eq=False)
class Order:
    """The sort keys of a list, the last one unique, and their types in a cursor.

    `source` joins what the keys need to the list's table. `above` and `below` name the filters that bound the first
    key: a cursor takes the place of the one on its side, as SQLite would otherwise walk from the bound to the cursor.
    `instead` has conditions that take the place of the filters of their names, so that no index of theirs breaks the
    order; an order with some is not split. Records without the first key come last, as if `missing` was theirs,
    unless the filter `present` leaves them out.
    """

    keys: tuple[ColumnElement[Any], ...]
    kinds: tuple[Any, ...]
    is_descending: bool = True
    source: FromClause | None = None
    above: str | None = None
    below: str | None = None
    instead: Mapping[str, ColumnElement[bool]] = field(default_factory=dict)
    missing: datetime | None = None
    present: str = ""

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
class Counting:
    """A count that begins where a filter leads: its rows one by one, and the names of filters that it goes with."""

    rows: Select[Any]
    beside: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Listing:
    """One list: its table, what its records show, how they are chosen and ordered.

    A filter is a condition whose variable has the filter's name; those of `parts` are met by one row of the parts.
    `counted` has conditions that choose the same as the filters of their names, and suit a count better; `counting`
    whole statements in place of a filter and of what always holds, to which the conditions of others are added.
    `split` names filters that take a list, and the column each is about: each value walks an index of its own.
    `near` is how many records next in the list are looked at before all that a filter leads to are gathered.
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
    counting: Mapping[str, Counting] = field(default_factory=dict)
    split: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    near: int = 1_000
    known: Mapping[str, tuple[Table, str, str]] = field(default_factory=dict)

    def page(
        self,
        conn: Connection,
        given: Mapping[str, Any],
        *,
        order: str,
        cursor: str | None = None,
        limit: int = 1,
        total_only: bool = False,
        is_long: bool = False,
    ) -> dict[str, Any]:
        """What a `Page` holds: the records that match what was `given` (None and empty lists match all).

        What is given under a name that no filter has is for the variables of columns and joins. With `total_only`
        there are no records, and the total is exact. `is_long` says that more than `COUNTED` are known to match.

        Raises `BadInput` for a foreign cursor, `NotFound` when nothing matches because a given id is unknown.
        """
        values = {name: value for name, value in given.items() if value not in (None, [])}
        if total_only:
            return self._without_records(conn, values, order, is_exact=True)
        way = self.orders[order]
        position = self._position(way, cursor, values)
        branches, given_apart = self._branches(way, values)
        statement = _page(self, self.names.intersection(values), order, position is not None, branches, is_long)
        binds = given_apart | {"limit": limit + 1} | {f"last_{n}": key for n, key in enumerate(position or ())}
        rows = fetch(conn, statement, binds)
        if not rows:
            return self._without_records(conn, values, order)
        names = [column.key for column in self.columns]
        ends = len(names) + len(way.keys)
        total, moment = rows[0][ends:]
        last = rows[:limit][-1][len(names) : ends]
        following = encode_cursor(self._mark(way), *map(_in_cursor, last)) if len(rows) > limit else None
        items = [dict(zip(names, row, strict=False)) for row in rows[:limit]]
        return {"items": items, "next_cursor": following, "as_of": moment, **total_of(total)}

    def _branches(self, way: Order, values: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """How many indexes a page is merged from, 0 for a single one, and the values with those of each."""
        name, _ = ("", None) if way.instead else self.way_apart(frozenset(values))
        apart = list(dict.fromkeys(values[name])) if name else []
        if not 1 < len(apart) <= _BRANCHES:
            return 0, values
        return len(apart), values | {f"branch_{n}": value for n, value in enumerate(apart)}

    def way_apart(self, names: frozenset[str]) -> tuple[str, ColumnElement[Any] | None]:
        """The filter among these whose values walk indexes of their own, and its column; no name for none."""
        return next(((name, column) for name, column in self.split.items() if name in names), ("", None))

    def gather(self, conn: Connection, values: Mapping[str, Any], order: str) -> list[int]:
        """The ids of records that match, no more than `COUNTED` and one, in no order."""
        statement = _gathered(self, self.names.intersection(values), order)
        return [row[0] for row in fetch(conn, statement, values)]

    def _mark(self, way: Order) -> str:
        """What a cursor of this list and order begins with."""
        return f"{self.table.name} {way.keys[0].key} {'down' if way.is_descending else 'up'}"

    def _position(self, order: Order, cursor: str | None, values: dict[str, Any]) -> list[Any] | None:
        """The sort keys of the row that the page begins after; None at the start, or where a date bounds it."""
        if not cursor:
            return None
        mark, *keys = decode_cursor(cursor, str, *order.kinds)
        if mark != self._mark(order):
            raise foreign_cursor()
        bound = values.get(order.bound or "")
        if bound is not None and (keys[0] >= bound if order.is_descending else keys[0] < bound):
            return None
        return keys

    def keys(
        self, conn: Connection, given: Mapping[str, Any], *, order: str, cursor: str | None = None
    ) -> Iterator[list[int]]:
        """The ids of all records that match, in the list's order from the cursor on: some at a time, always more."""
        values = {name: value for name, value in given.items() if value not in (None, [])}
        way, some = self.orders[order], _FIRST_KEYS
        names = self.names.intersection(values)
        position = self._position(way, cursor, values)
        branches, values = self._branches(way, values)
        while True:
            last = {f"last_{n}": key for n, key in enumerate(position or ())}
            statement = _keys(self, names, order, position is not None, branches)
            rows = fetch(conn, statement, {**values, **last, "limit": some})
            if rows:
                yield [row[0] for row in rows]
            if len(rows) < some:
                return
            position, some = [*rows[-1][1:]], 2 * some

    def nearest_page(
        self, conn: Connection, given: Mapping[str, Any], *, order: str, cursor: str | None, limit: int
    ) -> dict[str, Any]:
        """A page of the records next in a list that is ordered by id, or else, if they do not fill it, of all.

        The first is read in the order `near`, which the filter `near` bounds; the other one in the order `gathered`.
        """
        edge, way = _edge(self, order, cursor is not None), self.orders[order]
        last = {f"last_{n}": key for n, key in enumerate(self._position(way, cursor, {}) or ())}
        far = fetch(conn, edge, {**last, "near": self.near})
        near = far[0][0] if far else 0 if way.is_descending else 2**63 - 1
        page = self.page(conn, {**given, "near": near}, order=f"{order} near", cursor=cursor, limit=limit)
        if page["next_cursor"]:
            return page
        return self.page(conn, given, order=f"{order} gathered", cursor=cursor, limit=limit)

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all filters."""
        return frozenset(self.filters).union(*(part.filters for part in self.parts))

    def _without_records(
        self, conn: Connection, values: dict[str, Any], order: str, *, is_exact: bool = False
    ) -> dict[str, Any]:
        asked = [name for name in self.known if name in values]
        statement = _empty(self, self.names.intersection(values), order, tuple(asked), is_exact)
        total, moment, *found = fetch(conn, statement, values)[0]
        for name, count in zip(asked, found, strict=True):
            if not count and not total:
                _, what, step = self.known[name]
                wanted = values[name][0] if isinstance(values[name], list) else values[name]
                raise NotFound(f"{what} {wanted} is not in the store.", step)
        counted = {"total": total, "total_is_capped": False} if is_exact else total_of(total)
        return {"items": [], "next_cursor": None, "as_of": moment, **counted}

    def conditions(
        self, names: frozenset[str], order: Order | None = None, *, counting: bool = False
    ) -> list[ColumnElement[bool]]:
        """The conditions of the filters with these names, as the order wants them, and those that always hold."""
        instead = self.counted if counting else order.instead if order else {}
        filters = {**self.filters, **instead}
        chosen = [*self.always, *(condition for name, condition in filters.items() if name in names)]
        inside = ((part, [part.filters[name] for name in part.filters if name in names]) for part in self.parts)
        return chosen + [exists().where(part.belongs, *conditions) for part, conditions in inside if conditions]


def total_of(count: int) -> dict[str, Any]:
    """What a page says of a count that went no further than one beyond `COUNTED`."""
    return {"total": min(count, COUNTED), "total_is_capped": count > COUNTED}


def _in_cursor(key: Any) -> str | int:
    return utc_text(key) if isinstance(key, datetime) else key


def _ordered(order: Order, columns: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [column.desc() for column in columns] if order.is_descending else list(columns)


def _branch(
    listing: Listing,
    names: frozenset[str],
    order: Order,
    is_later: bool,
    *same: ColumnElement[bool],
    first: ColumnElement[Any] | None = None,
    limit: int | BindParameter[int] = bindparam("limit"),  # noqa: B008
    beyond: BindParameter[int] | None = None,
) -> Subquery:
    """The ids and sort keys of a page, from one walk along an index; `first` stands for the first key."""
    if is_later and order.bound:
        names -= {order.bound}
    chosen = [*listing.conditions(names, order), *same]
    sorted_by = order.keys if first is None else order.keys[1:]
    columns = order.keys if first is None else (first, *order.keys[1:])
    if is_later:
        last = [bindparam(f"last_{n}", type_=key.type) for n, key in enumerate(order.keys)]
        here, there = (columns[0], last[0]) if len(last) == 1 else (tuple_(*columns), tuple_(*last))
        chosen.append(here < there if order.is_descending else here > there)
    keys = [key.label(f"key_{n}") for n, key in enumerate(columns)]
    chosen_ids = select(listing.table.c.id.label("id"), *keys).select_from(_source(listing, order)).where(*chosen)
    return chosen_ids.order_by(*_ordered(order, sorted_by)).limit(limit).offset(beyond).subquery()


def _chosen(
    listing: Listing, names: frozenset[str], way: Order, is_later: bool, branches: int
) -> Select[Any] | CompoundSelect[Any]:
    """The ids and sort keys of a page, and of as many more as there are branches."""
    if branches:
        name, column = listing.way_apart(names)
        same = [column == bindparam(f"branch_{number}") for number in range(branches)] if column is not None else []
        return union_all(*(select(_branch(listing, names - {name}, way, is_later, each)) for each in same))
    if way.missing is None or way.present in names:
        return select(_branch(listing, names, way, is_later))
    key = way.keys[0]
    missing = _branch(listing, names, way, is_later, key.is_(None), first=literal(way.missing, key.type))
    return union_all(select(_branch(listing, names, way, is_later, key.is_not(None))), select(missing))


@lru_cache(maxsize=16)
def _edge(listing: Listing, order: str, is_later: bool) -> Select[Any]:
    way = listing.orders[order]
    page = _branch(listing, frozenset(), way, is_later, limit=1, beyond=bindparam("near"))
    return select(page.c.id)


@lru_cache(maxsize=256)
def _keys(listing: Listing, names: frozenset[str], order: str, is_later: bool, branches: int) -> Select[Any]:
    way = listing.orders[order]
    page = _chosen(listing, names, way, is_later, branches).subquery("page")
    keys = [page.c[f"key_{n}"] for n in range(len(way.keys))]
    return select(page.c.id, *keys).order_by(*_ordered(way, keys)).limit(bindparam("limit"))


def _source(listing: Listing, order: Order) -> FromClause:
    return listing.table if order.source is None else order.source


@lru_cache(maxsize=256)
def _gathered(listing: Listing, names: frozenset[str], order: str) -> Select[Any]:
    return _matching(listing, names, listing.orders[order]).with_only_columns(listing.table.c.id)


@lru_cache(maxsize=1024)
def _page(
    listing: Listing, names: frozenset[str], order: str, is_later: bool, branches: int, is_long: bool
) -> Select[Any]:
    way = listing.orders[order]
    page = _chosen(listing, names, way, is_later, branches).subquery("page")
    keys = [page.c[f"key_{n}"] for n in range(len(way.keys))]
    joined: FromClause = page.join(listing.table, listing.table.c.id == page.c.id)
    for table, condition in listing.joins:
        joined = joined.outerjoin(table, condition)
    about = _select_total(listing, names, way, most=0 if is_long else COUNTED + 1)
    return (
        select(*listing.columns, *keys, *about)
        .select_from(joined)
        .order_by(*_ordered(way, keys))
        .limit(bindparam("limit"))
    )


def _matching(listing: Listing, names: frozenset[str], order: Order, most: int | None = COUNTED + 1) -> Select[Any]:
    """A row for each record that matches, no more than `most`."""
    for name in names & listing.counting.keys():
        if names - {name} <= listing.counting[name].beside:
            every = dict(listing.filters) | {
                key: what for part in listing.parts for key, what in part.filters.items()
            }
            others = [every[other] for other in sorted(names - {name})]
            return listing.counting[name].rows.where(*others).limit(most)
    conditions = listing.conditions(names, order, counting=True)
    return select(literal_column("1")).select_from(_source(listing, order)).where(*conditions).limit(most)


def _counted(rows: SelectBase) -> ScalarSelect[int]:
    return select(func.count()).select_from(rows.subquery()).scalar_subquery()


def _select_total(
    listing: Listing, names: frozenset[str], order: Order, most: int | None = COUNTED + 1
) -> list[ColumnElement[Any]]:
    """How many records match, counted up to `most` (0: more than are counted), and as of when."""
    total = literal_column(str(COUNTED + 1)) if most == 0 else _counted(_matching(listing, names, order, most))
    product: BindParameter[int] | None = bindparam("product_id") if "product_id" in names else None
    return [total.label("total"), as_of(*listing.resources, product_id=product).label("as_of")]


@lru_cache(maxsize=1024)
def _empty(
    listing: Listing, names: frozenset[str], order: str, asked: tuple[str, ...], is_exact: bool
) -> Select[Any]:
    """The total without a cursor, the moment, and how many of the ids in each filter are known."""
    known = []
    for name in asked:
        column = listing.known[name][0].c.id
        is_list = listing.filters[name].compile().binds[name].expanding
        wanted = column.in_(bindparam(name, expanding=True)) if is_list else column == bindparam(name)
        known.append(select(func.count(column)).where(wanted).scalar_subquery())
    about = _select_total(listing, names, listing.orders[order], most=None if is_exact else COUNTED + 1)
    return select(*about, *known)


def any_of(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The filter `name` for any of the values in a list."""
    return column.in_(bindparam(name, expanding=True))


def text_among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The filter `name` for any of the texts that `matching.containing` found."""
    return among_texts(column, bindparam(name, type_=Text))


def system_with_version(devices: Any) -> ColumnElement[Any]:
    """The operating system of a line of devices as people say it: `Windows 11`, or `Windows` without a version."""
    version = literal_column("' '", String).op("||")(
        func.nullif(devices.operating_system_version, literal_column("''"))
    )
    system: ColumnElement[Any] = devices.operating_system
    return system.op("||")(func.coalesce(version, literal_column("''")))


def texts_of_devices(devices: Any) -> dict[str, ColumnElement[Any]]:
    """The texts of a line of devices by the names of their filters."""
    return {
        "device": devices.name,
        "device_category": devices.category,
        "operating_system": system_with_version(devices),
        "browser": devices.browsers,
    }
