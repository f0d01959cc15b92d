"""How the copy stands: what it holds, how old it is, what is missing."""

from datetime import datetime

from pydantic import BaseModel, Field
from sqlalchemy import Connection, String, func, select, type_coerce

from testio_mcp import __version__
from testio_mcp.app import App
from testio_mcp.database.migrate import HEAD
from testio_mcp.database.tables import DeadLetter, Product, ProductCount, SyncRun, table_of
from testio_mcp.operations.paging import as_of
from testio_mcp.operations.problems import NEWEST, Problem, newest_problems
from testio_mcp.operations.registry import operation

_run, _product, _count = table_of(SyncRun).c, table_of(Product).c, table_of(ProductCount).c


class RunSummary(BaseModel):
    """The newest sync run."""

    id: int
    mode: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    requests: int
    records_new: int
    records_changed: int
    error: str | None


class Status(BaseModel):
    """The state of one account's copy."""

    version: str
    store: str
    schema_revision: str
    token_configured: bool
    products: int
    tests: int
    bugs: int
    open_bugs: int
    problems: int = Field(description="Records that could not be copied; the sync retries them.")
    newest_problems: list[Problem] = Field(description=f"The newest {NEWEST} of them; list_problems shows all.")
    as_of: datetime | None = Field(description="The copy shows the account as of this moment.")
    last_run: RunSummary | None


_totals = select(
    select(func.count(_product.id)).where(_product.gone_at.is_(None)).scalar_subquery(),
    *(func.coalesce(func.sum(column), 0) for column in (_count.tests, _count.bugs, _count.open_bugs)),
    select(func.count(table_of(DeadLetter).c.id)).scalar_subquery(),
    as_of("products", "tests", "bugs"),
).select_from(table_of(ProductCount))
_last_run = (
    select(
        _run.id,
        _run.mode,
        _run.status,
        type_coerce(_run.started_at, String).label("started_at"),
        type_coerce(_run.finished_at, String).label("finished_at"),
        _run.requests,
        _run.records_new,
        _run.records_changed,
        _run.error,
    )
    .order_by(_run.id.desc())
    .limit(1)
)


@operation("/status", command="status", toolset="sync", examples=({},))
async def get_status(app: App) -> Status:
    """Tell what the local copy holds, how old it is, and what could not be copied.

    sync_data brings it up to date.
    """

    def read(conn: Connection) -> Status:
        products, *sums, problems, moment = conn.execute(_totals).one()
        last = conn.execute(_last_run).mappings().first()
        return Status(
            version=__version__,
            store=app.store.place,
            schema_revision=HEAD,
            token_configured=app.settings.customer_api_token is not None,
            products=products,
            tests=sums[0],
            bugs=sums[1],
            open_bugs=sums[2],
            problems=problems,
            newest_problems=newest_problems(conn) if problems else [],
            as_of=moment,
            last_run=RunSummary(**last) if last else None,
        )

    return await app.store.read(read)
