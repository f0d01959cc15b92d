"""The account as a function of its seed: when things happen, and facts about record number n, computed on request.

All times are whole seconds since 1970 (UTC). What a record looks like at a time follows from its dates, so moving the
account's clock is all it takes to let a day pass. Tests are numbered over the whole account in the order of their
creation, product after product within each round, so that a test's number gives its product, its rank and its id,
and back.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from .catalog import AUTO_ACCEPT_DAYS, DURATIONS
from .seeded_random import Dice
from .texts import DOMAINS, Domain

HOUR = 3600
DAY = 24 * HOUR
AUTO_ACCEPT = AUTO_ACCEPT_DAYS * DAY
NEVER = 1 << 40

_REVIEW = {
    "initialized": "not_finalized",
    "customer_finalized": "review_initialized",
    "cancelled": "review_failed",
}


class Phases(NamedTuple):
    """The dates of one test."""

    created: int
    finalized: int
    approved: int
    start: int
    end: int
    cancelled: int = NEVER

    def status(self, now: int, has_bugs: bool) -> str:
        """The word for where the test stands at `now`."""
        if now >= self.cancelled:
            return "cancelled"
        for until, word in (
            (self.finalized, "initialized"),
            (self.approved, "customer_finalized"),
            (self.start, "waiting"),
            (self.end, "running"),
        ):
            if now < until:
                return word
        return "locked" if has_bugs and now < self.end + AUTO_ACCEPT else "archived"


def review_status(status: str) -> str:
    """How the test lead's review stands, for a test of this status."""
    return _REVIEW.get(status, "review_successful")


class Live(NamedTuple):
    """One of the newest tests of a product, in hours from the account's first moment.

    `share` is the part of its duration that lies before `anchor`.
    """

    created: int
    finalized: int
    approved: int
    anchor: int
    share: float


_DRAFT = Live(-8, 40, 52, 72, 0)
_SUBMITTED = Live(-30, -6, 10, 30, 0)
_WAITING = Live(-54, -40, -24, 12, 0)
_RUNNING = Live(-80, -70, -60, 0, 0.6)
_ENDED = (Live(-130, -120, -110, -20, 1), Live(-200, -190, -180, -96, 1), Live(-280, -270, -265, -204, 1))
LIVE = (_DRAFT, _SUBMITTED, _WAITING, _RUNNING, *_ENDED)
# Which of them a product with few tests has.
_WANTED = (_RUNNING, _ENDED[0], _WAITING, _SUBMITTED, _DRAFT, _ENDED[1], _ENDED[2])


