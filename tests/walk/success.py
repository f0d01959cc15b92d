"""What customer success managers ask: is anything due, is the customer reviewing, who is who."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

from tests.operations.truth import level, moment, name, rates, status
from tests.walk.account import BANKING, SHOP, Walked
from tests.walk.asking import Ask, Question, Said

_GRACE = timedelta(days=10)
_WAITING = ("open", "question")


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
    """When the clock accepts a bug; nothing while its test still runs."""
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
    report = await ask("quality_report", product_ids=[await ask.product("Banking App")], period="all time")
    [section] = [section for section in report["sections"] if section["id"] == "rates"]
    return {figure["name"]: figure.get("value") for figure in section["figures"]}


def _reviewed(walked: Walked, _: Said) -> Any:
    ran = {test["id"] for test in walked.tests if test["status"] not in ("initialized", "waiting", "cancelled")}
    return rates([bug for bug in walked.bugs_of(BANKING) if bug["test"]["id"] in ran])


async def _contacts(ask: Ask, _: Said) -> Any:
    people = await ask.items("list_people", role="contact")
    return {person["name"]: (person["tests_created"], person["tests_submitted"]) for person in people}


def _are_contacts(walked: Walked, _: Said) -> Any:
    created, submitted = (
        Counter(name(test[role]) for test in walked.tests if test[role]) for role in ("created_by", "submitted_by")
    )
    return {person: (created[person], submitted[person]) for person in created | submitted}


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
        "What will be accepted by the clock within three days, and in which products?",
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
        "How well are the bugs of the banking app reviewed, and how many does the clock accept?",
        _reviewing,
        _reviewed,
    ),
    Question(
        "customer success",
        "Who are the contacts at the customer, and how many tests has each of them created and submitted?",
        _contacts,
        _are_contacts,
    ),
)
