"""Executions: who ran which user story of a test, and what that rolls up to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from .catalog import DEVICES, Payload
from .dice import Dice
from .lifecycle import NEVER, stamp
from .plan import EXECUTION, EXECUTIONS_EACH, STORY_VERSION, VERSIONS_EACH, TestFacts

if TYPE_CHECKING:
    from .account import Account

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
