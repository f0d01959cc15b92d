"""What customer success managers ask: is anything due, is the customer reviewing, who is who."""

from collections import Counter, defaultdict
from datetime import date, timedelta
from typing import Any

from tests.operations.truth import counts, level, moment, name, rates, status
from tests.walk.account import BANKING, SHOP, Walked
from tests.walk.asking import Ask, Question, Said

_GRACE = timedelta(days=10)
_WAITING = ("open", "question")
_RATES = (
    *("active_acceptance_rate", "auto_acceptance_rate", "overall_acceptance_rate"),
    *("rejection_rate", "review_rate"),
)


async def _freshness(ask: Ask, _: Said) -> Any:
    before = await ask("get_status")
    is_old = date.fromisoformat(before["as_of"][:10]) < ask.today - timedelta(days=1)
    done = await ask("sync_data") if is_old else before
    now = await ask("get_status")
    is_new = date.fromisoformat(now["as_of"][:10]) >= ask.today
    return is_old, done["problems"], is_new, now["tests"], now["bugs"], now["open_bugs"]


def _is_fresh(walked: Walked, _: Said) -> Any:
    is_open = sum(status(bug) == "open" for bug in walked.bugs)
    return True, 1, True, len(walked.tests), len(walked.bugs), is_open


async def _critical(ask: Ask, _: Said) -> Any:
    product = await ask.product("Web Shop")
    bugs = await ask.items("triage_queue", product_id=product, levels=["critical"], statuses=["open"])
    return {bug["id"]: moment(bug.get("auto_accept_at")) for bug in bugs}


def _due(walked: Walked, bug: Any) -> Any:
    """When a bug is auto-accepted; nothing while its test still runs."""
    return bug["end_at"] + _GRACE if bug["end_at"] <= walked.world.now else None


def _is_critical(walked: Walked, _: Said) -> Any:
    bugs = [bug for bug in walked.bugs_of(SHOP) if level(bug) == "critical" and status(bug) == "open"]
    return {bug["id"]: _due(walked, bug) for bug in bugs}


async def _soon(ask: Ask, _: Said) -> Any:
    fields = ["title", "level", "product", "auto_accept_at"]
    bugs = await ask.items("triage_queue", due_within_days=3, limit=50, fields=fields)
    return {bug["id"]: (bug["product"], moment(bug["auto_accept_at"])) for bug in bugs}


def _is_soon(walked: Walked, _: Said) -> Any:
    due = {bug["id"]: _due(walked, bug) for bug in walked.bugs if status(bug) in _WAITING}
    until = walked.world.now + timedelta(days=3)
    names = {bug["id"]: bug["product"]["name"] for bug in walked.bugs}
    return {bug_id: (names[bug_id], at) for bug_id, at in due.items() if at and at <= until}


async def _questions(ask: Ask, _: Said) -> Any:
    bugs = await ask.items("triage_queue", statuses=["question"])
    return {bug["id"]: (bug["last_comment"]["author"], bug["last_comment"]["text"]) for bug in bugs}


def _is_asked(walked: Walked, _: Said) -> Any:
    asked = [bug for bug in walked.bugs if status(bug) == "question"]
    last = {bug["id"]: bug["comments"][-1] for bug in asked}
    return {bug_id: (name(comment["author"]), comment["body"]) for bug_id, comment in last.items()}


async def _reviewing(ask: Ask, _: Said) -> Any:
    about = {"metrics": list(_RATES), "filters": [f"product={await ask.product('Banking App')}"]}
    totals = (await ask("query_metrics", **about))["totals"]
    return {name: totals.get(name) for name in _RATES}


def _reviewed(walked: Walked, _: Said) -> Any:
    return rates([bug for bug in walked.bugs_that_count if bug["product_id"] == walked.product_id(BANKING)])


async def _standing(ask: Ask, _: Said) -> Any:
    report = await ask("quality_report", period="last 90 days")
    sections = {section["id"]: section for section in report["sections"]}
    figures = {figure["name"]: figure.get("value") for figure in sections["rates"]["figures"]}
    waiting = next((each["value"] for each in sections["findings"]["findings"] if each["name"] == "waiting"), 0)
    return figures, waiting


def _is_standing(walked: Walked, _: Said) -> Any:
    bugs = _in_last_days(walked, 90)
    return rates(bugs), sum(status(bug) in _WAITING for bug in bugs)


async def _contacts(ask: Ask, _: Said) -> Any:
    people = await ask.items("list_people", role="contact")
    return {person["name"]: (person["tests_created"], person["tests_submitted"]) for person in people}


def _are_contacts(walked: Walked, _: Said) -> Any:
    created, submitted = (
        Counter(name(test[role]) for test in walked.tests if test[role]) for role in ("created_by", "submitted_by")
    )
    return {person: (created[person], submitted[person]) for person in created | submitted}


async def _next_due(ask: Ask, _: Said) -> Any:
    about = {"product_id": await ask.product("Web Shop"), "order": "due", "overdue": False, "limit": 1}
    [bug] = (await ask("triage_queue", **about, fields=["auto_accept_at", "level"]))["items"]
    return moment(bug["auto_accept_at"])


