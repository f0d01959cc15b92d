"""The digest: what a team has to know, on one page."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from testio_mcp.app import App
from testio_mcp.operations.metrics.periods import bounds, period_of, today_in
from testio_mcp.operations.registry import operation, operations
from testio_mcp.operations.work.alerts import Alert, evaluate
from testio_mcp.operations.work.triage import TriageSummary
from testio_mcp.reports.links import Link, link

_SHOWN = 10
_DUE_DAYS = 3
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class DigestPeriod(BaseModel):
    """Days in the account's time zone, the first and the last included; null where the period is open."""

    words: str
    first: date | None
    last: date | None
    time_zone: str


class RunningTest(BaseModel):
    """A test that runs now."""

    id: int
    title: str
    product: str
    end_at: datetime | None
    is_past_end: bool | None = Field(default=None, description="true: it still runs although its end has passed.")
    bugs: int
    open_bugs: int


class DueBug(BaseModel):
    """A bug that is auto-accepted before long."""

    id: int
    title: str
    product: str
    level: str
    status: str
    auto_accept_at: datetime | None
    hours_left: int | None


class NewCriticalBug(BaseModel):
    """A critical bug that was reported in the period."""

    id: int
    title: str
    product: str
    status: str
    rejection_reason: str | None
    reported_at: datetime | None


class Digest(BaseModel):
    """The state of an account, or of one product, in short."""

    period: DigestPeriod
    as_of: datetime | None = Field(description="The copy shows the account as of this moment.")
    needs_decision: TriageSummary
    running_count: int
    new_critical_count: int
    new_critical_count_is_capped: bool
    due_count: int
    changes: list[str] = Field(description="What changed since the first day of the period.")
    alerts: list[Alert] = Field(description="What the rules for alerts tell now.")
    running: list[RunningTest] = Field(description=f"Tests that run now, {_SHOWN} at most.")
    due: list[DueBug] = Field(description=f"The most urgent bugs due within {_DUE_DAYS} days, {_SHOWN} at most.")
    new_critical: list[NewCriticalBug] = Field(description=f"The newest critical bugs, {_SHOWN} at most.")
    links: dict[str, Link] = Field(description="For each of the parts above, the question that gives all of it.")


@operation(
    "/digest",
    command="digest",
    toolset="numbers",
    needs=("tests", "bugs"),
    by_default=False,
    examples=({}, {"product_id": 1, "period": "last 30 days"}),
)
async def get_digest(
    app: App,
    period: Annotated[
        str, Field(max_length=100, description="Such as last 7 days, this month or 2026-W41.")
    ] = "last 7 days",
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
) -> Digest:
    """Tell in short what runs, what needs a decision, what is due, what is new and critical, and what changed.

    Also tells the alerts that hold now. triage_queue, list_bugs and list_changes tell each part in full.
    """
    now = datetime.now(UTC)
    days = period_of(period, today_in(app.settings.zone, now), app.settings.fiscal_year_starts)
    first, last = (str(day) if day else "" for day in days[:2])
    since = bounds(days, app.settings.zone)[0] or _BEGINNING
    critical = {"levels": ["critical"], "reported_from": first, "reported_to": last}
    links = {
        "needs_decision": link("triage_queue", product_id=product_id),
        "running": link("list_tests", product_id=product_id, statuses=["running"]),
        "due": link("triage_queue", product_id=product_id, due_within_days=_DUE_DAYS, overdue=False),
        "new_critical": link("list_bugs", product_id=product_id, **critical),
        "changes": link("list_changes", since=since.isoformat(), product_id=product_id),
    }
    answers = {name: await _page(app, each) for name, each in links.items()}
    waiting, running, due, critical_bugs, changes = (answers[name] for name in links)
    evaluation = await app.store.read(lambda conn: evaluate(conn, app.settings, now))
    return Digest(
        period=DigestPeriod(words=period, first=days.first, last=days.last, time_zone=app.settings.time_zone),
        as_of=waiting.as_of,
        needs_decision=waiting.summary,
        running_count=running.total,
        new_critical_count=critical_bugs.total,
        new_critical_count_is_capped=critical_bugs.total_is_capped,
        due_count=due.total,
        changes=changes.digest,
        alerts=[alert for alert in evaluation.alerts if product_id is None or alert.product_id in (None, product_id)],
        running=[
            RunningTest(**test.model_dump(exclude={"bugs"}), bugs=test.bugs.total, open_bugs=test.bugs.open)
            for test in running.items
        ],
        due=[DueBug(**bug.model_dump()) for bug in due.items],
        new_critical=[NewCriticalBug(**bug.model_dump()) for bug in critical_bugs.items],
        links=links,
    )


async def _page(app: App, question: Link) -> Any:
    """The first records behind a link, as the operation answers."""
    arguments = {**question.arguments, "limit": _SHOWN}
    return await operations()[question.operation].run(app, arguments)
