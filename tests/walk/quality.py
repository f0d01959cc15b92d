"""What QA leads ask: how did a test go, what fails and why, what was rejected, what is still to be exported."""

import re
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

import pytest

from tests.operations.truth import answers, counts, level, moment, name, of, rates, status
from tests.walk.account import BANKING, SHOP, TRAVEL, Payload, Walked
from tests.walk.asking import Ask, Question, Said

_FORTNIGHT = timedelta(days=14)
_ENDED = ("passed", "failed", "blocked")


async def _test(ask: Ask, said: Said) -> Any:
    test = await ask("get", kind="test", id=said["test"])
    failed = {story["title"] for story in test["user_stories"] if story["execution_status"] == "failed"}
    return test["status"], test["bugs_by_status"], test["executions"], round(test["pass_rate"], 2), failed


def _test_went(walked: Walked, said: Said) -> Any:
    test = walked.world.test(said["test"], objects=True)
    runs = [run for run in walked.runs if run["test_cycle"]["id"] == said["test"]]
    bugs = walked.world.bugs_of(said["test"])
    ended = [run["status"] for run in runs if run["status"] in _ENDED]
    stories = [story for feature in test["features"] for story in feature["user_stories"]]
    failed = {story["title"] for story in stories if story["execution_status"] == "failed"}
    executions = counts(runs, lambda run: str(run["status"]))
    return test["status"], counts(bugs, status), executions, round(ended.count("passed") / len(ended), 2), failed


def _some_test(walked: Walked) -> Said:
    """The newest test that is being triaged and had both good and bad runs."""
    locked = [
        test for test in walked.tests if test["status"] == "locked" and len(walked.world.bugs_of(test["id"])) > 2
    ]
    return {"test": max(test["id"] for test in locked if test["analytics"]["failed_user_stories"])}


async def _problems(ask: Ask, _: Said) -> Any:
    stories = await ask.items(
        "execution_matrix",
        product_id=await ask.product("Banking App"),
        only="problems",
        date_from=(ask.today - _FORTNIGHT).isoformat(),
        fields=["title", "failed", "blocked", "blocked_reasons"],
    )
    return {
        story["title"]: (story["failed"], story["blocked"], set(story.get("blocked_reasons", [])))
        for story in stories
        if story["failed"] or story["blocked"]
    }


def _recent_runs(walked: Walked, place: int) -> dict[str, list[Payload]]:
    """The runs of a product's stories within two weeks that failed or were blocked."""
    found: dict[str, list[Payload]] = defaultdict(list)
    for run in walked.runs:
        at = moment(run["executed_at"])
        is_here = run["product_id"] == walked.product_id(place) and run["user_story"]
        if is_here and run["status"] in ("failed", "blocked") and at and at.date() >= walked.today - _FORTNIGHT:
            found[run["user_story"]["path"]].append(run)
    return found


def _are_problems(walked: Walked, _: Said) -> Any:
    answer = {}
    for story, runs in _recent_runs(walked, BANKING).items():
        blocked = [run for run in runs if run["status"] == "blocked"]
        answer[story] = (len(runs) - len(blocked), len(blocked), {run["comment"] for run in blocked})
    return answer


async def _one_device(ask: Ask, _: Said) -> Any:
    page = await ask(
        "execution_matrix",
        product_id=await ask.product("Banking App"),
        by="device",
        only="problems",
        date_from=(ask.today - _FORTNIGHT).isoformat(),
        fields=["title", "cells"],
    )
    failed = {
        story["title"]: [device for device, cell in story["cells"].items() if re.search(r"\d failed", cell)]
        for story in page["items"]
    }
    assert "next_cursor" not in page
    return {title: devices for title, devices in failed.items() if len(devices) == 1}


def _is_one_device(walked: Walked, _: Said) -> Any:
    failed = {
        story: {run["device_reports"][0]["device"]["name"] for run in runs if run["status"] == "failed"}
        for story, runs in _recent_runs(walked, BANKING).items()
    }
    return {story: list(devices) for story, devices in failed.items() if len(devices) == 1}


async def _duplicates(ask: Ask, _: Said) -> Any:
    product = await ask.product("Travel Booking")
    return {bug["id"] for bug in await ask.items("list_bugs", product_id=product, rejection_reason="duplicate")}


def _are_duplicates(walked: Walked, _: Said) -> Any:
    return {bug["id"] for bug in walked.bugs_of(TRAVEL) if walked.world.rejection_reason(bug["id"]) == "Duplicate"}