def _is_next(walked: Walked, _: Said) -> Any:
    due = [_due(walked, bug) for bug in walked.bugs_of(SHOP) if status(bug) in _WAITING]
    return min(at for at in due if at and at >= walked.world.now)


async def _lost(ask: Ask, _: Said) -> Any:
    about = {"filters": ["bug_status=auto_accepted"], "period": "last 90 days"}
    rows = await ask.items("query_metrics", metrics=["bug_count"], by=["severity"], **about)
    return {row["severity"]: row["bug_count"] for row in rows}


def _in_last_days(walked: Walked, days: int) -> list[Any]:
    """The bugs that count of tests that ended within so many days, today among them."""
    first = walked.today - timedelta(days=days - 1)
    return [bug for bug in walked.bugs_that_count if bug["end_at"] and first <= bug["end_at"].date() <= walked.today]


def _is_lost(walked: Walked, _: Said) -> Any:
    return counts([bug for bug in _in_last_days(walked, 90) if status(bug) == "auto_accepted"], level)


async def _testers(ask: Ask, _: Said) -> Any:
    page = await ask("query_metrics", metrics=["bug_count"], by=["tester"], limit=4)
    return [row["bug_count"] for row in page["items"]], page["groups"], page.get("tied", 0)


def _are_testers(walked: Walked, _: Said) -> Any:
    found = sorted(Counter(name(bug["author"]) for bug in walked.bugs_that_count).values(), reverse=True)
    return found[:4], len(found), found[4:].count(found[3])


async def _by_contact(ask: Ask, _: Said) -> Any:
    rows = await ask.items("query_metrics", metrics=["review_rate"], by=["contact"], period="last 90 days")
    return {row["contact"]: row.get("review_rate") for row in rows}


def _is_by_contact(walked: Walked, _: Said) -> Any:
    bugs: dict[Any, list[Any]] = defaultdict(list)
    for bug in _in_last_days(walked, 90):
        bugs[name(walked.tests_that_ran[bug["test"]["id"]]["created_by"])].append(bug)
    return {person: rates(found)["review_rate"] for person, found in bugs.items()}


async def _handed_in(ask: Ask, _: Said) -> Any:
    tests = await ask.items("list_tests", statuses=["waiting", "customer_finalized"], fields=["status", "start_at"])
    return {test["id"]: (test["status"], moment(test["start_at"])) for test in tests}


def _is_handed_in(walked: Walked, _: Said) -> Any:
    tests = [test for test in walked.tests if test["status"] in ("waiting", "customer_finalized")]
    return {test["id"]: (test["status"], moment(test["start_at"])) for test in tests}


async def _overdue(ask: Ask, _: Said) -> Any:
    page = await ask("triage_queue", overdue=True, total_only=True)
    rest = await ask("triage_queue", total_only=True)
    return page["total"], rest["total"]


def _is_overdue(walked: Walked, _: Said) -> Any:
    due = [_due(walked, bug) for bug in walked.bugs if status(bug) in _WAITING]
    return sum(bool(at and at < walked.world.now) for at in due), len(due)


async def _trend(ask: Ask, _: Said) -> Any:
    page = await ask("query_metrics", metrics=["bug_count"], period="last 30 days", compare=True)
    return page["totals"]["bug_count"], page["totals"]["bug_count_before"]


def _is_trend(walked: Walked, _: Said) -> Any:
    now = _in_last_days(walked, 30)
    return len(now), len(_in_last_days(walked, 60)) - len(now)


QUESTIONS = (
    Question("customer success", "Is our copy up to date? If not, bring it up to date.", _freshness, _is_fresh),
    Question(
        "customer success",
        "Which critical bugs are still open in the shop, and when will they be auto-accepted?",
        _critical,
        _is_critical,
    ),
    Question(
        "customer success",
        "What will be auto-accepted within three days, and in which products?",
        _soon,
        _is_soon,
    ),
    Question(
        "customer success",
        "Which of our questions to testers are not answered, and what did we ask?",
        _questions,
        _is_asked,
    ),
    Question(
        "customer success",
        "How well are the bugs of the banking app reviewed, and how many are auto-accepted?",
        _reviewing,
        _reviewed,
    ),
    Question(
        "customer success",
        "Who are the contacts at the customer, and how many tests has each of them created and submitted?",
        _contacts,
        _are_contacts,
    ),
    Question("customer success", "Which bug of the shop is auto-accepted next, and when?", _next_due, _is_next),
    Question(
        "customer success",
        "How many bugs were auto-accepted in the last 90 days, by severity?",
        _lost,
        _is_lost,
    ),
    Question(
        "customer success",
        "Who are the four testers that found the most bugs, and is it a tie?",
        _testers,
        _are_testers,
    ),
    Question(
        "customer success",
        "Whose tests had their bugs reviewed best in the last 90 days?",
        _by_contact,
        _is_by_contact,
    ),
    Question("customer success", "Which tests are handed in but have not started?", _handed_in, _is_handed_in),
    Question("customer success", "How many bugs wait, and how many of them are overdue?", _overdue, _is_overdue),
    Question(
        "customer success",
        "How many bugs were found in the last 30 days, and in the 30 before?",
        _trend,
        _is_trend,
    ),
    Question(
        "customer success",
        "How did our quality stand in the last 90 days, and what waits for a decision?",
        _standing,
        _is_standing,
    ),
)
