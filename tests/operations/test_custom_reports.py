"""Custom reports, compared with what the account's bugs say in theirs."""

import json
from collections import Counter
from datetime import UTC, datetime
from statistics import fmean, median
from typing import Any

import pytest

from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.lists.report_fields import Values, content_type, number
from testio_sandbox import World
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import Account

REPORT = 12
KINDS = {
    "satisfaction": "numeric",
    "paid_at": "text",
    "shop": "text",
    "basket": "numeric",
    "payment": "categorical",
    "again": "categorical",
    "remark": "text",
}


@pytest.fixture
def world() -> World:
    """An account with enough bugs that carry a report, in both products."""
    morning = NOW.replace(hour=9, minute=0, second=0, microsecond=0)  # how many days there are depends on the hour
    return World(seed=2, products=2, tests_per_product=25, bugs_per_test=4, now=morning)


def _bugs(world: World) -> list[dict[str, Any]]:
    return [bug for bug in truth.all_bugs(world) if truth.answers(bug)]


def _answers(bug: dict[str, Any]) -> dict[str, str | None]:
    return {item["key"]: truth.as_text(item["value"]) for item in truth.answers(bug)}


def _filled(bugs: list[dict[str, Any]], key: str) -> list[str]:
    return [value for bug in bugs if (value := _answers(bug).get(key))]


def _numbers(bugs: list[dict[str, Any]], key: str) -> list[float]:
    return [float(value.replace(",", ".")) for value in _filled(bugs, key)]


def _test_end(world: World, bug: dict[str, Any]) -> datetime | None:
    return truth.moment(world.test(bug["test"]["id"])["end_at"])


def _same_numbers(record: Any, bugs: list[dict[str, Any]], key: str) -> None:
    values = [_answers(bug).get(key) for bug in bugs]
    filled = [value for value in values if value]
    assert (record.filled, record.empty, record.null) == (len(filled), values.count(""), values.count(None))
    assert record.distinct_values == len(set(filled))
    if record.content_type == "numeric" and filled:
        numbers = _numbers(bugs, key)
        told = (record.min, record.median, record.mean, record.max)
        wanted = (min(numbers), median(numbers), fmean(numbers), max(numbers))
        assert told == pytest.approx(wanted, abs=1e-3)


async def test_the_list_knows_every_field_and_what_it_holds(account: Account) -> None:
    await account.sync()
    bugs = _bugs(account.world)
    assert len({bug["product"]["id"] for bug in bugs}) == 2

    page = await ask(account, "custom_report")

    [report] = page.items
    assert (report.id, report.bugs, report.field_count) == (REPORT, len(bugs), len(KINDS))
    assert report.tests == len({bug["test"]["id"] for bug in bugs})
    assert set(report.product_ids) == {bug["product"]["id"] for bug in bugs}
    assert {field.key: field.content_type for field in page.report_fields} == KINDS
    names = {item["key"]: (item["name"], item["type"]) for item in truth.answers(bugs[0])}
    for field in page.report_fields:
        _same_numbers(field, bugs, field.key)
        if field.key in names:
            assert (field.name, field.declared_type) == names[field.key]
    values = {field.key: field.values for field in page.report_fields}
    assert set(values["payment"]) == set(_filled(bugs, "payment")) and not values["remark"]


async def test_a_product_narrows_the_numbers_and_not_the_kinds(account: Account) -> None:
    await account.sync()
    product_id = account.world.product_ids[0]
    bugs = [bug for bug in _bugs(account.world) if bug["product"]["id"] == product_id]

    page = await ask(account, "custom_report", product_id=product_id)

    assert (page.items[0].bugs, page.items[0].product_ids) == (len(bugs), [product_id])
    assert {field.key: field.content_type for field in page.report_fields} == KINDS
    for field in page.report_fields:
        _same_numbers(field, bugs, field.key)
    without = [test for test in account.world.test_ids(product_id) if test not in {b["test"]["id"] for b in bugs}]
    assert (await ask(account, "custom_report", test_ids=without[:1])).items == []
    with pytest.raises(NotFound, match="Product 9 is not in the store"):
        await ask(account, "custom_report", product_id=9)


