"""What engineers ask: a bug with its steps and devices, what is known already, who found it."""

from collections import Counter
from datetime import timedelta
from typing import Any

from tests.operations.truth import kind, level, moment, name, status
from tests.walk.account import BANKING, SHOP, Payload, Walked
from tests.walk.asking import Ask, Question, Said


async def _bug(ask: Ask, said: Said) -> Any:
    hits = (await ask("search", query=said["words"], kinds=["bug"], limit=3))["items"]
    bug = await ask("get", kind="bug", id=hits[0]["id"])
    devices = [(device.get("name"), device.get("operating_system")) for device in bug["devices"]]
    return bug["title"], bug["reporter"], bug["expected_result"], devices, "".join(bug["steps"].split())


def _is_bug(walked: Walked, said: Said) -> Any:
    bug = walked.world.bug(said["bug_id"])
    steps = bug["steps"] if isinstance(bug["steps"], str) else "\n".join(bug["steps"])
    parts = [(device["device"]["name"], device["operating_system"]["name"]) for device in bug["devices"]]
    return bug["title"], name(bug["author"]), bug["expected_result"], parts, "".join(steps.split())


def _some_bug(walked: Walked) -> Said:
    """The newest bug of the banking app in English, whose words no other title has, on regular devices."""
    titles = [_words(bug) for bug in walked.bugs]
    plain = [
        bug for bug in walked.bugs_of(BANKING) if bug["title"].isascii() and all(map(_is_regular, bug["devices"]))
    ]
    unique = [bug for bug in plain if sum(set(_words(bug)) <= set(words) for words in titles) == 1]
    bug = max((bug for bug in unique if bug["language"] == "en"), key=lambda bug: int(bug["id"]))
    return {"words": " ".join(_words(bug)), "bug_id": bug["id"]}


def _words(bug: Payload) -> list[str]:
    return str(bug["title"]).partition("] ")[2].split()


def _is_regular(device: Payload) -> bool:
    return bool(device.get("device") and device.get("operating_system"))


async def _known(ask: Ask, said: Said) -> Any:
    [feature] = await ask.items("list_features", product_id=await ask.product(said["product"]), text=said["feature"])
    bugs = await ask.items("list_bugs", feature_ids=[feature["id"]], known=True)
    return {bug["id"]: bug["status"] for bug in bugs}


def _is_known(walked: Walked, said: Said) -> Any:
    known = [bug for bug in walked.bugs if bug["known"] and bug["feature_id"] == said["feature_id"]]
    return {bug["id"]: status(bug) for bug in known}


def _some_feature(walked: Walked) -> Said:
    """The feature with most known bugs."""
    known = Counter(bug["feature_id"] for bug in walked.bugs if bug["known"] and bug["feature_id"])
    feature = walked.world.feature(max(known, key=lambda key: (known[key], key)))
    assert feature is not None
    [product] = [bug["product"]["name"] for bug in walked.bugs if bug["feature_id"] == feature.id][:1]
    return {"feature": feature.title, "feature_id": feature.id, "product": product}


async def _iphone(ask: Ask, _: Said) -> Any:
    bugs = await ask.items(
        "list_bugs", device="iPhone", browser="Safari", statuses=["open"], limit=50, fields=["title", "product"]
    )
    return {bug["id"]: bug["product"] for bug in bugs}


def _is_iphone(walked: Walked, _: Said) -> Any:
    found = [bug for bug in walked.bugs if status(bug) == "open" and any(map(_is_safari, bug["devices"]))]
    return {bug["id"]: bug["product"]["name"] for bug in found}


def _is_safari(device: Payload) -> bool:
    model = (device.get("device") or {}).get("name", "")
    return "iPhone" in model and any(browser.get("name") == "Safari" for browser in device.get("browsers") or [])


async def _tester(ask: Ask, said: Said) -> Any:
    [found] = await ask.items("list_people", text=said["tester"])
    person = await ask("get", kind="person", id=found["id"])
    products = {product["name"]: product["bugs"] for product in person["products"]}
    return person["bugs_by_status"], person["executions_by_status"], products, moment(person["last_activity_at"])


