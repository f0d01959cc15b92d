"""Small accounts of everything that an account may hold, straight into a migrated store."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Connection

from testio_mcp.database import tables
from testio_mcp.database.tables import metadata, table_of

Row = dict[str, Any]

_NOW = datetime(2026, 11, 22, 21, 15, 20, tzinfo=UTC)
_MIRRORED = {"content_hash": "", "synced_at": _NOW, "gone_at": None}
SECTIONS = {1: (11, 12), 2: (21,)}
FEATURES = {1: (31, 32, 33), 2: (41,)}
STORIES = {51: (1, 31), 52: (1, 31), 53: (1, 32), 2**53: (2, 41)}
"""Each with its product and its feature; feature 33 has none."""
GONE_FEATURES, GONE_STORIES = (32,), (52,)
ENVIRONMENTS = {1: (61, 62), 2: (63,)}
PEOPLE = (71, 72, 2**62)
NO_STORY, NO_TEST = 998, 999
"""Ids that executions name and the store does not hold."""
TEST_IDS = tuple(range(101, 107))

TEST_STATUSES = (
    "archived",
    "running",
    "locked",
    "customer_finalized",
    "initialized",
    "waiting",
    "cancelled",
    "paused",
)
TESTING_TYPES = ("rapid", "coverage", "test_case", "unheard")
BUG_STATUSES = (
    "open",
    "accepted",
    "auto_accepted",
    "rejected",
    "question",
    "submitted",
    "manager_approved",
    "unknown",
    "odd",
)
LEVELS, KINDS = ("critical", "high", "low", "none", "blocker"), ("functional", "visual", "unknown", "smell")
REASONS = (None, "Out of scope", "Not reproducible")
RUN_STATUSES = ("passed", "failed", "blocked", "pending", "cancelled", "odd")
DEVICE_NAMES, CATEGORIES = (None, "Pixel 8", "MacBook"), (None, "Smartphones", "Computers")
SYSTEMS, VERSIONS = (None, "Android", "macOS"), (None, "14", "15.1")
SYSTEMS_WITH_VERSION = ("Android 14", "Android 15.1", "macOS 14", "macOS 15.1")
BROWSERS = (None, "Chrome", "Firefox", "Opera")
BROWSER_TEXTS = (None, "Chrome", "Firefox", "Chrome, Firefox", "Firefox, Chrome", "Chrome, Chrome")

MOMENTS = tuple(
    datetime.fromisoformat(text)
    for text in (
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999999Z",
        "2099-06-30T22:00:00Z",
        "2024-02-29T12:00:00Z",
        # A week of 2025 that begins in 2024; the new year in UTC, Berlin and New York.
        "2024-12-30T00:00:00Z",
        "2024-12-31T22:59:59.999999Z",
        "2024-12-31T23:00:00Z",
        "2025-01-01T00:00:00Z",
        "2025-01-01T04:59:59.999999Z",
        "2025-01-01T05:00:00Z",
        # New York's clocks go forward, and a day of 23 hours ends.
        "2026-03-08T04:59:59Z",
        "2026-03-08T06:59:59Z",
        "2026-03-08T07:00:00Z",
        "2026-03-09T03:59:59Z",
        "2026-03-09T04:00:00Z",
        # Berlin's do, on the last Sunday of a quarter; then the quarter ends.
        "2026-03-28T23:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-29T21:59:59.999999Z",
        "2026-03-29T22:00:00Z",
        "2026-03-31T21:59:59.999999Z",
        "2026-03-31T22:00:00Z",
        "2026-03-31T22:30:00Z",
        "2026-04-01T03:59:59Z",
        "2026-04-01T04:00:00Z",
        # A month ends in summer, and both clocks go back.
        "2026-09-30T18:30:00Z",
        "2026-09-30T22:00:00Z",
        "2026-10-01T04:00:00Z",
        "2026-10-24T22:00:00Z",
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-25T22:59:59Z",
        "2026-10-25T23:00:00Z",
        "2026-11-01T05:30:00Z",
        "2026-11-01T06:30:00Z",
        "2026-11-02T04:59:59Z",
        "2026-11-02T05:00:00Z",
    )
)

AS_OF = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""The moment up to which the tests were read."""
STARTS = (AS_OF.replace(year=2025), AS_OF, AS_OF.replace(hour=13), AS_OF.replace(year=2027))
RECENT = tuple(at for at in MOMENTS if datetime(2024, 12, 1, tzinfo=UTC) < at < datetime(2027, 1, 1, tzinfo=UTC))
"""Those that lie less than a thousand days apart."""