async def test_all_fields_without_groups(account: Account) -> None:
    await account.sync()
    bugs = _bugs(account.world)

    page = await ask(account, "custom_report", configuration_id=REPORT)

    assert (page.bugs, page.groups, page.group_by, page.period) == (len(bugs), 1, [], "all time")
    assert list(dict.fromkeys(record.field for record in page.items)) == list(KINDS)
    for record in page.items:
        _same_numbers(record, bugs, record.field)
        if record.content_type == "numeric":
            assert record.sum == pytest.approx(sum(_numbers(bugs, record.field)))
            assert record.count == len(_filled(bugs, record.field))
    shares = {record.value: (record.count, record.share) for record in page.items if record.field == "payment"}
    filled = _filled(bugs, "payment")
    assert shares == {value: (count, truth.of(count, len(filled))) for value, count in Counter(filled).items()}


async def test_the_mean_of_a_field_by_another_comes_in_one_call_without_an_id(account: Account) -> None:
    await account.sync()
    bugs = _bugs(account.world)

    named = await ask(account, "custom_report", report_fields=["satisfaction"], group_by=["payment"])
    whole = await ask(
        account, "custom_report", report_fields=["satisfaction"], group_by=["payment"], configuration_id=12
    )

    assert named == whole and named.configuration_id == REPORT
    for record in named.items:
        chosen = [bug for bug in bugs if (_answers(bug).get("payment") or "no answer") == record.group[0]]
        assert record.mean == pytest.approx(fmean(_numbers(chosen, "satisfaction")), abs=1e-3)
    second = {"content": {"data": [{"key": "satisfaction", "value": "4"}]}, "custom_report_configuration_id": 13}
    account.world.add_bug(bugs[0]["test"]["id"], report=second)
    await account.sync(full=True)
    with pytest.raises(BadInput, match="several reports could be meant") as caught:
        await ask(account, "custom_report", report_fields=["satisfaction"])
    assert "12, 13" in caught.value.next_step
    assert (await ask(account, "custom_report", group_by=["payment"])).configuration_id == REPORT


async def test_an_item_has_only_the_fields_of_its_kind(account: Account) -> None:
    await account.sync()
    arguments: list[dict[str, Any]] = [
        {},
        {"configuration_id": REPORT},
        {"configuration_id": REPORT, "records": True},
    ]
    kinds = [
        {name for item in page["items"] for name in item}
        for asked in arguments
        for page in [(await ask(account, "custom_report", **asked)).model_dump(mode="json")]
    ]
    assert kinds[0] == {"id", "products", "product_ids", "tests", "bugs", "field_count"}
    assert kinds[1] >= {"group", "field", "mean", "share"} and "id" not in kinds[1]
    assert kinds[2] >= {"id", "title", "values", "rejection_reason", "reported_at"} and "mean" not in kinds[2]


async def test_questions_about_custom_fields_are_sent_to_the_custom_report(account: Account) -> None:
    await account.sync()
    for arguments in ({"metrics": ["mean"]}, {"metrics": ["bug_count"], "by": ["payment"]}):
        with pytest.raises(BadInput, match="There is no") as caught:
            await ask(account, "query_metrics", **arguments)
        assert "custom_report" in caught.value.next_step


