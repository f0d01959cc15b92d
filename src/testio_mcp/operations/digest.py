"""The digest: what a team has to know, on one page."""

from datetime import UTC, date, datetime
from functools import partial
from typing import Annotated

from pydantic import BaseModel, Field

from testio_mcp.app import App
from testio_mcp.operations.alerts import Alert, evaluate
from testio_mcp.operations.bugs import list_bugs
from testio_mcp.operations.changes import list_changes
from testio_mcp.operations.periods import bounds, period_of, today_in
from testio_mcp.operations.registry import operation
from testio_mcp.operations.tests import list_tests
from testio_mcp.operations.triage import TriageItem, TriageSummary, triage_queue

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
    bugs: int
    open_bugs: int


class DueBug(BaseModel):
    """A bug that the clock accepts before long."""

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
    reported_at: datetime | None


class Digest(BaseModel):
    """The state of an account, or of one product, in short."""

    period: DigestPeriod
    as_of: datetime | None = Field(description="The copy shows the account as of this moment.")
    needs_decision: TriageSummary
    running_count: int
    new_critical_count: int
    new_critical_count_is_capped: bool
    changes: list[str] = Field(description="What changed since the first day of the period.")
    alerts: list[Alert] = Field(description="What the rules for alerts tell now.")
    running: list[RunningTest] = Field(description=f"Tests that run now, {_SHOWN} at most.")
    due: list[DueBug] = Field(description=f"The most urgent bugs due within {_DUE_DAYS} days, {_SHOWN} at most.")
    new_critical: list[NewCriticalBug] = Field(description=f"The newest critical bugs, {_SHOWN} at most.")


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
    days = period_of(period, today_in(app.settings.zone, now))
    settings, read = app.settings, app.store.read
    summary = await triage_queue(app, product_id, limit=1)
    due = await triage_queue(app, product_id, due_within_days=_DUE_DAYS, limit=5 * _SHOWN)
    tests = partial(list_tests, settings=settings, product_id=product_id, statuses=["running"], limit=_SHOWN)
    bugs = partial(list_bugs, settings=settings, product_id=product_id, levels=["critical"], limit=_SHOWN)
    running = await read(tests)
    critical = await read(partial(bugs, reported_from=days.first, reported_to=days.last))
    changes = await list_changes(app, bounds(days, settings.zone)[0] or _BEGINNING, product_id=product_id, limit=1)
    held = await read(lambda conn: evaluate(conn, settings, now))
    return Digest(
        period=DigestPeriod(words=period, first=days.first, last=days.last, time_zone=settings.time_zone),
        as_of=summary.as_of,
        needs_decision=summary.summary,
        running_count=running.total or 0,
        new_critical_count=critical.total or 0,
        new_critical_count_is_capped=critical.total_is_capped,
        changes=changes.digest,
        alerts=[alert for alert in held.alerts if product_id is None or alert.product_id in (None, product_id)],
        running=[
            RunningTest(**test.model_dump(exclude={"bugs"}), bugs=test.bugs.total, open_bugs=test.bugs.open)
            for test in running.items
        ],
        due=_most_urgent(due.items),
        new_critical=[NewCriticalBug(**bug.model_dump()) for bug in critical.items],
    )


def _most_urgent(items: list[TriageItem]) -> list[DueBug]:
    """Of bugs by level and then by time left, those that are not too late."""
    return [DueBug(**item.model_dump()) for item in items if not item.is_overdue][:_SHOWN]