def _is_tester(walked: Walked, said: Said) -> Any:
    bugs = [bug for bug in walked.bugs if name(bug["author"]) == said["tester"]]
    runs = [run for run in walked.runs if name(run["executed_by"]) == said["tester"]]
    times = [moment(bug["reported_at"]) for bug in bugs] + [moment(run["executed_at"]) for run in runs]
    return (
        dict(Counter(map(status, bugs))),
        dict(Counter(run["status"] for run in runs)),
        dict(Counter(bug["product"]["name"] for bug in bugs)),
        max(at for at in times if at),
    )


def _some_tester(walked: Walked) -> Said:
    """The tester with most bugs."""
    found = Counter(name(bug["author"]) for bug in walked.bugs)
    return {"tester": max(found, key=lambda person: (found[person], person))}


async def _looks(ask: Ask, _: Said) -> Any:
    bugs = await ask.items("list_bugs", kinds=["visual"], browser="Chrome", limit=100, fields=["title"])
    return {bug["id"] for bug in bugs}


def _is_looks(walked: Walked, _: Said) -> Any:
    found = [bug for bug in walked.bugs if kind(bug) == "visual"]
    return {
        bug["id"] for bug in found if "Chrome" in {each for device in bug["devices"] for each in _browsers(device)}
    }


def _browsers(device: Payload) -> set[str]:
    return {browser["name"] for browser in device.get("browsers") or [] if browser.get("name")}


async def _newest(ask: Ask, _: Said) -> Any:
    product = await ask.product("Web Shop")
    page = await ask("list_bugs", product_id=product, limit=5, fields=["title", "reported_at"])
    return [moment(bug["reported_at"]) for bug in page["items"]]


def _is_newest(walked: Walked, _: Said) -> Any:
    reports = [at for bug in walked.bugs_of(SHOP) if (at := moment(bug["reported_at"]))]
    return sorted(reports, reverse=True)[:5]


async def _severe(ask: Ask, _: Said) -> Any:
    first = (ask.today - timedelta(days=6)).isoformat()
    about = {"levels": ["critical", "high"], "reported_from": first, "limit": 100, "fields": ["title", "level"]}
    return {bug["id"]: bug["level"] for bug in await ask.items("list_bugs", **about)}


def _is_severe(walked: Walked, _: Said) -> Any:
    first = walked.today - timedelta(days=6)
    bugs = [bug for bug in walked.bugs if level(bug) in ("critical", "high")]
    return {bug["id"]: level(bug) for bug in bugs if (at := moment(bug["reported_at"])) and at.date() >= first}


async def _story(ask: Ask, said: Said) -> Any:
    story = await ask("get", kind="user_story", id=said["story"])
    return story["title"], story["executions"], story["executions_by_status"]


def _is_story(walked: Walked, said: Said) -> Any:
    runs = [run for run in walked.runs if run["user_story"] and run["user_story"]["id"] == said["story"]]
    return runs[0]["user_story"]["path"], len(runs), dict(Counter(run["status"] for run in runs))


def _some_story(walked: Walked) -> Said:
    """The story with the most runs."""
    runs = Counter(run["user_story"]["id"] for run in walked.runs if run["user_story"])
    return {"story": max(runs, key=lambda story: (runs[story], story))}


QUESTIONS = (
    Question(
        "engineering",
        "There was a bug like “{words}”: what are its steps and devices, and who reported it?",
        _bug,
        _is_bug,
        _some_bug,
    ),
    Question(
        "engineering", "Which bugs of {feature} in {product} are known already?", _known, _is_known, _some_feature
    ),
    Question("engineering", "Which open bugs happen in Safari on an iPhone?", _iphone, _is_iphone),
    Question(
        "engineering",
        "What has {tester} done: bugs and what became of them, runs, products, when last?",
        _tester,
        _is_tester,
        _some_tester,
    ),
    Question("engineering", "Which visual bugs were seen in Chrome?", _looks, _is_looks),
    Question("engineering", "When were the five newest bugs of the shop reported?", _newest, _is_newest),
    Question("engineering", "Which severe bugs were reported within a week?", _severe, _is_severe),
    Question("engineering", "How did user story {story} go?", _story, _is_story, _some_story),
)
