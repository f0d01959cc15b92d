"""What answers requests about exploratory tests, executions and bugs."""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from .call import Answer, Call, Refused, among, invalid, one_of, only, require
from .catalog import DURATIONS, EXPORT_STATUSES, IMMUTABLE_TEST_STATUSES, REPORT_LANGUAGES, Payload
from .plan import EXECUTION, EXECUTIONS_EACH, HOUR, NEVER, STORY_VERSION, VERSIONS_EACH, Phases, TestFacts, to_seconds
from .routes_products import new_feature
from .state import ProductState, surviving
from .test_payloads import execution_payload, living_runs, runs_of

_CREATABLE = ("coverage", "usability", "rapid", "focused")
_TEXTS = (
    "goal",
    "out_of_scope",
    "instructions",
    "report_language",
    "allow_device_clouds",
    "requirements",
    "attachments",
)


def list_tests(call: Call) -> Answer:
    """The tests of a product, newest first, without metrics."""
    offset, limit = call.window()
    page = call.world.tests_page(call.product().id, offset, limit, objects=call.objects)
    return Answer({}, root="exploratory_tests", records=page)


def get_test(call: Call) -> Answer:
    """One test with its metrics."""
    return _answer_test(call, call.ids["tid"])


def _answer_test(call: Call, test_id: int, status: int = 200) -> Answer:
    return Answer({"exploratory_test": call.world.test(test_id, objects=call.objects)}, status)