def live_tests(tests: int) -> tuple[Live, ...]:
    """The tests under way, newest first, of a product that starts with `tests` tests."""
    kept = _WANTED[: max(1, tests // 2)] if tests > 1 else ()
    return tuple(live for live in LIVE if live in kept)


def to_seconds(when: datetime) -> int:
    """Seconds since 1970; a time without a zone is UTC."""
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


# Offset in seconds and the text that says so.
_STYLES = ((7200, "+02:00"), (0, "Z"), (7200, ".000+02:00"), (0, ".417Z"))


def stamp(seconds: int, style: int = 0) -> str:
    """A timestamp in one of the four forms that the API uses."""
    offset, suffix = _STYLES[style]
    return datetime.fromtimestamp(seconds + offset, UTC).isoformat()[:19] + suffix


PRODUCT, SECTION, FEATURE, STORY = 21_001, 310_001, 520_001, 840_001
TEST, TEST_FEATURE, BUG, STORY_VERSION = 130_001, 5_000_001, 1_000_001, 60_000_001
ENVIRONMENT, TEMPLATE, CASE, CASE_STEP = 44_001, 71_001, 610_001, 6_100_001
# Beyond 32 bits, as on old accounts.
EXECUTION, COMMENT, ATTACHMENT = 3_000_000_001, 4_000_000_001, 7_000_000_000_001
SECTIONS_EACH, FEATURES_EACH, STORIES_EACH, TEST_FEATURES_EACH, VERSIONS_EACH = 4, 8, 4, 16, 64
EXECUTIONS_EACH = 12

_TYPES = ("coverage",) * 5 + ("focused",) * 4 + ("rapid",) * 4 + ("usability",) * 2 + ("external", None)
_SEVERITIES = {
    "rapid": ("critical", "high"),
    "focused": ("high", "low", "critical", "high"),
    "coverage": ("low", "low", "high", "high", "critical", "visual", "content", "visual"),
    "usability": ("suggestion",),
    "external": ("custom",),
    None: ("test_case", "spelling"),
}
_LONGEST_STEP, _LONGEST_HISTORY = 12 * DAY, 5 * 365 * DAY


class TestFacts(NamedTuple):
    """What decides everything about one test; `number` counts over the account."""

    number: int
    product_id: int
    testing_type: str | None
    phases: Phases
    section_id: int | None
    features: tuple[int, ...]
    bugs: int

    @property
    def id(self) -> int:
        """The id that the API shows."""
        return TEST + self.number


class BugFacts(NamedTuple):
    """What decides everything about one bug; an empty `decision` leaves it to the clock."""

    id: int
    test: TestFacts
    number: int
    severity: str
    feature_id: int | None
    reported: int
    decision: str
    decided: int
    known: bool
    exported: int

    def status(self, now: int) -> str:
        """open, accepted, auto_accepted or rejected."""
        if self.decision and now >= self.decided:
            return self.decision
        return "auto_accepted" if now >= self.test.phases.end + AUTO_ACCEPT else "open"


class Outline(NamedTuple):
    """The skeleton of a product: its features by section (one group when there are no sections)."""

    domain: Domain
    section_ids: tuple[int | None, ...]
    groups: tuple[tuple[int, ...], ...]
    # Features without user stories: no test covers one of them alone.
    bare: frozenset[int]


def outline(index: int) -> Outline:
    """The skeleton of the product with this index."""
    domain = DOMAINS[index % len(DOMAINS)]
    ids = tuple(FEATURE + index * FEATURES_EACH + place for place in range(len(domain.areas)))
    bare = frozenset(fid for fid, area in zip(ids, domain.areas, strict=True) if not area.stories)
    count = len(domain.sections)
    if not count:
        return Outline(domain, (None,), (ids,), bare)
    groups = tuple(
        tuple(fid for place, fid in enumerate(ids) if section in sections_of(place, count))
        for section in range(count)
    )
    return Outline(domain, tuple(SECTION + index * SECTIONS_EACH + 1 + s for s in range(count)), groups, bare)


def sections_of(place: int, count: int) -> set[int]:
    """Which of `count` sections hold the feature at this place: every third feature is in two of them."""
    return {place % count, (place + 1) % count} if place % 3 == 0 else {place % count}


class Plan:
    """Everything that follows from the seed and the size of the account alone."""

    def __init__(self, seed: int, products: int, tests_per_product: int, bugs_per_test: float, now: int) -> None:
        self.seed, self.products, self.tests_per_product = seed, products, tests_per_product
        self.bugs_per_test, self.origin = bugs_per_test, now
        self.tests = products * tests_per_product
        self.stride = int(2 * bugs_per_test) + 2
        self._live = live_tests(tests_per_product)
        history = max(1, tests_per_product - len(self._live))
        self._step = min(_LONGEST_STEP, _LONGEST_HISTORY // history)
        # How many tests before another one, of the same product, its bugs had time to be fixed.
        self.back = products * -(-_LONGEST_STEP // self._step)
        self._outlines = tuple(outline(index) for index in range(len(DOMAINS)))

    def test(self, number: int) -> TestFacts:
        """The facts of test `number`, which is below `tests`."""
        slot, index = divmod(number, self.products)
        dice = Dice(self.seed, "test", number)
        testing_type = dice.pick(_TYPES)
        phases = self._phases(index, self.tests_per_product - 1 - slot, _seconds(testing_type), dice)
        section_id, features = self._covered(index, dice)
        bugs = 0 if phases.cancelled != NEVER else self._bug_count(dice)
        return TestFacts(number, PRODUCT + index, testing_type, phases, section_id, features, bugs)

    def new_test(self, number: int, product_id: int, now: int) -> TestFacts:
        """The facts of a test that is created at `now`, after the account's first moment."""
        dice = Dice(self.seed, "new test", number)
        testing_type = dice.pick(_TYPES)
        section_id, features = self._covered(product_id - PRODUCT, dice)
        start = now + dice.between(2, 20) * HOUR
        phases = Phases(now, now + HOUR // 2, now + HOUR, start, start + _seconds(testing_type))
        bugs = max(1, self._bug_count(dice))
        return TestFacts(number, product_id, testing_type, phases, section_id, features, bugs)

    def bug(self, test: TestFacts, number: int, bug_id: int | None = None) -> BugFacts:
        """The facts of bug `number` of a test."""
        dice = Dice(self.seed, "bug", test.number, number)
        start, end = test.phases.start, test.phases.end
        reported = start + dice.below(max(1, end - start))
        decision, wait = self._decision(test.product_id - PRODUCT, dice)
        decided = reported + wait
        exported = decided + dice.below(DAY) if decision == "accepted" and dice.chance(60) else NEVER
        covered = test.features
        feature = dice.below(len(covered) + 1) if dice.chance(50) else dice.below(max(1, len(covered)))
        return BugFacts(
            id=self.bug_id(test.number, number) if bug_id is None else bug_id,
            test=test,
            number=number,
            severity=dice.pick(_SEVERITIES[test.testing_type]),
            feature_id=covered[feature] if feature < len(covered) else None,
            reported=reported,
            decision=decision,
            decided=decided,
            known=dice.chance(8),
            exported=exported,
        )

    def bug_id(self, test_number: int, number: int) -> int:
        """The id of bug `number` of a test."""
        return BUG + test_number * self.stride + number

    def _covered(self, index: int, dice: Dice) -> tuple[int | None, tuple[int, ...]]:
        """The section and the features of a test: a window over the features of one section."""
        shape = self._outlines[index % len(DOMAINS)]
        group = dice.below(len(shape.groups))
        round_trip = index // len(DOMAINS) * len(DOMAINS)
        features = shape.groups[group]
        first, many = dice.below(len(features)), dice.between(1, min(3, len(features)))
        window = tuple(
            features[(first + place) % len(features)] + round_trip * FEATURES_EACH for place in range(many)
        )
        if many == 1 and features[first] in shape.bare:
            return self._covered(index, dice)
        section = shape.section_ids[group]
        return section and section + round_trip * SECTIONS_EACH, window

    def _phases(self, index: int, rank: int, seconds: int, dice: Dice) -> Phases:
        """The dates of the test at `rank`, counted from a product's newest."""
        share = index / self.products
        if rank < len(self._live):
            live = self._live[rank]
            start = self.origin + live.anchor * HOUR - int(live.share * seconds)
            created, finalized, approved = (self.origin + int((hours + 4 * share) * HOUR) for hours in live[:3])
            return Phases(created, finalized, approved, start, start + seconds)
        age = rank - len(self._live) + 1 - share
        created = self.origin - 15 * DAY - int(age * self._step)
        start = created + dice.between(3, 48) * HOUR
        cancelled = created + HOUR if dice.chance(4) else NEVER
        return Phases(created, created + HOUR, created + 2 * HOUR, start, start + seconds, cancelled)

    def _bug_count(self, dice: Dice) -> int:
        return round(2 * self.bugs_per_test * dice.fraction())

    def _decision(self, index: int, dice: Dice) -> tuple[str, int]:
        """What the customer decides and after how many seconds; products differ in how well they review."""
        accepts, rejects = 70 - 8 * (index % 5), 8 + 7 * (index % 4)
        drawn = dice.below(100)
        if drawn < accepts:
            return "accepted", dice.between(1, 120) * HOUR
        if drawn < accepts + rejects:
            return "rejected", dice.between(1, 120) * HOUR
        return "", 0


def _seconds(testing_type: str | None) -> int:
    return (DURATIONS[testing_type] if testing_type else 8) * HOUR
