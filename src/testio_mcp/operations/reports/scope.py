"""What a quality report asks the metric engine: every number is the answer to a link."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, get_args

from sqlalchemy import Connection

from testio_mcp.domain import AWAITING, BugKind, BugStatus, Level, TestingType, TestStatus
from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.definitions import METRICS
from testio_mcp.operations.metrics.engine import Key, Known, Measured, measure
from testio_mcp.operations.metrics.health import direction_of, ratio_of
from testio_mcp.operations.metrics.periods import Period
from testio_mcp.operations.metrics.questions import Filters, Question
from testio_mcp.operations.metrics.reading import HAS_ID, in_period, read_filters, titles
from testio_mcp.reports.links import Link, link
from testio_mcp.reports.model import Column, Figure, Table
from testio_mcp.settings import Settings

_PEOPLE = ("tester", "contact")
NONE_SAID = {"product": "no product", "feature": "no feature", "tester": "nobody", "contact": "nobody"}
Only = Mapping[str, Sequence[object]]
"""Values of dimensions that count, on top of a report's filters."""
_Place = tuple[str, tuple[str, ...] | None]
"""The argument of a list that chooses by a dimension, and the words that it takes; None for ids."""
_FLAGS = ("true", "false")
_OF_QUEUE: Mapping[str, _Place] = {
    "product": ("product_id", None),
    "severity": ("levels", get_args(Level)),
    "kind": ("kinds", get_args(BugKind)),
    "bug_status": ("statuses", AWAITING),
}
_OF_BUGS: Mapping[str, _Place] = {
    **_OF_QUEUE,
    "bug_status": ("statuses", get_args(BugStatus)),
    "known": ("known", _FLAGS),
    "feature": ("feature_ids", None),
    "testing_type": ("testing_types", get_args(TestingType)),
    "test_status": ("test_statuses", get_args(TestStatus)),
    "test_environment": ("test_environment_id", None),
}
_OF_TESTS: Mapping[str, _Place] = {
    "product": ("product_id", None),
    "feature": ("feature_ids", None),
    "testing_type": ("testing_types", get_args(TestingType)),
    "test_status": ("statuses", get_args(TestStatus)),
    "test_environment": ("test_environment_id", None),
}
_SHOWN = 50
"""How many groups query_metrics shows unless a limit is set."""


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
    _read: dict[tuple[str, ...], Filters] = field(default_factory=dict)

    @cached_property
    def filters(self) -> dict[str, list[str]]:
        """The filters of the report as they were written, by dimension."""
        found: dict[str, list[str]] = {}
        name = ""
        for part in self.written:
            first, has_name, value = part.partition("=")
            name = first.strip().lower() if has_name else name
            found.setdefault(name, []).extend(each.strip() for each in (value if has_name else part).split(","))
        return found

    def narrow(self, only: Only) -> dict[str, list[str]] | None:
        """The report's filters with those of `only`; None where no record can pass both."""
        found = dict(self.filters)
        for name, values in only.items():
            words = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
            if name in found:
                own = set(self.scope.values_of(name) or ())
                words = [word for word, value in zip(words, values, strict=True) if value in own]
            if not words:
                return None
            found[name] = words
        return found

    def can(self, *metrics: str, by: Sequence[str] = (), only: Only | None = None) -> bool:
        """Whether the scope's filters and these dimensions suit all of these metrics."""
        if self.narrow(only or {}) is None:
            return False
        try:
            self.question_of(self.metrics(*metrics, by=by, only=only)).check()
        except BadInput:
            return False
        return True

    def measure(self, *metrics: str, by: Sequence[str] = (), only: Only | None = None) -> Measured:
        """The metrics in the scope of the report."""
        return self.ask(self.metrics(*metrics, by=by, only=only))

    def measure_before(self, *metrics: str) -> Measured | None:
        """The metrics in the previous period; None without one."""
        if self.before is None:
            return None
        return self._ask(in_period(self.question_of(self.metrics(*metrics)), self.before))

    def ask(self, question: Link) -> Measured:
        """The answer to a link to query_metrics."""
        return self._ask(self.question_of(question))

    def count(self, question: Link) -> int:
        """The number that a link gives, of a metric that counts."""
        [first, *_] = self.question_of(question).metrics
        return int(self.ask(question).total[first] or 0)

    def question_of(self, question: Link) -> Question:
        """A link to query_metrics as the engine takes it; period, time and tests are those of the scope."""
        given: Any = question.arguments
        written = tuple(given.get("filters", ()))
        if written not in self._read:
            self._read[written] = read_filters(self.conn, written)
        return replace(
            self.scope,
            metrics=tuple(given["metrics"]),
            by=tuple(given.get("by", ())),
            filters=self._read[written],
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

    def metrics(self, *names: str, by: Sequence[str] = (), only: Only | None = None) -> Link:
        """The link to metrics in the scope of the report; `only` must leave something to count (`narrow`)."""
        filters = self.narrow(only or {})
        if filters is None:
            raise ValueError(f"No record passes {only} and the filters of the report.")
        return link(
            "query_metrics",
            metrics=list(names),
            by=list(by),
            filters=[f"{name}={','.join(values)}" for name, values in filters.items()],
            period=str(self.days) if self.days.first or self.days.last else "",
            time="report" if self.scope.time == "report" else "",
            test_ids=self.scope.test_ids,
            exclude_test_ids=self.scope.exclude_test_ids,
        )

    def bugs(self, **only: Sequence[object]) -> Link:
        """The link to bugs in the scope of the report: their list, or how many they are."""
        return self.listed_bugs(**only) or self.metrics("bug_count", only=only)

    def listed_bugs(self, **only: Sequence[object]) -> Link | None:
        """The list of bugs in the scope of the report; None where no list takes its filters."""
        filters = self.narrow(only)
        given = None if filters is None else arguments_of(filters, _OF_BUGS)
        return None if given is None else link("list_bugs", **self._records(given, "test_statuses"))

    def queue(self, **only: Sequence[object]) -> Link:
        """The link to bugs that wait for a decision: the queue, or as `bugs`."""
        filters = self.narrow(only)
        given = None if filters is None or self.scope.time == "report" else arguments_of(filters, _OF_QUEUE)
        return self.bugs(**only) if given is None else link("triage_queue", **self._records(given, ""))

    def tests(self) -> Link:
        """The link to the tests in the scope of the report: their list, or how many they are."""
        given = None if self.scope.is_of_bugs else arguments_of(self.filters, _OF_TESTS)
        return self.metrics("test_count") if given is None else link("list_tests", **self._records(given, "statuses"))

    def untested_features(self) -> Link:
        """The link to the features that no test in the scope of the report had."""
        scope = dict(self.metrics("features_tested").arguments)
        del scope["metrics"]
        return link("list_features", **scope, tested=False)

    def _records(self, given: Mapping[str, object], statuses: str) -> dict[str, object]:
        """Arguments of a list with the rest of the scope; what did not run counts where `statuses` names it."""
        prefix = "end" if self.scope.time == "end" else "reported"
        return {
            **given,
            "test_ids": self.scope.test_ids,
            "exclude_test_ids": self.scope.exclude_test_ids,
            "scope": "" if statuses in given else "ran",
            f"{prefix}_from": str(self.days.first) if self.days.first else "",
            f"{prefix}_to": str(self.days.last) if self.days.last else "",
        }


def arguments_of(filters: Mapping[str, Sequence[str]], places: Mapping[str, _Place]) -> dict[str, object] | None:
    """Filters of query_metrics as arguments of a list; None where the list does not choose the same records."""
    found: dict[str, object] = {}
    for name, words in filters.items():
        if name not in places:
            return None
        argument, valid = places[name]
        if valid is None:
            if not all(word.isdecimal() for word in words):
                return None
            values: list[Any] = [int(word) for word in words]
        else:
            if not set(words) <= set(valid):
                return None
            values = [word == "true" for word in words] if valid == _FLAGS else list(words)
        if argument.endswith("_ids") or valid not in (None, _FLAGS):
            found[argument] = values
        elif len(values) == 1:
            [found[argument]] = values
        else:
            return None
    return found


def with_all(question: Link, groups: int) -> Link:
    """A link whose answer shows this many groups."""
    more = {"limit": min(groups, 1000)} if groups > _SHOWN else {}
    return Link(operation=question.operation, arguments=question.arguments | more)


def figure(name: str, measured: Measured, before: Measured | None, link: Link, **more: Any) -> Figure:
    """A metric as a figure, against the previous period."""
    metric, ratio = METRICS[name], ratio_of(name, measured.total_counts)
    if before:
        earlier = ratio_of(name, before.total_counts)
        more |= {
            "previous": before.total[name],
            "previous_part": earlier.part if earlier else None,
            "previous_whole": earlier.whole if earlier else None,
            "direction": direction_of(name, before.total_counts, measured.total_counts),
        }
    return Figure(
        name=name,
        label=metric.label,
        unit=metric.unit,
        value=measured.total[name],
        part=ratio.part if ratio else None,
        whole=ratio.whole if ratio else None,
        definition=metric.definition,
        link=link,
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
    also: Sequence[str] = (),
) -> Table | None:
    """The metrics by one dimension, the most of the first metric first; None where nothing is split.

    `also` has metrics that are not shown: what they alone find has a row too.
    """
    question = asked.metrics(*metrics, *also, by=(dimension,))
    rows = asked.ask(question).rows
    order = sorted(rows, key=lambda key: (key[0] is None, str(key[0])))
    order.sort(key=lambda key: (rows[key][metrics[0]] is None, -(rows[key][metrics[0]] or 0)))
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
        link=question,
    )


def _cell(key: Key) -> str | int | None:
    return key if isinstance(key, int | str) else None
