"""What QA leads ask: how did a test go, what fails and why, what was rejected, what is still to be exported."""

import re
from collections import defaultdict
from datetime import timedelta
from typing import Any

from tests.operations.truth import counts, moment, status
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
    said = "This bug was reported before."
    rejected = [bug for bug in walked.bugs_of(TRAVEL) if status(bug) == "rejected"]
    return {bug["id"] for bug in rejected if bug["comments"][-1]["body"].startswith(said)}


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
)
