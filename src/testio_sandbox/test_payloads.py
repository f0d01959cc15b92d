"""Exploratory tests, executions and test cases as the API shows them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from .catalog import ATTACHMENT_URL, DEVICES, REQUIREMENTS, Payload
from .plan import (
    ATTACHMENT,
    CASE,
    CASE_STEP,
    EXECUTION,
    EXECUTIONS_EACH,
    FEATURE,
    HOUR,
    NEVER,
    STORY_VERSION,
    TEST_FEATURE,
    TEST_FEATURES_EACH,
    VERSIONS_EACH,
    BugFacts,
    TestFacts,
    review_status,
    stamp,
)
from .seeded_random import Dice
from .state import Feature
from .texts import GOALS, INSTRUCTIONS, TEST_TITLES

if TYPE_CHECKING:
    from .world import Account

_OUTCOMES = ("passed",) * 12 + ("failed",) * 4 + ("blocked",) * 2 + ("pending",)


class Version(NamedTuple):
    """A test's own copy of a user story."""

    id: int
    feature_id: int
    story_id: int
    path: str


class Run(NamedTuple):
    """One tester's execution of one version."""

    id: int
    version: Version | None
    status: str
    tester: str
    at: int
    device: Payload


def versions_of(world: Account, facts: TestFacts) -> list[Version]:
    """The user story versions of a test."""
    first = STORY_VERSION + facts.number * VERSIONS_EACH
    return [
        Version(first + place, feature_id, story_id, path)
        for place, (feature_id, story_id, path) in enumerate(
            (feature.id, story_id, path)
            for feature in world.covered(facts)
            for story_id, path in feature.stories.items()
        )
    ]


def runs_of(world: Account, facts: TestFacts) -> list[Run]:
    """The executions of a test, with those deleted: always as many, so that their list can be paged anywhere."""
    dice = Dice(world.seed, "runs", facts.number)
    versions = versions_of(world, facts)
    start, end, cancelled = facts.phases.start, facts.phases.end, facts.phases.cancelled
    runs = []
    for place in range(EXECUTIONS_EACH):
        at = start + dice.below(max(1, end - start))
        outcome = dice.pick(_OUTCOMES)
        status = "cancelled" if cancelled != NEVER else outcome if at <= world.clock else "pending"
        version = versions[dice.below(len(versions))] if versions else None
        tester, device = dice.pick(world.pools.testers), dice.pick(DEVICES)
        run_id = EXECUTION + facts.number * EXECUTIONS_EACH + place
        runs.append(Run(run_id, version, world.run_changes.get(run_id, status), tester, at, device))
    return runs


def living_runs(world: Account, facts: TestFacts) -> list[Run]:
    """The executions of a test that were not deleted."""
    return [run for run in runs_of(world, facts) if run.id not in world.gone_runs]


def rollup(statuses: Iterable[str], bugs: int) -> str:
    """What executions and bugs add up to, for a story or a feature."""
    seen = set(statuses)
    if bugs or "failed" in seen:
        return "failed"
    return next((word for word in ("blocked", "passed") if word in seen), "not_tested")


def execution_payload(world: Account, facts: TestFacts, run: Run) -> Payload:
    """An execution as its list shows it."""
    by_name = world.quirks and run.id % 3 == 0
    return {
        "id": run.id,
        "status": run.status,
        "comment": None if run.status != "failed" else "Does not work as described.",
        "executed_by": run.tester if by_name else {"name": run.tester},
        "executed_at": None if run.status in ("pending", "cancelled") else stamp(run.at, world.style(run.id)),
        "device_reports": [run.device],
        "test_cycle": {"id": facts.id, "title": world.test_title(facts), "test_environment": None},
        "user_story_version_id": run.version and run.version.id,
        "user_story": run.version
        and {
            "id": run.version.story_id,
            "path": run.version.path,
            "feature_id": run.version.feature_id,
        },
    }


_ALLOWED = {
    "rapid": ["critical", "high"],
    "focused": ["low", "high", "critical"],
    "coverage": ["low", "high", "critical", "visual", "content"],
    "usability": ["suggestion"],
    "external": ["custom"],
    None: ["test_case"],
}


class Wording(NamedTuple):
    """What a test is called and what it is about."""

    title: str
    area: str
    version: str


