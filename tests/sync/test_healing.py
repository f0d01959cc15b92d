"""Whatever part of the account cannot be read, the run says so, the rest is copied, and the next run heals it."""

import pytest

from testio_sandbox import Fault, World
from testio_sandbox.plan import EXECUTION, EXECUTIONS_EACH
from tests.conftest import ON_SQLITE
from tests.sync.conftest import EVERYTHING, Account

pytestmark = [pytest.mark.slow, ON_SQLITE]

OLDEST_EXECUTION = EXECUTION + EXECUTIONS_EACH * 3
EXECUTIONS = "user_story_version_executions"
RESULTS = r"/results$"


@pytest.fixture
def world() -> World:
    """An account with a test-case test in each product, and more executions than fit on a page."""
    return World(seed=5, products=2, tests_per_product=20, bugs_per_test=1)


def _without_id(world: World, collection: str, path: str) -> Fault:
    """What drops the id of one record of a collection."""
    product = world.product_state(world.product_ids[0])
    records = {
        "products": product.id,
        "features": next(iter(product.features)),
        "test_environments": next(iter(product.environments)),
        "test_templates": next(iter(product.templates)),
        EXECUTIONS: OLDEST_EXECUTION,
    }
    return Fault("drop", path, field=f"{collection}.*.id", record_id=records[collection])


LISTS = {
    "products": r"^/products$",
    "features": r"/features$",
    "test_environments": r"/test_environments$",
    "test_templates": r"/test_templates$",
    EXECUTIONS: EXECUTIONS,
}


@pytest.mark.parametrize("collection", LISTS)
async def test_a_record_without_an_id_heals(account: Account, collection: str) -> None:
    account.sandbox.faults.add(_without_id(account.world, collection, LISTS[collection]))

    broken = await account.sync(only=EVERYTHING)
    account.sandbox.faults.clear()
    healed = await account.sync(only=EVERYTHING)

    assert (broken.status, broken.problems) == ("incomplete", 1)
    assert (healed.status, healed.problems) == ("completed", 0)
    assert await account.rows("dead_letter") == []


OTHERS = {
    "an execution that breaks its page": [Fault("poison", EXECUTIONS, record_id=OLDEST_EXECUTION)],
    "executions": [Fault("error", EXECUTIONS, status=500)],
    "reasons without a key": [Fault("drop", "reject_reasons", field="reject_reasons.*.key")],
    "case results": [Fault("error", RESULTS, status=500)],
    "case results without an id": [Fault("drop", RESULTS, field=f"results.*.{name}") for name in ("id", "test_case")],
    "single tests": [Fault("error", r"/exploratory_tests/\d+$", status=500)],
}


@pytest.mark.parametrize("what", OTHERS)
async def test_what_else_is_broken_is_told_and_heals(account: Account, what: str) -> None:
    for fault in OTHERS[what]:
        account.sandbox.faults.add(fault)

    broken = await account.sync(only=EVERYTHING)
    account.sandbox.faults.clear()
    healed = await account.sync(only=EVERYTHING)

    assert broken.status == "incomplete" and broken.problems
    assert await account.counts() == account.truth()
    assert healed.status == "completed"
    assert len(await account.rows("execution")) == EXECUTIONS_EACH * len(await account.rows("test"))
    for table in ("test_case_result", "reject_reason", "test_metric"):
        assert await account.rows(table), table


@pytest.mark.parametrize("path", [EXECUTIONS, "reject_reasons", RESULTS, "test_templates", "test_environments"])
@pytest.mark.parametrize("status", [403, 404])
async def test_what_an_account_has_not_is_no_problem(account: Account, path: str, status: int) -> None:
    account.break_with("error", path, status=status)

    assert (await account.sync(only=EVERYTHING)).status == "completed"
    assert await account.counts() == account.truth()


async def test_case_results_stay_when_they_are_not_asked_for_or_no_longer_told(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    before = await account.rows("test_case_result")
    assert before

    await account.sync(only=frozenset({"metrics"}), full=True)
    assert await account.rows("test_case_result") == before

    account.break_with("error", RESULTS, status=404)
    await account.sync(only=EVERYTHING, full=True)
    assert await account.rows("test_case_result") == before


async def test_case_results_alone(account: Account) -> None:
    await account.sync(only=frozenset({"tests"}))
    account.sandbox.requests.clear()

    await account.sync(only=frozenset({"results"}))

    cases = {row["id"] for row in await account.rows("test", testing_type="test_case")}
    assert {row["test_id"] for row in await account.rows("test_case_result")} <= cases
    assert await account.rows("test_case_result")
    single = [request.path for request in account.sandbox.requests if request.path.startswith("/exploratory_tests/")]
    assert {int(path.rsplit("/", 1)[1]) for path in single} <= cases


async def test_metrics_read_without_case_results_leave_these_to_the_next_run(account: Account) -> None:
    await account.sync(only=frozenset({"tests", "metrics"}))
    assert await account.rows("test_case_result") == []

    await account.sync(only=EVERYTHING)

    assert await account.rows("test_case_result")


async def test_metrics_and_executions_follow_tests_that_run(account: Account) -> None:
    """Nothing in a list's entry says that a tester has run one more user story."""
    await account.sync(only=EVERYTHING)
    for _ in range(4):
        account.world.advance(days=0.3)
        await account.sync(only=EVERYTHING)

    running = 0
    for row in await account.rows("test_metric"):
        test = account.world.test(row["id"])
        running += test["status"] == "running"
        told = test["analytics"]
        assert (row["testers"], row["devices"]) == (told["testers_count"], told["devices_count"]), test["status"]
    assert running


async def test_an_open_execution_below_the_newest_pages_gets_its_outcome(account: Account) -> None:
    """Tests that are yet to run fill the first page, and nothing on it changes while an older test runs."""
    world = account.world
    world.advance(days=0.1)
    product = world.product_ids[0]
    for _ in range(12):
        world.add_test(product)
    await account.sync(only=EVERYTHING)
    before = {row["id"] for row in await account.rows("execution", status="pending")}
    world.advance(days=0.2, new_tests=0)
    account.sandbox.requests.clear()

    await account.sync(only=EVERYTHING)

    wanted = await _outcomes(account)
    stored = {row["id"]: row["status"] for row in await account.rows("execution")}
    assert stored == wanted
    assert any(wanted[key] != "pending" for key in before)


async def _outcomes(account: Account) -> dict[int, str]:
    """The status of every execution of the account."""
    api = await account.app.api()
    found: dict[int, str] = {}
    for page in range(1, 100):
        listed = await api.list_executions(page)
        found |= {record.id: record.status or "unknown" for record in listed.records}
        if listed.count < 100:
            break
    return found


async def test_more_templates_than_one_answer_shows(account: Account) -> None:
    product = next(
        state for state in map(account.world.product_state, account.world.product_ids) if len(state.section_ids) > 1
    )
    for number in range(30):
        section = product.section_ids[number % len(product.section_ids)]
        product.templates[900_000 + number] = {"id": 900_000 + number, "title": f"T{number}", "section_id": section}

    await account.sync(only=EVERYTHING)

    stored = {row["id"] for row in await account.rows("test_template", product_id=product.id)}
    assert stored == set(product.templates)


async def test_bugs_alone_are_no_first_copy_before_the_tests_are_known(account: Account) -> None:
    """Or the bugs of the first real copy would all be told as new."""
    assert (await account.sync(only=frozenset({"bugs"}))).status == "completed"
    assert await account.rows("checkpoint", resource="bugs") == []

    await account.sync()

    assert await account.rows("change_log") == []
    assert await account.counts() == account.truth()
