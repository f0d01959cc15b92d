"""Pass rates of test cases, compared with the results that the account tells."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any

import pytest

from testio_mcp.errors import BadInput, NotFound
from testio_sandbox import World
from testio_sandbox.test_payloads import case_results, planned_cases
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import Account

RESULTS = frozenset({"features", "tests", "metrics", "results"})


@pytest.fixture
def world() -> World:
    """An account with several test-case tests."""
    return World(seed=21, products=2, tests_per_product=25, bugs_per_test=1, now=NOW)


def _told(world: World) -> list[dict[str, Any]]:
    """All results of tests that ran, each with its test."""
    found = []
    for product_id in world.product_ids:
        for test_id, test in truth.tests_of(world, product_id).items():
            facts = world.test_facts(test_id)
            if facts.testing_type is None and truth.has_run(test):
                found += [
                    result | {"test": test} for result in case_results(world, facts, planned_cases(world, facts))
                ]
    return found


def _steps(world: World) -> list[dict[str, Any]]:
    return [
        step | {"test": result["test"], "test_case": result["test_case"], "place": place}
        for result in _told(world)
        for place, step in enumerate(result["steps"], 1)
    ]


def _same(page: Any, results: list[dict[str, Any]], key: Callable[[Any], Hashable]) -> None:
    """Each group of the answer counts the results with its key, and no group is missing."""
    groups: dict[Hashable, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[key(result)].append(result)
    assert {item.id for item in page.items} == groups.keys()
    assert (page.total, page.next_cursor) == (len(groups), None)
    for item in page.items:
        _same_counts(item, groups[item.id])
        assert item.tests == len({result["test"]["id"] for result in groups[item.id]})
    _same_counts(page.totals, results)


def _same_counts(told: Any, results: list[dict[str, Any]]) -> None:
    counts = Counter(result["status"] for result in results)
    ends = (counts["passed"], counts["failed"], counts["blocked"])
    assert (told.results, told.passed, told.failed, told.blocked) == (len(results), *ends)
    assert told.not_tested == len(results) - sum(ends)
    assert told.pass_rate == truth.of(counts["passed"], sum(ends))


async def test_by_test_case_and_test(account: Account) -> None:
    await account.sync(only=RESULTS)
    results = _told(account.world)
    assert len({result["test"]["id"] for result in results}) > 2
    assert {"passed", "failed", "blocked"} <= {result["status"] for result in results}

    cases = await ask(account, "test_case_results", limit=100)
    tests = await ask(account, "test_case_results", by="test", limit=100)

    _same(cases, results, lambda result: result["test_case"]["id"])
    _same(tests, results, lambda result: result["test"]["id"])
    titles = {result["test_case"]["id"]: result["title"] for result in results}
    assert {item.id: item.name for item in cases.items} == titles
    rates = [item.pass_rate for item in cases.items if item.pass_rate is not None]
    assert rates == sorted(rates)
    assert [item.pass_rate for item in cases.items][len(rates) :] == [None] * (len(cases.items) - len(rates))
    assert (cases.by, cases.period, cases.results_left_out) == ("test_case", "all time", None)


async def test_by_tester(account: Account) -> None:
    await account.sync(only=RESULTS)
    people = {row["name"]: row["id"] for row in await account.rows("person")}
    results = _told(account.world)

    page = await ask(account, "test_case_results", by="tester", limit=100)

    _same(page, results, lambda result: people.get(truth.name(result.get("executed_by"))))
    names = {truth.name(result.get("executed_by")) or "unknown" for result in results}
    assert {item.name for item in page.items} == names and len(names) > 2


async def test_by_step_in_the_order_of_the_test_case(account: Account) -> None:
    await account.sync(only=RESULTS)
    steps = _steps(account.world)

    page = await ask(account, "test_case_results", by="step", sort="name", limit=100)

    seen = list(page.items)
    while page.next_cursor:
        page = await ask(account, "test_case_results", by="step", sort="name", limit=100, cursor=page.next_cursor)
        seen += page.items
    _same(page.model_copy(update={"items": seen}), steps, lambda step: step["id"])
    places = {step["id"]: (step["test_case"]["title"], step["place"], step["description"]) for step in steps}
    assert [(item.test_case, item.step, item.name) for item in seen] == [places[item.id] for item in seen]
    assert [(item.test_case, item.step) for item in seen] == sorted((item.test_case, item.step) for item in seen)


async def test_steps_of_the_newest_results_only(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    await account.sync(only=RESULTS)
    results = _told(account.world)
    newest = max((result["test"] for result in results), key=lambda test: str(truth.moment(test["end_at"])))
    own = [result for result in results if result["test"]["id"] == newest["id"]]
    monkeypatch.setattr("testio_mcp.operations.lists.case_results.STEPS_READ", len(own))

    page = await ask(account, "test_case_results", by="step", limit=100)

    assert page.results_left_out == len(results) - len(own)
    _same(
        page, [step for step in _steps(account.world) if step["test"]["id"] == newest["id"]], lambda step: step["id"]
    )


async def test_products_tests_and_periods_choose_the_tests(account: Account) -> None:
    await account.sync(only=RESULTS)
    world, results = account.world, _told(account.world)
    first = results[0]["test"]
    end = truth.moment(first["end_at"])
    assert end is not None
    day = end.date()
    cases: list[tuple[dict[str, Any], Callable[[Any], bool]]] = [
        ({"product_id": world.product_ids[0]}, lambda test: test["product"]["id"] == world.product_ids[0]),
        ({"test_ids": [first["id"]]}, lambda test: test["id"] == first["id"]),
        ({"period": f"{day}"}, lambda test: truth.moment(test["end_at"]).date() == day),  # type: ignore[union-attr]
        (
            {"period": f"until {day - timedelta(days=1)}"},
            lambda test: truth.moment(test["end_at"]).date() < day,  # type: ignore[union-attr]
        ),
        ({"period": "1999"}, lambda test: False),
    ]
    for filters, belongs in cases:
        page = await ask(account, "test_case_results", **filters, by="test", limit=100)
        _same(page, [result for result in results if belongs(result["test"])], lambda result: result["test"]["id"])
    assert (page.period, page.totals.pass_rate) == ("1999-01-01 to 1999-12-31", None)


async def test_the_numbers_are_those_of_the_test(account: Account) -> None:
    await account.sync(only=RESULTS | {"bugs"})
    tests = await ask(account, "test_case_results", by="test", limit=100)
    for item in tests.items:
        detail = await ask(account, "get_test", test_id=item.id)
        [one] = (await ask(account, "test_case_results", by="test", test_ids=[item.id])).items
        assert detail.title == item.name
        ends = {"passed": item.passed, "failed": item.failed, "blocked": item.blocked}
        assert one == item and {word: detail.test_cases.get(word, 0) for word in ends} == ends
        assert sum(detail.test_cases.values()) == item.results


@pytest.mark.parametrize("asked", [{"sort": "worst"}, {"sort": "name"}, {"by": "step"}])
async def test_pages_go_on_where_the_last_one_ended(account: Account, asked: dict[str, Any]) -> None:
    await account.sync(only=RESULTS)
    whole = await ask(account, "test_case_results", limit=100, **asked)
    parts: list[Any] = []
    cursor = None
    while not parts or (cursor and len(parts) < len(whole.items)):
        page = await ask(account, "test_case_results", limit=3, cursor=cursor, **asked)
        parts += page.items
        cursor = page.next_cursor
    assert parts[: len(whole.items)] == whole.items and len(parts) > 3
    with pytest.raises(BadInput, match="cursor"):
        await ask(account, "test_case_results", cursor="W10")


async def test_an_account_without_results_and_unknown_ids(account: Account) -> None:
    account.break_with("error", "/results", status=404)
    await account.sync(only=RESULTS)
    for by in ("test_case", "step", "tester", "test"):
        page = await ask(account, "test_case_results", by=by)
        assert (page.items, page.total, page.totals.results, page.totals.pass_rate) == ([], 0, 0, None)
        assert page.as_of is not None
    with pytest.raises(NotFound, match="Product 9 is not in the store"):
        await ask(account, "test_case_results", product_id=9)
    with pytest.raises(NotFound, match="Test 9 is not in the store"):
        await ask(account, "test_case_results", test_ids=[9], by="step")
