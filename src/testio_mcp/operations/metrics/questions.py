"""What is asked of the engine, and whether it can be answered."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import WithJsonSchema

from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.definitions import DIMENSIONS, METRICS, Dimension, Fact, dimension, metric
from testio_mcp.texts import squeezed

Time = Literal["end", "report"]
UTC_ZONE = ZoneInfo("UTC")
FilterValue = str | int | bool | None
Filters = tuple[tuple[str, tuple[FilterValue, ...]], ...]
MetricName = Annotated[str, WithJsonSchema({"type": "string", "enum": [*METRICS]})]
"""A metric: the schema lists the names, and `metric` reads them however they are written."""
DimensionName = Annotated[str, WithJsonSchema({"type": "string", "enum": [*DIMENSIONS]})]
"""A dimension: the schema lists the names, and `dimension_named` reads them however they are written."""
_OF_BUGS: frozenset[Fact] = frozenset({"bugs", "testers"})
_OF_REPORTS: frozenset[Fact] = frozenset({"tests", "bugs", "testers"})


def is_status(name: str) -> bool:
    """Whether a name says status without saying whose."""
    return squeezed(name) == "status"


def dimension_named(name: str, metrics: Iterable[str] = ()) -> Dimension:
    """The dimension of this name beside these metrics; `status` is that of bugs where all of them can have it.

    Metrics that count no bugs mean the status of the test. Raises `BadInput` with all names.
    """
    if not is_status(name):
        return dimension(name)
    facts = {fact for each in metrics for fact in metric(each).facts} or _OF_BUGS
    of_bugs = DIMENSIONS["bug_status"]
    return of_bugs if facts & _OF_BUGS and facts <= of_bugs.facts else DIMENSIONS["test_status"]


@dataclass(frozen=True)
class Question:
    """Metrics, split by dimensions, of the records that pass the filters and lie in the period.

    `filters` names dimensions with the values that match, of which None stands for records without one. The period
    is half-open in UTC, None for an open side; `time` says what lies in it: the end of the test or the report of the
    bug. `zone` is where days begin.
    """

    metrics: tuple[str, ...]
    by: tuple[str, ...] = ()
    filters: Filters = ()
    start: datetime | None = None
    end: datetime | None = None
    time: Time = "end"
    test_ids: tuple[int, ...] = ()
    exclude_test_ids: tuple[int, ...] = ()
    zone: ZoneInfo = UTC_ZONE

    @property
    def facts(self) -> list[Fact]:
        """What has to be counted, each once."""
        return list(dict.fromkeys(fact for name in self.metrics for fact in metric(name).facts))

    @property
    def dimensions(self) -> list[Dimension]:
        """All dimensions that are named, in filters too."""
        return [dimension(name) for name in dict.fromkeys((*self.by, *(name for name, _ in self.filters)))]

    @property
    def unit(self) -> str | None:
        """The dimension that is time, if any."""
        return next((name for name in self.by if DIMENSIONS[name].is_time), None)

    @property
    def is_of_bugs(self) -> bool:
        """Whether tests are those with bugs that match, because the question names something of bugs."""
        return self.time == "report" or any(each.is_of_bugs for each in self.dimensions)

    def values_of(self, name: str) -> tuple[FilterValue, ...] | None:
        """The values of a filter, None without it."""
        return dict(self.filters).get(name)

    def without_split(self) -> "Question":
        """The question whose answer is the total of this one."""
        return replace(self, by=())

    def is_partition(self, fact: Fact) -> bool:
        """Whether each record of a fact is in exactly one group, and the filters alone choose the same records."""
        split = [dimension(name) for name in self.by]
        is_other = fact == "tests" and self.is_of_bugs != self.without_split().is_of_bugs
        if fact == "tests" and self.time == "report" and self.unit:  # a test has bugs of several times
            return False
        return not is_other and not any(fact in each.many for each in split)

    def check(self) -> None:
        """Raise `BadInput` for names that do not exist, and for what does not go together."""
        if not self.metrics:
            raise BadInput("No metric was asked for.", f"Valid names: {', '.join(METRICS)}.")
        for name in self.metrics:
            for each in self.dimensions:
                _check_pair(name, each, self)
        _check_time(self)


def _check_time(question: Question) -> None:
    units = [name for name in question.by if DIMENSIONS[name].is_time]
    if len(units) > 1:
        raise BadInput("Only one of day, week, month and quarter can split.", "Ask for each on its own.")
    for name, _ in question.filters:
        if DIMENSIONS[name].is_time:
            raise BadInput(f"{name} cannot be filtered.", "Say the time as a period.")
    late = [name for name in question.metrics if not _OF_REPORTS.issuperset(metric(name).facts)]
    if question.time == "report" and late:
        raise BadInput(f"{late[0]} cannot be asked by the time of report.", "Ask with time=end.")


def _check_pair(name: str, by: Dimension, question: Question) -> None:
    facts: Iterable[Fact] = metric(name).facts
    is_split = all(fact in by.facts for fact in facts)
    if is_split and by.name == "user_story" and "tests" in facts and question.is_of_bugs:
        is_split = False
    if not is_split:
        takes = [each.name for each in DIMENSIONS.values() if each.facts.issuperset(facts)]
        raise BadInput(
            f"{name} cannot be split or filtered by {by.name} here.", f"{name} takes any of: {', '.join(takes)}."
        )
