"""Test cases and how they went, as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .catalog import Payload
from .dice import Dice
from .lifecycle import HOUR, stamp
from .plan import CASE, CASE_STEP, FEATURE, TestFacts
from .state import Feature

if TYPE_CHECKING:
    from .account import Account

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
