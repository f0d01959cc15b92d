"""The simulated account with everything that may happen to it, and the truth about it for tests."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .account import Account
from .catalog import Payload
from .lifecycle import DAY, HOUR, NEVER, Phases
from .plan import PRODUCT, TEST, BugFacts, TestFacts
from .rejections import rejection
from .state import Feature, ProductState

_ADDED_BUGS_FROM = 10_000

# Hours from now of finalised, approved, start and end, for a test that is to stand at this status.
_AT = {
    "customer_finalized": (-1, 24, 48, 72),
    "waiting": (-2, -1, 24, 48),
    "running": (-30, -20, -4, 20),
    "locked": (-80, -70, -48, -24),
    "archived": (-600, -590, -580, -556),
}


@dataclass(frozen=True)
class Truth:
    """What a complete copy of one product must hold."""

    product_id: int
    tests: int
    bugs: int
    bugs_by_status: dict[str, int]

    @property
    def open_bugs(self) -> int:
        """Bugs without a decision."""
        return self.bugs_by_status.get("open", 0)


class World(Account):
    """The simulated account: what it shows (see `Account`), and what people and time do to it.

    `now` stands still until `advance`. Fields given to `add_*` and `update_*` appear in the payloads as they are.
    """

    def new_id(self) -> int:
        """An id that no record has."""
        return next(self._new_ids)

    # --- products

    def add_product(self, **fields: Any) -> Payload:
        """Create a product without sections; it has no features yet."""
        product_id, self.next_product = self.next_product, self.next_product + 1
        default = {"id": self.new_id(), "name": "default-section"}
        payload: Payload = {
            "id": product_id,
            "name": "New product",
            "description": None,
            "type": "website",
            "default_section_id": default["id"],
            "sections": [],
            "sections_with_default": [default],
            "connection": None,
            "remote_device_testing": False,
        }
        payload.update(fields)
        self.hold(ProductState(payload=payload, base_tests=0, features={}))
        self.product_ids.append(product_id)
        return payload

    def delete_product(self, product_id: int) -> Payload:
        """Delete a product with all its tests."""
        payload = self.product(product_id)
        self.gone_tests = sorted({*self.gone_tests, *self.numbers_of(product_id)})
        self.product_ids.remove(product_id)
        return payload

    def delete_feature(self, product_id: int, feature_id: int) -> Feature:
        """Take a feature with its user stories from the product's list; tests and bugs still name it."""
        return self.product_state(product_id).features.pop(feature_id)

    def delete_section(self, product_id: int, section_id: int) -> None:
        """Take a section from the product's list; its features, tests and bugs still name it."""
        payload = self.product(product_id)
        for name in ("sections", "sections_with_default"):
            payload[name] = [section for section in payload[name] if section["id"] != section_id]

    # --- tests

    def add_test(self, product_id: int, **fields: Any) -> Payload:
        """Create a test without bugs, a draft unless `status` says otherwise; answers the single payload."""
        status = fields.get("status", "initialized")
        state = self.product_state(product_id)
        facts = TestFacts(
            number=self.next_test,
            product_id=product_id,
            testing_type=fields.get("testing_type", "coverage"),
            phases=self._phases_for(status),
            section_id=next(iter(state.section_ids), None),
            features=tuple(state.features)[:2],
            bugs=0,
        )
        self.keep_test(facts)
        # A status that follows from the dates is left to them, so that the test goes on as time passes.
        if self.test_status(facts) == status:
            fields.pop("status", None)
        return self.update_test(facts.id, **fields)

    def keep_test(self, facts: TestFacts) -> None:
        """Hold the facts of a created or rescheduled test."""
        self.moved_tests[facts.number] = facts
        if facts.number == self.next_test:
            self.product_state(facts.product_id).added.append(facts.number)
            self.next_test += 1

    def update_test(self, test_id: int, **fields: Any) -> Payload:
        """Set fields of a test; a title is set under both of its names."""
        self.test_facts(test_id)
        for name, alias in (("title", "test_title"), ("test_title", "title")):
            if name in fields:
                fields.setdefault(alias, fields[name])
        self.test_changes.setdefault(test_id, {}).update(fields)
        return self.test(test_id)

    def delete_test(self, test_id: int) -> None:
        """Delete a test with its bugs."""
        facts = self.test_facts(test_id)
        state = self.product_state(facts.product_id)
        if facts.number in state.added:
            state.added.remove(facts.number)
        else:
            state.remove(self.plan.tests_per_product - 1 - facts.number // self.plan.products)
        self.gone_tests = sorted([*self.gone_tests, facts.number])

    def launch_test(self, test_id: int) -> Payload:
        """Submit a draft: it is reviewed within an hour and starts at its planned time, at the earliest then."""
        facts = self.test_facts(test_id)
        start = max(facts.phases.start, self.clock + 2 * HOUR)
        length = facts.phases.end - facts.phases.start
        phases = Phases(facts.phases.created, self.clock, self.clock + HOUR, start, start + length)
        self.keep_test(facts._replace(phases=phases))
        self.test_changes.get(test_id, {}).pop("status", None)
        return self.test(test_id)

    def _phases_for(self, status: str) -> Phases:
        if status in _AT:
            finalized, approved, start, end = (self.clock + hours * HOUR for hours in _AT[status])
            return Phases(finalized - HOUR, finalized, approved, start, end)
        start, cancelled = self.clock + DAY, self.clock if status == "cancelled" else NEVER
        return Phases(self.clock, NEVER, NEVER, start, start + DAY, cancelled)

    # --- bugs

    def add_bug(self, test_id: int, **fields: Any) -> Payload:
        """Report a bug, undecided unless `status` says otherwise."""
        facts = self.test_facts(test_id)
        bugs = self.added_bugs.setdefault(facts.number, {})
        bug_id = self.new_id()
        planned = self.plan.bug(facts, _ADDED_BUGS_FROM + len(bugs), bug_id)
        reported = max(min(self.clock, facts.phases.end - 1), min(self.clock, facts.phases.start))
        bugs[bug_id] = planned._replace(reported=reported, decision="", known=False, exported=NEVER)
        self.added_bug_tests[bug_id] = facts.number
        return self.update_bug(bug_id, **fields) if fields else self.bug(bug_id)

    def update_bug(self, bug_id: int, **fields: Any) -> Payload:
        """Set fields of a bug."""
        self.bug_facts(bug_id)
        if "status" in fields:
            fields.setdefault("auto_accepted", False)
        self.bug_changes.setdefault(bug_id, {}).update(fields)
        return self.bug(bug_id)

    def delete_bug(self, bug_id: int) -> None:
        """Delete a bug."""
        self.bug_facts(bug_id)
        self.gone_bugs.add(bug_id)

    # --- executions

    def update_execution(self, execution_id: int, status: str) -> None:
        """Give an execution another outcome."""
        self.run_changes[execution_id] = status

    def delete_execution(self, execution_id: int) -> None:
        """Delete an execution."""
        self.gone_runs.add(execution_id)

    # --- time

    def advance(self, days: float = 1.0, new_tests: int = 1) -> Payload:
        """Let time pass: tests move on, bugs come in, are decided or auto-accepted.

        Every planned product gets `new_tests` tests at the new present. Answers the ids of the new tests.
        """
        self.clock += int(timedelta(days=days).total_seconds())
        created = []
        for _ in range(new_tests):
            for product_id in self.product_ids:
                if product_id < PRODUCT + self.plan.products:
                    facts = self.plan.new_test(self.next_test, product_id, self.clock)
                    self.keep_test(facts)
                    created.append(facts.id)
        return {"now": self.now.isoformat(), "tests": created}

    # --- truth

    def truth(self, product_id: int) -> Truth:
        """Count what a complete copy of a product must hold; walks over all its tests."""
        statuses: dict[str, int] = {}
        tests = bugs = 0
        for number in self.numbers_of(product_id):
            tests += 1
            for bug in self.visible_bugs(self.facts(number)):
                bugs += 1
                word = self.bug_status(bug)
                statuses[word] = statuses.get(word, 0) + 1
        return Truth(product_id, tests, bugs, statuses)

    def rejection_reason(self, bug_id: int) -> str | None:
        """The name of the reason for which a bug was rejected as planned, as far as its payload tells; else None."""
        facts = self.bug_facts(bug_id)
        return rejection(self, facts).recognised if self.bug_status(facts) == "rejected" else None

    def test_ids(self, product_id: int) -> list[int]:
        """Ids of all tests of a product, newest first."""
        return [TEST + number for number in self.numbers_of(product_id)]

    def open_bugs(self, product_id: int) -> list[BugFacts]:
        """The undecided bugs of a product."""
        return [
            bug
            for number in self.numbers_of(product_id)
            for bug in self.visible_bugs(self.facts(number))
            if self.bug_status(bug) == "open"
        ]