@dataclass(frozen=True)
class Account:
    """The rows of what metrics are counted from; products, features, stories and people are always the same."""

    tests: Sequence[Row] = ()
    test_features: Sequence[Row] = ()
    bugs: Sequence[Row] = ()
    bug_devices: Sequence[Row] = ()
    executions: Sequence[Row] = ()
    execution_devices: Sequence[Row] = ()

    def parts(self) -> Iterable[tuple[Any, Sequence[Row]]]:
        """The tables and their rows, parents first."""
        return (
            (tables.Test, self.tests),
            (tables.TestFeature, self.test_features),
            (tables.Bug, self.bugs),
            (tables.BugDevice, self.bug_devices),
            (tables.Execution, self.executions),
            (tables.ExecutionDevice, self.execution_devices),
        )


def store_account(account: Account) -> Callable[[Connection], None]:
    """Leave the account, and nothing else, in the store."""

    def work(conn: Connection) -> None:
        for table in reversed(metadata.sorted_tables):
            if table.name != "derived":  # the versions by which a store is known to be up to date
                conn.execute(table.delete())
        checkpoint = {"resource": "tests", "product_id": 1, "next_page": None, "completed_at": AS_OF}
        for model, rows in (*_catalog(), *account.parts(), (tables.Checkpoint, [checkpoint])):
            if rows:
                conn.execute(table_of(model).insert(), list(rows))

    return work


def _gone(is_gone: bool) -> dict[str, datetime | None]:
    return {"gone_at": _NOW if is_gone else None}


def _catalog() -> Iterable[tuple[Any, list[Row]]]:
    mirrored = _MIRRORED | {"raw": "{}"}
    yield tables.Product, [mirrored | {"id": number, "name": "Shop"} for number in SECTIONS]
    yield (
        tables.Section,
        [{"id": id_, "product_id": of, "name": "App"} for of, ids in SECTIONS.items() for id_ in ids],
    )
    yield (
        tables.Feature,
        [
            mirrored | {"id": id_, "product_id": of, "title": "Cart"} | _gone(id_ in GONE_FEATURES)
            for of, ids in FEATURES.items()
            for id_ in ids
        ],
    )
    yield (
        tables.UserStory,
        [
            _MIRRORED
            | {"id": id_, "product_id": of, "feature_id": feature, "title": "Pay"}
            | _gone(id_ in GONE_STORIES)
            for id_, (of, feature) in STORIES.items()
        ],
    )
    yield (
        tables.TestEnvironment,
        [mirrored | {"id": id_, "product_id": of} for of, ids in ENVIRONMENTS.items() for id_ in ids],
    )
    yield tables.Person, [{"id": number, "name": f"person {number}"} for number in PEOPLE]


def a_test(number: int, **values: Any) -> Row:
    """A test that ran, of product 1."""
    row: Row = {"id": number, "product_id": 1, "section_id": None, "test_environment_id": None, "created_by_id": None}
    row |= {
        "submitted_by_id": None,
        "title": "Test",
        "status": "archived",
        "testing_type": "rapid",
        "end_at": None,
        "start_at": None,
    }
    row |= _MIRRORED | {"raw": "{}"} | values
    return row | {"sort_at": row["end_at"] or datetime(9999, 12, 31, tzinfo=UTC)}


def a_copy(number: int, test_id: int, feature_id: int | None) -> Row:
    """A test's copy of a feature."""
    row: Row = {"id": number, "test_id": test_id, "feature_id": feature_id, "title": "Cart"}
    return row | dict.fromkeys(("enable_default", "enable_content", "enable_visual"), False)


def a_bug(number: int, test_id: int, **values: Any) -> Row:
    """An open bug of product 1."""
    row: Row = {"id": number, "test_id": test_id, "product_id": 1, "section_id": None, "feature_id": None}
    row |= {"test_feature_id": None, "author_id": None, "title": "Bug", "kind": "functional", "level": "low"}
    row |= {"status": "open", "is_known": False, "reported_at": None, "rejection_reason": None, "comment_count": 0}
    return row | _MIRRORED | {"raw": "{}"} | values


def a_run(number: int, test_id: int | None, **values: Any) -> Row:
    """A passed execution."""
    row: Row = {"id": number, "test_id": test_id, "user_story_id": None, "status": "passed", "executed_by_id": None}
    return row | {"executed_at": _NOW} | _MIRRORED | {"raw": "{}"} | values


