"""Products."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, String, and_, bindparam, func, or_, select, type_coerce

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import Bug, Product, ProductCount, Test, table_of
from testio_mcp.operations.paging import Cursor, Page, as_of, decode_cursor, encode_cursor
from testio_mcp.operations.registry import operation

_product, _count = table_of(Product).c, table_of(ProductCount).c
_test, _bug = table_of(Test).c, table_of(Bug).c


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


def _newest_bug() -> Select[str]:
    return select(func.max(type_coerce(_bug.reported_at, String))).where(_bug.product_id == _product.id)


def _newest_start() -> Select[str]:
    return select(func.max(type_coerce(_test.start_at, String))).where(
        _test.product_id == _product.id, _test.start_at <= bindparam("now", type_=_test.start_at.type)
    )


_after = or_(
    _product.name > bindparam("name"), and_(_product.name == bindparam("name"), _product.id > bindparam("id"))
)
_list = (
    select(
        _product.id,
        _product.name,
        _product.type,
        func.coalesce(_count.tests, 0),
        func.coalesce(_count.bugs, 0),
        func.coalesce(_count.open_bugs, 0),
        _newest_bug().scalar_subquery(),
        _newest_start().scalar_subquery(),
    )
    .outerjoin_from(table_of(Product), table_of(ProductCount))
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
) -> ProductPage:
    """List the products with their numbers of tests, bugs and open bugs.

    Start here: most tools take the ids.
    """
    name, last_id = decode_cursor(cursor, str, int) if cursor else ("", -1)
    keys = {"name": name, "id": last_id, "limit": limit + 1, "now": datetime.now(UTC)}
    rows = fetch(conn, _list, keys)
    total, moment = fetch(conn, _about, {})[0]
    items = [
        ProductSummary(
            id=row[0],
            name=row[1],
            type=row[2],
            tests=row[3],
            bugs=row[4],
            open_bugs=row[5],
            last_activity_at=max((when for when in row[6:8] if when), default=None),
        )
        for row in rows[:limit]
    ]
    following = encode_cursor(items[-1].name, items[-1].id) if len(rows) > limit else None
    return ProductPage(items=items, total=total, next_cursor=following, as_of=moment)
