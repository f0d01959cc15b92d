"""Bugs as the API shows them: what testers wrote, how customers rejected them, which came back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .catalog import ATTACHMENT_URL, DEVICES, ODD_DEVICES, REJECT_REASONS, Payload
from .plan import ATTACHMENT, COMMENT, DAY, HOUR, NEVER, TEST_FEATURE, TEST_FEATURES_EACH, BugFacts, TestFacts, stamp
from .seeded_random import Dice
from .state import ProductState
from .texts import COMMENTS, CONDITIONS, EXPECTED, LANGUAGES, STEPS, SYMPTOMS

if TYPE_CHECKING:
    from .world import Account

_ATTACHMENTS_EACH, _COMMENTS_EACH = 4, 8
_PAYMENTS = ("Card", "Invoice", "PayPal", "Voucher")
_SHOWN = {"open": "forwarded", "auto_accepted": "accepted"}


def bug_payload(world: Account, bug: BugFacts) -> Payload:
    """A bug as planned, at the account's present moment."""
    dice = Dice(world.seed, "bug text", bug.test.number, bug.number)
    status = bug.status(world.clock)
    product = world.product_state(bug.test.product_id)
    style = world.style(bug.id)
    payload: Payload = {"id": bug.id}
    payload.update(_text(world, bug, dice))
    payload.update(
        severity=bug.severity,
        status=_SHOWN.get(status, status),
        auto_accepted=status == "auto_accepted",
        location=f"https://{dice.pick(world.pools.hosts)}.example/{bug.number}",
        author={"name": dice.pick(world.pools.testers)},
        comments=_comments(world, bug, status, dice, style),
        devices=[dice.pick(DEVICES) for _ in range(1 if dice.chance(75) else 2)],
        reproductions=[],
        **_feature_fields(world, bug),
        test={"id": bug.test.id, "title": world.test_title(bug.test)},
        test_case=None,
        test_environment=next(iter(product.environments.values()), None),
        product={"id": product.id, "name": product.payload["name"]},
        section=world.section(bug.test.section_id),
        attachments=_attachments(bug, dice),
        known=bug.known,
        external_idx=f"QA-{bug.id % 100_000}" if bug.exported <= world.clock else None,
        exported_at=stamp(bug.exported, style) if bug.exported <= world.clock else None,
        reported_at=stamp(bug.reported, style),
    )
    if status == "rejected" and (told := rejection(world, bug).api_reason):
        payload["rejection_reason"] = told
    if fixed_at(bug) <= world.clock:
        payload["fixed"] = True
    if bug.severity == "custom":
        payload["report"] = _custom_report(world, bug, dice)
    return _odd(payload, bug, product, dice) if world.quirks else payload


def _text(world: Account, bug: BugFacts, dice: Dice) -> Payload:
    """What the tester wrote; of a bug that came back, what the first one said, in fewer words."""
    own = _own_text(world, bug, dice)
    first = found_again(world, bug)
    if first is None:
        return own
    found = _text(world, first, Dice(world.seed, "bug text", first.test.number, first.number))
    shortened = {"title": found["title"].partition("] ")[2], "actual_result": found["actual_result"].split("\r\n")[0]}
    return found | {name: text or found[name] for name, text in shortened.items()}


def _own_text(world: Account, bug: BugFacts, dice: Dice) -> Payload:
    language = dice.pick(LANGUAGES)
    feature = world.feature(bug.feature_id)
    product = world.product_state(bug.test.product_id).payload["name"]
    area = feature.title if feature else product
    element = dice.pick(feature.element_choices) if feature else "Start page"
    words = {"element": element, "area": area, "product": product}
    symptom = dice.pick(SYMPTOMS[language]).format(**words)
    sentences = world.pools.sentences[language]
    steps = [step.format(**words) for step in STEPS[language]]
    steps.append(dice.pick(sentences))
    return {
        "title": f"[{area}] {symptom} {dice.pick(CONDITIONS[language])}",
        "language": language,
        "steps": steps,
        "expected_result": EXPECTED[language].format(**words),
        "actual_result": f"{symptom}.\r\n{dice.pick(sentences)} {dice.pick(sentences)}",
    }


