"""Products."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, String, and_, bindparam, func, or_, select, type_coerce

from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import Bug, Product, Test, table_of
from testio_mcp.domain import OPEN_IN_WORDS
from testio_mcp.operations.arguments import TotalOnly
from testio_mcp.operations.figures import count_all_but_gone, count_present
from testio_mcp.operations.lists.paging import Cursor, Page, as_of, decode_cursor, encode_cursor
from testio_mcp.operations.registry import operation

_TESTS, _BUGS = table_of(Test), table_of(Bug)
_product, _test, _bug = table_of(Product).c, _TESTS.c, _BUGS.c


class ProductSummary(BaseModel):
    """One product in a list."""

    id: int
    name: str
    type: str | None
    tests: int = Field(description="Exploratory tests of any status.")
    bugs: int
    open_bugs: int = Field(description="Bugs without a decision (status open).")
    last_activity_at: datetime | None = Field(description="Newest bug report or start of a test.")


class ProductPage(Page):
    """Products by name."""

    items: list[ProductSummary]
    scope: str = f"tests: all statuses; bugs: of all tests; {OPEN_IN_WORDS}"


def _newest_bug() -> Select[str]:
    return select(func.max(type_coerce(_bug.reported_at, String))).where(
        _bug.product_id == _product.id, _bug.gone_at.is_(None)
    )


def _newest_start() -> Select[str]:
    return select(func.max(type_coerce(_test.start_at, String))).where(
        _test.product_id == _product.id,
        _test.gone_at.is_(None),
        _test.start_at <= bindparam("now", type_=_test.start_at.type),
    )


_after = or_(
    _product.name > bindparam("name"), and_(_product.name == bindparam("name"), _product.id > bindparam("id"))
)
_list = (
    select(
        _product.id,
        _product.name,
        _product.type,
        count_all_but_gone(_TESTS, _test.product_id == _product.id).label("tests"),
        count_all_but_gone(_BUGS, _bug.product_id == _product.id).label("bugs"),
        count_present(_BUGS, _bug.product_id == _product.id, _bug.status == "open").label("open_bugs"),
        _newest_bug().scalar_subquery().label("newest_bug"),
        _newest_start().scalar_subquery().label("newest_start"),
    )
    .where(_product.gone_at.is_(None), _after)
    .order_by(_product.name, _product.id)
    .limit(bindparam("limit"))
)
_about = select(
    select(func.count(_product.id)).where(_product.gone_at.is_(None)).scalar_subquery(),
    as_of("products", "tests", "bugs"),
)


@operation("/products", command="products list", toolset="catalog", needs=("tests", "bugs"), examples=({},))
def list_products(
    conn: Connection,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=200, description="Products per page, 1 to 200.")] = 50,
    total_only: TotalOnly = False,
) -> ProductPage:
    """List the products with their numbers of tests, bugs and open bugs.

    Start here: most tools take the ids.
    """
    total, moment = fetch(conn, _about, {})[0]
    if total_only:
        return ProductPage(items=[], total=total, next_cursor=None, as_of=moment)
    name, last_id = decode_cursor(cursor, str, int) if cursor else ("", -1)
    keys = {"name": name, "id": last_id, "limit": limit + 1, "now": datetime.now(UTC)}
    rows = fetch_records(conn, _list, keys)
    items = rows[:limit]
    for item in items:
        moments = (item.pop("newest_bug"), item.pop("newest_start"))
        item["last_activity_at"] = max((when for when in moments if when), default=None)
    following = encode_cursor(items[-1]["name"], items[-1]["id"]) if len(rows) > limit else None
    return ProductPage.model_validate({"items": items, "total": total, "next_cursor": following, "as_of": moment})