def create_test(call: Call) -> Answer:
    """A draft, or with `auto_launch` a submitted test."""
    state, body = call.product(), call.root("exploratory_test")
    if bool(body.get("features")) == bool(body.get("test_template")):
        invalid("exactly one of features, test_template is needed")
    if not body.get("test_environment") and not body.get("test_environment_id"):
        invalid("test_environment can't be blank")
    _check(call, state, body)
    number, clock = call.world.next_test, call.world.clock
    testing_type = body.get("testing_type", "coverage")
    start = _start(body) or (clock // HOUR + 1) * HOUR
    facts = TestFacts(
        number=number,
        product_id=state.id,
        testing_type=testing_type,
        phases=Phases(clock, NEVER, NEVER, start, start + _length(body, testing_type)),
        section_id=body.get("section_id"),
        features=_features(call, state, body),
        bugs=call.world.plan.new_test(number, state.id, clock).bugs,
    )
    call.world.keep_test(facts)
    call.world.update_test(facts.id, **_fields(call, state, body))
    if body.get("auto_launch") is True:
        call.world.launch_test(facts.id)
    return _answer_test(call, facts.id, 201)


def update_test(call: Call) -> Answer:
    """Changed attributes of a test that has not started."""
    facts, body = call.world.test_facts(call.ids["tid"]), call.root("exploratory_test")
    status = call.world.test_status(facts)
    if status in (*IMMUTABLE_TEST_STATUSES, "running", "locked"):
        invalid(f"a test that is {status} cannot be changed")
    if "test_template" in body:
        invalid("test_template can only be set when a test is created")
    state = call.world.product_state(facts.product_id)
    _check(call, state, body)
    testing_type = body.get("testing_type", facts.testing_type)
    start = _start(body) or facts.phases.start
    length = _length(body, testing_type) if "duration" in body else facts.phases.end - facts.phases.start
    features = _features(call, state, body) if body.get("features") else facts.features
    phases = facts.phases._replace(start=start, end=start + length)
    call.world.keep_test(facts._replace(testing_type=testing_type, phases=phases, features=features))
    call.world.update_test(facts.id, **_fields(call, state, body))
    return _answer_test(call, facts.id)


def launch_test(call: Call) -> Answer:
    """Submit a draft."""
    facts = call.world.test_facts(call.ids["tid"])
    if (status := call.world.test_status(facts)) != "initialized":
        invalid(f"a test that is {status} cannot be launched")
    call.world.launch_test(facts.id)
    return _answer_test(call, facts.id)


def duplicate_test(call: Call) -> Answer:
    """A new draft with the content of a test."""
    facts, world = call.world.test_facts(call.ids["tid"]), call.world
    start = world.clock + 24 * HOUR
    length = facts.phases.end - facts.phases.start
    phases = Phases(world.clock, NEVER, NEVER, start, start + length)
    copy = facts._replace(number=world.next_test, phases=phases, bugs=max(1, facts.bugs))
    original = world.test(facts.id)
    world.keep_test(copy)
    kept = only(original, ("title", "test_title", *_TEXTS, "goal_text", "instructions_text", "test_environment"))
    world.update_test(copy.id, **kept)
    return _answer_test(call, copy.id)


def create_template(call: Call) -> Answer:
    """A test template made from a test."""
    facts, body = call.world.test_facts(call.ids["tid"]), call.root("test_template")
    require(body, title=str)
    state = call.world.product_state(facts.product_id)
    template = {
        "id": call.world.new_id(),
        "title": body["title"],
        "section_id": facts.section_id or state.payload["default_section_id"],
        "_features": facts.features,
    }
    state.templates[template["id"]] = template
    return Answer({"test_template": only(template, ("id", "title", "section_id"))}, 201)


def _check(call: Call, state: ProductState, body: Payload) -> None:
    """Refuse attributes that the API does not accept."""
    one_of(body, "testing_type", _CREATABLE)
    one_of(body, "report_language", REPORT_LANGUAGES)
    severities = body.get("bug_severities") or {}
    if not isinstance(severities, dict) or (severities and body.get("testing_type") != "focused"):
        invalid("bug_severities belong to focused tests")
    sections = [section["id"] for section in state.payload["sections_with_default"]]
    template = body.get("test_template")
    template_id = template.get("id") if isinstance(template, dict) else template
    for name, value, known in (
        ("section_id", body.get("section_id"), sections),
        ("test_environment_id", body.get("test_environment_id"), state.environments),
        ("test_template", template_id, state.templates),
    ):
        if value is not None and not among(value, known):
            invalid(f"{name} does not belong to the product")


def _features(call: Call, state: ProductState, body: Payload) -> tuple[int, ...]:
    """Ids of the features that a test shall cover; new ones are created on the way."""
    if template := body.get("test_template"):
        covered = state.templates[template["id"]].get("_features", tuple(state.features)[:2])
        return tuple(covered)
    wanted = body["features"]
    if not isinstance(wanted, list) or not all(isinstance(feature, dict) for feature in wanted):
        invalid("features must be a list of objects")
    ids = []
    for feature in wanted:
        if "id" not in feature:
            require(feature, title=str)
            created = new_feature(call, feature, state.section_ids[:1])
            call.world.hold_feature(created, state.id)
            ids.append(created.id)
        elif among(feature["id"], state.features):
            ids.append(feature["id"])
        else:
            invalid("features must be features of the product")
    return tuple(ids)


def _fields(call: Call, state: ProductState, body: Payload) -> dict[str, Any]:
    """The attributes of a request as the test's payload shows them."""
    fields: dict[str, Any] = only(body, _TEXTS)
    if title := body.get("test_title") or body.get("title"):
        fields["title"] = title
    fields.update({f"{name}_text": body[name] for name in ("goal", "out_of_scope", "instructions") if name in body})
    if environment_id := body.get("test_environment_id"):
        fields["test_environment"] = state.environments[environment_id]
    elif isinstance(environment := body.get("test_environment"), dict):
        fields["test_environment"] = environment | {"id": environment.get("id") or call.world.new_id()}
    for level, enabled in (body.get("bug_severities") or {}).items():
        if level in ("low", "high", "critical"):
            fields[f"enable_{level}"] = bool(enabled)
    return fields


def _start(body: Payload) -> int | None:
    if not (text := body.get("start_at")):
        return None
    try:
        return to_seconds(datetime.fromisoformat(text))
    except (TypeError, ValueError):
        invalid("start_at is invalid")


def _length(body: Payload, testing_type: str | None) -> int:
    """Seconds that a test runs; the API takes hours as a string."""
    hours = str(body.get("duration") or DURATIONS.get(testing_type or "", 24))
    if not hours.isdecimal() or int(hours) < 1:
        invalid("duration is invalid")
    return int(hours) * HOUR


# --- executions


def list_executions(call: Call) -> Answer:
    """Executions, the only list with a total; `order=desc` begins with the newest test."""
    one_of(dict(call.query), "order", ("asc", "desc"))
    stories, versions = call.numbers("user_story_ids"), call.numbers("user_story_version_ids")
    offset, limit = call.window(unpaged=25)
    newest_first = call.query.get("order") == "desc"
    if stories is None and versions is None:
        total = (call.world.next_test - len(call.world.gone_tests)) * EXECUTIONS_EACH - len(_gone(call))
        return _executions(call, list(islice(_paged(call, offset, newest_first, total), limit)), total)
    found = [
        payload for facts in _candidates(call, versions) for payload in _matching(call, facts, stories, versions)
    ]
    if newest_first:
        found.reverse()
    return _executions(call, found[offset : offset + limit], len(found))


def _executions(call: Call, records: list[Payload], total: int) -> Answer:
    return Answer({"user_story_version_executions": records, "meta": {"record_count": total}})


def _paged(call: Call, offset: int, newest_first: bool, total: int) -> Iterator[Payload]:
    """All executions after an offset; every test has the same number of them, but for those that were deleted."""
    gone = _gone(call)
    for place in range(offset, total):
        at = total - 1 - place if newest_first else place
        test, run = divmod(next(surviving(gone, total + len(gone), at, 1)), EXECUTIONS_EACH)
        number = next(surviving(call.world.gone_tests, call.world.next_test, test, 1))
        facts = call.world.facts(number)
        yield execution_payload(call.world, facts, runs_of(call.world, facts)[run])


def _gone(call: Call) -> list[int]:
    """The places of the deleted executions among those of the tests that are left, oldest first."""
    deleted, places = call.world.gone_tests, []
    for run_id in sorted(call.world.gone_runs):
        number, place = divmod(run_id - EXECUTION, EXECUTIONS_EACH)
        if number not in deleted:
            places.append((number - bisect_left(deleted, number)) * EXECUTIONS_EACH + place)
    return places


def _candidates(call: Call, versions: list[int] | None) -> Iterator[TestFacts]:
    """The tests that can hold what is asked for."""
    world = call.world
    if versions is None:
        numbers = iter(range(world.next_test))
    else:
        numbers = iter(sorted({(version - STORY_VERSION) // VERSIONS_EACH for version in versions}))
    gone = set(world.gone_tests)
    for number in numbers:
        if 0 <= number < world.next_test and number not in gone:
            yield world.facts(number)


def _matching(
    call: Call, facts: TestFacts, stories: list[int] | None, versions: list[int] | None
) -> Iterator[Payload]:
    covered = {story for feature in call.world.covered(facts) for story in feature.stories}
    if stories is not None and not covered.intersection(stories):
        return
    for run in living_runs(call.world, facts):
        version = run.version
        if version is None or (stories is not None and version.story_id not in stories):
            continue
        if versions is None or version.id in versions:
            yield execution_payload(call.world, facts, run)


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
        found: Iterator[TestFacts] = (facts for test_id in tests if (facts := _find_test(call, test_id)))
    else:
        kept = [pid for pid in world.product_ids if products is None or pid in products]
        found = (world.facts(number) for pid in kept for number in world.numbers_of(pid))
    for facts in found:
        if products is not None and facts.product_id not in products:
            continue
        if sections is None or facts.section_id in sections:
            yield facts


def _find_test(call: Call, test_id: int) -> TestFacts | None:
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