def _feature_fields(world: Account, bug: BugFacts) -> Payload:
    """Where the bug is: the product's feature, the test's copy of it, and the old name for it.

    With quirks one in four bugs names only one of the three.
    """
    feature = world.feature(bug.feature_id)
    if feature is None:
        return {"feature": None, "test_feature": None, "app_section": None}
    copy = TEST_FEATURE + bug.test.number * TEST_FEATURES_EACH + bug.test.features.index(feature.id)
    places: Payload = {
        "feature": {"id": feature.id, "title": feature.title},
        "test_feature": {"id": copy, "title": feature.title, "feature_id": feature.id},
        "app_section": {"id": copy, "title": feature.title},
    }
    keys = tuple(places)
    variant = (bug.test.number + bug.number) % 12
    if world.quirks and variant < len(keys):
        return {keys[variant]: places[keys[variant]]}
    return places


def _comments(world: Account, bug: BugFacts, status: str, dice: Dice, style: int) -> list[Payload]:
    first = COMMENT + bug.id * _COMMENTS_EACH
    comments = [
        (dice.pick(COMMENTS), dice.pick(world.pools.testers), bug.reported + HOUR)
        for _ in range(dice.below(3) if dice.chance(40) else 0)
    ]
    if status == "rejected":
        made = rejection(world, bug)
        comments.append((made.comment, dice.pick(world.pools.contacts), bug.decided))
        comments += [(text, dice.pick(world.pools.testers), bug.decided + HOUR) for text in made.late]
    return [
        {"id": first + place, "body": body, "author": {"name": name}, "created_at": stamp(at, style)}
        for place, (body, name, at) in enumerate(comments)
        if at <= world.clock
    ]


def _attachments(bug: BugFacts, dice: Dice) -> list[Payload]:
    first = ATTACHMENT + bug.id * _ATTACHMENTS_EACH
    return [
        {
            "id": first + place,
            "url": f"{ATTACHMENT_URL}/{first + place}.mp4",
            "thumbnail_urls": {"small": f"{ATTACHMENT_URL}/{first + place}-small.png"},
        }
        for place in range(dice.below(3))
    ]


def _custom_report(world: Account, bug: BugFacts, dice: Dice) -> Payload:
    """Answers to a fixed set of questions; some were left empty, and some were not asked."""
    answers: tuple[tuple[str, str, str, object], ...] = (
        ("satisfaction", "How satisfied are you?", "number", dice.between(1, 10)),
        ("paid_at", "Paid at", "date", stamp(bug.reported - DAY)[:10]),
        ("shop", "Name of the shop", "text", f"Shop {dice.below(90)}"),
    )
    # Choices of their own, so that nothing else about the bug depends on how many questions there are.
    more = Dice(world.seed, "custom report", bug.test.number, bug.number)
    basket = f"{more.between(3, 250)},{more.below(100):02}"
    answers += (
        ("basket", "Value of the basket", "text", basket if more.chance(90) else None),
        ("payment", "Payment method", "select", more.pick(_PAYMENTS)),
        ("again", "Would you buy again?", "boolean", more.chance(70)),
        ("remark", "Anything else?", "text", more.pick(world.pools.sentences["en"]) if more.chance(60) else ""),
    )
    asked = len(answers) if more.chance(80) else len(answers) - 1
    return {
        "custom_report_configuration_id": 12,
        "content": {
            "data": [
                {"key": key, "name": name, "type": kind, "value": value, "position": place}
                for place, (key, name, kind, value) in enumerate(answers[:asked])
            ]
        },
    }


def _odd(payload: Payload, bug: BugFacts, product: ProductState, dice: Dice) -> Payload:
    """One or two of the deviations that real payloads show."""
    if dice.chance(30):
        payload["steps"] = "\r\n".join(f"{n}. {step}" for n, step in enumerate(payload["steps"], 1))
    if dice.chance(20):
        payload["author"] = payload["author"]["name"]
    if dice.chance(10):
        payload["devices"] = [*payload["devices"], dice.pick(ODD_DEVICES)]
    if payload["section"] is None and dice.chance(10):
        payload["section"] = product.payload["sections_with_default"][0]
    return _rarely_odd(payload, bug, dice.below(10))


