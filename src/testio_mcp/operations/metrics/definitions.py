"""The metrics and the dimensions: their names, what they mean, and which go together.

The definitions are those of the domain (docs/reference). A metric is computed from counts of one or two facts; a
dimension says for each fact how it splits it, and a pair without a meaning is refused.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from testio_mcp.domain import Ratio, share, story_coverage
from testio_mcp.errors import BadInput
from testio_mcp.operations import figures
from testio_mcp.texts import nearest_first, similar, squeezed

Fact = Literal["tests", "bugs", "testers", "executions", "stories", "features"]
Unit = Literal["count", "number", "share"]
Value = int | float | None
SCORES = {"critical": 5, "high": 3, "low": 1}


@dataclass
class Counts:
    """What is counted of one group: each fact's part is empty where the question does not need it."""

    tests: int = 0
    created: int = 0
    submitted: int = 0
    bugs: dict[str, int] = field(default_factory=dict)
    score: int = 0
    testers: set[int] = field(default_factory=set)
    executions: dict[str, int] = field(default_factory=dict)
    stories: set[int] = field(default_factory=set)
    living: set[int] = field(default_factory=set)
    features: set[int] = field(default_factory=set)
    all_stories: int = 0

    @property
    def bug_count(self) -> int:
        """All bugs."""
        return sum(self.bugs.values())

    def add_tests(self, tests: int, created: int, submitted: int) -> None:
        """Add what a row of the statement on tests says of this group."""
        self.tests += tests
        self.created += created
        self.submitted += submitted

    def add_bugs(self, status: str, level: str, number: int) -> None:
        """Add some bugs."""
        self.bugs[status] = self.bugs.get(status, 0) + number
        self.score += number * SCORES.get(level, 0)

    def add_executions(self, status: str, number: int) -> None:
        """Add some executions."""
        self.executions[status] = self.executions.get(status, 0) + number

    def add_stories(self, story: int | None, living: int | None) -> None:
        """Add a user story, which may not be there any more."""
        if story is not None:
            self.stories.add(story)
        if living is not None:
            self.living.add(living)

    def add_testers(self, person: int | None) -> None:
        """Add a reporter."""
        if person is not None:
            self.testers.add(person)

    def add_features(self, feature: int | None) -> None:
        """Add a feature."""
        if feature is not None:
            self.features.add(feature)

    def take(self, fact: Fact, other: "Counts") -> None:
        """Add the counts of one fact of another group."""
        if fact == "tests":
            self.add_tests(other.tests, other.created, other.submitted)
        elif fact == "bugs":
            self.score += other.score
            _sum(self.bugs, other.bugs)
        elif fact == "executions":
            _sum(self.executions, other.executions)
        else:
            for name in _MEMBERS[fact]:
                getattr(self, name).update(getattr(other, name))


_MEMBERS: Mapping[Fact, tuple[str, ...]] = {
    "testers": ("testers",),
    "stories": ("stories", "living"),
    "features": ("features",),
}


ADD: Mapping[Fact, Callable[..., None]] = {
    "tests": Counts.add_tests,
    "bugs": Counts.add_bugs,
    "executions": Counts.add_executions,
    "stories": Counts.add_stories,
    "testers": Counts.add_testers,
    "features": Counts.add_features,
}
"""What takes in a row of each fact's statement, after the dimensions."""


def _sum(numbers: dict[str, int], more: Mapping[str, int]) -> None:
    for word, number in more.items():
        numbers[word] = numbers.get(word, 0) + number


@dataclass(frozen=True)
class Metric:
    """A number: the facts it is made of, its definition, and how it follows from the counts of a group.

    `ratio` gives the part and the whole of a share; `most` is how much one record can add to a count.
    """

    name: str
    label: str
    unit: Unit
    facts: tuple[Fact, ...]
    definition: str
    value: Callable[[Counts], Value]
    ratio: Callable[[Counts], Ratio] | None = None
    most: int = 1


def _share(name: str, facts: tuple[Fact, ...], definition: str, ratio: Callable[[Counts], Ratio]) -> Metric:
    """A metric that is a share, from the part and the whole that it is made of."""
    label = name.replace("_", " ").capitalize()
    return Metric(name, label, "share", facts, definition, lambda counts: ratio(counts).share, ratio)


