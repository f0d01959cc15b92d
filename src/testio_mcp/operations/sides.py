"""The two sides of a comparison: which products, tests or periods stand left and right."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Select, bindparam, select

from testio_mcp.database.dialect import among, fetch
from testio_mcp.database.tables import Test, table_of
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.metrics.reading import titles
from testio_mcp.operations.periods import Period, period_of, previous

Way = Literal["periods", "products", "tests"]
_STEP = (
    "Name two product_ids, two test_ids, left_test_ids and right_test_ids, or a period with or without with_period."
)
_test = table_of(Test).c
_tests: Select[Any] = select(_test.id, _test.product_id).where(
    among(_test.id, bindparam("ids")), _test.gone_at.is_(None)
)


class Asked(NamedTuple):
    """What was asked for, as the arguments of the operation have it."""

    product_ids: Sequence[int]
    test_ids: Sequence[int]
    left_test_ids: Sequence[int]
    right_test_ids: Sequence[int]
    period: str
    with_period: str


class SideOf(NamedTuple):
    """One side: its name, its days, the products it is limited to, and the tests it consists of."""

    name: str
    period: Period
    product_ids: tuple[int, ...] = ()
    test_ids: tuple[int, ...] = ()

    @property
    def filters(self) -> list[str]:
        """The limit to products as a filter."""
        return [f"product={','.join(map(str, self.product_ids))}"] if self.product_ids else []


def sides_of(conn: Connection, asked: Asked, today: date) -> tuple[Way, SideOf, SideOf]:
    """What to compare, and the two sides.

    Raises `BadInput` for arguments that do not go together, `NotFound` for an id that is not in the store.
    """
    has_tests = bool(asked.test_ids or asked.left_test_ids or asked.right_test_ids)
    ways = {"tests": has_tests, "products": len(asked.product_ids) > 1, "periods": bool(asked.with_period)}
    chosen = [way for way, is_meant in ways.items() if is_meant]
    if len(chosen) > 1 or (has_tests and asked.product_ids):
        words = " and ".join(chosen if len(chosen) > 1 else ["tests", "products"])
        raise BadInput(f"{words.capitalize()} cannot be compared at once.", _STEP)
    if has_tests:
        return "tests", *_tests_of(conn, asked, today)
    if chosen == ["products"]:
        return "products", *_products_of(conn, asked, today)
    return "periods", *_periods_of(conn, asked, today)


def _tests_of(conn: Connection, asked: Asked, today: date) -> tuple[SideOf, SideOf]:
    left, right = _ids_of(asked)
    if both := set(left) & set(right):
        raise BadInput(f"Test {min(both)} is on both sides.", "Leave it out of one of them.")
    products = {row[0]: row[1] for row in fetch(conn, _tests, {"ids": f"[{_joined((*left, *right))}]"})}
    for test_id in (*left, *right):
        if test_id not in products:
            raise NotFound(f"Test {test_id} is not in the store.", "list_tests shows the ids.")
    days = period_of(asked.period, today)

    def side(ids: tuple[int, ...]) -> SideOf:
        # The products are named because the stories to cover are theirs.
        owners = tuple(sorted({products[test_id] for test_id in ids}))
        return SideOf(f"test{'s' * (len(ids) > 1)} {_joined(ids, ', ')}", days, owners, ids)

    return side(left), side(right)


def _ids_of(asked: Asked) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tests of each side."""
    named, left, right = (tuple(dict.fromkeys(ids)) for ids in asked[1:4])
    if named and (left or right):
        raise BadInput("test_ids does not go with left_test_ids or right_test_ids.", _STEP)
    if named and len(named) != 2:
        raise BadInput(f"test_ids: two are compared, not {len(named)}.", "Use left_test_ids and right_test_ids.")
    if not named and not (left and right):
        missing = "right_test_ids" if left else "left_test_ids"
        raise BadInput(f"{missing}: there is nothing to compare with.", "Name the tests of both sides.")
    return (named[:1], named[1:]) if named else (left, right)


def _products_of(conn: Connection, asked: Asked, today: date) -> tuple[SideOf, SideOf]:
    ids = tuple(dict.fromkeys(asked.product_ids))
    if len(ids) != 2:
        many = len(ids) > 2
        step = "query_metrics with by=product shows more of them." if many else "Name two different products."
        raise BadInput(f"product_ids: two are compared, not {len(ids)}.", step)
    names = _names(conn, ids)
    days = period_of(asked.period, today)
    left, right = (SideOf(f"{names[each]} ({each})", days, (each,)) for each in ids)
    return left, right


def _periods_of(conn: Connection, asked: Asked, today: date) -> tuple[SideOf, SideOf]:
    if not asked.period:
        raise BadInput("There is nothing to compare with.", _STEP)
    days = period_of(asked.period, today)
    before = period_of(asked.with_period, today) if asked.with_period else previous(days, today)
    if before is None:
        raise BadInput("period: this one has no previous one.", "Say with_period, or a first and a last day.")
    if before == days:
        raise BadInput("period and with_period are the same days.", "Leave with_period out for the period before.")
    ids = tuple(asked.product_ids)
    _names(conn, ids)
    return SideOf(asked.with_period or f"the period before: {before}", before, ids), SideOf(asked.period, days, ids)


def _names(conn: Connection, ids: Iterable[int]) -> dict[int, str]:
    found = titles(conn, "product", ids)
    for product_id in ids:
        if product_id not in found:
            raise NotFound(f"Product {product_id} is not in the store.", "list_products shows the ids.")
    return found


def _joined(ids: Iterable[int], sign: str = ",") -> str:
    return sign.join(map(str, ids))
