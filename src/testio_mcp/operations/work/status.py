"""How the copy stands: what it holds, how old it is, what is missing."""

from datetime import datetime

from pydantic import BaseModel, Field
from sqlalchemy import Connection, String, case, func, or_, select, type_coerce

from testio_mcp import __version__
from testio_mcp.app import App
from testio_mcp.database.migrate import HEAD
from testio_mcp.database.tables import Bug, Checkpoint, DeadLetter, Product, SyncRun, Test, table_of
from testio_mcp.database.tables.sync import ALL_TESTS, LACKS, NO_LONGER_KNOWN
from testio_mcp.domain import format_share, share
from testio_mcp.operations.figures import count_all_but_gone, count_present
from testio_mcp.operations.lists.paging import as_of
from testio_mcp.operations.registry import operation
from testio_mcp.operations.work.problems import NEWEST, Problem, newest_problems
from testio_mcp.rejections import UNRECOGNISED

_run, _product, _BUGS = table_of(SyncRun).c, table_of(Product).c, table_of(Bug)
_bug = _BUGS.c
_point, _letter = table_of(Checkpoint).c, table_of(DeadLetter).c


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
    api: str | None = Field(description="The API's address and where it is set, unless it is Test IO's own.")
    products: int
    tests: int
    bugs: int
    open_bugs: int
    rejected_bugs: int
    unrecognised_rejections: int = Field(description="Rejected bugs whose comments match no reason.")
    rejection_reasons: str = Field(description="How many reasons of rejections were recognised.")
    problems: int = Field(description="Records that could not be copied; the sync retries them.")
    newest_problems: list[Problem] = Field(description=f"The newest {NEWEST} of them; list_problems shows all.")
    as_of: datetime | None = Field(description="The copy shows the account as of this moment.")
    deletions_as_of: datetime | None = Field(
        description="Old archived or cancelled tests deleted later still show, until a full sync; null: unknown."
    )
    maybe_gone: list[str] = Field(description="What may have been deleted; a later sync decides.")
    mcp_sessions: int | None = Field(description="Open MCP sessions of the HTTP server that answers; else null.")
    last_run: RunSummary | None


_totals = select(
    select(func.count(_product.id)).where(_product.gone_at.is_(None)).scalar_subquery(),
    count_all_but_gone(table_of(Test)),
    count_all_but_gone(_BUGS),
    count_present(_BUGS, _bug.status == "open"),
    select(func.count(table_of(DeadLetter).c.id)).scalar_subquery(),
    as_of("products", "tests", "bugs"),
)
_is_unrecognised = func.coalesce(_bug.rejection_reason, UNRECOGNISED) == UNRECOGNISED
_rejections = select(func.count(), func.count().filter(_is_unrecognised)).where(
    _bug.status == "rejected", _bug.gone_at.is_(None)
)
_whole, _lists = (func.count(case((_point.resource == name, 1))) for name in (ALL_TESTS, "tests"))
_deletions = select(
    case((_whole >= _lists, func.min(case((_point.resource == ALL_TESTS, _point.completed_at)))))
).where(_point.resource.in_((ALL_TESTS, "tests")))
_doubts = (
    select(_letter.resource, _letter.record_key, _letter.reason)
    .where(or_(_letter.reason == NO_LONGER_KNOWN, _letter.reason.startswith(LACKS)))
    .order_by(_letter.id.desc())
    .limit(NEWEST)
)
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
        products, tests, bugs, open_bugs, problems, moment = conn.execute(_totals).one()
        rejected, unrecognised = conn.execute(_rejections).one()
        last = conn.execute(_last_run).mappings().first()
        return Status(
            version=__version__,
            store=app.store.place,
            schema_revision=HEAD,
            token_configured=app.settings.customer_api_token is not None,
            api=app.settings.unusual_api,
            products=products,
            tests=tests,
            bugs=bugs,
            open_bugs=open_bugs,
            rejected_bugs=rejected,
            unrecognised_rejections=unrecognised,
            rejection_reasons=_describe_recognition(rejected, unrecognised),
            problems=problems,
            newest_problems=newest_problems(conn) if problems else [],
            as_of=moment,
            deletions_as_of=conn.execute(_deletions).scalar(),
            maybe_gone=[f"{row[0]}, {row[1]}: {row[2]}" for row in conn.execute(_doubts)],
            mcp_sessions=app.count_sessions() if app.count_sessions else None,
            last_run=RunSummary(**last) if last else None,
        )

    return await app.store.read(read)


def _describe_recognition(rejected: int, unrecognised: int) -> str:
    if not rejected:
        return "no bug is rejected"
    recognised = rejected - unrecognised
    return f"recognised for {recognised} of {rejected} rejected bugs ({format_share(share(recognised, rejected))})"