def _rarely_odd(payload: Payload, bug: BugFacts, variant: int) -> Payload:
    if variant == 0 and payload["auto_accepted"]:
        payload["status"] = "auto_accepted"
    elif variant == 1:
        payload["priority_hint"] = {"score": bug.number}
    elif variant == 2:
        payload["section"] = None
    elif variant == 5 and not payload["auto_accepted"]:
        del payload["auto_accepted"]
    elif variant == 4:
        payload["test"] = {"id": payload["test"]["id"]}
    return payload


UNRECOGNISED = "unrecognised"
_PREFIXES = ("Rejected - ", "Bug rejected: ", "REJECTED: ", "Rejected – ", "Abgelehnt: ", "Hi, sorry. ")
# By the reason's key: its comment shortened, edited, and in another language.
_VARIANTS = {
    "intended": (
        "The intended behaviour.",
        "This is our intended behaviour, as agreed.",
        "Das Verhalten ist so gewollt.",
    ),
    "not_reproducible": (
        "Could not reproduce",
        "We couldn't reproduce this issue on our devices.",
        "Das konnten wir nicht nachstellen.",
    ),
    "out_of_scope": (
        "Out of the scope of the test",
        "This bug is clearly out of the scope of this test!",
        "Das gehört nicht zum Test.",
    ),
    "duplicate": ("was reported before", "This bug has been reported before, see above.", "Das ist schon bekannt."),
    "not_a_bug": ("Not a bug", "This is really not a bug, see the manual.", "Das ist kein Fehler."),
    "other": ("This bug is rejected", "This bug is rejected (see above).", "Wir lehnen das ab."),
}
_LATE = ("Sorry, I did not see that.", "Thanks for looking into it.", "Schade.")


class Rejection(NamedTuple):
    """How a bug was rejected: the reason, the comment, what was written after it, and what the bug itself says.

    `is_translated` says that nothing of the reason's own words is left.
    """

    reason: Payload
    comment: str
    late: tuple[str, ...]
    api_reason: str | None
    is_translated: bool

    @property
    def recognised(self) -> str:
        """The name of the reason, as far as the bug as the API shows it tells."""
        return UNRECOGNISED if self.is_translated and self.api_reason is None else str(self.reason["name"])


def rejection(world: Account, bug: BugFacts) -> Rejection:
    """How this bug is rejected, if it is."""
    dice = Dice(world.seed, "rejection", bug.test.number, bug.number)
    reason = dice.pick(REJECT_REASONS)
    said = str(reason["default_comment"])
    more = dice.pick(world.pools.sentences["en"])
    is_long, form, word = dice.chance(50), dice.below(100), dice.below(3)
    prefix = dice.pick(_PREFIXES)
    late = tuple(dice.pick(_LATE) for _ in range(dice.below(3))) if dice.chance(25) else ()
    is_told = world.tells_reasons or dice.chance(8)
    plain = f"{said} {more}" if is_long else said
    if not world.quirks:
        return Rejection(reason, plain, (), None, False)
    api_reason = str(reason[dice.pick(("name", "key"))]) if is_told else None
    return Rejection(reason, _comment(reason, plain, form, word, prefix), late, api_reason, form >= _TRANSLATED)


_TRANSLATED = 94


def _comment(reason: Payload, plain: str, form: int, word: int, prefix: str) -> str:
    """The comment in one of the forms that are met: most often as it stands, now and then behind a prefix."""
    said = str(reason["default_comment"])
    shortened, edited, translated = _VARIANTS[reason["key"]]
    if form >= _TRANSLATED:
        return ("", "Abgelehnt - ", "Bug rejected: ")[word] + translated
    if form < 40:
        return plain
    if form < 60:
        return prefix + plain
    if form < 70:
        return (said.upper().replace(".", "!!"), f"<p>{said}</p>", f"  {said.lower()} ".replace(" ", "  \r\n"))[word]
    if form < 78:
        return f"{prefix}{reason['name']}"
    return prefix + (shortened if form < 86 else edited)


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