async def test_groups_by_two_fields_add_up_to_all_bugs(account: Account) -> None:
    await account.sync()
    bugs = _bugs(account.world)
    asked = {"report_fields": ["Value of the basket"], "group_by": ["Would you buy again?", "status"]}

    page = await ask(account, "custom_report", configuration_id=REPORT, **asked)

    wanted = Counter((_answers(bug).get("again") or "no answer", truth.status(bug)) for bug in bugs)
    assert page.group_by == ["again", "status"]
    assert {tuple(record.group): record.bugs for record in page.items} == wanted
    assert [record.bugs for record in page.items] == sorted(wanted.values(), reverse=True)
    for record in page.items:
        again, status = record.group
        chosen = [
            bug for bug in bugs if (_answers(bug).get("again") or "no answer", truth.status(bug)) == (again, status)
        ]
        assert record.field == "basket"
        _same_numbers(record, chosen, "basket")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("test", lambda bug: f"{bug['test']['id']} "),
        ("product", lambda bug: bug["product"]["name"]),
        ("level", truth.level),
        ("basket", lambda bug: _answers(bug)["basket"] or "no answer"),
    ],
)
async def test_groups_by_words_and_by_any_kind_of_field(account: Account, word: str, value: Any) -> None:
    await account.sync()
    asked = {"report_fields": ["satisfaction"], "group_by": [word], "limit": 200}
    page = await ask(account, "custom_report", configuration_id=REPORT, **asked)

    told = {record.group[0]: record.bugs for record in page.items}
    if word == "test":
        told = {f"{name.split()[0]} ": bugs for name, bugs in told.items()}
    assert told == Counter(value(bug) for bug in _bugs(account.world))


async def test_filters_choose_the_same_bugs_in_the_summary_and_the_list(account: Account) -> None:
    await account.sync()
    world, bugs = account.world, _bugs(account.world)
    tests = [bugs[0]["test"]["id"], bugs[-1]["test"]["id"]]
    year = account.world.now.year
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"product_id": world.product_ids[1]}, lambda bug: bug["product"]["id"] == world.product_ids[1]),
        ({"test_ids": tests}, lambda bug: bug["test"]["id"] in tests),
        ({"statuses": ["accepted", "open"]}, lambda bug: truth.status(bug) in ("accepted", "open")),
        ({"levels": ["none"]}, lambda bug: truth.level(bug) == "none"),
        ({"period": str(year)}, lambda bug: (end := _test_end(world, bug)) is not None and end.year == year),
        (
            {"period": "last 60 days", "time": "report"},
            lambda bug: 0 <= (datetime.now(UTC).date() - truth.moment(bug["reported_at"]).date()).days < 60,  # type: ignore[union-attr]
        ),
        ({"period": "1999"}, lambda bug: False),
    ]
    for filters, belongs in cases:
        wanted = {bug["id"] for bug in bugs if belongs(bug)}
        summary = await ask(account, "custom_report", configuration_id=REPORT, **filters)
        page = await ask(account, "custom_report", records=True, configuration_id=REPORT, limit=100, **filters)
        assert {item.id for item in page.items} == wanted, filters
        assert summary.bugs == page.total == len(wanted), filters
        assert page.period == summary.period
    assert (page.period, summary.items) == ("1999-01-01 to 1999-12-31", [])


async def test_records_have_the_answers_newest_first_page_by_page(account: Account) -> None:
    await account.sync()
    bugs = {bug["id"]: bug for bug in _bugs(account.world)}
    seen: list[Any] = []
    cursor = None
    while not seen or cursor:
        page = await ask(account, "custom_report", records=True, configuration_id=REPORT, limit=7, cursor=cursor)
        seen += page.items
        cursor = page.next_cursor
    assert [item.id for item in seen] == sorted(bugs, reverse=True)
    for item in seen:
        bug = bugs[item.id]
        assert item.values == _answers(bug)
        assert (item.title, item.status, item.level) == (bug["title"], truth.status(bug), truth.level(bug))
        assert (item.test_id, item.product) == (bug["test"]["id"], bug["product"]["name"])


async def test_the_summary_goes_on_where_a_page_ended(account: Account) -> None:
    await account.sync()
    asked: dict[str, Any] = {"configuration_id": REPORT, "group_by": ["payment", "test"]}
    whole = await ask(account, "custom_report", **asked, limit=200)
    parts: list[Any] = []
    cursor = None
    while not parts or (cursor and len(parts) < 200):
        page = await ask(account, "custom_report", **asked, limit=9, cursor=cursor)
        parts += page.items
        cursor = page.next_cursor
    assert parts[:200] == whole.items[: len(parts)] and len(whole.items) > 9
    with pytest.raises(BadInput, match="cursor"):
        await ask(account, "custom_report", configuration_id=REPORT, cursor=page.next_cursor or "W10")