def wording(world: Account, facts: TestFacts) -> Wording:
    """A test's planned title, area and release."""
    covered = world.covered(facts)
    mixed = facts.number * 2_654_435_761 + world.seed
    area, version = covered[0].title if covered else "everything", f"{1 + mixed % 9}.{mixed // 9 % 21}"
    return Wording(TEST_TITLES[mixed // 189 % len(TEST_TITLES)].format(area=area, version=version), area, version)


def list_entry(world: Account, facts: TestFacts, *, objects: bool = False) -> Payload:
    """A test without metrics; user stories are objects only when asked for."""
    dice = Dice(world.seed, "test text", facts.number)
    product = world.product_state(facts.product_id)
    covered = world.covered(facts)
    words = wording(world, facts)
    status = world.test_status(facts)
    goal, instructions = dice.pick(GOALS).format(area=words.area, version=words.version), dice.pick(INSTRUCTIONS)
    style = world.style(facts.number)
    environment = dice.pick(tuple(product.environments.values())) if product.environments else None
    allowed = _ALLOWED[facts.testing_type]
    payload: Payload = {
        "id": facts.id,
        "test_title": words.title,
        "title": words.title,
        "status": status,
        "review_status": review_status(status),
        "testing_type": facts.testing_type,
        "test_environment": environment,
        "features": feature_copies(world, facts, covered, objects=objects),
        "app_sections": [],
        "goal": goal,
        "goal_text": goal.replace("<b>", "").replace("</b>", ""),
        "out_of_scope": dice.pick(world.pools.sentences["en"]),
        "out_of_scope_text": None,
        "instructions": instructions,
        "instructions_text": instructions,
        "attachments": _attachments(facts.number, dice),
        "requirements": [dice.pick(REQUIREMENTS) for _ in range(dice.between(1, 3))],
        "report_language": "de" if dice.chance(25) else "en",
        "section": world.section(facts.section_id),
        "product": {"id": product.id, "name": product.payload["name"]},
        "enable_low": "low" in allowed,
        "enable_high": "high" in allowed,
        "enable_critical": "critical" in allowed,
        "allow_device_clouds": dice.chance(10),
        "created_by": {"name": dice.pick(world.pools.contacts)},
        "submitted_by": {"name": dice.pick(world.pools.contacts)} if world.clock >= facts.phases.finalized else None,
        "start_at": stamp(facts.phases.start, style),
        "end_at": stamp(facts.phases.end, style),
        "allowed_bug_types": allowed,
        "reviews": [],
        "demo": False,
    }
    return _odd(payload, dice) if world.quirks else payload


def single(world: Account, facts: TestFacts, *, objects: bool = False) -> Payload:
    """A test with its execution metrics at every level."""
    payload = list_entry(world, facts, objects=objects)
    bugs, runs, versions = world.visible_bugs(facts), living_runs(world, facts), versions_of(world, facts)
    tally = _Tally(runs, versions, bugs)
    for feature in payload["features"]:
        feature.update(tally.feature(feature["feature_id"]))
        if objects:
            feature["user_stories"] = [
                {**story, **tally.version(story["user_story_version_id"])} for story in feature["user_stories"]
            ]
    # The API counts bugs that the customer never sees, too: its total can exceed the list.
    hidden = 1 if world.quirks and facts.number % 7 == 0 and bugs else 0
    payload["analytics"] = tally.analytics([feature.id for feature in world.covered(facts)], hidden)
    return payload


def feature_copies(world: Account, facts: TestFacts, covered: list[Feature], *, objects: bool) -> list[Payload]:
    """The features inside a test: copies with ids of their own."""
    stories: dict[int, list[object]] = defaultdict(list)
    for version in versions_of(world, facts):
        stories[version.feature_id].append(_story(version) if objects else version.path)
    return [
        {
            "id": TEST_FEATURE + facts.number * TEST_FEATURES_EACH + place,
            "feature_id": feature.id,
            "title": feature.title,
            "description": feature.description,
            "howtofind": feature.howtofind,
            "enable_default": True,
            "enable_content": facts.testing_type == "coverage",
            "enable_visual": facts.testing_type == "coverage",
            "user_stories": stories[feature.id],
        }
        for place, feature in enumerate(covered)
    ]


def _story(version: Version) -> Payload:
    return {
        "id": version.story_id,
        "path": version.path,
        "title": version.path,
        "feature_id": version.feature_id,
        "user_story_version_id": version.id,
    }


def _attachments(number: int, dice: Dice) -> list[Payload]:
    if not dice.chance(30):
        return []
    return [{"id": ATTACHMENT + number, "url": f"{ATTACHMENT_URL}/briefing-{number}.pdf", "thumbnail_urls": []}]


def _odd(payload: Payload, dice: Dice) -> Payload:
    """One of the deviations that real payloads show; most records have none."""
    variant = dice.below(12)
    if variant == 0:
        del payload["test_title"]
    elif variant == 1:
        del payload["title"]
    elif variant == 2:
        payload["app_sections"] = [feature["title"] for feature in payload["features"]]
    elif variant == 3:
        payload["created_by"] = payload["created_by"]["name"]
    elif variant == 4:
        payload["created_by"] = None
    elif variant == 5:
        payload["crowd_score"] = {"value": dice.below(100), "scale": "percent"}
    return payload


class _Tally:
    """Counts over the executions and bugs of one test."""

    def __init__(self, runs: list[Run], versions: list[Version], bugs: list[BugFacts]) -> None:
        self._runs, self._versions, self._bugs = runs, versions, bugs

    def version(self, version_id: int) -> Payload:
        """The metrics of a user story."""
        runs = [run for run in self._runs if run.version and run.version.id == version_id]
        return self._metrics(runs, self._version_bugs(version_id), "tested_by_count")

    def feature(self, feature_id: int) -> Payload:
        """The metrics of a feature."""
        runs = [run for run in self._runs if run.version and run.version.feature_id == feature_id]
        bugs = [bug.id for bug in self._bugs if bug.feature_id == feature_id]
        return self._metrics(runs, bugs, "tester_count")

    def analytics(self, feature_ids: list[int], hidden: int) -> Payload:
        """The metrics of the whole test; `hidden` bugs are counted but never listed."""
        features = [self.feature(fid)["execution_status"] for fid in feature_ids]
        stories = [self.version(version.id)["execution_status"] for version in self._versions]
        done = [run for run in self._runs if run.status in ("passed", "failed", "blocked")]
        return {
            "testers_count": len({run.tester for run in done}),
            "devices_count": len({run.device["id"] for run in done}),
            "total_features": len(features),
            "tested_features": len(features) - features.count("not_tested"),
            "passed_features": features.count("passed"),
            "failed_features": features.count("failed"),
            "total_user_stories": len(stories),
            "tested_user_stories": len(stories) - stories.count("not_tested"),
            "passed_user_stories": stories.count("passed"),
            "failed_user_stories": stories.count("failed"),
            "blocked_user_stories": stories.count("blocked"),
            "total_bugs": len(self._bugs) + hidden,
        }

    def _version_bugs(self, version_id: int) -> list[int]:
        """Bugs name a feature, not a story: each goes to one story of its feature."""
        version = next(version for version in self._versions if version.id == version_id)
        siblings = [v.id for v in self._versions if v.feature_id == version.feature_id]
        return [
            bug.id
            for bug in self._bugs
            if bug.feature_id == version.feature_id and siblings[bug.number % len(siblings)] == version_id
        ]

    @staticmethod
    def _metrics(runs: list[Run], bug_ids: list[int], testers: str) -> Payload:
        done = [run for run in runs if run.status in ("passed", "failed", "blocked")]
        return {
            "execution_status": rollup((run.status for run in done), len(bug_ids)),
            testers: len({run.tester for run in done}),
            "bugs_found": len(bug_ids),
            "bug_ids": bug_ids,
        }


_CASES_EACH, _STEPS_EACH, _RESULTS_EACH = 2, 4, 3
_TITLES = ("{area}: main path", "{area}: wrong input")
_STEPS = (
    ("Open {area}.", "Use {element}.", "Check what {element} shows."),
    ("Open {area}.", "Fill {element} with nonsense.", "Look for a message.", "Correct it and go on."),
)
_ENDS = ("passed",) * 13 + ("failed",) * 3 + ("blocked",)


def planned_cases(world: Account, facts: TestFacts) -> list[Payload]:
    """The test cases of a planned test-case test: those of the features that it covers."""
    return [_case(feature, facts.product_id, n) for feature in world.covered(facts) for n in range(_CASES_EACH)]


def _case(feature: Feature, product_id: int, variant: int) -> Payload:
    case_id = CASE + (feature.id - FEATURE) * _CASES_EACH + variant
    first = CASE_STEP + (case_id - CASE) * _STEPS_EACH
    words = {"area": feature.title, "element": feature.element_choices[0]}
    return {
        "id": case_id,
        "product_id": product_id,
        "title": _TITLES[variant].format(**words),
        "feature_id": feature.id,
        "target_idx": variant,
        "steps": [
            {"id": first + place, "description": step.format(**words), "target_idx": place}
            for place, step in enumerate(_STEPS[variant])
        ],
    }


def case_results(world: Account, facts: TestFacts, cases: Iterable[Payload]) -> list[Payload]:
    """How each case went with each tester: as planned once the test has ended, pending before."""
    if world.clock < facts.phases.end:
        return [_result(case, _result_id(facts, case, 0), "pending", len(case["steps"])) for case in cases]
    return [result for case in cases for result in _ended(world, facts, case)]


def _ended(world: Account, facts: TestFacts, case: Payload) -> Iterator[Payload]:
    dice = Dice(world.seed, "case results", facts.number, case["id"])
    for place in range(dice.between(1, _RESULTS_EACH)):
        status, reached = dice.pick(_ENDS), dice.below(len(case["steps"]))
        yield _result(case, _result_id(facts, case, place), status, reached) | {
            "executed_by": {"name": dice.pick(world.pools.testers)} if dice.chance(90) else None,
            "executed_at": stamp(facts.phases.end - dice.between(1, 4) * HOUR),
        }


def _result_id(facts: TestFacts, case: Payload, place: int) -> int:
    return (facts.number << 24) + int(case["id"]) % (1 << 20) * 4 + place


def _result(case: Payload, result_id: int, status: str, reached: int) -> Payload:
    """A result whose steps passed up to the one that decided it; those after it were not run."""
    ends = [
        "passed" if status == "passed" or place < reached else status if place == reached else "pending"
        for place in range(len(case["steps"]))
    ]
    if status == "pending":
        ends = ["pending"] * len(ends)
    return {
        "id": result_id,
        "test_case": {"id": case["id"], "title": case["title"]},
        "title": case["title"],
        "status": status,
        "steps": [{**step, "status": end} for step, end in zip(case["steps"], ends, strict=True)],
    }
