"""Alerts: what the rules say of the copy, and which of it was told already.

An alert is told once while it lasts. Each one that holds has a row among the readers of the change log, from before
it is first told until it ends: the row gives it its identity, and a process that is killed after telling and before
remembering tells the same alert, with the same key, once more. A rule for new bugs is a reader like any other.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, bindparam, delete, func, select

from testio_mcp.app import App
from testio_mcp.database.dialect import insert_missing, upsert
from testio_mcp.database.tables import Bug, ChangeLog, Product, Reader, Test, table_of
from testio_mcp.operations.alert_rules import Deadline, NewBug, Rule, Severity, SyncStale, Threshold, rules_of
from testio_mcp.operations.figures import AWAITING
from testio_mcp.operations.listing import any_of
from testio_mcp.operations.metrics.engine import measure
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.words import METRICS, Value
from testio_mcp.operations.paging import as_of
from testio_mcp.operations.periods import bounds, period_of, today_in
from testio_mcp.settings import Settings

MOST = 100
"""New bugs that one evaluation tells of a rule; the next one tells those after them."""
_FIRST_LOOK = timedelta(hours=24)
_reader, _bug, _test = table_of(Reader), table_of(Bug).c, table_of(Test).c
_product, _change = table_of(Product).c, table_of(ChangeLog).c
# Names of readers that people give never begin with a blank.
_ALERT, _LOOK = " alert ", " alerts of "
_Scope = tuple[str, tuple[int, ...]]
"""The period and the products of a rule."""
_Values = Sequence[tuple[int, str, Mapping[str, Value]]]
"""Products with their names and metrics."""


class Alert(BaseModel):
    """Something that a rule tells."""

    rule: str
    kind: str
    severity: Severity
    text: str
    product_id: int | None = None
    product: str | None = None
    test_id: int | None = None
    bug_id: int | None = None
    value: float | None = Field(default=None, description="Of the metric; for deadlines the number of bugs.")
    due_at: datetime | None = Field(default=None, description="When the clock accepts the bugs.")
    since: datetime | None = Field(default=None, description="When it was first evaluated; null until then.")

    @property
    def name(self) -> str:
        """Under which it is remembered: the rule and what it is about."""
        about = next((number for number in (self.bug_id, self.test_id, self.product_id) if number is not None), "")
        return f"{_ALERT}{about} {self.rule}"

    @property
    def key(self) -> str:
        """The same whenever this occurrence is told, and another when it ended and comes again."""
        since = self.since.astimezone(UTC).isoformat() if self.since else ""
        return hashlib.sha256(f"{self.name} {since}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Evaluation:
    """The alerts that hold, and up to which change the rules for new bugs have looked with them."""

    alerts: list[Alert]
    looks: dict[str, int]


@dataclass(frozen=True)
class Pending:
    """What has to be told, among all that holds."""

    untold: list[Alert]
    held: Evaluation


def evaluate(conn: Connection, settings: Settings, now: datetime) -> Evaluation:
    """What the rules of the account say at a moment. Raises `BadInput` for rules that cannot be read."""
    alerts: list[Alert] = []
    looks: dict[str, int] = {}
    known = _known(conn)
    rules = rules_of(settings)
    measured = _measured(conn, [rule for rule in rules if isinstance(rule, Threshold)], settings, now)
    for rule in rules:
        if isinstance(rule, NewBug):
            found, looks[f"{_LOOK}{rule.name}"] = _new_bugs(conn, rule, known, now)
            alerts += found
        else:
            alerts += [_with_since(alert, known) for alert in _holding(conn, rule, measured, settings, now)]
    return Evaluation(alerts, looks)


def _known(conn: Connection) -> dict[str, Any]:
    """The rows of alerts and of rules for new bugs by name."""
    prefix = func.substr(_reader.c.name, 1, 6) == _ALERT[:6]
    return {row.name: row for row in conn.execute(select(_reader).where(prefix))}


def _with_since(alert: Alert, known: dict[str, Any]) -> Alert:
    row = known.get(alert.name)
    return alert.model_copy(update={"since": row.looked_at}) if row else alert


def _holding(
    conn: Connection, rule: Rule, measured: Mapping[_Scope, _Values], settings: Settings, now: datetime
) -> Iterable[Alert]:
    if isinstance(rule, Threshold):
        return _crossed(rule, measured[_scope(rule)])
    if isinstance(rule, Deadline):
        return _due(conn, rule, timedelta(days=settings.auto_accept_days), now)
    return _stale(conn, rule, now) if isinstance(rule, SyncStale) else ()


def _alert(rule: Rule, text: str, **about: Any) -> Alert:
    return Alert(rule=rule.name, kind=rule.kind, severity=rule.severity, text=text, **about)


def _scope(rule: Threshold) -> _Scope:
    return rule.period, tuple(rule.products)


def _measured(
    conn: Connection, rules: Sequence[Threshold], settings: Settings, now: datetime
) -> Mapping[_Scope, _Values]:
    """The metrics of the products that there are, asked once for all rules of the same period and products."""
    metrics: dict[_Scope, list[str]] = {}
    for rule in rules:
        metrics.setdefault(_scope(rule), ["bug_count"]).append(rule.metric)
    names = {row.id: row.name for row in conn.execute(_PRODUCTS)} if rules else {}
    found: dict[_Scope, _Values] = {}
    for (period, products), asked in metrics.items():
        start, end = bounds(period_of(period, today_in(settings.zone, now)), settings.zone)
        filters = (("product", products),) if products else ()
        by_product = measure(
            conn, Question(tuple(dict.fromkeys(asked)), ("product",), filters, start, end, zone=settings.zone)
        )
        values = {row[0]: each for row, each in by_product.rows.items()}
        found[period, products] = [(id_, name, values[id_]) for id_, name in names.items() if id_ in values]
    return found


def _crossed(rule: Threshold, products: _Values) -> Iterable[Alert]:
    for product_id, product, values in products:
        value = values[rule.metric]
        if value is not None and (values["bug_count"] or 0) >= rule.min_bugs and _is_within(rule, value):
            text = f"{METRICS[rule.metric].label} of {product}: {_shown(rule.metric, value)}"
            about = {"product_id": product_id, "product": product, "value": value}
            yield _alert(rule, f"{text} ({_limits(rule)}; {rule.period}).", **about)


def _is_within(rule: Threshold, value: float) -> bool:
    """Whether a value is one that the rule tells."""
    return (rule.at_least is None or value >= rule.at_least) and (rule.at_most is None or value <= rule.at_most)


_PRODUCTS = select(_product.id, _product.name).where(_product.gone_at.is_(None)).order_by(_product.id)


def _shown(metric: str, value: float) -> str:
    return f"{value:.1%}" if METRICS[metric].unit == "share" else f"{value:g}"


def _limits(rule: Threshold) -> str:
    words = ("at least", rule.at_least), ("at most", rule.at_most)
    return "limit: " + ", ".join(f"{word} {_shown(rule.metric, limit)}" for word, limit in words if limit is not None)


def _due(conn: Connection, rule: Deadline, grace: timedelta, now: datetime) -> Iterable[Alert]:
    """One alert per test: all its bugs have the same deadline. What is past it is decided."""
    given: dict[str, Any] = {"levels": rule.levels, "products": rule.products, "statuses": list(AWAITING)}
    given = {name: value for name, value in given.items() if value}
    moments = {"ended_after": now - grace, "ended_by": now + min(timedelta(0), timedelta(hours=rule.hours) - grace)}
    for row in conn.execute(_due_bugs(frozenset(given)), given | moments):
        due = row.sort_at + grace
        bugs = "1 bug" if row.bugs == 1 else f"{row.bugs} bugs"
        text = (
            f"{bugs} of test {row.id} ({row.title}; {row.product}): accepted by the clock {due:%Y-%m-%d %H:%M} UTC."
        )
        about = {"product_id": row.product_id, "product": row.product, "test_id": row.id}
        yield _alert(rule, text, value=row.bugs, due_at=due, **about)


def _chosen(names: frozenset[str]) -> list[Any]:
    known = {"levels": _bug.level, "kinds": _bug.kind, "products": _bug.product_id, "statuses": _bug.status}
    return [any_of(column, name) for name, column in known.items() if name in names]


@lru_cache(maxsize=8)
def _due_bugs(names: frozenset[str]) -> Select[Any]:
    """Tests with bugs that wait for a decision and have a deadline within the given time."""
    moment = _test.sort_at.type
    return (
        select(_test.id, _test.title, _test.product_id, _product.name.label("product"), _test.sort_at)
        .add_columns(func.count().label("bugs"))
        .join_from(table_of(Test), table_of(Bug), _bug.test_id == _test.id)
        .join(table_of(Product), _product.id == _test.product_id)
        .where(_test.gone_at.is_(None), _bug.gone_at.is_(None), *_chosen(names))
        .where(_test.sort_at >= bindparam("ended_after", type_=moment))
        .where(_test.sort_at <= bindparam("ended_by", type_=moment))
        .group_by(_test.id, _test.title, _test.product_id, _product.name, _test.sort_at)
        .order_by(_test.sort_at, _test.id)
    )


def _stale(conn: Connection, rule: SyncStale, now: datetime) -> Iterable[Alert]:
    moment = conn.execute(_AS_OF).scalar()
    if moment is None:
        yield _alert(rule, "The copy has never been complete.")
    elif now - moment >= timedelta(hours=rule.hours):
        yield _alert(rule, f"The copy is as of {moment:%Y-%m-%d %H:%M} UTC, {rule.hours:g} hours ago or more.")


_AS_OF = select(as_of("products", "tests", "bugs"))
_NEWEST = select(func.coalesce(func.max(_change.id), 0))


def _new_bugs(conn: Connection, rule: NewBug, known: dict[str, Any], now: datetime) -> tuple[list[Alert], int]:
    """Bugs that were found after the rule's last look, and how far it has looked with them.

    What a first sync copies is no change, and a rule that never looked looks back one day.
    """
    last = known.get(f"{_LOOK}{rule.name}")
    given: dict[str, Any] = {"levels": rule.levels, "kinds": rule.kinds, "products": rule.products}
    given = {name: value for name, value in given.items() if value}
    moments = {"after": last.last_change_id if last else 0, "since": now - _FIRST_LOOK, "limit": MOST}
    rows = conn.execute(_created(frozenset(given), last is None), given | moments).all()
    alerts = [_new_bug(rule, row) for row in rows]
    newest = rows[-1].change_id if len(rows) == MOST else conn.execute(_NEWEST).scalar_one()
    return alerts, newest


def _new_bug(rule: NewBug, row: Any) -> Alert:
    level = row.level if row.level != "none" else row.kind
    about = {"product_id": row.product_id, "product": row.product, "test_id": row.test_id, "bug_id": row.id}
    text = f"New {level} bug {row.id} of {row.product}: {row.title}"
    return _alert(rule, text, since=row.changed_at, **about)


@lru_cache(maxsize=16)
def _created(names: frozenset[str], is_first: bool) -> Select[Any]:
    columns = (_bug.id, _bug.title, _bug.level, _bug.kind, _bug.test_id, _bug.product_id, _change.changed_at)
    statement = (
        select(*columns, _change.id.label("change_id"), _product.name.label("product"))
        .join_from(table_of(ChangeLog), table_of(Bug), _bug.id == _change.entity_id)
        .join(table_of(Product), _product.id == _bug.product_id)
        .where(_change.entity == "bug", _change.field == "created", _change.id > bindparam("after"))
        .where(_bug.gone_at.is_(None), *_chosen(names))
        .order_by(_change.id)
        .limit(bindparam("limit"))
    )
    if is_first:
        statement = statement.where(_change.changed_at >= bindparam("since", type_=_change.changed_at.type))
    return statement


async def pending(app: App) -> Pending:
    """Evaluate the rules, and note what begins to hold and what ended: after this an alert has its key."""
    now = datetime.now(UTC)
    held = await app.store.read(lambda conn: evaluate(conn, app.settings, now))
    return await app.store.write(lambda conn: _note(conn, held, now))


def _note(conn: Connection, held: Evaluation, now: datetime) -> Pending:
    known = _known(conn)
    lasting = {alert.name: alert for alert in held.alerts if alert.kind != "new_bug"}
    ended = [name for name in known if name.startswith(_ALERT) and name not in lasting]
    if ended:
        conn.execute(delete(_reader).where(_reader.c.name.in_(ended)))
    begun = [{"name": name, "last_change_id": 0, "looked_at": now} for name in lasting if name not in known]
    insert_missing(conn, _reader, begun)
    known = _known(conn)
    alerts = [_with_since(alert, known) for alert in held.alerts]
    untold = [alert for alert in alerts if alert.name not in known or not known[alert.name].last_change_id]
    return Pending(untold, Evaluation(alerts, held.looks))


async def remember(app: App, told: Sequence[Alert], looks: dict[str, int]) -> None:
    """Note that these alerts were told, and how far the rules for new bugs have looked."""
    now = datetime.now(UTC)
    lasting = [alert for alert in told if alert.kind != "new_bug"]
    rows = [{"name": alert.name, "last_change_id": 1, "looked_at": alert.since} for alert in lasting]
    rows += [{"name": name, "last_change_id": change, "looked_at": now} for name, change in looks.items()]
    if rows:
        await app.store.write(lambda conn: upsert(conn, _reader, rows))
