"""Lists: one decorated function each, and the pages behind all of them.

The parameters of the function carry the filters (`lists.filters`); the decorator says what a record shows and how the
list is ordered. A page is read in two steps. First up to 1,000 records that match are looked for, in any order, which
also counts them. So few are sorted; of more, the list is walked along the index of its order until a page is full.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, get_args

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Subquery,
    Table,
    Text,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.sql.util import ClauseAdapter

from testio_mcp.database.dialect import among, fetch
from testio_mcp.database.types import UtcDateTime, utc_text
from testio_mcp.errors import NotFound
from testio_mcp.operations.lists.filters import Filter, any_of
from testio_mcp.operations.lists.paging import as_of, decode_cursor, encode_cursor, foreign_cursor
from testio_mcp.operations.registry import Toolset, operation
from testio_mcp.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
COUNTED = 1_000
"""How far matching records are counted; beyond that a total says that there are more."""
_IDS, _OF = "gathered ids", "ids of "
"""Keys of the conditions that stand for what was looked up before: ids of records, or of what they refer to."""


@dataclass(frozen=True, eq=False)
class Order:
    """The sort keys of a list, the last one unique.

    `source` joins what the keys need to the list's table. `along` names the filters that the index of the order
    serves; a walk along it looks at the others row by row. Records without the first key come last, as if `missing`
    was theirs.
    """

    keys: tuple[ColumnElement[Any], ...]
    is_descending: bool = True
    along: frozenset[str] = frozenset()
    source: FromClause | None = None
    missing: datetime | None = None


@dataclass(frozen=True, eq=False)
class Listing:
    """One list: its table, what its records show, how they are chosen and ordered.

    `always` holds for all records of the list; `resources` are what the moment of its data is told from.
    """

    table: Table
    columns: tuple[ColumnElement[Any], ...]
    orders: Mapping[str, Order]
    resources: tuple[str, ...]
    filters: Mapping[str, Filter] = field(default_factory=dict)
    always: tuple[ColumnElement[bool], ...] = ()
    joins: tuple[tuple[FromClause, ColumnElement[bool]], ...] = ()

    def page(
        self,
        conn: Connection,
        values: Mapping[str, Any],
        *,
        order: str,
        cursor: str | None = None,
        limit: int = 1,
        total_only: bool = False,
    ) -> dict[str, Any]:
        """What a `Page` holds: the records that match the values of the filters (None and empty lists match all).

        What has the name of no filter is for the variables of columns and joins. With `total_only` there are no
        records, and the total is exact.

        Raises `BadInput` for a foreign cursor, `NotFound` when nothing matches because an id is unknown.
        """
        values = {name: value for name, value in values.items() if value not in (None, [])}
        sorting = self.orders[order]
        position = self._position(sorting, cursor) if cursor else ()
        keys = self.keys(values)
        of_product, total = "product_id" in values, None
        if total_only:
            return self._without_records(conn, _select_total(self, keys, order, of_product, is_exact=True), values)
        keys, values = self._look_up_related(conn, keys, values, sorting)
        if not keys <= sorting.along:
            ids = [row[0] for row in fetch(conn, _some_ids(self, keys, order), values)]
            total = len(ids)
            if ids and total <= COUNTED:
                keys, values = frozenset({_IDS}), values | {"gathered_ids": json.dumps(ids)}
        rows: Sequence[Sequence[Any]] = ()
        if total != 0:
            statement = _select_page(self, keys, order, bool(position), of_product, total is None)
            last = {f"last_{n}": key for n, key in enumerate(position)}
            rows = fetch(conn, statement, values | last | {"limit": limit + 1})
        if not rows:
            return self._without_records(conn, _select_total(self, keys, order, of_product, is_exact=False), values)
        names = [column.key for column in self.columns]
        *_, counted, moment = rows[0]
        following = None
        if len(rows) > limit:
            last_keys = (utc_text(at) if isinstance(at, datetime) else at for at in rows[limit - 1][len(names) : -2])
            following = encode_cursor(self._mark(sorting), *last_keys)
        items = [dict(zip(names, row, strict=False)) for row in rows[:limit]]
        page = {"items": items, "next_cursor": following, "as_of": moment}
        return page | _capped(counted if total is None else total)

    def _without_records(self, conn: Connection, statement: Select[Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """The page with the total and the moment that the statement tells."""
        total, moment, is_exact = fetch(conn, statement, values)[0]
        if not total:
            self._refuse_unknown_ids(conn, values)
        counted = {"total": total, "total_is_capped": False} if is_exact else _capped(total)
        return {"items": [], "next_cursor": None, "as_of": moment, **counted}

    def keys(self, values: Mapping[str, Any]) -> frozenset[str]:
        """The keys of the conditions for these values."""
        applied = ((name, each.key(name, values[name])) for name, each in self.filters.items() if name in values)
        return frozenset(key for _, key in applied if key is not None)

    def conditions(
        self, keys: frozenset[str], order: Order | None = None, *, is_walk: bool = False
    ) -> list[ColumnElement[bool]]:
        """The conditions with these keys, and those that always hold.

        In a walk along an order what its index does not serve is compared as a value: it leads to no other index,
        which would break the order.
        """
        along = order.along if order else frozenset()
        chosen = [*self.always, *(self._condition(key) for key in sorted(keys) if _name(key) in along)]
        others = [
            self._condition(key) for key in sorted(keys) if _name(key) not in along and self._of(key, along) is None
        ]
        others += [
            exists().where(self._reference(of) == of, *conditions).correlate(self.table)
            for of, conditions in self._related(keys, along).items()
        ]
        return chosen + [condition.is_(true()) if is_walk else condition for condition in others]

    def matching(self, keys: frozenset[str], order: Order, *, is_exact: bool = False) -> Select[Any]:
        """The ids of the records that match, joined with what the filters are about.

        Where all of them are counted, sets of ids take the place of the joins: no record is met twice.
        """
        source = self.table if order.source is None else order.source
        related = self._related(keys, order.along)
        conditions = [*self.always, *(self._condition(key) for key in keys if self._of(key, order.along) is None)]
        for of, some in related.items():
            table: Any = of.table.alias()
            about = [ClauseAdapter(table).traverse(condition) for condition in some]
            if is_exact:
                conditions.append(self._reference(of).in_(select(table.c[of.key]).where(*about)))
            else:
                source = source.join(table, self._reference(of) == table.c[of.key])
                conditions += about
        ids = select(self.table.c.id).select_from(source).where(*conditions)
        return ids.distinct() if related and not is_exact else ids

    def _condition(self, key: str) -> ColumnElement[bool]:
        name, _, variant = key.partition("=")
        if key == _IDS:
            return among(self.table.c.id, bindparam("gathered_ids", type_=Text))
        if key.startswith(_OF):
            return among(self._references[key.removeprefix(_OF)], bindparam(key.replace(" ", "_"), type_=Text))
        return self.filters[name].condition(name, variant)

    def _of(self, key: str, along: frozenset[str]) -> Any:
        """The key of the other table that a condition is about, unless the order joins it."""
        each = self.filters.get(_name(key))
        return None if each is None or _name(key) in along else each.of

    def _related(self, keys: frozenset[str], along: frozenset[str]) -> dict[Any, list[ColumnElement[bool]]]:
        """The conditions about other tables, by the keys of these."""
        related: dict[Any, list[ColumnElement[bool]]] = {}
        for key in sorted(keys):
            if (of := self._of(key, along)) is not None:
                related.setdefault(of, []).append(self._condition(key))
        return related

    def _look_up_related(
        self, conn: Connection, keys: frozenset[str], values: dict[str, Any], sorting: Order
    ) -> tuple[frozenset[str], dict[str, Any]]:
        """The keys and values with the ids of few rows of other tables in place of the filters about them.

        A rare device is found in the devices; for a common one it is quicker to look at the devices of each bug.
        """
        for of in self._related(keys, sorting.along):
            about = frozenset(key for key in keys if self._of(key, sorting.along) is of)
            ids = [row[0] for row in fetch(conn, _some_related(self, of, about), values)]
            if len(ids) <= COUNTED:
                key = f"{_OF}{of.table.name}"
                keys, values = keys - about | {key}, values | {key.replace(" ", "_"): json.dumps(ids)}
        return keys, values

    def _reference(self, of: ColumnElement[Any]) -> ColumnElement[Any]:
        """The column of the list's table that has the same ids as a key of another table."""
        key: Any = of
        return self.table.c[f"{key.table.name}_id"] if key.name == "id" else self.table.c.id

    @cached_property
    def _references(self) -> dict[str, ColumnElement[Any]]:
        keys: list[Any] = [each.of for each in self.filters.values() if each.of is not None]
        return {of.table.name: self._reference(of) for of in keys}

    def _mark(self, sorting: Order) -> str:
        """What a cursor of this list and order begins with."""
        return f"{self.table.name} {sorting.keys[0].key} {'down' if sorting.is_descending else 'up'}"

    def _position(self, sorting: Order, cursor: str) -> Sequence[Any]:
        """The sort keys of the row that the page begins after."""
        types = (key.type for key in sorting.keys)
        kinds = (datetime if isinstance(of, UtcDateTime) else int if of.python_type is int else str for of in types)
        mark, *position = decode_cursor(cursor, str, *kinds)
        if mark != self._mark(sorting):
            raise foreign_cursor()
        return position

    def _refuse_unknown_ids(self, conn: Connection, values: Mapping[str, Any]) -> None:
        """Raise `NotFound` if none of the ids that a filter takes is there."""
        for name, each in self.filters.items():
            if each.exists is not None and name in values:
                ids = values[name] if isinstance(values[name], list) else [values[name]]
                if not fetch(conn, _some_of(each.exists), {"ids": ids}):
                    what = each.exists.name.replace("_", " ").capitalize()
                    plural = "user_stories" if each.exists.name == "user_story" else f"{each.exists.name}s"
                    raise NotFound(f"{what} {ids[0]} is not in the store.", f"list_{plural} shows the ids.")


