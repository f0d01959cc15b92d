"""What a quality report asks the metric engine, and how its numbers lead back to the records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.engine import Key, Known, Measured, measure
from testio_mcp.operations.metrics.questions import Filters, Question
from testio_mcp.operations.metrics.reading import HAS_ID, in_period, titles
from testio_mcp.operations.metrics.words import METRICS, Value
from testio_mcp.operations.periods import Period
from testio_mcp.reports.model import Column, Figure, Table
from testio_mcp.settings import Settings

_PEOPLE = ("tester", "contact")
_RAN = ("running", "locked", "archived", "customer_finalized")
NONE_SAID = {"product": "no product", "feature": "no feature", "tester": "nobody", "contact": "nobody"}


@dataclass
class Asked:
    """The scope of a report, and the store to ask; the same question is asked once."""

    conn: Connection
    settings: Settings
    scope: Question
    days: Period
    before: Period | None
    written: tuple[str, ...]
    now: datetime
    _answers: dict[Question, Measured] = field(default_factory=dict)
    _known: Known = field(default_factory=dict)

    def can(self, *metrics: str, by: Sequence[str] = (), filters: Filters = ()) -> bool:
        """Whether the scope's filters and these dimensions suit all of these metrics."""
        try:
            self.question(metrics, by, filters).check()
        except BadInput:
            return False
        return True

    def measure(self, *metrics: str, by: Sequence[str] = (), filters: Filters = ()) -> Measured:
        """The metrics in the scope of the report; `filters` come on top of its own."""
        return self._ask(self.question(metrics, by, filters))

    def measure_before(self, *metrics: str) -> dict[str, Value]:
        """The metrics in the previous period; nothing without one."""
        if self.before is None or not self._is_told(self.before):
            return {}
        return self._ask(in_period(self.question(metrics, (), ()), self.before)).total

    def _is_told(self, period: Period) -> bool:
        """Whether the store holds anything of a period: before the first test there is nothing to compare with."""
        tests = replace(self.scope, metrics=("test_count",), filters=self.scope.filters)
        return bool(self._ask(in_period(tests, period)).total["test_count"])

    def question(self, metrics: Sequence[str], by: Sequence[str] = (), filters: Filters = ()) -> Question:
        """The question of these metrics in the scope of the report."""
        own = dict(self.scope.filters)
        return replace(
            self.scope, metrics=tuple(metrics), by=tuple(by), filters=tuple({**dict(filters), **own}.items())
        )

    def _ask(self, question: Question) -> Measured:
        if question not in self._answers:
            self._answers[question] = measure(self.conn, question, known=self._known)
        return self._answers[question]

    def possible(self, *metrics: str, by: Sequence[str] = ()) -> list[str]:
        """Those of the metrics that the scope's filters suit."""
        return [name for name in metrics if self.can(name, by=by)]

    def named(self, dimension: str, keys: Sequence[Key]) -> dict[Key, str]:
        """What people call the values of a dimension."""
        known = titles(self.conn, dimension, {key for key in keys if key is not None}) if dimension in HAS_ID else {}
        nothing = NONE_SAID.get(dimension, "none")
        return {
            key: nothing if key is None else known.get(key, str(key)) if isinstance(key, int) else str(key)
            for key in keys
        }

    # The questions that show the records behind numbers.

    def bugs(self, **more: object) -> str:
        """The question for bugs in the scope of the report, where list_bugs can say it; else the metrics."""
        products = self.scope.values_of("product") or ()
        if len(products) > 1 or len(self.scope.filters) > bool(products) or self.scope.exclude_test_ids:
            return self.metrics("bug_count", by="product")
        words = {"product_id": products[0] if products else None, **more, **self._days()}
        return _said("list_bugs", words | {"test_ids": ",".join(map(str, self.scope.test_ids))})

    def queue(self, **more: object) -> str:
        """The question for what waits for a decision; the queue knows products, and no periods."""
        return _said("triage_queue", {"product_id": self._product(), **more})

    def untested(self) -> str:
        """The question for features that no test ever had."""
        return _said("list_features", {"product_id": self._product(), "tested": "false"})

    def _product(self) -> object:
        products = self.scope.values_of("product") or ()
        return products[0] if len(products) == 1 else None

    def tests(self, **more: object) -> str:
        """The question for tests in the scope of the report."""
        products = self.scope.values_of("product") or ()
        if len(products) > 1 or len(self.scope.filters) > bool(products) or self.scope.test_ids:
            return self.metrics("test_count", by="test")
        words = {"product_id": products[0] if products else None, "statuses": ",".join(_RAN), **more, **self._days()}
        return _said("list_tests", words)

    def metrics(self, *names: str, by: str = "") -> str:
        """The question for metrics in the scope of the report."""
        words: dict[str, object] = {"metrics": ",".join(names), "by": by, "filters": " ".join(self.written)}
        words |= {"period": f"'{self.days}'" if self.days.first or self.days.last else None, **self._tests()}
        if self.scope.time == "report":
            words["time"] = "report"
        return _said("query_metrics", words)

    def _days(self) -> dict[str, object]:
        prefix = "end" if self.scope.time == "end" else "reported"
        return {f"{prefix}_from": self.days.first, f"{prefix}_to": self.days.last}

    def _tests(self) -> dict[str, object]:
        return {
            "test_ids": ",".join(map(str, self.scope.test_ids)),
            "exclude_test_ids": ",".join(map(str, self.scope.exclude_test_ids)),
        }


def _said(operation: str, words: Mapping[str, object]) -> str:
    given = " ".join(f"{name}={value}" for name, value in words.items() if value not in (None, "", ()))
    return f"{operation} {given}".rstrip()


def figure(asked: Asked, name: str, values: Mapping[str, Value], query: str, **more: Any) -> Figure:
    """A metric as a figure, with its value in the previous period."""
    metric = METRICS[name]
    return Figure(
        name=name,
        label=metric.label,
        unit=metric.unit,
        value=values.get(name),
        previous=asked.measure_before(name).get(name) if "previous" not in more else more.pop("previous"),
        definition=metric.definition,
        query=query,
        **more,
    )


def column(name: str) -> Column:
    """The column of a metric."""
    return Column(key=name, label=METRICS[name].label, kind=METRICS[name].unit)


def split_table(
    asked: Asked,
    title: str,
    dimension: str,
    metrics: Sequence[str],
    *,
    most: int = 15,
    query: str | None = None,
    also: Sequence[str] = (),
) -> Table | None:
    """The metrics by one dimension, the most of the first metric first; None where nothing is split.

    `also` has metrics that are not shown: what they alone find has a row too.
    """
    rows = asked.measure(*metrics, *also, by=(dimension,)).rows
    order = sorted(rows, key=lambda key: (-(rows[key][metrics[0]] or 0), str(key)))
    if not order:
        return None
    shown = order[:most]
    names = asked.named(dimension, [key[0] for key in shown])
    ids = [Column(key=f"{dimension}_id", label="Id")] if dimension in HAS_ID and dimension not in _PEOPLE else []
    left = len(order) - len(shown)
    return Table(
        title=title,
        columns=[Column(key=dimension, label=dimension.replace("_", " ").capitalize()), *ids, *map(column, metrics)],
        rows=[
            [names[key[0]], *([_cell(key[0])] if ids else []), *(rows[key][name] for name in metrics)]
            for key in shown
        ],
        note=f"{left} more." if left else None,
        query=query or asked.metrics(*metrics, by=dimension),
    )


def _cell(key: Key) -> str | int | None:
    return key if isinstance(key, int | str) else None