async def _unexported(ask: Ask, _: Said) -> Any:
    bugs = await ask.items(
        "list_bugs",
        product_id=await ask.product("Web Shop"),
        statuses=["accepted", "auto_accepted"],
        exported=False,
        limit=100,
        fields=["title", "level"],
    )
    return {bug["id"] for bug in bugs}


def _is_unexported(walked: Walked, _: Said) -> Any:
    accepted = [bug for bug in walked.bugs_of(SHOP) if status(bug) in ("accepted", "auto_accepted")]
    return {bug["id"] for bug in accepted if not (bug.get("exported_at") or bug.get("external_idx"))}


async def _missing(ask: Ask, _: Said) -> Any:
    problems = (await ask("get_status"))["newest_problems"]
    return [(problem["resource"], problem["product"], problem["reason"][:16]) for problem in problems]


def _is_missing(walked: Walked, _: Said) -> Any:
    return [("tests", walked.world.product(walked.product_id(TRAVEL))["name"], "id is not usable")]


async def _passing(ask: Ask, _: Said) -> Any:
    rows = await ask.items("query_metrics", metrics=["pass_rate", "executions"], by=["product"])
    return {row["product_id"]: (row.get("pass_rate"), row["executions"]) for row in rows}


def _is_passing(walked: Walked, _: Said) -> Any:
    runs: dict[int, list[str]] = defaultdict(list)
    for run in walked.runs:
        if run["test_cycle"]["id"] in walked.tests_that_ran:
            runs[run["product_id"]].append(run["status"])
    found = {}
    for product, words in runs.items():
        ended = [word for word in words if word in _ENDED]
        found[product] = (of(ended.count("passed"), len(ended)), len(words))
    return found


def _versions(bug: Payload) -> set[str | None]:
    """The systems of a bug's devices, with their versions; None without any."""
    found = {
        " ".join(
            device[part]["name"] for part in ("operating_system", "operating_system_version") if device.get(part)
        )
        for device in bug["devices"]
        if device and device.get("operating_system")
    }
    return {*found} or {None}


async def _by_version(ask: Ask, _: Said) -> Any:
    about = {"filters": [f"product={await ask.product('Travel Booking')}"], "limit": 100}
    rows = await ask.items("query_metrics", metrics=["bug_count"], by=["operating_system_version"], **about)
    return {row.get("operating_system_version"): row["bug_count"] for row in rows}


def _is_by_version(walked: Walked, _: Said) -> Any:
    bugs = [bug for bug in walked.bugs_that_count if bug["product_id"] == walked.product_id(TRAVEL)]
    return dict(Counter(version for bug in bugs for version in _versions(bug)))


async def _on_version(ask: Ask, said: Said) -> Any:
    return (await ask("list_bugs", operating_system=said["system"], total_only=True))["total"]


def _is_on_version(walked: Walked, said: Said) -> Any:
    return sum(said["system"] in _versions(bug) for bug in walked.bugs)


def _some_version(walked: Walked) -> Said:
    """The system that most bugs were seen on."""
    seen = Counter(version for bug in walked.bugs for version in _versions(bug) if version and " " in version)
    return {"system": max(seen, key=lambda version: (seen[version], version))}


async def _by_reporter(ask: Ask, _: Said) -> Any:
    rows = await ask.items("query_metrics", metrics=["rejection_rate"], by=["tester"], limit=100)
    return {row["tester"]: row.get("rejection_rate") for row in rows}


def _is_by_reporter(walked: Walked, _: Said) -> Any:
    bugs: dict[Any, list[Payload]] = defaultdict(list)
    for bug in walked.bugs_that_count:
        bugs[name(bug["author"])].append(bug)
    return {person: rates(found)["rejection_rate"] for person, found in bugs.items()}


async def _mix(ask: Ask, _: Said) -> Any:
    about = {"filters": [f"product={await ask.product('Banking App')}"]}
    rows = await ask.items("query_metrics", metrics=["bug_count"], by=["severity", "bug_status"], **about)
    return {(row["severity"], row["bug_status"]): row["bug_count"] for row in rows}


def _is_mix(walked: Walked, _: Said) -> Any:
    bugs = [bug for bug in walked.bugs_that_count if bug["product_id"] == walked.product_id(BANKING)]
    return dict(Counter((level(bug), status(bug)) for bug in bugs))


async def _quiet(ask: Ask, _: Said) -> Any:
    about = {"filters": [f"product={await ask.product('Web Shop')}"], "sort": "bug_count", "limit": 100}
    rows = await ask.items("query_metrics", metrics=["test_count", "bug_count"], by=["test"], **about)
    return {row["test_id"] for row in rows if not row["bug_count"]}