class ListQuery:
    """A call of a list: its connection, its settings, its arguments, and the page that they choose."""

    def __init__(self, conn: Connection, settings: Settings, listing: Listing, arguments: Mapping[str, Any]) -> None:
        self.conn, self.settings, self.arguments = conn, settings, arguments
        self._listing = listing

    def page(self, *, order: str | None = None, **others: Any) -> dict[str, Any]:
        """What the `Page` holds; `others` are values of filters that are no arguments, or take the place of one."""
        arguments = self.arguments
        values = {
            name: each.bind(self, value)
            for name, each in self._listing.filters.items()
            if (value := arguments.get(name)) not in (None, [], "") and each.key(name, value)
        }
        return self._listing.page(
            self.conn,
            values | others,
            order=order or arguments.get("sort") or next(iter(self._listing.orders)),
            cursor=arguments["cursor"],
            limit=arguments["limit"],
            total_only=arguments["total_only"],
        )


def list_operation(
    path: str,
    command: str,
    *,
    table: Table,
    columns: tuple[ColumnElement[Any], ...],
    orders: Mapping[str, Order],
    toolset: Toolset,
    needs: tuple[str, ...],
    resources: tuple[str, ...] = (),
    joins: tuple[tuple[FromClause, ColumnElement[bool]], ...] = (),
    filters: Mapping[str, Filter] | None = None,
    examples: tuple[Mapping[str, object], ...] = (),
    by_default: bool = True,
) -> Callable[[Callable[Concatenate[ListQuery, P], R]], Callable[Concatenate[Connection, Settings, P], R]]:
    """Register a function as the operation that lists `table`; the filters are those of its parameters.

    The function is handed a `ListQuery` and returns the page. `filters` are more that it chooses by itself;
    `resources` are what the moment of the data is told from, if not what the operation needs.
    """

    def register(
        function: Callable[Concatenate[ListQuery, P], R],
    ) -> Callable[Concatenate[Connection, Settings, P], R]:
        signature = inspect.signature(function)
        [_, *parameters] = signature.parameters.values()
        defaults = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
        marks = {parameter.name: get_args(parameter.annotation)[1:] for parameter in parameters}
        stated = {name: mark for name, some in marks.items() for mark in some if isinstance(mark, Filter)}
        always = (table.c.gone_at.is_(None),) if "gone_at" in table.c else ()
        listing = Listing(table, columns, orders, resources or needs, stated | dict(filters or {}), always, joins)

        @wraps(function)
        def read(conn: Connection, settings: Settings, *args: P.args, **arguments: P.kwargs) -> R:
            query = ListQuery(conn, settings, listing, defaults | arguments)
            return function(query, *args, **arguments)

        injected = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
            for name, kind in (("conn", Connection), ("settings", Settings))
        ]
        read.__signature__ = signature.replace(parameters=[*injected, *parameters])  # type: ignore[attr-defined]
        read.listing = listing  # type: ignore[attr-defined]
        lists = operation(
            path, command=command, toolset=toolset, needs=needs, examples=examples, by_default=by_default
        )
        return lists(read)  # type: ignore[return-value]  # the registry says `settings` by name

    return register


