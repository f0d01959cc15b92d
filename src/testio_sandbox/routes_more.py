"""Test cases, connections and binary apps: records that exist only when somebody created them."""

from typing import Any

from .call import Answer, Call, Refused, among, invalid, only, require
from .catalog import APP_SUFFIXES, DURATIONS, Payload
from .lifecycle import HOUR, NEVER, Phases
from .plan import TestFacts
from .records_cases import case_results, planned_cases

_UPLOAD_LIMIT = 1 << 30
_CONNECTION = ("name", "url", "fixed", "product_ids", "section_ids")


def _make(call: Call, kind: str, **fields: object) -> Payload:
    record: Payload = {"id": call.world.new_id(), **fields}
    call.world.made.setdefault(kind, {})[record["id"]] = record
    return record


def _made(call: Call, kind: str, record_id: Any) -> Payload:
    records = call.world.made.get(kind, {})
    if not among(record_id, records):
        raise Refused(404, f"{kind.replace('_', ' ').capitalize()} not found")
    return records[record_id]


# --- test cases


def create_test_cases(call: Call) -> Answer:
    """Test cases, sent with `test_case_steps` and answered with `steps`."""
    state, cases = call.product(), call.body.get("test_cases")
    if not isinstance(cases, list) or not cases:
        raise Refused(400, "param is missing or the value is empty: test_cases")
    for case in cases:
        if not isinstance(case, dict):
            invalid("test_cases must hold objects")
        require(case, title=str, feature_id=int, test_case_steps=list)
        if case["feature_id"] not in state.features:
            invalid("feature_id must be a feature of the product")
        for step in case["test_case_steps"]:
            require(step if isinstance(step, dict) else {}, description=str)
    made = [
        _make(
            call,
            "test_case",
            product_id=state.id,
            **only(case, ("title", "feature_id", "target_idx")),
            steps=[{"id": call.world.new_id(), **step} for step in case["test_case_steps"]],
        )
        for case in cases
    ]
    return Answer({"test_cases": made}, 201)


def create_test_case_test(call: Call) -> Answer:
    """A test that runs test cases; it has no testing type."""
    state = call.product()
    body = call.body.get("test_case_test", call.body)
    if not isinstance(body, dict):
        raise Refused(400, "test_case_test must be an object")
    require(body, test_cases=list, test_environment=dict)
    cases = [_made(call, "test_case", case.get("id")) for case in body["test_cases"] if isinstance(case, dict)]
    start = (call.world.clock // HOUR + 1) * HOUR
    facts = TestFacts(
        number=call.world.next_test,
        product_id=state.id,
        testing_type=None,
        phases=Phases(call.world.clock, NEVER, NEVER, start, start + DURATIONS["focused"] * HOUR),
        section_id=body.get("section_id"),
        features=tuple(dict.fromkeys(case["feature_id"] for case in cases)),
        bugs=0,
    )
    call.world.keep_test(facts)
    title = body.get("test_title") or body.get("title") or f"Test cases of {state.payload['name']}"
    call.world.update_test(facts.id, title=title)
    made = call.world.made.setdefault("test_case_test", {})
    made[facts.id] = {"id": facts.id, "title": title, "product_id": state.id, "test_cases": cases}
    return Answer({"test_case_test": made[facts.id]}, 201)


def get_test_case_test(call: Call) -> Answer:
    """A test-case test."""
    return Answer({"test_case_test": _test_case_test(call)})


def list_results(call: Call) -> Answer:
    """How each test case went: as planned once the test has ended, pending before."""
    test = _test_case_test(call)
    return Answer({"results": case_results(call.world, call.world.test_facts(test["id"]), test["test_cases"])})


def _test_case_test(call: Call) -> Payload:
    """The test-case test of the path, created or planned; another test is none."""
    facts = call.world.test_facts(call.ids["tid"])
    if made := call.world.made.get("test_case_test", {}).get(facts.id):
        return made
    if facts.testing_type is not None or facts.product_id != call.ids["pid"]:
        raise Refused(404, "Test case test not found")
    cases, title = planned_cases(call.world, facts), call.world.test_title(facts)
    return {"id": facts.id, "title": title, "product_id": facts.product_id, "test_cases": cases}


# --- connections


def create_connection(call: Call) -> Answer:
    """A webhook that bugs are exported to."""
    body = call.body.get("connection", call.body)
    if not isinstance(body, dict):
        raise Refused(400, "connection must be an object")
    require(body, name=str, url=str)
    return Answer({"connection": _make(call, "connection", **only(body, _CONNECTION))}, 201)


def get_connection(call: Call) -> Answer:
    """One connection."""
    return Answer({"connection": _made(call, "connection", call.ids["cid"])})


def update_connection(call: Call) -> Answer:
    """Changed fields of a connection."""
    connection, body = _made(call, "connection", call.ids["cid"]), call.body.get("connection", call.body)
    connection.update(only(body, _CONNECTION))
    return Answer({"connection": connection})


def delete_connection(call: Call) -> Answer:
    """The connection that was."""
    connection = _made(call, "connection", call.ids["cid"])
    del call.world.made["connection"][connection["id"]]
    return Answer({"connection": connection})


# --- binary apps


def create_binary_app(call: Call) -> Answer:
    """An app uploaded in the request itself."""
    upload = call.files.get("file")
    if upload is None:
        raise Refused(400, "file is missing")
    name = _app_name(upload.filename)
    return Answer({"binary_app": _make(call, "binary_app", filename=name, file_size=upload.size)}, 201)


def upload_url(call: Call) -> Answer:
    """Where to post an app to; finalise it afterwards."""
    app = _make(call, "binary_app", filename=None, file_size=None)
    fields = {"key": f"uploads/{app['id']}", "policy": "sandbox"}
    return Answer({"id": app["id"], "url": f"https://uploads.testio.example/{app['id']}", "fields": fields})


def finalize_binary_app(call: Call) -> Answer:
    """An app that was posted to its upload address."""
    app = _made(call, "binary_app", call.ids["aid"])
    body = call.body.get("binary_app", call.body)
    if not isinstance(body, dict):
        raise Refused(400, "binary_app must be an object")
    require(body, filename=str, file_size=int, content_type=str)
    _app_name(body["filename"])
    if not 0 < body["file_size"] <= _UPLOAD_LIMIT:
        invalid("file_size must be at most 1 GiB")
    names = ("filename", "file_size", "content_type", "bundle_identifier", "bundle_version")
    app.update(only(body, names))
    return Answer({"binary_app": app})


def _app_name(name: str) -> str:
    if not name.lower().endswith(APP_SUFFIXES):
        invalid(f"filename must end with one of {', '.join(APP_SUFFIXES)}")
    return name