def _are_quiet(walked: Walked, _: Said) -> Any:
    with_bugs = {bug["test"]["id"] for bug in walked.bugs_of(SHOP)}
    ran = walked.tests_that_ran.values()
    return {test["id"] for test in ran if test["product_id"] == walked.product_id(SHOP)} - with_bugs


async def _untested(ask: Ask, _: Said) -> Any:
    product = await ask.product("Banking App")
    page = await ask("execution_matrix", product_id=product, only="untested", limit=50, fields=["title"])
    return {story["id"] for story in page["items"]}


def _are_untested(walked: Walked, _: Said) -> Any:
    ended = {
        run["user_story"]["id"]
        for run in walked.runs
        if run["user_story"] and run["status"] in _ENDED and run["test_cycle"]["id"] in walked.tests_that_ran
    }
    return walked.stories_of(BANKING) - ended


async def _reasons(ask: Ask, _: Said) -> Any:
    about = {"filters": [f"product={await ask.product('Travel Booking')}", "bug_status=rejected"]}
    rows = await ask.items("query_metrics", metrics=["bug_count"], by=["rejection_reason"], **about)
    return {row["rejection_reason"]: row["bug_count"] for row in rows}


def _are_reasons(walked: Walked, _: Said) -> Any:
    bugs = [bug for bug in walked.bugs_that_count if bug["product_id"] == walked.product_id(TRAVEL)]
    return dict(Counter(walked.world.rejection_reason(bug["id"]) for bug in bugs if status(bug) == "rejected"))


async def _fields(ask: Ask, _: Said) -> Any:
    report = await ask("custom_report")
    [forms] = report["items"]
    return forms["bugs"], {field["name"]: field["filled"] for field in report["report_fields"]}


def _are_fields(walked: Walked, _: Said) -> Any:
    filled: Counter[str] = Counter()
    bugs = [bug for bug in walked.bugs if answers(bug)]
    for field in (field for bug in bugs for field in answers(bug)):
        filled[field["name"]] += field["value"] not in (None, "", [])
    return len(bugs), dict(filled)


async def _mean(ask: Ask, _: Said) -> Any:
    report = await ask("custom_report", report_fields=["satisfaction"])
    [field] = report["items"]
    return field["count"], field["mean"], field["max"]


def _is_mean(walked: Walked, _: Said) -> Any:
    every = [field for bug in walked.bugs for field in answers(bug) if field["key"] == "satisfaction"]
    numbers = [float(field["value"]) for field in every if field["value"] is not None]
    return len(numbers), pytest.approx(sum(numbers) / len(numbers), abs=1e-4), max(numbers)


QUESTIONS = (
    Question(
        "QA lead",
        "What is going on with test {test}: bugs by status, how the runs went, which stories failed?",
        _test,
        _test_went,
        _some_test,
    ),
    Question(
        "QA lead",
        "Which user stories of the banking app failed or were blocked in the last two weeks, and why?",
        _problems,
        _are_problems,
    ),
    Question(
        "QA lead",
        "Which stories of the banking app failed in the last two weeks on one device only?",
        _one_device,
        _is_one_device,
    ),
    Question(
        "QA lead", "Which bugs of the travel booking were rejected as duplicates?", _duplicates, _are_duplicates
    ),
    Question("QA lead", "Which accepted bugs of the shop are not exported yet?", _unexported, _is_unexported),
    Question("QA lead", "What could not be copied from Test IO, and why?", _missing, _is_missing),
    Question("QA lead", "What share of the runs passed, by product?", _passing, _is_passing),
    Question(
        "QA lead",
        "On which versions of which systems were the bugs of the travel booking seen?",
        _by_version,
        _is_by_version,
    ),
    Question("QA lead", "How many bugs were seen on {system}?", _on_version, _is_on_version, _some_version),
    Question("QA lead", "Which testers have most of their bugs rejected?", _by_reporter, _is_by_reporter),
    Question("QA lead", "How severe are the bugs of the banking app, and what became of them?", _mix, _is_mix),
    Question("QA lead", "Which tests of the shop found nothing?", _quiet, _are_quiet),
    Question("QA lead", "Which user stories of the banking app have no result yet?", _untested, _are_untested),
    Question("QA lead", "Why were the bugs of the travel booking rejected?", _reasons, _are_reasons),
    Question("QA lead", "Which questions of our own do testers answer, and how often?", _fields, _are_fields),
    Question("QA lead", "How satisfied are the testers on average?", _mean, _is_mean),
)
