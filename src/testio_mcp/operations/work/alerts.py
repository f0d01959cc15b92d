"""Alerts: the rules, what they say of the local copy, and what of it was sent already.

The rules are those of the file that `TESTIO_ALERT_RULES` names, or those that are built in. A file is TOML with one
`[[rule]]` table per rule. Whatever is wrong in it is refused with the rule and the key named: a rule that is left out
silently would be an alert that nobody misses.

An alert is sent once while it lasts. Each one that holds has a row among the readers of the change log, from before
it is first sent until it ends: the row gives it its identity, and a process that is killed after sending and before
noting so sends the same alert, with the same key, once more. A rule for new bugs is a reader like any other.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import Connection, Select, bindparam, delete, func, select

from testio_mcp.app import App
from testio_mcp.database.dialect import insert_missing, upsert
from testio_mcp.database.tables import Bug, ChangeLog, Product, Reader, Test, table_of
from testio_mcp.domain import AWAITING, BugKind, Level, auto_accept_at, format_share, latest_end_due
from testio_mcp.errors import BadInput
from testio_mcp.operations.arguments import explain
from testio_mcp.operations.lists.filters import any_of
from testio_mcp.operations.lists.paging import as_of
from testio_mcp.operations.metrics.definitions import METRICS, Value, metric
from testio_mcp.operations.metrics.engine import measure
from testio_mcp.operations.metrics.periods import Period, bounds, period_of, today_in
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.reports.links import Link, link
from testio_mcp.rules import Rules, is_worse_high
from testio_mcp.settings import Settings

MOST = 100
"""New bugs that one evaluation tells of a rule; the next one tells those after them."""
_FIRST_DAY = timedelta(hours=24)
_reader, _bug, _test = table_of(Reader), table_of(Bug).c, table_of(Test).c
_product, _change = table_of(Product).c, table_of(ChangeLog).c
# Names of readers that people give never begin with a blank.
_ALERT, _LAST_SEEN = " alert ", " alerts of "

_Scope = tuple[str, tuple[int, ...]]
"""The period and the products of a rule."""
_Values = Sequence[tuple[int, str, Mapping[str, Value]]]
"""Products with their names and metrics."""


Severity = Literal["warning", "critical"]


def _check_metric(name: str) -> str:
    try:
        return metric(name).name
    except BadInput as error:
        raise ValueError(error.message) from None


def _check_period(words: str) -> str:
    try:
        period_of(words, date(2026, 1, 1))
    except BadInput as error:
        raise ValueError(error.message.removeprefix("period: ")) from None
    return words


class _Rule(BaseModel):
    """What all rules have."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: str = Field(
        pattern=r"^[^\x00-\x1f\x7f]{1,80}$", description="A name of its own on one line, up to 80 characters."
    )
    severity: Severity = Field(default="warning", description="warning or critical.")
    products: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field(
        default=[], description="Ids of products; all when left out."
    )