def _bug_ratio(name: str) -> Callable[[Counts], Ratio]:
    return lambda counts: figures.bug_ratios(counts.bugs)[name]


def _runs(status: str) -> Callable[[Counts], Value]:
    return lambda counts: counts.executions.get(status, 0)


_RATES = {name: info.description or "" for name, info in figures.Rates.model_fields.items()}
_ALL = (
    Metric("test_count", "Tests", "count", ("tests",), "Distinct tests.", lambda c: c.tests),
    Metric("bug_count", "Bugs", "count", ("bugs",), "Distinct bugs.", lambda c: c.bug_count),
    Metric(
        "features_tested",
        "Features tested",
        "count",
        ("features",),
        "Distinct product features with a test.",
        lambda c: len(c.features),
    ),
    Metric(
        "active_testers",
        "Active testers",
        "count",
        ("testers",),
        "Distinct reporters of bugs.",
        lambda c: len(c.testers),
    ),
    Metric(
        "bugs_per_test",
        "Bugs per test",
        "number",
        ("bugs", "tests"),
        "Bugs divided by tests; null without tests.",
        lambda c: share(c.bug_count, c.tests),
    ),
    Metric(
        "bug_severity_score",
        "Severity score",
        "count",
        ("bugs",),
        "Sum over bugs: critical 5, high 3, low 1, others 0.",
        lambda c: c.score,
        most=max(SCORES.values()),
    ),
    *(_share(name, ("bugs",), text, _bug_ratio(name)) for name, text in _RATES.items()),
    Metric(
        "tests_created",
        "Tests created",
        "count",
        ("tests",),
        "Distinct tests with a creator.",
        lambda c: c.created,
    ),
    Metric(
        "tests_submitted",
        "Tests submitted",
        "count",
        ("tests",),
        "Distinct tests with a submitter.",
        lambda c: c.submitted,
    ),
    Metric(
        "executions",
        "Executions",
        "count",
        ("executions",),
        "Runs of user stories by testers, whatever became of them.",
        lambda c: sum(c.executions.values()),
    ),
    Metric("passed", "Passed", "count", ("executions",), "Executions that passed.", _runs("passed")),
    Metric("failed", "Failed", "count", ("executions",), "Executions that failed.", _runs("failed")),
    Metric("blocked", "Blocked", "count", ("executions",), "Executions that were blocked.", _runs("blocked")),
    _share(
        "pass_rate",
        ("executions",),
        "Passed, of passed, failed and blocked executions.",
        lambda c: figures.pass_ratio(c.executions),
    ),
    Metric(
        "stories_tested",
        "Stories tested",
        "count",
        ("stories",),
        "Distinct user stories with an execution.",
        lambda c: len(c.stories),
    ),
    _share(
        "story_coverage",
        ("stories",),
        "User stories with an execution, of all user stories of the products in question (of named tests, their "
        "products), or of the feature or story; other filters narrow the executions alone.",
        lambda c: story_coverage(len(c.living), c.all_stories),
    ),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}


@dataclass(frozen=True)
class Dimension:
    """A way to split: the facts it splits, those of which a record can be in several groups, and what it is about.

    `is_of_bugs` says that tests are split by the bugs found in them.
    """

    name: str
    label: str
    facts: frozenset[Fact]
    definition: str
    many: frozenset[Fact] = frozenset()
    is_of_bugs: bool = False

    @property
    def is_time(self) -> bool:
        """Whether the groups are spans of time."""
        return self.name in TIMES


_TEST: frozenset[Fact] = frozenset({"tests", "bugs", "testers", "executions", "stories", "features"})
_BUG: frozenset[Fact] = frozenset({"tests", "bugs", "testers"})
_PART: frozenset[Fact] = frozenset({"tests", "bugs", "testers", "executions", "stories"})
_STORY: frozenset[Fact] = frozenset({"tests", "executions", "stories"})
_OF_TESTS: frozenset[Fact] = frozenset({"tests"})
TIMES = ("day", "week", "month", "quarter")
_BY_TIME = "by the end of the test, or by report with time=report; in the account's time zone"


