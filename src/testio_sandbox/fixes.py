"""Which bugs of the simulated account get fixed, and which of those are found again in a later test.

A hash of the id decides, not dice: no other choice of the account depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lifecycle import HOUR, NEVER
from .plan import BugFacts, TestFacts

if TYPE_CHECKING:
    from .account import Account

_FIXED, _COMES_BACK, _SAYS_IT_AGAIN = 8, 5, 50
"""Of a hundred bugs: how many get fixed when a person accepts them, may be found again, and may say one again."""
_LATEST = 90
"""Hours from the decision to the fix, at most: a test that ended long ago changes no more."""


def fixed_at(bug: BugFacts) -> int:
    """When the customer marks a bug as fixed."""
    if bug.decision != "accepted" or _drawn(bug.id) >= _FIXED:
        return NEVER
    return bug.decided + (1 + bug.id % _LATEST) * HOUR


def found_again(world: Account, bug: BugFacts) -> BugFacts | None:
    """The bug on the same feature that was fixed when this one was reported, and that this one says again."""
    plan = world.plan
    earlier = bug.test.number - plan.back
    if earlier < 0 or bug.number >= plan.stride or bug.feature_id is None or 100 - _drawn(bug.id) > _SAYS_IT_AGAIN:
        return None
    ids = [plan.bug_id(earlier, number) for number in range(plan.stride)]
    likely = [number for number, bug_id in enumerate(ids) if _drawn(bug_id) < _COMES_BACK]
    facts = _planned(world, earlier) if likely else None
    if facts is None or facts.product_id != bug.test.product_id:
        return None
    candidates = (plan.bug(facts, number) for number in likely if number < facts.bugs)
    return next(
        (one for one in candidates if one.feature_id == bug.feature_id and fixed_at(one) < bug.reported), None
    )


def _planned(world: Account, number: int) -> TestFacts | None:
    """A test as it was planned, whatever became of it since: what testers wrote does not change with it."""
    return world.plan.test(number) if number < world.plan.tests else world.moved_tests.get(number)


def _drawn(bug_id: int) -> int:
    """A number from 0 to 99 that looks drawn."""
    return (bug_id * 2_654_435_761 % (1 << 32)) * 100 >> 32
