"""Exploratory tests as the API shows them: a list entry, and a single test with its execution metrics."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from .catalog import ATTACHMENT_URL, REQUIREMENTS, Payload
from .dice import Dice
from .lifecycle import review_status, stamp
from .phrases import GOALS, INSTRUCTIONS, TEST_TITLES
from .plan import ATTACHMENT, TEST_FEATURE, TEST_FEATURES_EACH, BugFacts, TestFacts
from .records_runs import Run, Version, living_runs, rollup, versions_of
from .state import Feature

if TYPE_CHECKING:
    from .account import Account

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
