"""Reading the simulated account: its plan, overlaid with what happened since it started."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

from .catalog import REJECT_REASONS, Payload
from .lifecycle import moment, stamp
from .phrases import DOMAINS
from .plan import BUG, PRODUCT, TEST, BugFacts, Plan, TestFacts
from .records_bugs import bug_payload
from .records_tests import list_entry, single, wording
from .state import Feature, ProductState, product_state, surviving
from .text import load_pools

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
        self.clock = moment(now or datetime.now(UTC))
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
