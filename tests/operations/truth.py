"""What summaries must tell: counted again from the account's payloads, in plain Python."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from testio_sandbox import World
from testio_sandbox.test_payloads import execution_payload, runs_of

Payload = dict[str, Any]
LEVELS = ("critical", "high", "low")
NOT_RUN = ("initialized", "waiting", "cancelled")


def tests_of(world: World, product_id: int) -> dict[int, Payload]:
    return {test_id: world.test(test_id) for test_id in world.test_ids(product_id)}


def all_bugs(world: World) -> list[Payload]:
    return [bug for pid in world.product_ids for test_id in world.test_ids(pid) for bug in world.bugs_of(test_id)]


def executions(world: World) -> list[Payload]:
    ids = [test_id for pid in world.product_ids for test_id in world.test_ids(pid)]
    facts = [world.test_facts(test_id) for test_id in ids]
    return [execution_payload(world, fact, run) for fact in facts for run in runs_of(world, fact)]


def has_run(test: Payload) -> bool:
    """Whether a test ran: it has started, and its status does not deny it."""
    start = moment(test["start_at"])
    return test["status"] not in NOT_RUN and (start is None or start <= datetime.now(UTC))


def status(bug: Payload) -> str:
    told = str(bug["status"])
    if told == "accepted" and bug.get("auto_accepted"):
        return "auto_accepted"
    return "open" if told == "forwarded" else told


def level(bug: Payload) -> str:
    return bug["severity"] if bug["severity"] in LEVELS else "none"


def kind(bug: Payload) -> str:
    word = str(bug["severity"])
    return {**dict.fromkeys(LEVELS, "functional"), "suggestion": "usability"}.get(word, word)


def name(person: Any) -> Any:
    return person["name"] if isinstance(person, dict) else person


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def feature_of(world: World, bug: Payload) -> int | None:
    """The feature a bug is on; some bugs name only the test's copy of it."""
    place = bug.get("feature") or {}
    copy = bug.get("test_feature") or {}
    found: int | None = place.get("id") or copy.get("feature_id")
    if found is None and (named := bug.get("app_section")):
        copies = world.test(bug["test"]["id"])["features"]
        found = next(copy["feature_id"] for copy in copies if copy["id"] == named["id"])
    return found


def counts(bugs: Iterable[Payload], word: Callable[[Payload], str]) -> dict[str, int]:
    return dict(Counter(map(word, bugs)))


def of(part: int, whole: int) -> Any:
    return pytest.approx(part / whole, abs=1e-4) if whole else None


def rates(bugs: list[Payload]) -> dict[str, Any]:
    found = Counter(map(status, bugs))
    accepted, automatic, rejected = found["accepted"], found["auto_accepted"], found["rejected"]
    return {
        "active_acceptance_rate": of(accepted, len(bugs)),
        "auto_acceptance_rate": of(automatic, accepted + automatic),
        "overall_acceptance_rate": of(accepted + automatic, len(bugs)),
        "rejection_rate": of(rejected, len(bugs)),
        "review_rate": of(accepted + rejected, len(bugs)),
    }


def same_bugs(detail: Any, bugs: list[Payload]) -> None:
    """The counts of an answer are those of these bugs."""
    assert detail.bugs.total == len(bugs)
    levels = Counter(map(level, bugs))
    told = (detail.bugs.critical, detail.bugs.high, detail.bugs.low, detail.bugs.other)
    assert told == (levels["critical"], levels["high"], levels["low"], levels["none"])
    assert detail.bugs.open == sum(status(bug) == "open" for bug in bugs)
    assert detail.bugs_by_status == counts(bugs, status)


def newest(bugs: list[Payload]) -> list[int]:
    return sorted((bug["id"] for bug in bugs), reverse=True)[:10]


def per_device(bugs: list[Payload], part: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for bug in bugs:
        devices = [device for device in bug["devices"] if device]
        found.update({(device.get(part) or {}).get("name") or "unknown" for device in devices})
    return dict(found)


def runs_story(run: Payload) -> int | None:
    return int(run["user_story"]["id"]) if run["user_story"] else None


def answers(bug: Payload) -> list[Payload]:
    """The fields of a bug's custom report."""
    found: list[Payload] = (bug.get("report") or {}).get("content", {}).get("data", [])
    return found


def as_text(value: Any) -> str | None:
    """The value of a custom field as the store keeps it."""
    return value if value is None or isinstance(value, str) else json.dumps(value)