def _capped(count: int) -> dict[str, Any]:
    """What a page says of a count that went no further than one beyond `COUNTED`."""
    return {"total": min(count, COUNTED), "total_is_capped": count > COUNTED}


def _name(key: str) -> str:
    return key.partition("=")[0]


def _ordered(order: Order, columns: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [column.desc() for column in columns] if order.is_descending else list(columns)


@lru_cache(maxsize=256)
def _some_related(listing: Listing, of: Column[Any], keys: frozenset[str]) -> Select[Any]:
    """The ids that rows of another table have or refer to, no more than `COUNTED` and one."""
    conditions = listing._related(keys, frozenset())[of]
    return select(of).where(*conditions).distinct().limit(COUNTED + 1)


@lru_cache(maxsize=512)
def _some_ids(listing: Listing, keys: frozenset[str], order: str) -> Select[Any]:
    return listing.matching(keys, listing.orders[order]).limit(COUNTED + 1)


def _total_and_moment(
    listing: Listing, keys: frozenset[str], order: str, of_product: bool, *, is_exact: bool = False
) -> tuple[ColumnElement[int], ColumnElement[Any]]:
    """How many records match, counted on beyond `COUNTED` where it has to be exact, and as of when."""
    matching = listing.matching(keys, listing.orders[order], is_exact=is_exact)
    counted = (matching if is_exact else matching.limit(COUNTED + 1)).subquery()
    product: ColumnElement[int] | None = bindparam("product_id") if of_product else None
    return (
        select(func.count()).select_from(counted).scalar_subquery().label("total"),
        as_of(*listing.resources, product_id=product).label("as_of"),
    )


@lru_cache(maxsize=512)
def _select_total(
    listing: Listing, keys: frozenset[str], order: str, of_product: bool, is_exact: bool
) -> Select[Any]:
    about = _total_and_moment(listing, keys, order, of_product, is_exact=is_exact)
    return select(*about, literal_column("1" if is_exact else "0"))


@lru_cache(maxsize=512)
def _select_page(
    listing: Listing, keys: frozenset[str], order: str, is_later: bool, of_product: bool, is_counted: bool
) -> Select[Any]:
    """The columns and sort keys of a page, the total unless it is known, and the moment.

    The ids are picked first, so that the columns are read of as few rows as the page has.
    """
    sorting = listing.orders[order]
    first = sorting.keys[0]
    if sorting.missing is None or keys & sorting.along - {"product_id"}:
        picked = select(_walk(listing, keys, sorting, is_later))
    else:
        present = select(_walk(listing, keys, sorting, is_later, first.is_not(None)))
        absent = select(
            _walk(listing, keys, sorting, is_later, first.is_(None), first=literal(sorting.missing, first.type))
        )
        picked = union_all(present, absent)  # type: ignore[assignment]
    page = picked.subquery("page")
    joined: FromClause = page.join(listing.table, listing.table.c.id == page.c.id)
    for table, condition in listing.joins:
        joined = joined.outerjoin(table, condition)
    total, moment = _total_and_moment(listing, keys, order, of_product)
    keys_of_page = [page.c[f"key_{n}"] for n in range(len(sorting.keys))]
    return (
        select(*listing.columns, *keys_of_page, total if is_counted else literal_column("0"), moment)
        .select_from(joined)
        .order_by(*_ordered(sorting, keys_of_page))
        .limit(bindparam("limit"))
    )


def _walk(
    listing: Listing,
    keys: frozenset[str],
    sorting: Order,
    is_later: bool,
    *more: ColumnElement[bool],
    first: ColumnElement[Any] | None = None,
) -> Subquery:
    """The ids and sort keys of a page, along the index of its order; `first` stands for the first key."""
    columns = sorting.keys if first is None else (first, *sorting.keys[1:])
    chosen = [*listing.conditions(keys, sorting, is_walk=_IDS not in keys), *more]
    if is_later:
        last = [bindparam(f"last_{n}", type_=key.type) for n, key in enumerate(sorting.keys)]
        here, there = (columns[0], last[0]) if len(last) == 1 else (tuple_(*columns), tuple_(*last))
        chosen.append(here < there if sorting.is_descending else here > there)
    labelled = [key.label(f"key_{n}") for n, key in enumerate(columns)]
    ids = select(listing.table.c.id.label("id"), *labelled)
    return (
        ids.select_from(listing.table if sorting.source is None else sorting.source)
        .where(*chosen)
        .order_by(*_ordered(sorting, columns if first is None else sorting.keys[1:]))
        .limit(bindparam("limit"))
        .subquery()
    )


@lru_cache(maxsize=16)
def _some_of(table: Table) -> Select[Any]:
    return select(table.c.id).where(any_of(table.c.id, "ids")).limit(1)
