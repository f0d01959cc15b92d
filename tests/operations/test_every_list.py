"""Every list of the registry: each filter against a plain predicate over the records, all pages, totals, orders."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from testio_mcp.domain import FAR_FUTURE, has_run
from testio_mcp.errors import BadInput
from testio_mcp.operations.lists.paging import Page
from testio_mcp.operations.registry import operations
from testio_sandbox import World
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import EVERYTHING, Account

Row = dict[str, Any]
Filters = dict[str, Any]
Predicate = Callable[[Row], Any]
_GRACE = timedelta(days=10)
_WAYS_OF_ASKING = {"sort", "order", "cursor", "limit", "fields", "total_only", "include_backlog"}
"""Arguments that choose no records."""
LISTS = sorted(
    operation.name
    for operation in operations().values()
    if issubclass(operation.result, Page) and "total_only" in operation.arguments.model_fields
)


@pytest.fixture
def world() -> World:
    """A small account."""
    return World(seed=4, products=2, tests_per_product=14, bugs_per_test=3, now=NOW)


@dataclass
class Records:
    """All rows of the store by table, without those that are gone."""

    tables: dict[str, dict[int, Row]]
    parts: dict[str, list[Row]]
    as_of: datetime
    by_name: dict[str, int] = field(default_factory=dict)

    def __getattr__(self, name: str) -> dict[int, Row]:
        return self.tables[name]

    def test_of(self, row: Row) -> Row:
        return self.tables["test"].get(row["test_id"], {})

    def ran(self, row: Row) -> bool:
        test = row if "start_at" in row else self.test_of(row)
        return bool(test) and has_run(test["status"], test["start_at"], self.as_of)

    def devices(self, table: str, owner: str, row: Row) -> Iterator[Row]:
        return (device for device in self.parts[table] if device[owner] == row["id"])


async def _records(account: Account) -> Records:
    names = ("product", "test", "bug", "feature", "user_story", "person", "execution", "test_environment")
    tables = {}
    for name in (*names, "test_template"):
        rows = await account.rows(name)
        tables[name] = {row["id"]: row for row in rows if row.get("gone_at") is None}
    parts = {name: await account.rows(name) for name in ("bug_device", "execution_device", "test_feature")}
    done = [row["completed_at"] for row in await account.rows("checkpoint", resource="tests")]
    people = {row["name"]: key for key, row in tables["person"].items()}
    return Records(tables, parts, min(done), people)


@pytest.fixture
async def filled(account: Account) -> Account:
    """A copy with words that nobody has seen before, a test that runs after its end, and one that is yet to start."""
    world = account.world
    tests = [test for product in world.product_ids for test in world.test_ids(product)]
    with_bugs = [test for test in tests if world.visible_bugs(world.test_facts(test))]
    world.update_test(with_bugs[0], status="paused", goal="Look at the zyxwv")
    world.update_test(with_bugs[1], status="running", end_at=(NOW - timedelta(days=2)).isoformat())
    later = (NOW + timedelta(days=7)).isoformat()
    world.update_test(with_bugs[2], status="locked", start_at=later, end_at=later)
    bugs = [bug["id"] for test in with_bugs[3:7] for bug in world.bugs_of(test)]
    world.update_bug(bugs[0], title="A zyxwv in it", reported_at=None)
    world.update_bug(bugs[1], status="escalated")
    world.update_bug(bugs[2], status="question")
    # The oldest bug by its id is the newest by its report.
    world.update_bug(min(bugs), reported_at=(NOW - timedelta(minutes=1)).isoformat())
    await account.sync(only=EVERYTHING)
    return account


def _days(rows: dict[int, Row], name: str) -> tuple[date, date]:
    days = sorted({row[name].date() for row in rows.values() if row[name]})
    return days[len(days) // 3], days[2 * len(days) // 3]


def _within(name: str, first: date | None, last: date | None) -> Predicate:
    def is_within(row: Row) -> bool:
        if row.get(name) is None:
            return False
        day: date = row[name].date()
        return (first is None or first <= day) and (last is None or day <= last)

    return is_within


def _has(name: str, *words: object) -> Predicate:
    return lambda row: row[name] in words


def _bug_cases(all_of: Records) -> list[tuple[Filters, Predicate]]:
    some = [row for row in all_of.bug.values() if row["feature_id"] and row["author_id"]][3]
    tests = sorted({row["test_id"] for row in all_of.bug.values()})[1:4]
    test = all_of.test_of(some)
    environment = next(
        row["test_environment_id"] for row in map(all_of.test_of, all_of.bug.values()) if row["test_environment_id"]
    )
    author = all_of.person[some["author_id"]]["name"]
    reported, ended = _days(all_of.bug, "reported_at"), _days(all_of.test, "end_at")

    def of_test(choose: Predicate) -> Predicate:
        return lambda row: choose(all_of.test_of(row))

    def on(name: str, word: str) -> Predicate:
        return lambda row: any(
            word in (device[name] or "").lower() for device in all_of.devices("bug_device", "bug_id", row)
        )

    def waits(row: Row) -> bool:
        return row["status"] in ("open", "question")

    def is_rejected(row: Row) -> bool:
        return row["status"] == "rejected" and "e" in (row["rejection_reason"] or "").lower()

    def is_low_and_ended(row: Row) -> bool:
        return row["level"] == "low" and bool(_within("end_at", *ended)(all_of.test_of(row)))

    def is_not_exported(row: Row) -> bool:
        return row["exported_at"] is None and row["external_idx"] is None

    def is_accepted_and_not_exported(row: Row) -> bool:
        return is_not_exported(row) and bool(row["status"] == "accepted")

    def on_android_phones(row: Row) -> bool:
        return any(
            "phone" in (device["category"] or "").lower() and "and" in (device["operating_system"] or "").lower()
            for device in all_of.devices("bug_device", "bug_id", row)
        )

    types = ["external", test["testing_type"]]
    return [
        ({}, lambda row: True),
        ({"product_id": some["product_id"]}, _has("product_id", some["product_id"])),
        ({"test_ids": tests}, _has("test_id", *tests)),
        ({"exclude_test_ids": tests}, lambda row: row["test_id"] not in tests),
        ({"bug_ids": [some["id"]], "product_id": some["product_id"]}, _has("id", some["id"])),
        ({"scope": "ran"}, all_of.ran),
        ({"scope": "ran", "statuses": "open,question"}, lambda row: all_of.ran(row) and waits(row)),
        ({"test_statuses": ["paused", "running"]}, of_test(_has("status", "paused", "running"))),
        ({"testing_types": types}, of_test(_has("testing_type", "custom", *types))),
        ({"feature_ids": [some["feature_id"]]}, _has("feature_id", some["feature_id"])),
        ({"reporters": [author]}, _has("author_id", some["author_id"])),
        ({"levels": ["critical", "none"]}, _has("level", "critical", "none")),
        ({"kinds": ["visual", "functional"]}, _has("kind", "visual", "functional")),
        ({"statuses": ["escalated", "accepted"]}, _has("status", "escalated", "accepted")),
        ({"known": True}, _has("is_known", True)),
        ({"known": False}, _has("is_known", False)),
        ({"kinds": "visual", "levels": "none"}, lambda row: (row["kind"], row["level"]) == ("visual", "none")),
        ({"exported": False}, is_not_exported),
        ({"exported": True}, lambda row: not is_not_exported(row)),
        ({"exported": False, "statuses": ["accepted"]}, is_accepted_and_not_exported),
        ({"rejection_reason": "e"}, is_rejected),
        ({"device": "a"}, on("name", "a")),
        ({"device_category": "phone"}, on("category", "phone")),
        ({"operating_system": "ios"}, on("operating_system", "ios")),
        ({"device_category": "phone", "operating_system": "and"}, on_android_phones),
        ({"device": "%"}, on("name", "%")),
        ({"browser": "chrome"}, on("browsers", "chrome")),
        ({"test_environment_id": environment}, of_test(_has("test_environment_id", environment))),
        ({"reported_from": reported[0]}, _within("reported_at", reported[0], None)),
        ({"reported_from": reported[0], "reported_to": reported[1]}, _within("reported_at", *reported)),
        ({"end_from": ended[0], "end_to": ended[1], "levels": "low"}, is_low_and_ended),
        ({"text": "zyxwv"}, lambda row: "zyxwv" in row["title"]),
    ]


def _test_cases(all_of: Records) -> list[tuple[Filters, Predicate]]:
    some = list(all_of.test)[2:6]
    creator = next(row["created_by_id"] for row in all_of.test.values() if row["created_by_id"])
    feature = next(copy["feature_id"] for copy in all_of.parts["test_feature"] if copy["feature_id"])
    having = {copy["test_id"] for copy in all_of.parts["test_feature"] if copy["feature_id"] == feature}
    environment = next(row["test_environment_id"] for row in all_of.test.values() if row["test_environment_id"])
    product, days = next(iter(all_of.product)), _days(all_of.test, "end_at")

    def is_archived_in_product(row: Row) -> bool:
        return (row["status"], row["product_id"]) == ("archived", product)

    return [
        ({}, lambda row: True),
        ({"product_id": product}, _has("product_id", product)),
        ({"test_ids": some}, _has("id", *some)),
        ({"exclude_test_ids": some}, lambda row: row["id"] not in some),
        ({"scope": "ran"}, all_of.ran),
        ({"statuses": ["paused", "archived"]}, _has("status", "paused", "archived")),
        ({"statuses": ["archived"], "product_id": product}, is_archived_in_product),
        ({"testing_types": ["external", "rapid"]}, _has("testing_type", "custom", "rapid")),
        ({"testing_types": ["test_case"]}, _has("testing_type", "test_case")),
        ({"end_from": days[0], "end_to": days[1]}, _within("end_at", *days)),
        ({"end_to": days[1], "scope": "ran"}, lambda row: all_of.ran(row) and _within("end_at", None, days[1])(row)),
        ({"feature_ids": [feature]}, lambda row: row["id"] in having),
        ({"contacts": [all_of.person[creator]["name"]]}, _has("created_by_id", creator)),
        ({"test_environment_id": environment}, _has("test_environment_id", environment)),
        ({"text": "zyxwv"}, lambda row: "zyxwv" in (row["goal"] or "")),
    ]


def _execution_cases(all_of: Records) -> list[tuple[Filters, Predicate]]:
    whole = ("executed_at", "user_story_id", "executed_by_id", "test_id")
    some = next(row for row in all_of.execution.values() if all(row[name] for name in whole))
    tester = all_of.person[some["executed_by_id"]]["name"]
    product, days = all_of.test_of(some)["product_id"], _days(all_of.execution, "executed_at")

    def on(name: str, word: str) -> Predicate:
        return lambda row: any(
            word in (device[name] or "").lower() for device in all_of.devices("execution_device", "execution_id", row)
        )

    return [
        ({}, lambda row: True),
        ({"product_id": product}, lambda row: all_of.test_of(row).get("product_id") == product),
        ({"test_ids": [some["test_id"]]}, _has("test_id", some["test_id"])),
        ({"exclude_test_ids": [some["test_id"]]}, lambda row: row["test_id"] != some["test_id"]),
        ({"scope": "ran"}, all_of.ran),
        ({"user_story_ids": [some["user_story_id"]]}, _has("user_story_id", some["user_story_id"])),
        ({"statuses": ["failed", "pending"]}, _has("status", "failed", "pending")),
        ({"testers": [tester]}, _has("executed_by_id", some["executed_by_id"])),
        ({"device": "a"}, on("name", "a")),
        ({"device_category": "phone"}, on("category", "phone")),
        ({"operating_system": "ios"}, on("operating_system", "ios")),
        ({"browser": "chrome"}, on("browsers", "chrome")),
        ({"executed_from": days[0], "executed_to": days[1]}, _within("executed_at", *days)),
    ]


def _triage_cases(all_of: Records) -> list[tuple[Filters, Predicate]]:
    waiting = [row for row in all_of.bug.values() if row["status"] in ("open", "question")]
    tests = sorted({row["test_id"] for row in waiting})[1:4]
    reporter = next(row["author_id"] for row in waiting if row["author_id"])
    days = _days({row["id"]: all_of.test_of(row) for row in waiting}, "end_at")
    product, late = waiting[0]["product_id"], datetime.now(UTC) - _GRACE

    def ended_before(row: Row, moment: datetime) -> bool:
        return (all_of.test_of(row)["end_at"] or FAR_FUTURE) < moment

    found: list[tuple[Filters, Predicate]] = [
        ({}, lambda row: True),
        ({"product_id": product}, _has("product_id", product)),
        ({"test_ids": tests}, _has("test_id", *tests)),
        ({"exclude_test_ids": tests}, lambda row: row["test_id"] not in tests),
        ({"scope": "ran"}, all_of.ran),
        ({"levels": ["high", "none"]}, _has("level", "high", "none")),
        ({"kinds": ["functional"]}, _has("kind", "functional")),
        ({"statuses": ["question"]}, _has("status", "question")),
        ({"reporters": [all_of.person[reporter]["name"]]}, _has("author_id", reporter)),
        ({"end_from": days[0], "end_to": days[1]}, lambda row: _within("end_at", *days)(all_of.test_of(row))),
        ({"due_within_days": 3}, lambda row: ended_before(row, late + timedelta(days=3))),
        ({"overdue": True}, lambda row: ended_before(row, late)),
        ({"overdue": False}, lambda row: not ended_before(row, late)),
    ]

    def waiting_and(choose: Predicate) -> Predicate:
        return lambda row: row["status"] in ("open", "question") and choose(row)

    return [(filters, waiting_and(choose)) for filters, choose in found]


def _feature_cases(all_of: Records) -> list[tuple[Filters, Predicate]]:
    ran = {row["id"] for row in all_of.test.values() if all_of.ran(row)}
    tested = {copy["feature_id"] for copy in all_of.parts["test_feature"] if copy["test_id"] in ran}
    stories, on = all_of.user_story, set[int | None]()
    for row in all_of.execution.values():
        devices = all_of.devices("execution_device", "execution_id", row)
        if row["status"] in ("passed", "failed", "blocked") and any(_is_ios(device) for device in devices):
            on.add(stories.get(row["user_story_id"], {}).get("feature_id"))
    for row in all_of.bug.values():
        if any(_is_ios(device) for device in all_of.devices("bug_device", "bug_id", row)):
            on.add(row["feature_id"])
    product = next(iter(all_of.product))
    one = next(copy["test_id"] for copy in all_of.parts["test_feature"] if copy["test_id"] in ran)

    def tested_by(tests: set[int]) -> set[int]:
        return {copy["feature_id"] for copy in all_of.parts["test_feature"] if copy["test_id"] in tests}

    in_one, in_others = tested_by({one}), tested_by(ran - {one})
    return [
        ({}, lambda row: True),
        ({"product_id": product}, _has("product_id", product)),
        ({"text": "a"}, lambda row: "a" in row["title"].lower()),
        ({"test_ids": [one], "tested": True}, lambda row: row["id"] in in_one),
        ({"test_ids": [one], "tested": False}, lambda row: row["id"] not in in_one),
        ({"exclude_test_ids": [one], "tested": True}, lambda row: row["id"] in in_others),
        ({"period": "all time", "tested": False}, lambda row: row["id"] not in tested),
        (
            {"filters": [f"product={product}"], "tested": True},
            lambda row: row["id"] in tested and row["product_id"] == product,
        ),
        ({"tested": True}, lambda row: row["id"] in tested),
        ({"tested": False}, lambda row: row["id"] not in tested),
        ({"untested_on": "ios"}, lambda row: row["id"] not in on),
        ({"untested_on": "amiga"}, lambda row: True),
    ]


def _is_ios(device: Row) -> bool:
    return "ios" in (device["operating_system"] or "").lower()


def _story_cases(all_of: Records) -> list[tuple[Filters, Predicate]]:
    executed = {row["user_story_id"] for row in all_of.execution.values()}
    story = next(iter(all_of.user_story.values()))
    return [
        ({}, lambda row: True),
        ({"product_id": story["product_id"]}, _has("product_id", story["product_id"])),
        ({"feature_ids": [story["feature_id"]]}, _has("feature_id", story["feature_id"])),
        ({"text": "a"}, lambda row: "a" in row["title"].lower()),
        ({"executed": False}, lambda row: row["id"] not in executed),
    ]


def _people_cases(all_of: Records) -> list[tuple[Filters, Predicate]]:
    testers = {row["author_id"] for row in all_of.bug.values()}
    testers |= {row["executed_by_id"] for row in all_of.execution.values()}
    creators = {row["created_by_id"] for row in all_of.test.values()}
    return [
        ({}, lambda row: True),
        ({"text": "a"}, lambda row: "a" in row["name"].lower()),
        ({"role": "tester"}, lambda row: row["id"] in testers),
        ({"role": "contact"}, lambda row: row["id"] in creators),
    ]


def _of_product_cases(all_of: Records) -> list[tuple[Filters, Predicate]]:
    product = next(iter(all_of.product))
    return [
        ({}, lambda row: True),
        ({"product_id": product}, _has("product_id", product)),
        ({"text": "a"}, lambda row: "a" in (row["title"] or "").lower()),
    ]


CASES: dict[str, tuple[str, Callable[[Records], list[tuple[Filters, Predicate]]]]] = {
    "list_products": ("product", lambda all_of: [({}, lambda row: True)]),
    "list_features": ("feature", _feature_cases),
    "list_user_stories": ("user_story", _story_cases),
    "list_people": ("person", _people_cases),
    "list_test_environments": ("test_environment", _of_product_cases),
    "list_test_templates": ("test_template", _of_product_cases),
    "list_tests": ("test", _test_cases),
    "list_executions": ("execution", _execution_cases),
    "list_bugs": ("bug", _bug_cases),
    "triage_queue": ("bug", _triage_cases),
}
"""Of each list its table, and for all of its arguments what they choose."""


async def _ids(account: Account, name: str, **arguments: Any) -> list[int]:
    """The ids of all pages; every page says how many there are."""
    found: list[int] = []
    cursor, totals = None, set()
    while True:
        page = await ask(account, name, cursor=cursor, limit=7, **arguments)
        found += [item.id for item in page.items]
        totals.add((page.total, page.total_is_capped))
        if (cursor := page.next_cursor) is None:
            assert totals == {(len(found), False)}
            return found


@pytest.mark.parametrize("name", LISTS)
async def test_each_filter_chooses_what_it_says(filled: Account, name: str) -> None:
    all_of = await _records(filled)
    table, make = CASES[name]
    cases = make(all_of)
    untried = operations()[name].arguments.model_fields.keys() - _WAYS_OF_ASKING
    chosen_some = 0
    for filters, choose in cases:
        expected = {key for key, row in all_of.tables[table].items() if choose(row)}

        found = await _ids(filled, name, **filters)
        alone = await ask(filled, name, total_only=True, **filters)

        assert sorted(found) == sorted(expected), (name, filters)
        assert (alone.items, alone.total, alone.total_is_capped, alone.next_cursor) == (
            [],
            len(expected),
            False,
            None,
        )
        untried -= filters.keys()
        chosen_some += bool(expected)
    assert untried == set()
    assert chosen_some >= len(cases) * 3 // 4


def _by(*names: str, missing: datetime | None = None) -> Callable[[Records, Row], tuple[Any, ...]]:
    return lambda all_of, row: tuple(row[name] if row[name] is not None else missing for name in names)


def _by_test(all_of: Records, row: Row) -> tuple[Any, ...]:
    return (all_of.test_of(row)["sort_at"], row["test_id"], row["id"])


def _urgency(all_of: Records, row: Row) -> tuple[Any, ...]:
    rank = {"critical": 0, "high": 1, "low": 2}.get(row["level"], 3)
    return (rank, all_of.test_of(row)["sort_at"], row["id"])


def _due(all_of: Records, row: Row) -> tuple[Any, ...]:
    rank, end, key = _urgency(all_of, row)
    return (end, rank, key)


_NEVER = datetime(1, 1, 1, tzinfo=UTC)
ORDERS: list[tuple[str, Filters, Callable[[Records, Row], tuple[Any, ...]], bool]] = [
    ("list_products", {}, _by("name", "id"), False),
    ("list_features", {}, _by("title", "id"), False),
    ("list_features", {"sort": "newest"}, _by("id"), True),
    ("list_user_stories", {}, _by("title", "id"), False),
    ("list_user_stories", {"sort": "newest"}, _by("id"), True),
    ("list_people", {}, _by("name", "id"), False),
    ("list_test_environments", {}, _by("id"), True),
    ("list_test_templates", {}, _by("id"), True),
    ("list_tests", {}, _by("end_at", "id", missing=FAR_FUTURE), True),
    ("list_tests", {"sort": "oldest"}, _by("end_at", "id", missing=FAR_FUTURE), False),
    ("list_executions", {}, _by("id"), True),
    ("list_executions", {"sort": "oldest"}, _by("id"), False),
    ("list_bugs", {}, _by("reported_at", "id", missing=_NEVER), True),
    ("list_bugs", {"sort": "oldest"}, _by("reported_at", "id", missing=FAR_FUTURE), False),
    ("list_bugs", {"statuses": ["accepted", "open"]}, _by("reported_at", "id", missing=_NEVER), True),
    ("list_bugs", {"reported_from": "2020-01-01", "sort": "oldest"}, _by("reported_at", "id"), False),
    ("list_bugs", {"operating_system": "ios"}, _by("reported_at", "id", missing=_NEVER), True),
    ("list_bugs", {"operating_system": "ios", "sort": "oldest"}, _by("reported_at", "id", missing=FAR_FUTURE), False),
    ("list_bugs", {"end_from": "2020-01-01"}, _by_test, True),
    ("list_bugs", {"end_from": "2020-01-01", "sort": "oldest"}, _by_test, False),
    ("triage_queue", {}, _urgency, False),
    ("triage_queue", {"order": "due"}, _due, False),
]
"""Of each list the orders it states: what it sorts by, and whether the highest comes first."""


def test_every_order_is_tried() -> None:
    assert {name for name, *_ in ORDERS} == set(LISTS)
    for name in LISTS:
        for way in ("sort", "order"):
            about = operations()[name].input_schema["properties"].get(way, {})
            tried = {filters.get(way, about.get("default")) for key, filters, *_ in ORDERS if key == name}
            assert set(about.get("enum", [])) <= tried, name


@pytest.mark.parametrize(("name", "filters", "key", "is_descending"), ORDERS)
async def test_lists_have_the_order_they_state(
    filled: Account, name: str, filters: Filters, key: Callable[[Records, Row], tuple[Any, ...]], is_descending: bool
) -> None:
    all_of = await _records(filled)
    rows = all_of.tables[CASES[name][0]]

    found = await _ids(filled, name, **filters)

    keys = [key(all_of, rows[record]) for record in found]
    assert len(found) > 1
    assert keys == sorted(keys, reverse=is_descending)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("list_bugs", "statuses"),
        ("list_bugs", "test_statuses"),
        ("list_bugs", "testing_types"),
        ("list_tests", "statuses"),
        ("list_tests", "testing_types"),
        ("list_executions", "statuses"),
    ],
)
async def test_a_word_that_neither_the_domain_nor_the_data_has_is_refused(
    filled: Account, name: str, argument: str
) -> None:
    with pytest.raises(BadInput, match=f"{argument}: 'opn' is not a valid value") as caught:
        await ask(filled, name, **{argument: ["opn"]})
    assert caught.value.next_step.startswith(f"{argument} takes any of: ")
    if (name, argument) == ("list_bugs", "statuses"):
        assert "open, question, accepted" in caught.value.next_step
        assert "escalated" in caught.value.next_step


async def test_a_cursor_of_another_order_is_refused(filled: Account) -> None:
    page = await ask(filled, "list_bugs", limit=1)
    for name, arguments in (
        ("list_bugs", {"sort": "oldest"}),
        ("list_tests", {}),
        ("triage_queue", {"order": "due"}),
    ):
        with pytest.raises(BadInput, match="cursor: is not one that this list gave"):
            await ask(filled, name, cursor=page.next_cursor, **arguments)


async def test_fields_have_the_names_of_their_filters_and_take_the_old_ones(filled: Account) -> None:
    async def first(name: str, *fields: str) -> Row:
        answer = await operations()[name].answer(filled.app, {"fields": list(fields), "limit": 1})
        found: Row = answer["items"][0]
        return found

    assert (await first("list_bugs", "is_known", "exported")).keys() == {"id", "known", "exported"}
    assert (await first("list_features", "is_tested")).keys() == {"id", "tested"}
    assert (await first("triage_queue", "is_overdue")).keys() == {"id", "overdue"}


async def test_bugs_show_devices_and_their_test_on_request(filled: Account) -> None:
    all_of = await _records(filled)
    fields = ["devices", "test_end_at", "auto_accept_at", "test_status", "testing_type", "feature_id"]
    answer = await operations()["list_bugs"].answer(filled.app, {"fields": fields, "limit": 100})
    for item in answer["items"]:
        row = all_of.bug[item["id"]]
        test = all_of.test_of(row)
        assert (item["test_status"], item["testing_type"]) == (test["status"], test["testing_type"])
        assert item["feature_id"] == row["feature_id"]
        end = item["test_end_at"] and datetime.fromisoformat(item["test_end_at"])
        assert end == test["end_at"]
        due = end + _GRACE if end and row["status"] in ("open", "question") else None
        assert (item["auto_accept_at"] and datetime.fromisoformat(item["auto_accept_at"])) == due
        devices = [device["name"] for device in all_of.devices("bug_device", "bug_id", row)]
        assert [device["name"] for device in item["devices"]] == devices
    plain = await operations()["list_bugs"].answer(filled.app, {"limit": 1})
    assert not plain["items"][0].keys() & set(fields)


async def test_a_test_that_runs_after_its_end_says_so(filled: Account) -> None:
    now = datetime.now(UTC)
    tests = (await ask(filled, "list_tests", limit=100)).items
    for test in tests:
        is_late = test.status == "running" and test.end_at is not None and test.end_at < now
        assert test.is_past_end == (True if is_late else None)
        assert (await ask(filled, "get_test", test_id=test.id)).is_past_end == test.is_past_end
    late = next(test for test in tests if test.is_past_end)
    product = await ask(filled, "get_product", product_id=late.product_id)
    assert {test.id: test.is_past_end for test in product.running_tests}[late.id] is True


async def test_every_answer_with_counts_says_its_scope(filled: Account) -> None:
    some = next(iter((await _records(filled)).bug.values()))
    calls: list[tuple[str, Filters]] = [
        *(
            (name, {})
            for name in ("list_products", "list_features", "list_user_stories", "list_people", "list_tests")
        ),
        ("list_test_environments", {}),
        ("get_product", {"product_id": some["product_id"]}),
        ("get_test", {"test_id": some["test_id"]}),
        ("get_person", {"person_id": some["author_id"]}),
        ("get_feature", {"feature_id": next(iter((await _records(filled)).feature))}),
        ("get_user_story", {"user_story_id": next(iter((await _records(filled)).user_story))}),
    ]
    for name, arguments in calls:
        answer = await operations()[name].answer(filled.app, arguments)
        assert "status" in answer["scope"] or "cancelled" in answer["scope"], name
        if name not in ("list_people", "list_user_stories", "list_test_environments", "get_user_story"):
            assert "open: status open, without questions" in answer["scope"], name