async def test_unknown_names_are_answered_with_the_nearest(account: Account) -> None:
    await account.sync()
    with pytest.raises(BadInput, match="report_fields: this report has no field 'satisfacton'") as caught:
        await ask(account, "custom_report", configuration_id=REPORT, report_fields=["satisfacton"])
    assert "Did you mean satisfaction" in caught.value.next_step
    with pytest.raises(BadInput, match="group_by: this report has no field 'prodct'") as caught:
        await ask(account, "custom_report", configuration_id=REPORT, group_by=["prodct"])
    assert "product" in caught.value.next_step
    with pytest.raises(BadInput, match="group_by"):
        await ask(account, "custom_report", configuration_id=REPORT, group_by=["test", "level", "status"])
    for records in (False, True):
        with pytest.raises(NotFound, match="Custom report 99 is in no bug"):
            await ask(account, "custom_report", records=records, configuration_id=99)
        with pytest.raises(NotFound, match="Test 5 is not in the store"):
            await ask(account, "custom_report", records=records, configuration_id=REPORT, test_ids=[5])


async def test_reports_without_a_number_and_fields_that_come_twice(account: Account) -> None:
    world = account.world
    test_id = _bugs(world)[0]["test"]["id"]
    data = [{"name": "Colour", "value": "red"}, {"name": "Colour", "value": "blue"}, {"value": 4}]
    odd = {"content": {"data": data}}
    first = world.add_bug(test_id, report=odd)
    second = world.add_bug(test_id, report={"content": {"data": [{"name": "Colour", "value": " "}]}})
    gone = world.add_bug(test_id, report=odd)
    world.delete_bug(gone["id"])
    await account.sync()

    page = await ask(account, "custom_report")
    summary = await ask(account, "custom_report", configuration_id=0, report_fields="Colour")
    records = await ask(account, "custom_report", records=True, configuration_id=0)

    assert [(report.id, report.bugs) for report in page.items] == [(0, 2), (REPORT, len(_bugs(world)) - 2)]
    assert [field.key for field in page.report_fields][:2] == ["Colour", "unnamed"]
    [colour] = summary.items
    assert (colour.filled, colour.empty, colour.null, colour.distinct_values) == (1, 1, 0, 1)
    assert {item.id: item.values for item in records.items} == {
        first["id"]: {"Colour": "red", "unnamed": "4"},
        second["id"]: {"Colour": " "},
    }
    begun = await ask(account, "custom_report", limit=1)
    later = await ask(account, "custom_report", cursor=begun.next_cursor)
    assert [report.id for report in later.items] == [REPORT]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), (" -7.5 ", -7.5), ("12,50", 12.5), ("1.234,56", 1234.56), ("1,234.56", 1234.56),
        ("1.234.567", 1234567), ("1'000", 1000), ("1 234,5", 1234.5), ("1e3", 1000), ("1.234", 1.234),
        ("1,234", 1.234), ("", None), ("nan", None), ("1e999", None), ("12 %", None), ("2026-11-22", None),
        ("1.2.3", None), ("12.345.67", None),
    ],
)  # fmt: skip
def test_numbers_in_english_and_german(text: str, value: float | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("given", "declared", "kind"),
    [
        (["1"] * 19 + ["n/a"], None, "numeric"),
        (["1"] * 9 + ["n/a"], None, "categorical"),
        (["1"] * 9 + ["n/a"], "number", "numeric"),
        (["0", "1", "1"], "boolean", "categorical"),
        (["true", "false", "true"], None, "categorical"),
        (["red", "green", "blue"], None, "text"),
        (["red", "green", "blue", "blue"], None, "text"),
        (["x" * 80, "x" * 80], None, "text"),
        ([str(n % 40) + "a" for n in range(400)], None, "categorical"),
        ([str(n % 40) + "a" for n in range(300)], None, "text"),
        ([], None, "text"),
        ([], "number", "numeric"),
    ],
)
def test_the_kind_of_content_is_found_from_the_content(given: list[str], declared: str | None, kind: str) -> None:
    values = Values()
    for text, bugs in Counter(given).items():
        values.add(text[:64], bugs)
    assert content_type(values, declared) == kind, json.dumps(given)[:80]
