"""The metrics counted in plain Python: slow, and too simple to be wrong.

A record is met in one or more rows of values, one per device, browser, feature or story that it has. Filters keep
rows; the groups of a record are the *set* of what its kept rows say, so that no number of rows can count it twice.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import product
from typing import Any, Literal, Protocol

from sqlalchemy import Connection

from testio_mcp.database import tables
from testio_mcp.rejections import UNRECOGNISED

Row = Mapping[str, Any]
Key = tuple[Any, ...]
Value = int | float | None
Values = dict[str, Value]

NEVER_ENDS = datetime(9999, 12, 31, tzinfo=UTC)
NOT_RUN = ("initialized", "waiting", "cancelled")
SCORES = {"critical": 5, "high": 3, "low": 1}
OF_TEST = {
    "test": "id",
    "product": "product_id",
    "section": "section_id",
    "test_environment": "test_environment_id",
    "testing_type": "testing_type",
    "test_status": "status",
    "contact": "created_by_id",
}
TIMES = ("day", "week", "month", "quarter")
DEVICES = ("device", "device_category", "operating_system", "operating_system_version", "browser")
OF_BUG = ("severity", "kind", "bug_status", "known", "rejection_reason")
ALL = frozenset({"tests", "bugs", "executions", "features"})
TAKEN_BY: dict[str, frozenset[str]] = {
    **dict.fromkeys((*OF_TEST, *TIMES, "feature"), ALL),
    "user_story": frozenset({"tests", "executions"}),
    **dict.fromkeys(OF_BUG, frozenset({"tests", "bugs"})),
    **dict.fromkeys(("tester", *DEVICES), ALL - {"features"}),
}
"""The facts that each dimension splits."""


class Asked(Protocol):
    """A question, as the engine takes it."""

    @property
    def metrics(self) -> tuple[str, ...]: ...
    @property
    def by(self) -> tuple[str, ...]: ...
    @property
    def filters(self) -> tuple[tuple[str, tuple[str | int | bool | None, ...]], ...]: ...
    @property
    def start(self) -> datetime | None: ...
    @property
    def end(self) -> datetime | None: ...
    @property
    def time(self) -> Literal["end", "report"]: ...
    @property
    def test_ids(self) -> tuple[int, ...]: ...
    @property
    def exclude_test_ids(self) -> tuple[int, ...]: ...
    @property
    def zone(self) -> tzinfo: ...


@dataclass(frozen=True)
class Records:
    """The tables that metrics are counted from."""

    tests: Sequence[Row] = ()
    test_features: Sequence[Row] = ()
    bugs: Sequence[Row] = ()
    bug_devices: Sequence[Row] = ()
    executions: Sequence[Row] = ()
    execution_devices: Sequence[Row] = ()
    stories: Sequence[Row] = ()
    unlisted_features: frozenset[int] = frozenset()
    """Features that the account does not list: names that tests mention, which nobody counts."""
    as_of: datetime = NEVER_ENDS
    """The moment up to which the tests were read."""


@dataclass(frozen=True)
class Group:
    """The distinct records of one group, and the stories that it could have tested: those that the account lists."""

    tests: list[Row]
    bugs: list[Row]
    executions: list[Row]
    features: list[Row]
    stories: set[int]


@dataclass(frozen=True)
class Answer:
    """What a question measures: the groups that hold data, and everything at once."""

    rows: dict[Key, Values]
    total: Values


Seen = list[tuple[Row, list[dict[str, Any]]]]
"""The records of a fact, each with the rows it is met in."""


def read_records(conn: Connection) -> Records:
    """All rows of the tables, as they are."""

    def all_of(model: Any) -> list[Row]:
        return [dict(row._mapping) for row in conn.execute(tables.table_of(model).select())]

    listed = {feature["id"] for feature in all_of(tables.Feature) if feature["gone_at"] is None}
    copies = all_of(tables.TestFeature)
    return Records(
        tests=all_of(tables.Test),
        test_features=copies,
        unlisted_features=frozenset(_ids(copies, "feature_id") - listed),
        bugs=all_of(tables.Bug),
        bug_devices=all_of(tables.BugDevice),
        executions=all_of(tables.Execution),
        execution_devices=all_of(tables.ExecutionDevice),
        stories=all_of(tables.UserStory),
        as_of=min(point["completed_at"] for point in all_of(tables.Checkpoint) if point["resource"] == "tests"),
    )


def share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _among_bugs(*words: str, of: tuple[str, ...] | None = None) -> Callable[[Group], Value]:
    """The share of bugs in the statuses `words`, of those in the statuses `of`, or of all."""

    def rate(group: Group) -> Value:
        counts = Counter(bug["status"] for bug in group.bugs)
        whole = len(group.bugs) if of is None else sum(counts[word] for word in of)
        return share(sum(counts[word] for word in words), whole)

    return rate


def _runs(status: str) -> Callable[[Group], int]:
    return lambda group: sum(run["status"] == status for run in group.executions)


def _pass_rate(group: Group) -> Value:
    passed, failed, blocked = (_runs(word)(group) for word in ("passed", "failed", "blocked"))
    return share(passed, passed + failed + blocked)


def _ids(rows: Iterable[Row], column: str) -> set[int]:
    return {row[column] for row in rows} - {None}


def _coverage(group: Group) -> Value:
    return share(len(_ids(group.executions, "user_story_id") & group.stories), len(group.stories))


_T, _B, _E, _F = (frozenset({fact}) for fact in ("tests", "bugs", "executions", "features"))
METRICS: dict[str, tuple[frozenset[str], Callable[[Group], Value]]] = {
    "test_count": (_T, lambda group: len(group.tests)),
    "tests_created": (_T, lambda group: sum(test["created_by_id"] is not None for test in group.tests)),
    "tests_submitted": (_T, lambda group: sum(test["submitted_by_id"] is not None for test in group.tests)),
    "bug_count": (_B, lambda group: len(group.bugs)),
    "bug_severity_score": (_B, lambda group: sum(SCORES.get(bug["level"], 0) for bug in group.bugs)),
    "active_acceptance_rate": (_B, _among_bugs("accepted")),
    "auto_acceptance_rate": (_B, _among_bugs("auto_accepted", of=("accepted", "auto_accepted"))),
    "overall_acceptance_rate": (_B, _among_bugs("accepted", "auto_accepted")),
    "rejection_rate": (_B, _among_bugs("rejected")),
    "review_rate": (_B, _among_bugs("accepted", "rejected")),
    "active_testers": (_B, lambda group: len(_ids(group.bugs, "author_id"))),
    "bugs_per_test": (_T | _B, lambda group: share(len(group.bugs), len(group.tests))),
    "executions": (_E, lambda group: len(group.executions)),
    "passed": (_E, _runs("passed")),
    "failed": (_E, _runs("failed")),
    "blocked": (_E, _runs("blocked")),
    "pass_rate": (_E, _pass_rate),
    "stories_tested": (_E, lambda group: len(_ids(group.executions, "user_story_id"))),
    "story_coverage": (_E, _coverage),
    "features_tested": (_F, lambda group: len(_ids(group.features, "feature_id"))),
}


def facts_of(question: Asked) -> frozenset[str]:
    """The facts that the question's metrics count."""
    return frozenset().union(*(METRICS[name][0] for name in question.metrics))


