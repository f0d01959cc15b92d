"""What a sync would do, told from the store alone."""

from collections.abc import Iterator

from pydantic import BaseModel, Field
from sqlalchemy import Connection, func, select

from testio_mcp.database.tables import Product, ProductCount, table_of
from testio_mcp.errors import NotFound
from testio_mcp.sync import state
from testio_mcp.sync.bugs import TESTS_PER_REQUEST
from testio_mcp.sync.pages import PAGE
from testio_mcp.sync.run import SyncOptions

_PRODUCT, _COUNT = table_of(Product).c, table_of(ProductCount).c


class Planned(BaseModel):
    """One step of a sync that is yet to run."""

    step: str
    product: str | None = None
    what: str
    requests: int = Field(description="About how many requests it takes.")


def plan(conn: Connection, options: SyncOptions) -> list[Planned]:
    """The steps of a sync with these options, as far as the store can tell.

    Raises `NotFound` for a product that the store does not hold.
    """
    return list(_steps(conn, options))


def _steps(conn: Connection, options: SyncOptions) -> Iterator[Planned]:
    names = _products(conn, options)
    yield Planned(step="products", what="all products", requests=1)
    for product_id, (name, tests) in names.items():
        if options.wants("features"):
            yield Planned(step="features", product=name, what="all features with user stories", requests=1)
        if options.wants("tests"):
            yield _tests(conn, options, product_id, name, tests)
    for part in ("bugs", "metrics"):
        if options.wants(part):
            waiting = state.tests_awaiting(conn, part, list(names), full=options.full, since=options.since)
            each = TESTS_PER_REQUEST if part == "bugs" else 1
            yield Planned(step=part, what=f"of {len(waiting)} tests", requests=-(-len(waiting) // each))
    if not names:
        yield Planned(step="everything", what="nothing was copied yet: all that the account holds", requests=0)


def _products(conn: Connection, options: SyncOptions) -> dict[int, tuple[str, int]]:
    statement = (
        select(_PRODUCT.id, _PRODUCT.name, func.coalesce(_COUNT.tests, 0))
        .outerjoin_from(table_of(Product), table_of(ProductCount))
        .where(_PRODUCT.gone_at.is_(None))
        .order_by(_PRODUCT.name)
    )
    known = {row[0]: (row[1], row[2]) for row in conn.execute(statement)}
    for product_id in options.product_ids:
        if product_id not in known:
            raise NotFound(f"Product {product_id} is not in the store.", "list_products shows the ids.")
    return {key: known[key] for key in options.product_ids or known}


def _tests(conn: Connection, options: SyncOptions, product_id: int, name: str, tests: int) -> Planned:
    point = state.checkpoint(conn, "tests", product_id)
    if point.completed_at is None or options.full:
        pages = max(1, -(-tests // PAGE))
        return Planned(step="tests", product=name, what="the whole list", requests=pages if pages == 1 else 2 * pages)
    return Planned(step="tests", product=name, what="the newest, and known ones that can still change", requests=1)