def devices_of(key: str, number: int, devices: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The devices of a bug (`bug_id`) or an execution (`execution_id`)."""
    nothing: Row = dict.fromkeys(("name", "category", "operating_system", "operating_system_version", "browsers"))
    return [{key: number, "position": place} | nothing | dict(device) for place, device in enumerate(devices)]


_often_none = st.integers(0, 3)
"""0 stands for none, others for one of what the product has."""
_is_gone = st.sampled_from([False] * 7 + [True])
_people = st.none() | st.sampled_from(PEOPLE)
_device = st.fixed_dictionaries(
    {
        "name": st.sampled_from(DEVICE_NAMES),
        "category": st.sampled_from(CATEGORIES),
        "operating_system": st.sampled_from(SYSTEMS),
        "operating_system_version": st.sampled_from(VERSIONS),
        "browsers": st.sampled_from(BROWSER_TEXTS),
    }
)
_devices = st.lists(_device, max_size=2)


def _some_tests(moments: st.SearchStrategy[datetime | None]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(
        {
            "product_id": st.sampled_from((1, 1, 2)),
            "section_id": _often_none,
            "test_environment_id": _often_none,
            "created_by_id": _people,
            "submitted_by_id": _people,
            "status": st.sampled_from(TEST_STATUSES[:4] + TEST_STATUSES),
            "testing_type": st.sampled_from(TESTING_TYPES),
            "start_at": st.sampled_from((None, *STARTS)),
            "end_at": moments,
            "gone_at": _is_gone,
        }
    )


def _some_bugs(moments: st.SearchStrategy[datetime | None]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(
        {
            "test_id": st.integers(0, 5),
            "section_id": st.sampled_from((None, 11, 12, 21)),
            "feature_id": _often_none,
            "author_id": _people,
            "level": st.sampled_from(LEVELS),
            "kind": st.sampled_from(KINDS),
            "status": st.sampled_from(BUG_STATUSES[:4] + BUG_STATUSES),
            "is_known": st.booleans(),
            "reported_at": moments,
            "rejection_reason": st.sampled_from(REASONS),
            "gone_at": _is_gone,
            "devices": _devices,
        }
    )


def _some_runs(moments: st.SearchStrategy[datetime | None]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(
        {
            "test_id": st.integers(0, 5) | st.sampled_from((None, NO_TEST)),
            "user_story_id": st.integers(0, 5),
            "status": st.sampled_from(RUN_STATUSES[:3] + RUN_STATUSES),
            "executed_by_id": _people,
            "executed_at": moments,
            "gone_at": _is_gone,
            "devices": _devices,
        }
    )


def _one_of(choices: Sequence[Any], place: int) -> Any:
    return (None, *choices)[place % (len(choices) + 1)]


def _tests(drawn: list[Row]) -> list[Row]:
    rows = []
    for number, values in zip(TEST_IDS, drawn, strict=False):
        of = values["product_id"]
        places = {"section_id": _one_of(SECTIONS[of], values["section_id"]), **_gone(values["gone_at"])}
        environment = _one_of(ENVIRONMENTS[of], values["test_environment_id"])
        rows.append(a_test(number, **values | places | {"test_environment_id": environment}))
    return rows


def _bugs(drawn: list[Row], tests: list[Row]) -> tuple[list[Row], list[Row]]:
    rows, devices = [], []
    for number, values in enumerate(drawn, 1001):
        test = tests[values.pop("test_id") % len(tests)]
        devices += devices_of("bug_id", number, values.pop("devices"))
        values |= {"product_id": test["product_id"], **_gone(values["gone_at"])}
        values["feature_id"] = _one_of(FEATURES[test["product_id"]], values["feature_id"])
        rows.append(a_bug(number, test["id"], **values))
    return rows, devices


def _runs(drawn: list[Row], tests: list[Row]) -> tuple[list[Row], list[Row]]:
    rows, devices = [], []
    for number, values in enumerate(drawn, 5001):
        place = values.pop("test_id")
        of = tests[place % len(tests)] if place in range(6) else {"id": place, "product_id": 1}
        stories = [story for story, (product, _) in STORIES.items() if product == of["product_id"]]
        values["user_story_id"] = _one_of((*stories, NO_STORY), values["user_story_id"])
        devices += devices_of("execution_id", number, values.pop("devices"))
        rows.append(a_run(number, of["id"], **values | _gone(values["gone_at"])))
    return rows, devices


@st.composite
def accounts(draw: st.DrawFn, fewest: int = 0, moments: Sequence[datetime] = MOMENTS) -> Account:
    """An account with up to 6 tests, 12 bugs and 10 executions, and at least `fewest` of each if that is not 0."""
    at = st.none() | st.sampled_from(moments)
    tests = _tests(draw(st.lists(_some_tests(at), min_size=min(fewest, 3), max_size=len(TEST_IDS))))
    if not tests:
        return Account()
    copies = draw(st.lists(st.tuples(st.integers(0, 5), _often_none), min_size=fewest, max_size=8))
    features = []
    for number, (place, feature) in enumerate(copies, 9001):
        test = tests[place % len(tests)]
        features.append(a_copy(number, test["id"], _one_of(FEATURES[test["product_id"]], feature)))
    bugs, bug_devices = _bugs(draw(st.lists(_some_bugs(at), min_size=fewest, max_size=12)), tests)
    runs, run_devices = _runs(draw(st.lists(_some_runs(at), min_size=fewest, max_size=10)), tests)
    return Account(tests, features, bugs, bug_devices, runs, run_devices)