def names_bugs(question: Asked, by: tuple[str, ...]) -> bool:
    """Whether tests mean those with such bugs."""
    return question.time == "report" or not _named(question, by).isdisjoint((*OF_BUG, "tester", *DEVICES))


def _named(question: Asked, by: tuple[str, ...]) -> set[str]:
    return {*by, *(name for name, _ in question.filters)}


def is_refused(question: Asked) -> bool:
    """Whether a fact does not have what the question names."""
    facts, named = facts_of(question), _named(question, question.by)
    if any(not facts <= TAKEN_BY[name] for name in named):
        return True
    if question.time == "report" and facts & {"executions", "features"}:
        return True
    return "tests" in facts and "user_story" in named and names_bugs(question, question.by)


def answer(records: Records, question: Asked) -> Answer:
    """Count what a question asks for that is not refused."""
    rows = _count(records, question, question.by)
    nothing = _values(records, question, {}, (), ())
    return Answer(rows, _count(records, question, ()).get((), nothing))


def _count(records: Records, question: Asked, by: tuple[str, ...]) -> dict[Key, Values]:
    facts = facts_of(question)
    groups = {name: _groups(see(records, question, by), question, by) for name, see in _SEE.items() if name in facts}
    keys = {key for found in groups.values() for key in found}
    return {key: _values(records, question, groups, key, by) for key in keys}


def _values(
    records: Records, question: Asked, groups: dict[str, dict[Key, list[Row]]], key: Key, by: tuple[str, ...]
) -> Values:
    found = {name: groups.get(name, {}).get(key, []) for name in ALL}
    group = Group(**found, stories=stories_to_cover(records, question, dict(zip(by, key, strict=True))))
    return {name: METRICS[name][1](group) for name in question.metrics}


