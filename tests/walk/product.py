"""What product managers ask: what moved, what runs, what was covered."""

from collections import Counter
from typing import Any

from tests.operations.truth import has_run, level, moment, of, status
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
    return (test["analytics"][name] or 0) if test and has_run(test) else 0


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
    ran = [test for test in walked.tests if has_run(test)]
    tests = [test for test in ran if test["product_id"] == walked.product_id(STREAMING)]
    ends = {test["id"]: moment(test["end_at"]) for test in tests}
    return {test_id: bugs[test_id] for test_id, end in ends.items() if end and first <= end.date() <= last}


async def _untested(ask: Ask, _: Said) -> Any:
    features = await ask.items("list_features", product_id=await ask.product("Banking App"), untested_on="iOS")
    return {feature["title"]: feature["tested"] for feature in features}


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


async def _titled(ask: Ask, said: Said) -> Any:
    tests = await ask.items("list_tests", text=said["word"], limit=100, fields=["title"])
    return {test["id"] for test in tests}


def _is_titled(walked: Walked, said: Said) -> Any:
    texts = ("title", "test_title", "goal_text", "instructions_text")
    words = {test["id"]: " ".join(test.get(name) or "" for name in texts).casefold() for test in walked.tests}
    return {test_id for test_id, text in words.items() if said["word"] in text}


async def _coverage(ask: Ask, said: Said) -> Any:
    page = await ask("query_metrics", metrics=["story_coverage", "stories_tested"], test_ids=[said["test"]])
    return page["totals"]["story_coverage"], page["totals"]["stories_tested"]


def _is_covered(walked: Walked, said: Said) -> Any:
    runs = [run for run in walked.runs if run["test_cycle"]["id"] == said["test"] and run["user_story"]]
    stories = {run["user_story"]["id"] for run in runs}
    whole = walked.stories_of(TRAVEL)
    return of(len(stories & whole), len(whole)), len(stories)


def _some_run_test(walked: Walked) -> Said:
    """The newest test of the travel booking with runs."""
    runs = [run for run in walked.runs if run["product_id"] == walked.product_id(TRAVEL) and run["user_story"]]
    return {"test": max(run["test_cycle"]["id"] for run in runs if run["test_cycle"]["id"] in walked.tests_that_ran)}


async def _by_type(ask: Ask, _: Said) -> Any:
    rows = await ask.items("query_metrics", metrics=["bugs_per_test"], by=["testing_type"])
    return {row["testing_type"]: row["bugs_per_test"] for row in rows}


def _is_by_type(walked: Walked, _: Said) -> Any:
    tests = Counter(_type(test) for test in walked.tests_that_ran.values())
    bugs = Counter(_type(walked.tests_that_ran[bug["test"]["id"]]) for bug in walked.bugs_that_count)
    return {kind: of(bugs[kind], number) for kind, number in tests.items()}


def _type(test: Payload) -> str:
    """The type as people say it."""
    return str({None: "test_case", "external": "custom"}.get(test["testing_type"], test["testing_type"]))


async def _features(ask: Ask, _: Said) -> Any:
    product = await ask.product("Banking App")
    rows = await ask.items("query_metrics", metrics=["bug_count"], by=["feature"], filters=[f"product={product}"])
    numbers = [row["bug_count"] for row in rows]
    return {row.get("feature_id"): row["bug_count"] for row in rows}, numbers == sorted(numbers, reverse=True)


def _are_features(walked: Walked, _: Said) -> Any:
    bugs = [bug for bug in walked.bugs_that_count if bug["product_id"] == walked.product_id(BANKING)]
    return dict(Counter(bug["feature_id"] for bug in bugs)), True


async def _by_month(ask: Ask, _: Said) -> Any:
    rows = await ask.items("query_metrics", metrics=["test_count"], by=["month"], period="last 3 months")
    return {row["month"]: row["test_count"] for row in rows}


def _is_by_month(walked: Walked, _: Said) -> Any:
    months: list[str] = []
    last, _day = last_month(walked.today)
    for _place in range(3):
        months.append(last.isoformat()[:7])
        last, _day = last_month(last)
    ends = [moment(test["end_at"]) for test in walked.tests_that_ran.values()]
    found = Counter(end.date().isoformat()[:7] for end in ends if end)
    return {month: found[month] for month in months}


async def _open(ask: Ask, _: Said) -> Any:
    products = await ask.items("list_products", fields=["name", "open_bugs"])
    return {product["name"]: product["open_bugs"] for product in products}


def _is_open(walked: Walked, _: Said) -> Any:
    return dict(Counter(bug["product"]["name"] for bug in walked.bugs if status(bug) == "open"))


async def _how_many(ask: Ask, _: Said) -> Any:
    every = await ask("list_bugs", total_only=True)
    critical = await ask("list_bugs", levels=["critical"], total_only=True)
    return every["total"], critical["total"]


def _are_so_many(walked: Walked, _: Said) -> Any:
    return len(walked.bugs), sum(level(bug) == "critical" for bug in walked.bugs)


async def _absent(ask: Ask, _: Said) -> Any:
    page = await ask("list_bugs", device="Nokia 3310")
    return page["items"], "Nokia 3310" in page["notes"][0]


def _is_absent(walked: Walked, _: Said) -> Any:
    names = {(device.get("device") or {}).get("name") or "" for bug in walked.bugs for device in bug["devices"]}
    return [], not any("Nokia 3310" in each for each in names)


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
    Question("product", "Which tests have to do with {word}?", _titled, _is_titled, lambda _: {"word": "checkout"}),
    Question(
        "product",
        "How many of the user stories of the travel booking did test {test} cover?",
        _coverage,
        _is_covered,
        _some_run_test,
    ),
    Question("product", "How many bugs does a test of each type find?", _by_type, _is_by_type),
    Question("product", "Which features of the banking app have the most bugs?", _features, _are_features),
    Question("product", "How many tests ended in each of the last three months?", _by_month, _is_by_month),
    Question("product", "How many open bugs does each product have?", _open, _is_open),
    Question("product", "How many bugs are there, and how many of them are critical?", _how_many, _are_so_many),
    Question("product", "Is there a bug on a Nokia 3310?", _absent, _is_absent),
)