class Threshold(_Rule):
    """A metric of a product that has crossed a threshold."""

    kind: Literal["threshold"]
    metric: Annotated[str, AfterValidator(_check_metric)] = Field(description="A metric of metric_capabilities.")
    at_least: float | None = Field(default=None, description="A number.")
    at_most: float | None = Field(default=None, description="A number.")
    period: Annotated[str, AfterValidator(_check_period)] = Field(
        default="last 30 days", description="Such as last 30 days, this quarter or 2026-Q3."
    )
    min_bugs: int = Field(default=0, ge=0, description="Fewer bugs than these say nothing.")

    def is_met_by(self, value: float) -> bool:
        """Whether a value is one that the rule is for."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @model_validator(mode="after")
    def _has_a_threshold(self) -> "Threshold":
        if self.at_least is None and self.at_most is None:
            raise ValueError("it needs at_least or at_most")
        return self


class Deadline(_Rule):
    """Bugs of a test that are auto-accepted before long."""

    kind: Literal["deadline"]
    within_days: float | None = Field(default=None, gt=0, le=90, description="Days, more than 0 and up to 90.")
    within_hours: float | None = Field(default=None, gt=0, le=2160, description="Hours, up to 2160.")
    levels: list[Level] = Field(default=[], description="Levels of bugs; all when left out.")

    @model_validator(mode="after")
    def _has_one_limit(self) -> "Deadline":
        if (self.within_days is None) == (self.within_hours is None):
            raise ValueError("it needs within_days or within_hours, and not both")
        return self

    @property
    def hours(self) -> float:
        """How near the deadline is."""
        return self.within_hours if self.within_hours is not None else 24 * (self.within_days or 0)


class NewBug(_Rule):
    """A bug that was found since the last evaluation."""

    kind: Literal["new_bug"]
    levels: list[Level] = Field(default=[], description="Levels of bugs; all when left out.")
    kinds: list[BugKind] = Field(default=[], description="Kinds of bugs; all when left out.")


class SyncStale(_Rule):
    """Local data that is too old; it has no products."""

    kind: Literal["sync_stale"]
    hours: float = Field(gt=0, le=8760, description="Hours, more than 0.")

    @model_validator(mode="after")
    def _is_about_the_account(self) -> "SyncStale":
        if self.products:
            raise ValueError("products: the copy is one for all of them")
        return self


Rule = Threshold | Deadline | NewBug | SyncStale
_KINDS: dict[str, type[Rule]] = {
    "threshold": Threshold,
    "deadline": Deadline,
    "new_bug": NewBug,
    "sync_stale": SyncStale,
}


def built_in_rules(health: Rules) -> tuple[Rule, ...]:
    """The rules of an account that has no file: those of the settings' health of rates, and a few that all need."""
    return (
        NewBug(name="critical bug", kind="new_bug", severity="critical", levels=["critical"]),
        Deadline(name="auto-acceptance near", kind="deadline", within_days=2),
        SyncStale(name="sync stale", kind="sync_stale", hours=24),
        *(_rate_rule(name, limits.mild, "warning") for name, limits in health.items()),
        *(_rate_rule(name, limits.hard, "critical") for name, limits in health.items()),
    )


def _rate_rule(name: str, limit: float | None, severity: Severity) -> Rule:
    side = "at_least" if is_worse_high(name) else "at_most"
    about = {"name": f"{name} {severity}", "kind": "threshold", "metric": name, "severity": severity, "min_bugs": 10}
    return Threshold.model_validate(about | {side: limit})


def read_rules(settings: Settings) -> tuple[Rule, ...]:
    """The rules of an account. Raises `BadInput` for a file that cannot be read, and for what it says wrongly."""
    if settings.alert_rules is None:
        return built_in_rules(settings.health)
    try:
        text = settings.alert_rules.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text in UTF-8"
        raise _refuse_file(
            f"{settings.alert_rules} cannot be read: {why}.", "Correct the path or the file."
        ) from None
    return _parse_rules(text)


@lru_cache(maxsize=4)
def _parse_rules(text: str) -> tuple[Rule, ...]:
    try:
        parts = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _refuse_file(
            f"it is no TOML: {str(error)[:100] or 'nested too deeply'}.", "Correct the file."
        ) from None
    unknown = next((name for name in parts if name != "rule"), None)
    tables = parts.get("rule", [])
    if unknown is not None or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _refuse_file(
            f"{(unknown or 'rule')[:40]!r} is not expected there.", "Write one [[rule]] table per rule."
        )
    rules = [_parse_rule(number, table) for number, table in enumerate(tables, 1)]
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _refuse_file(f"rule {twice!r}: name: two rules have it.", "Give each rule a name of its own.")
    return tuple(rules)


def _parse_rule(number: int, table: dict[str, Any]) -> Rule:
    name = table.get("name")
    subject = f"rule {name[:80]!r}" if isinstance(name, str) and name else f"rule {number}"
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise _refuse_file(f"{subject}: kind: it is none of the kinds.", f"kind takes any of: {', '.join(_KINDS)}.")
    try:
        return _KINDS[kind].model_validate(table)
    except ValidationError as error:
        explained = explain(error, _KINDS[kind])
        message = explained.message.removeprefix("arguments: ").replace("argument", "key")
        raise _refuse_file(f"{subject}: {message}", explained.next_step.replace("arguments", "keys")) from None


def _refuse_file(message: str, next_step: str) -> BadInput:
    return BadInput(f"TESTIO_ALERT_RULES: {message}", next_step)