def _device(name: str, label: str, what: str) -> Dimension:
    text = f"{what} the bug was seen on, or the execution ran on; not what the test asked for."
    return Dimension(name, label, _PART, text, _PART, is_of_bugs=True)


_DIMENSIONS = (
    Dimension("product", "Product", _TEST, "Product of the test."),
    Dimension("section", "Section", _TEST, "Section of the test."),
    Dimension(
        "feature",
        "Feature",
        _TEST,
        "Product feature of the bug, of the executed story, or of the test, which may have several.",
        frozenset({"tests", "features"}),
    ),
    Dimension("user_story", "User story", _STORY, "User story that was executed.", _OF_TESTS),
    Dimension(
        "severity", "Severity", _BUG, "Level of the bug: critical, high, low or none.", _OF_TESTS, is_of_bugs=True
    ),
    Dimension(
        "kind", "Kind", _BUG, "Kind of bug: functional, visual, content, usability ...", _OF_TESTS, is_of_bugs=True
    ),
    Dimension("bug_status", "Bug status", _BUG, "Status of the bug as people see it.", _OF_TESTS, is_of_bugs=True),
    Dimension("known", "Known", _BUG, "Whether the bug is tagged as known.", _OF_TESTS, is_of_bugs=True),
    Dimension(
        "rejection_reason",
        "Rejection reason",
        _BUG,
        "Why the bug was rejected, unrecognised where its comments match no reason; none for other bugs.",
        _OF_TESTS,
        is_of_bugs=True,
    ),
    Dimension("test", "Test", _TEST, "The test itself."),
    Dimension("testing_type", "Testing type", _TEST, "Type of the test: rapid, focused, coverage, usability ..."),
    Dimension("test_status", "Test status", _TEST, "Status of the test."),
    Dimension("test_environment", "Test environment", _TEST, "Test environment of the test."),
    Dimension("tester", "Tester", _PART, "Who reported the bug, or executed the story.", _OF_TESTS, is_of_bugs=True),
    Dimension("contact", "Customer contact", _TEST, "Who created the test."),
    _device("device", "Device", "Device"),
    _device("device_category", "Device category", "Category of the device"),
    _device("operating_system", "Operating system", "Operating system"),
    _device("operating_system_version", "Operating system with version", "Operating system and version (Windows 11)"),
    _device("browser", "Browser", "Browser"),
    Dimension("day", "Day", _TEST, f"Day, {_BY_TIME}."),
    Dimension("week", "Week", _TEST, f"ISO week, {_BY_TIME}."),
    Dimension("month", "Month", _TEST, f"Month, {_BY_TIME}."),
    Dimension("quarter", "Quarter", _TEST, f"Quarter, {_BY_TIME}."),
)
DIMENSIONS: Mapping[str, Dimension] = {dimension.name: dimension for dimension in _DIMENSIONS}

_BY_SQUEEZED = {squeezed(name): name for name in (*METRICS, *DIMENSIONS)}
"""Names of metrics and dimensions, none of which is both, by what is left of them without case, spaces and dashes."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> BadInput:
    """The error for a name that does not exist: all that do, the most similar first."""
    names = nearest_first(name, known)
    meant = similar(name, names)
    hint = f"Did you mean {meant}? " if meant else ""
    return BadInput(f"There is no {what} {name[:60]!r}.", f"{hint}Valid names: {', '.join(names)}.")


def _or_custom(error: BadInput) -> BadInput:
    """The error with where fields of the customer's own are."""
    return BadInput(error.message, f"{error.next_step} Custom fields of bugs: custom_report.")


def metric(name: str) -> Metric:
    """The metric of this name, whatever its case, spaces and dashes. Raises `BadInput` with all names."""
    known = name if name in METRICS else _BY_SQUEEZED.get(squeezed(name), "")
    if known not in METRICS:
        raise _or_custom(unknown_name("metric", name, METRICS))
    return METRICS[known]


def dimension(name: str) -> Dimension:
    """The dimension of this name, whatever its case, spaces and dashes. Raises `BadInput` with all names."""
    known = name if name in DIMENSIONS else _BY_SQUEEZED.get(squeezed(name), "")
    if known not in DIMENSIONS:
        raise _or_custom(unknown_name("dimension", name, DIMENSIONS))
    return DIMENSIONS[known]
