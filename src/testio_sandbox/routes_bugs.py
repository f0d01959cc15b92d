"""Bugs and what a customer does with them."""

from collections.abc import Iterator

from .call import Answer, Call, Refused, invalid, one_of, require
from .catalog import EXPORT_STATUSES, Payload
from .plan import TestFacts

_SHORT = ("id", "title", "severity", "status")


def list_bugs(call: Call) -> Answer:
    """The bugs of all wanted tests, products and sections in one answer, never paged."""
    one_of(dict(call.query), "export_status", EXPORT_STATUSES)
    return Answer({}, root="bugs", records=_bugs(call))


def _bugs(call: Call) -> Iterator[Payload]:
    world, wanted = call.world, call.query.get("export_status")
    for facts in _tests(call):
        for bug in world.visible_bugs(facts):
            payload = world.shown_bug(bug)
            if wanted is None or _export_status(payload) == wanted:
                yield payload


def _tests(call: Call) -> Iterator[TestFacts]:
    """The tests that the filters leave; unknown ids match nothing."""
    world = call.world
    products, tests = call.numbers("filter_product_ids"), call.numbers("filter_test_cycle_ids")
    sections = call.numbers("filter_section_ids")
    if tests is not None:
        found: Iterator[TestFacts] = (facts for test_id in tests if (facts := _known(call, test_id)))
    else:
        kept = [pid for pid in world.product_ids if products is None or pid in products]
        found = (world.facts(number) for pid in kept for number in world.numbers_of(pid))
    for facts in found:
        if products is not None and facts.product_id not in products:
            continue
        if sections is None or facts.section_id in sections:
            yield facts


def _known(call: Call, test_id: int) -> TestFacts | None:
    try:
        return call.world.test_facts(test_id)
    except KeyError:
        return None


def _export_status(bug: Payload) -> str:
    if bug["exported_at"]:
        return "exported"
    return "export_requested" if bug.get("export_requested") else "not_exported"


def get_bug(call: Call) -> Answer:
    """One bug."""
    return Answer({"bug": call.world.bug(call.ids["bid"])})


def search_bugs(call: Call) -> Answer:
    """The bugs with an id of the customer's own tracker."""
    wanted = call.root("bug")
    require(wanted, external_idx=str)
    found = [bug for bug in _bugs(call) if bug["external_idx"] == wanted["external_idx"]]
    return Answer({"bugs": found})


def list_reject_reasons(call: Call) -> Answer:
    """The reasons that a rejection may give."""
    return Answer({"reject_reasons": list(call.world.reject_reasons)})


def accept_bug(call: Call) -> Answer:
    """Accept an open bug."""
    _open(call)
    return _changed(call, status="accepted", auto_accepted=False)


def reject_bug(call: Call) -> Answer:
    """Reject an open bug with a reason; it shows afterwards as a comment that begins with the reason's text."""
    given = {name: call.body.get(name) or call.query.get(name) for name in ("reason", "comment")}
    require(given, reason=str, comment=str)
    reasons = {reason["key"]: reason["default_comment"] for reason in call.world.reject_reasons}
    if given["reason"] not in reasons:
        invalid("reason is not included in the list")
    bug = _open(call)
    opening, said = reasons[given["reason"]], str(given["comment"])
    comment = {
        "id": call.world.new_id(),
        "body": said if said.startswith(opening) else f"{opening} {said}",
        "author": {"name": call.world.pools.contacts[0]},
        "created_at": call.world.stamp(),
    }
    return _changed(call, status="rejected", comments=[*bug["comments"], comment])


def _open(call: Call) -> Payload:
    """The bug of the path, which nobody decided on yet."""
    facts = call.world.bug_facts(call.ids["bid"])
    status = call.world.bug_status(facts)
    if status != "open":
        invalid(f"the bug is {status} already")
    return call.world.shown_bug(facts)


def mark_exported(call: Call) -> Answer:
    """Note that a bug is in the customer's own tracker."""
    return _changed(call, exported_at=call.world.stamp())


def mark_known(call: Call) -> Answer:
    """Tag a bug as known before."""
    return _changed(call, known=True)


def mark_fixed(call: Call) -> Answer:
    """Note that a bug is fixed."""
    return _changed(call, fixed=True)


def _changed(call: Call, **fields: object) -> Answer:
    """The bug after a change; some accounts answer with four fields only."""
    bug = call.world.update_bug(call.ids["bid"], **fields)
    short = call.world.quirks and bug["id"] % 2
    return Answer({"bug": {name: bug[name] for name in _SHORT} if short else bug})


def create_confirmation(call: Call) -> Answer:
    """Ask testers to confirm a bug on other devices."""
    body = call.body.get("bug_report_confirmation", call.body)
    if not isinstance(body, dict):
        raise Refused(400, "bug_report_confirmation must be an object")
    require(body, product_id=int, bug_id=int, bug_report_confirmation_requirement_attributes=dict)
    bug = call.world.bug(body["bug_id"])
    if bug["product"]["id"] != body["product_id"]:
        invalid("bug_id must be a bug of the product")
    return Answer({"bug_report_confirmation": {"id": call.world.new_id(), "status": "initialized", **body}}, 201)