class Alert(BaseModel):
    """Something that a rule has to say."""

    rule: str
    kind: str
    severity: Severity
    text: str
    product_id: int | None = None
    product: str | None = None
    test_id: int | None = None
    bug_id: int | None = None
    value: float | None = Field(default=None, description="Of the metric; for deadlines the number of bugs.")
    due_at: datetime | None = Field(default=None, description="When the bugs are auto-accepted.")
    link: Link | None = Field(default=None, description="The question that shows what it is about.")
    since: datetime | None = Field(default=None, description="When it was first evaluated; null until then.")

    @property
    def name(self) -> str:
        """Under which it is remembered: the rule and what it is about."""
        about = next((number for number in (self.bug_id, self.test_id, self.product_id) if number is not None), "")
        return f"{_ALERT}{about} {self.rule}"

    @property
    def key(self) -> str:
        """The same whenever this occurrence is sent, and another when it ended and comes again."""
        since = self.since.astimezone(UTC).isoformat() if self.since else ""
        return hashlib.sha256(f"{self.name} {since}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Evaluation:
    """The alerts that hold, and up to which change the rules for new bugs have looked with them."""

    alerts: list[Alert]
    last_seen: dict[str, int]


@dataclass(frozen=True)
class Pending:
    """What has to be sent, among all that holds."""

    unsent: list[Alert]
    evaluation: Evaluation


def evaluate(conn: Connection, settings: Settings, now: datetime) -> Evaluation:
    """What the rules of the account say at a moment. Raises `BadInput` for rules that cannot be read."""
    alerts: list[Alert] = []
    last_seen: dict[str, int] = {}
    readers = _find_readers(conn)
    rules = read_rules(settings)
    measured = _measure_products(conn, [rule for rule in rules if isinstance(rule, Threshold)], settings, now)
    for rule in rules:
        if isinstance(rule, NewBug):
            found, last_seen[f"{_LAST_SEEN}{rule.name}"] = _find_new_bugs(conn, rule, readers, now)
            alerts += found
        else:
            alerts += [_with_since(alert, readers) for alert in _evaluate_rule(conn, rule, measured, settings, now)]
    return Evaluation(alerts, last_seen)


def _find_readers(conn: Connection) -> dict[str, Any]:
    """The rows of alerts and of rules for new bugs by name."""
    prefix = func.substr(_reader.c.name, 1, 6) == _ALERT[:6]
    return {row.name: row for row in conn.execute(select(_reader).where(prefix))}


def _with_since(alert: Alert, readers: dict[str, Any]) -> Alert:
    row = readers.get(alert.name)
    return alert.model_copy(update={"since": row.looked_at}) if row else alert


def _evaluate_rule(
    conn: Connection, rule: Rule, measured: Mapping[_Scope, _Values], settings: Settings, now: datetime
) -> Iterable[Alert]:
    if isinstance(rule, Threshold):
        return _find_crossed(
            rule,
            measured[_scope(rule)],
            period_of(rule.period, today_in(settings.zone, now), settings.fiscal_year_starts),
        )
    if isinstance(rule, Deadline):
        return _find_due(conn, rule, settings.auto_accept_days, now)
    return _find_stale(conn, rule, now) if isinstance(rule, SyncStale) else ()


def _make_alert(rule: Rule, text: str, **about: Any) -> Alert:
    return Alert(rule=rule.name, kind=rule.kind, severity=rule.severity, text=text, **about)


def _scope(rule: Threshold) -> _Scope:
    return rule.period, tuple(rule.products)


def _measure_products(
    conn: Connection, rules: Sequence[Threshold], settings: Settings, now: datetime
) -> Mapping[_Scope, _Values]:
    """The metrics of the products that there are, asked once for all rules of the same period and products."""
    metrics: dict[_Scope, list[str]] = {}
    for rule in rules:
        metrics.setdefault(_scope(rule), ["bug_count"]).append(rule.metric)
    names = {row.id: row.name for row in conn.execute(_PRODUCTS)} if rules else {}
    found: dict[_Scope, _Values] = {}
    for (period, products), asked in metrics.items():
        start, end = bounds(
            period_of(period, today_in(settings.zone, now), settings.fiscal_year_starts), settings.zone
        )
        filters = (("product", products),) if products else ()
        by_product = measure(
            conn, Question(tuple(dict.fromkeys(asked)), ("product",), filters, start, end, zone=settings.zone)
        )
        values = {row[0]: each for row, each in by_product.rows.items()}
        found[period, products] = [(id_, name, values[id_]) for id_, name in names.items() if id_ in values]
    return found


def _find_crossed(rule: Threshold, products: _Values, days: Period) -> Iterable[Alert]:
    for product_id, product, values in products:
        value = values[rule.metric]
        if value is not None and (values["bug_count"] or 0) >= rule.min_bugs and rule.is_met_by(value):
            text = f"{METRICS[rule.metric].label} of {product}: {_format_value(rule.metric, value)}"
            period = str(days) if days.first or days.last else ""
            question = link("query_metrics", metrics=[rule.metric], filters=[f"product={product_id}"], period=period)
            about = {"product_id": product_id, "product": product, "value": value, "link": question}
            yield _make_alert(rule, f"{text} ({_format_limits(rule)}; {rule.period}).", **about)


_PRODUCTS = select(_product.id, _product.name).where(_product.gone_at.is_(None)).order_by(_product.id)


def _format_value(metric: str, value: float) -> str:
    return format_share(value) if METRICS[metric].unit == "share" else f"{value:g}"


def _format_limits(rule: Threshold) -> str:
    words = ("at least", rule.at_least), ("at most", rule.at_most)
    return "limit: " + ", ".join(
        f"{word} {_format_value(rule.metric, limit)}" for word, limit in words if limit is not None
    )


def _find_due(conn: Connection, rule: Deadline, days: int, now: datetime) -> Iterable[Alert]:
    """One alert per test: all its bugs have the same deadline. What is past it is decided."""
    given: dict[str, Any] = {"levels": rule.levels, "products": rule.products, "statuses": list(AWAITING)}
    given = {name: value for name, value in given.items() if value}
    moments = {
        "ended_after": now - timedelta(days=days),
        "ended_by": latest_end_due(now, timedelta(hours=rule.hours), days),
    }
    for row in conn.execute(_select_due(frozenset(given)), given | moments):
        due = auto_accept_at(row.sort_at, AWAITING, days)
        bugs = "1 bug" if row.bugs == 1 else f"{row.bugs} bugs"
        text = f"{bugs} of test {row.id} ({row.title}; {row.product}): auto-accepted on {due:%Y-%m-%d %H:%M} UTC."
        question = link("list_bugs", test_ids=[row.id], statuses=AWAITING, levels=rule.levels)
        about = {"product_id": row.product_id, "product": row.product, "test_id": row.id, "link": question}
        yield _make_alert(rule, text, value=row.bugs, due_at=due, **about)


def _filter_conditions(names: frozenset[str]) -> list[Any]:
    columns = {"levels": _bug.level, "kinds": _bug.kind, "products": _bug.product_id, "statuses": _bug.status}
    return [any_of(column, name) for name, column in columns.items() if name in names]


@lru_cache(maxsize=8)
def _select_due(names: frozenset[str]) -> Select[Any]:
    """Tests with bugs that wait for a decision and have a deadline within the given time."""
    moment = _test.sort_at.type
    return (
        select(_test.id, _test.title, _test.product_id, _product.name.label("product"), _test.sort_at)
        .add_columns(func.count().label("bugs"))
        .join_from(table_of(Test), table_of(Bug), _bug.test_id == _test.id)
        .join(table_of(Product), _product.id == _test.product_id)
        .where(_test.gone_at.is_(None), _bug.gone_at.is_(None), *_filter_conditions(names))
        .where(_test.sort_at >= bindparam("ended_after", type_=moment))
        .where(_test.sort_at <= bindparam("ended_by", type_=moment))
        .group_by(_test.id, _test.title, _test.product_id, _product.name, _test.sort_at)
        .order_by(_test.sort_at, _test.id)
    )


def _find_stale(conn: Connection, rule: SyncStale, now: datetime) -> Iterable[Alert]:
    moment = conn.execute(_AS_OF).scalar()
    if moment is None:
        yield _make_alert(rule, "The copy has never been complete.", link=link("get_status"))
    elif now - moment >= timedelta(hours=rule.hours):
        yield _make_alert(
            rule,
            f"The copy is as of {moment:%Y-%m-%d %H:%M} UTC, {rule.hours:g} hours ago or more.",
            link=link("get_status"),
        )


_AS_OF = select(as_of("products", "tests", "bugs"))
_NEWEST = select(func.coalesce(func.max(_change.id), 0))


def _find_new_bugs(conn: Connection, rule: NewBug, readers: dict[str, Any], now: datetime) -> tuple[list[Alert], int]:
    """Bugs that were found after the rule's last look, and how far it has looked with them.

    What a first sync copies is no change, and a rule that never looked looks back one day.
    """
    last = readers.get(f"{_LAST_SEEN}{rule.name}")
    given: dict[str, Any] = {"levels": rule.levels, "kinds": rule.kinds, "products": rule.products}
    given = {name: value for name, value in given.items() if value}
    moments = {"after": last.last_change_id if last else 0, "since": now - _FIRST_DAY, "limit": MOST}
    rows = conn.execute(_select_new_bugs(frozenset(given), last is None), given | moments).all()
    alerts = [_new_bug_alert(rule, row) for row in rows]
    newest = rows[-1].change_id if len(rows) == MOST else conn.execute(_NEWEST).scalar_one()
    return alerts, newest


def _new_bug_alert(rule: NewBug, row: Any) -> Alert:
    level = row.level if row.level != "none" else row.kind
    about = {"product_id": row.product_id, "product": row.product, "test_id": row.test_id, "bug_id": row.id}
    about["link"] = link("get_bug", bug_id=row.id)
    text = f"New {level} bug {row.id} of {row.product}: {row.title}"
    return _make_alert(rule, text, since=row.changed_at, **about)


@lru_cache(maxsize=16)
def _select_new_bugs(names: frozenset[str], is_first: bool) -> Select[Any]:
    columns = (_bug.id, _bug.title, _bug.level, _bug.kind, _bug.test_id, _bug.product_id, _change.changed_at)
    statement = (
        select(*columns, _change.id.label("change_id"), _product.name.label("product"))
        .join_from(table_of(ChangeLog), table_of(Bug), _bug.id == _change.entity_id)
        .join(table_of(Product), _product.id == _bug.product_id)
        .where(_change.entity == "bug", _change.field == "created", _change.id > bindparam("after"))
        .where(_bug.gone_at.is_(None), *_filter_conditions(names))
        .order_by(_change.id)
        .limit(bindparam("limit"))
    )
    if is_first:
        statement = statement.where(_change.changed_at >= bindparam("since", type_=_change.changed_at.type))
    return statement


async def find_pending(app: App) -> Pending:
    """Evaluate the rules, and note what begins to hold and what ended: after this an alert has its key."""
    now = datetime.now(UTC)
    evaluation = await app.store.read(lambda conn: evaluate(conn, app.settings, now))
    return await app.store.write(lambda conn: _note_alerts(conn, evaluation, now))


def _note_alerts(conn: Connection, evaluation: Evaluation, now: datetime) -> Pending:
    readers = _find_readers(conn)
    lasting = {alert.name: alert for alert in evaluation.alerts if alert.kind != "new_bug"}
    ended = [name for name in readers if name.startswith(_ALERT) and name not in lasting]
    if ended:
        conn.execute(delete(_reader).where(_reader.c.name.in_(ended)))
    begun = [{"name": name, "last_change_id": 0, "looked_at": now} for name in lasting if name not in readers]
    insert_missing(conn, _reader, begun)
    readers = _find_readers(conn)
    alerts = [_with_since(alert, readers) for alert in evaluation.alerts]
    unsent = [alert for alert in alerts if alert.name not in readers or not readers[alert.name].last_change_id]
    return Pending(unsent, Evaluation(alerts, evaluation.last_seen))


async def mark_sent(app: App, sent: Sequence[Alert], last_seen: dict[str, int]) -> None:
    """Note that these alerts were sent, and how far the rules for new bugs have looked."""
    now = datetime.now(UTC)
    lasting = [alert for alert in sent if alert.kind != "new_bug"]
    rows = [{"name": alert.name, "last_change_id": 1, "looked_at": alert.since} for alert in lasting]
    rows += [{"name": name, "last_change_id": change, "looked_at": now} for name, change in last_seen.items()]
    if rows:
        await app.store.write(lambda conn: upsert(conn, _reader, rows))
