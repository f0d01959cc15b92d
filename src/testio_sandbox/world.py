"""The simulated account: its plan, overlaid with everything that happened since, and the truth about it for tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from .bug_payloads import bug_payload, rejection
from .catalog import REJECT_REASONS, Payload
from .plan import BUG, DAY, HOUR, NEVER, PRODUCT, TEST, BugFacts, Phases, Plan, TestFacts, stamp, to_seconds
from .state import Feature, ProductState, product_state, surviving
from .test_payloads import list_entry, single, wording
from .texts import DOMAINS, load_pools

# Where ids of hand-made records begin: far from planned ids, and beyond 32 bits.
NEW_IDS = 9_000_000_001
_API_WORDS = {"forwarded": "open"}


class NoSuchRecord(KeyError):
    """The account holds nothing under this id."""


class Account:
    """A customer account of any size: records are made when asked for, only changes are held.

    Everything follows from `seed`, the sizes and `now` (the present when omitted; a time without zone is UTC).
    `quirks` spreads over the records the deviations that real payloads show; `tells_reasons` has rejected bugs say
    their reason, as those of some accounts do (of one in five, by the seed). Payloads share nested parts: treat them
    as read-only. An unknown or deleted id raises `NoSuchRecord`, a `KeyError`.
    """

    def __init__(
        self,
        seed: int = 1,
        products: int = 6,
        tests_per_product: int = 30,
        bugs_per_test: float = 4.0,
        now: datetime | None = None,
        quirks: bool = True,
        tells_reasons: bool | None = None,
    ) -> None:
        self.seed, self.quirks = seed, quirks
        self.tells_reasons = seed % 5 == 4 if tells_reasons is None else tells_reasons
        self.clock = to_seconds(now or datetime.now(UTC))
        self.pools = load_pools(seed)
        self.plan = Plan(seed, products, tests_per_product, bugs_per_test, self.clock)
        self.reject_reasons: list[Payload] = list(REJECT_REASONS)
        self.next_test = self.plan.tests
        self.next_product = PRODUCT + products
        self.product_ids = [PRODUCT + index for index in range(products)]
        self.test_changes: dict[int, Payload] = {}
        self.bug_changes: dict[int, Payload] = {}
        self.gone_tests: list[int] = []
        self.gone_bugs: set[int] = set()
        self.run_changes: dict[int, str] = {}
        self.gone_runs: set[int] = set()
        self._states: dict[int, ProductState] = {}
        self._features: dict[int, Feature] = {}
        self._sections: dict[int, Payload] = {}
        # Tests created or rescheduled since the start, by number; bugs added by hand, by test number.
        self.moved_tests: dict[int, TestFacts] = {}
        self.added_bugs: dict[int, dict[int, BugFacts]] = {}
        self.added_bug_tests: dict[int, int] = {}
        self._new_ids = count(NEW_IDS)
        # Records that exist only because somebody created them, by kind and id.
        self.made: dict[str, dict[int, Payload]] = {}

    @property
    def now(self) -> datetime:
        """The account's present; only `advance` moves it."""
        return datetime.fromtimestamp(self.clock, UTC)

    def style(self, number: int) -> int:
        """Which of the four timestamp forms record `number` uses."""
        return number % 4 if self.quirks else 0

    def stamp(self, seconds: int | None = None) -> str:
        """The account's present, or another second, as a timestamp."""
        return stamp(self.clock if seconds is None else seconds)

    # --- products

    def product_state(self, product_id: int) -> ProductState:
        """One product with its features, environments and templates."""
        if product_id not in self._states:
            if product_id not in self.product_ids:
                raise NoSuchRecord(product_id)
            index = product_id - PRODUCT
            domain = DOMAINS[index % len(DOMAINS)]
            self.hold(product_state(index, self.seed, self.plan.tests_per_product, domain, self.pools))
        return self._states[product_id]

    def hold(self, state: ProductState) -> None:
        """Keep a product from now on."""
        self._states[state.id] = state
        self._features.update(state.features)
        self._sections.update((section["id"], section) for section in state.payload["sections_with_default"])

    def hold_feature(self, feature: Feature, product_id: int) -> None:
        """Keep a feature from now on."""
        self.product_state(product_id).features[feature.id] = feature
        self._features[feature.id] = feature

    def iter_products(self) -> Iterator[Payload]:
        """Every product, oldest first."""
        return (self.product_state(product_id).payload for product_id in list(self.product_ids))

    def product(self, product_id: int) -> Payload:
        """One product."""
        if product_id not in self.product_ids:
            raise NoSuchRecord(product_id)
        return self.product_state(product_id).payload

    def section(self, section_id: int | None) -> Payload | None:
        """A section as other records refer to it."""
        return self._sections.get(section_id) if section_id else None

    def feature(self, feature_id: int | None) -> Feature | None:
        """A feature of a product that was looked at before."""
        return self._features.get(feature_id) if feature_id else None

    def covered(self, facts: TestFacts) -> list[Feature]:
        """The features that a test covers and that still exist."""
        self.product_state(facts.product_id)
        return [self._features[fid] for fid in facts.features if fid in self._features]

    def features(self, product_id: int, section_id: int | None = None, *, objects: bool = False) -> list[Payload]:
        """The features of a product, or of one of its sections; user stories as text or as objects."""
        return [
            {
                "id": feature.id,
                "title": feature.title,
                "description": feature.description,
                "howtofind": feature.howtofind,
                "user_stories": [
                    {"id": sid, "path": path, "title": path, "feature_id": feature.id} if objects else path
                    for sid, path in feature.listed_stories.items()
                ],
            }
            for feature in self.product_state(product_id).features.values()
            if section_id is None or section_id in feature.sections
        ]

    # --- tests

    def facts(self, number: int) -> TestFacts:
        """The facts of a test by its number."""
        return self.moved_tests.get(number) or self.plan.test(number)

    def test_facts(self, test_id: int) -> TestFacts:
        """The facts of a test by its id."""
        number = test_id - TEST
        if not 0 <= number < self.next_test or number in self.gone_tests:
            raise NoSuchRecord(test_id)
        facts = self.facts(number)
        if facts.product_id not in self.product_ids:
            raise NoSuchRecord(test_id)
        return facts

    def numbers_of(self, product_id: int, offset: int = 0, limit: int = 1 << 40) -> Iterator[int]:
        """Numbers of a product's tests, newest first."""
        state = self.product_state(product_id)
        newest = state.added[::-1][offset : offset + limit]
        yield from newest
        skipped = max(0, offset - len(state.added))
        index, last = product_id - PRODUCT, self.plan.tests_per_product - 1
        for rank in surviving(state.gone, state.base_tests, skipped, limit - len(newest)):
            yield (last - rank) * self.plan.products + index

    def tests_page(
        self, product_id: int, offset: int = 0, limit: int = 1 << 40, *, objects: bool = False
    ) -> Iterator[Payload]:
        """List entries of a product's tests, newest first."""
        for number in self.numbers_of(product_id, offset, limit):
            facts = self.facts(number)
            yield self._changed_test(list_entry(self, facts, objects=objects))

    def iter_tests(self, product_id: int) -> Iterator[Payload]:
        """List entries of all tests of a product, newest first."""
        return self.tests_page(product_id)

    def test(self, test_id: int, *, objects: bool = False) -> Payload:
        """One test with its execution metrics."""
        return self._changed_test(single(self, self.test_facts(test_id), objects=objects))

    def test_status(self, facts: TestFacts) -> str:
        """Where a test stands now."""
        changed = self.test_changes.get(facts.id, {}).get("status")
        has_bugs = facts.bugs > 0 or facts.number in self.added_bugs
        return changed or facts.phases.status(self.clock, has_bugs)

    def test_title(self, facts: TestFacts) -> str:
        """A test's title now."""
        if changed := self.test_changes.get(facts.id, {}).get("title"):
            return str(changed)
        return wording(self, facts).title

    def _changed_test(self, payload: Payload) -> Payload:
        if changes := self.test_changes.get(payload["id"]):
            payload.update(changes)
        return payload

    # --- bugs

    def visible_bugs(self, facts: TestFacts) -> list[BugFacts]:
        """The bugs of a test that were reported by now and not deleted."""
        bugs = [self.plan.bug(facts, number) for number in range(facts.bugs)] if facts.bugs else []
        bugs += self.added_bugs.get(facts.number, {}).values()
        return [bug for bug in bugs if bug.reported <= self.clock and bug.id not in self.gone_bugs]

    def bugs_of(self, test_id: int) -> list[Payload]:
        """The bugs of a test."""
        return [self.shown_bug(bug) for bug in self.visible_bugs(self.test_facts(test_id))]

    def bug(self, bug_id: int) -> Payload:
        """One bug."""
        return self.shown_bug(self.bug_facts(bug_id))

    def bug_facts(self, bug_id: int) -> BugFacts:
        """The facts of a bug by its id."""
        number = self.added_bug_tests.get(bug_id, (bug_id - BUG) // self.plan.stride)
        facts = self.test_facts(TEST + number)
        for bug in self.visible_bugs(facts):
            if bug.id == bug_id:
                return bug
        raise NoSuchRecord(bug_id)

    def bug_status(self, bug: BugFacts) -> str:
        """open, accepted, auto_accepted or rejected, whatever form the payload gives it."""
        changes = self.bug_changes.get(bug.id, {})
        if "status" not in changes:
            return bug.status(self.clock)
        status = str(changes["status"])
        return "auto_accepted" if changes.get("auto_accepted") else _API_WORDS.get(status, status)

    def shown_bug(self, bug: BugFacts) -> Payload:
        """A bug as the API shows it."""
        payload = bug_payload(self, bug)
        if changes := self.bug_changes.get(bug.id):
            payload.update(changes)
        return payload


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
