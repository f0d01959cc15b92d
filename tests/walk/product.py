"""What product managers ask: what moved, what runs, what was covered."""

from collections import Counter
from typing import Any

from tests.operations.truth import NOT_RUN, moment, status
from tests.walk.account import BANKING, STREAMING, TRAVEL, Payload, Walked
from tests.walk.asking import Ask, Question, Said, last_month, monday

_RESULTS = ("passed_user_stories", "failed_user_stories", "blocked_user_stories")
_ENDED = ("passed", "failed", "blocked")


async def _changes(ask: Ask, _: Said) -> Any:
    about = {"product_id": await ask.product("Travel Booking"), "since": monday(ask.today).isoformat()}
    digest = (await ask("list_changes", **about, entities=["test", "bug"], limit=1))["digest"]
    tests = await ask.items(
        "list_changes", **about, entities=["test"], limit=50, fields=["entity_id", "field", "title"]
    )
    return set(digest), {test["entity_id"]: test["title"] for test in tests if test["field"] == "created"}


def _changed(walked: Walked, _: Said) -> Any:
    tests = [test for test in walked.tests if test["product_id"] == walked.product_id(TRAVEL)]
    new = [test for test in tests if test["id"] not in walked.before.tests]
    lines: Counter[str] = Counter()
    for test in tests:
        then = walked.before.tests.get(test["id"])
        lines.update(_lines("test", then, test, str(test["status"]), ("review_status",)))
        lines.update(
            f"{{n}} test{{s}}: {name} changed" for name in _RESULTS if _result(then, name) != _result(test, name)
        )
    for bug in walked.bugs_of(TRAVEL):
        then = walked.before.bugs.get(bug["id"])
        lines.update(_lines("bug", then, bug, status(bug), ("exported_at", "comment_count")))
    digest = {line.format(n=n, s="s" * (n > 1), are="are" if n > 1 else "is") for line, n in lines.items()}
    return digest, {test["id"]: walked.world.test(test["id"])["title"] for test in new}


def _lines(what: str, then: Payload | None, now: Payload, word: str, fields: tuple[str, ...]) -> list[str]:
    """What the digest says of one record: that it is new, or which of its fields are not what they were."""
    if then is None:
        return [f"{{n}} new {what}{{s}}"]
    was = status(then) if what == "bug" else then["status"]
    changed = [field for field in fields if _field(then, field) != _field(now, field)]
    lines = [f"{{n}} {what}{{s}}: {field} changed" for field in changed]
    return lines if was == word else [f"{{n}} {what}{{s}} {{are}} now {word}", *lines]


def _result(test: Payload | None, name: str) -> int:
    """So many user stories passed, failed or were blocked; none in a test that has not run."""
    return (test["analytics"][name] or 0) if test and test["status"] not in NOT_RUN else 0


def _field(record: Payload, field: str) -> Any:
    return len(record["comments"]) if field == "comment_count" else record[field]


async def _running(ask: Ask, _: Said) -> Any:
    tests = await ask.items("list_tests", statuses=["running"])
    return {test["id"]: (test["product"], moment(test["end_at"])) for test in tests}


def _runs(walked: Walked, _: Said) -> Any:
    running = [test for test in walked.tests if test["status"] == "running"]
    return {test["id"]: (test["product"]["name"], moment(test["end_at"])) for test in running}


async def _ended(ask: Ask, _: Said) -> Any:
    about = {"filters": [f"product={await ask.product('Streaming')}"], "period": "last month", "limit": 100}
    tests = await ask.items("query_metrics", metrics=["test_count", "bug_count"], by=["test"], **about)
    return {test["test_id"]: test["bug_count"] for test in tests}


def _has_ended(walked: Walked, _: Said) -> Any:
    first, last = last_month(walked.today)
    bugs = Counter(bug["test"]["id"] for bug in walked.bugs)
    ran = [test for test in walked.tests if test["status"] not in NOT_RUN]
    tests = [test for test in ran if test["product_id"] == walked.product_id(STREAMING)]
    ends = {test["id"]: moment(test["end_at"]) for test in tests}
    return {test_id: bugs[test_id] for test_id, end in ends.items() if end and first <= end.date() <= last}


async def _untested(ask: Ask, _: Said) -> Any:
    features = await ask.items("list_features", product_id=await ask.product("Banking App"), untested_on="iOS")
    return {feature["title"]: feature["is_tested"] for feature in features}


def _is_untested(walked: Walked, _: Said) -> Any:
    bugs = {(bug["feature_id"], system) for bug in walked.bugs_of(BANKING) for system in _systems(bug["devices"])}
    runs = {
        (run["user_story"]["feature_id"], system)
        for run in walked.runs
        if run["user_story"] and run["status"] in _ENDED
        for system in _systems(run["device_reports"])
    }
    features = walked.world.features(walked.product_id(BANKING))
    ran = {
        feature["feature_id"]
        for test in walked.tests
        if test["status"] not in ("initialized", "waiting", "cancelled")
        for feature in test["features"]
    }
    return {
        feature["title"]: feature["id"] in ran for feature in features if (feature["id"], "iOS") not in bugs | runs
    }


def _systems(devices: list[Payload]) -> set[str]:
    return {device["operating_system"]["name"] for device in devices if device.get("operating_system")}


QUESTIONS = (
    Question("product", "What changed in the tests and bugs of the travel booking since Monday?", _changes, _changed),
    Question("product", "Which tests run right now, and when do they end?", _running, _runs),
    Question(
        "product",
        "Which tests of the streaming app ended last month, and how many bugs did each find?",
        _ended,
        _has_ended,
    ),
    Question("product", "Which features of the banking app were never tested on iOS?", _untested, _is_untested),
)