def stories_to_cover(records: Records, question: Asked, own: dict[str, Any]) -> set[int]:
    """The stories of the products in question, or of the feature or story that a row or a filter names.

    The products in question are those of the tests that are named; other filters and dimensions choose no stories.
    """
    product_of = {test["id"]: test["product_id"] for test in records.tests if test["gone_at"] is None}
    columns = {"product": "product_id", "feature": "feature_id", "user_story": "id"}
    allowed: list[tuple[str, Iterable[Any]]] = []
    for name, values in [*((name, (value,)) for name, value in own.items()), *question.filters]:
        if name in columns:
            allowed.append((columns[name], values))
        if name == "test":
            allowed.append(("product_id", [product_of.get(test) for test in values]))
    if question.test_ids:
        allowed.append(("product_id", [product_of.get(test) for test in question.test_ids]))
    living = (story for story in records.stories if story["gone_at"] is None)
    return {story["id"] for story in living if all(story[column] in values for column, values in allowed)}


def _groups(seen: Seen, question: Asked, by: tuple[str, ...]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = defaultdict(list)
    for record, rows in seen:
        kept = [row for row in rows if _is_asked_for(row, question)]
        for key in {tuple(row[name] for name in by) for row in kept}:
            found[key].append(record)
    return found


def _is_asked_for(row: dict[str, Any], question: Asked) -> bool:
    if not all(row[name] in values or _has_system(row, name, values) for name, values in question.filters):
        return False
    if question.start is None and question.end is None:
        return True
    at: datetime | None = row["at"]
    if at is None:
        return False
    return (question.start is None or at >= question.start) and (question.end is None or at < question.end)


def _has_system(row: dict[str, Any], name: str, values: Iterable[Any]) -> bool:
    """Whether a filter says the row's operating system with its version."""
    return name == "operating_system" and row["operating_system_version"] in values and row[name] is not None


def bucket(at: datetime | None, unit: str, zone: tzinfo) -> date | None:
    """The first day of the unit around a moment, where the account is."""
    return None if at is None else bucket_of_day(at.astimezone(zone).date(), unit)


def bucket_of_day(day: date, unit: str) -> date:
    """The first day of the unit around a day."""
    if unit == "week":
        return day - timedelta(days=day.weekday())
    if unit == "month":
        return day.replace(day=1)
    if unit == "quarter":
        return date(day.year, {1: 1, 2: 4, 3: 7, 4: 10}[(day.month + 2) // 3], 1)
    return day


def fill(records: Records, question: Asked, found: Answer) -> dict[Key, Values]:
    """The rows of a question by time, with one for each bucket of the period and each mix of the other values."""
    unit = next((name for name in question.by if name in TIMES), None)
    if unit is None:
        return found.rows
    place = question.by.index(unit)
    begins, ends = _ends(question)
    days = [key[place] for key in found.rows if key[place] is not None]
    first, last = begins or min(days, default=None), ends or max(days, default=None)
    if first is None or last is None:
        return found.rows
    every = {bucket_of_day(first + timedelta(days=count), unit) for count in range((last - first).days + 1)}
    mixes = {(key[:place], key[place + 1 :]) for key in found.rows} if len(question.by) > 1 else {((), ())}
    keys = [(*before, start, *after) for before, after in mixes for start in every]
    return {key: _values(records, question, {}, key, question.by) for key in keys} | found.rows


def days_of(question: Asked, start: date) -> tuple[date, date, bool]:
    """The first and the last day of a bucket in the period, and whether the period leaves some of its days out."""
    unit = next(name for name in question.by if name in TIMES)
    begins, ends = _ends(question)
    days = [
        day for day in (start + timedelta(days=count) for count in range(100)) if bucket_of_day(day, unit) == start
    ]
    kept = [day for day in days if (begins is None or day >= begins) and (ends is None or day <= ends)]
    return kept[0], kept[-1], kept != days


def _ends(question: Asked) -> tuple[date | None, date | None]:
    begins = question.start.astimezone(question.zone).date() if question.start else None
    ends = (question.end - timedelta(microseconds=1)).astimezone(question.zone).date() if question.end else None
    return begins, ends


def _ran(test: Row, records: Records) -> bool:
    """Whether a test counts: it started by the moment of the data, and its status does not deny that it ran."""
    is_started = test["start_at"] is None or test["start_at"] <= records.as_of
    return is_started and test["status"] not in NOT_RUN


def _in_scope(records: Records, question: Asked) -> dict[int, Row]:
    named = dict(question.filters).get("test_status")
    return {
        test["id"]: test
        for test in records.tests
        if test["gone_at"] is None
        and (_ran(test, records) if named is None else test["status"] in named)
        and (not question.test_ids or test["id"] in question.test_ids)
        and test["id"] not in question.exclude_test_ids
    }


def _about_test(test: Row, at: datetime | None, question: Asked) -> dict[str, Any]:
    times = {unit: bucket(at, unit, question.zone) for unit in TIMES}
    return {"at": at, **times, **{name: test[column] for name, column in OF_TEST.items()}}


def _about_devices(devices: Iterable[Row]) -> list[dict[str, Any]]:
    """One row per browser of each device; one of nothing without devices."""
    rows = [
        {
            "device": device["name"],
            "device_category": device["category"],
            "operating_system": device["operating_system"],
            "operating_system_version": _system(device),
            "browser": browser,
        }
        for device in devices
        for browser in (device["browsers"].split(", ") if device["browsers"] else [None])
    ]
    return rows or [dict.fromkeys(DEVICES)]


def _system(device: Row) -> str | None:
    """The operating system with its version, where that is known."""
    system, version = device["operating_system"], device["operating_system_version"]
    return f"{system} {version}" if system is not None and version else system


def _see_bugs(records: Records, question: Asked, _: tuple[str, ...]) -> Seen:
    tests = _in_scope(records, question)
    devices = _by(records.bug_devices, "bug_id")
    seen: Seen = []
    for bug in records.bugs:
        if bug["gone_at"] is not None or bug["test_id"] not in tests:
            continue
        test = tests[bug["test_id"]]
        about = _about_test(test, bug["reported_at"] if question.time == "report" else test["end_at"], question)
        about |= {"severity": bug["level"], "kind": bug["kind"], "bug_status": bug["status"]}
        about |= {"known": bug["is_known"], "tester": bug["author_id"], "feature": bug["feature_id"]}
        about["rejection_reason"] = (bug["rejection_reason"] or UNRECOGNISED) if bug["status"] == "rejected" else None
        seen.append((bug, [about | device for device in _about_devices(devices[bug["id"]])]))
    return seen


def _see_tests(records: Records, question: Asked, by: tuple[str, ...]) -> Seen:
    tests = _in_scope(records, question)
    if names_bugs(question, by):
        rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for bug, bug_rows in _see_bugs(records, question, by):
            rows[bug["test_id"]] += bug_rows
        return [(tests[number], bug_rows) for number, bug_rows in rows.items()]
    copies = _by(records.test_features, "test_id")
    runs = _by((run for run in records.executions if run["gone_at"] is None), "test_id")
    seen: Seen = []
    for number, test in tests.items():
        about = _about_test(test, test["end_at"], question)
        features = {copy["feature_id"] for copy in copies[number]} or {None}
        stories = {run["user_story_id"] for run in runs[number]} or {None}
        pairs = product(features, stories)
        seen.append((test, [about | {"feature": feature, "user_story": story} for feature, story in pairs]))
    return seen


def _see_executions(records: Records, question: Asked, _: tuple[str, ...]) -> Seen:
    tests = _in_scope(records, question)
    feature_of = {story["id"]: story["feature_id"] for story in records.stories}
    devices = _by(records.execution_devices, "execution_id")
    seen: Seen = []
    for run in records.executions:
        if run["gone_at"] is not None or run["test_id"] not in tests:
            continue
        test = tests[run["test_id"]]
        about = _about_test(test, test["end_at"], question)
        about |= {"user_story": run["user_story_id"], "feature": feature_of.get(run["user_story_id"])}
        about["tester"] = run["executed_by_id"]
        seen.append((run, [about | device for device in _about_devices(devices[run["id"]])]))
    return seen


def _counted(records: Records, copy: Row) -> Row:
    is_name = copy["feature_id"] in records.unlisted_features
    return {**copy, "feature_id": None} if is_name else copy


def _see_features(records: Records, question: Asked, _: tuple[str, ...]) -> Seen:
    """The tests' copies of features; a test without any stands for one that is a copy of nothing."""
    copies = _by(records.test_features, "test_id")
    return [
        (_counted(records, copy), [_about_test(test, test["end_at"], question) | {"feature": copy["feature_id"]}])
        for number, test in _in_scope(records, question).items()
        for copy in copies[number] or [{"feature_id": None}]
    ]


def _by(rows: Iterable[Row], column: str) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return found


_SEE: dict[str, Callable[[Records, Asked, tuple[str, ...]], Seen]] = {
    "tests": _see_tests,
    "bugs": _see_bugs,
    "executions": _see_executions,
    "features": _see_features,
}
