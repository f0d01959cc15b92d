"""What answers requests about products, features, stories, environments, test cases, connections and binary apps."""

from collections.abc import Iterator
from typing import Any

from .call import ALL, Answer, Call, Refused, among, chosen, invalid, one_of, only, require
from .catalog import APP_SUFFIXES, DURATIONS, INDUSTRIES, PRODUCT_TYPES, Payload
from .plan import HOUR, NEVER, Phases, TestFacts
from .state import Feature, ProductState
from .test_payloads import case_results, planned_cases

TEMPLATES_LIMIT = 20
_ACCESS = ("url", "binary_app_id", "file_url", "file_base_64")
_DESCRIPTION_LIMIT = 255


def list_products(call: Call) -> Answer:
    """Every product, or the wanted ones."""
    return Answer({"products": chosen(call.world.iter_products(), call.numbers("filter[product_ids]"))})


def get_product(call: Call) -> Answer:
    """One product."""
    return Answer({"product": call.product().payload})


def create_product(call: Call) -> Answer:
    """A product without sections."""
    body = call.root("product")
    require(body, title=str, product_type=str, industry=str)
    one_of(body, "product_type", PRODUCT_TYPES)
    one_of(body, "industry", INDUSTRIES)
    fields = {"name": body["title"], "type": body["product_type"], **only(body, ("description", "industry"))}
    return Answer({"product": call.world.add_product(**fields)}, 201)


def update_product(call: Call) -> Answer:
    """The description is all that can be changed."""
    call.product().payload.update(only(call.root("product"), ("description",)))
    return get_product(call)


def delete_product(call: Call) -> Answer:
    """A product with everything in it."""
    return Answer({"product": call.world.delete_product(call.product().id)})


# --- features and user stories


def list_features(call: Call) -> Answer:
    """All features of a product."""
    return Answer({"features": call.world.features(call.product().id, objects=call.objects)})


def list_section_features(call: Call) -> Answer:
    """The features of one section; the default section of a product without sections holds them all."""
    state, section_id = call.product(), call.ids["sid"]
    if section_id == state.payload["default_section_id"] and not state.section_ids:
        return list_features(call)
    if section_id not in state.section_ids:
        raise Refused(404, "Section not found")
    return Answer({"features": call.world.features(state.id, section_id, objects=call.objects)})


def create_feature(call: Call) -> Answer:
    """A feature, with user stories given as texts."""
    require(call.body, product_id=int)
    state = call.world.product_state(call.world.product(call.body["product_id"])["id"])
    body = call.root("feature")
    require(body, title=str, description=str)
    sections = call.body.get("section_ids") or []
    if not isinstance(sections, list) or not all(among(section, state.section_ids) for section in sections):
        invalid("section_ids must be sections of the product")
    feature = new_feature(call, body, tuple(sections))
    call.world.hold_feature(feature, state.id)
    return Answer({"feature": _feature_payload(call, state, feature.id)}, 201)


def new_feature(call: Call, body: Payload, sections: tuple[int, ...]) -> Feature:
    """A feature from the fields of a request."""
    stories = body.get("user_stories") or []
    if not isinstance(stories, list):
        invalid("user_stories must be a list")
    paths = [str(path) for path in stories]
    return Feature(
        id=call.world.new_id(),
        title=body["title"],
        description=body.get("description") or "",
        howtofind=body.get("howtofind") or "",
        sections=sections,
        stories={call.world.new_id(): path for path in paths},
    )


def copy_features(call: Call) -> Answer:
    """Copies of all features into another product."""
    source = call.product()
    require(call.body, destination_product_id=int)
    target = call.world.product_state(call.world.product(call.body["destination_product_id"])["id"])
    for feature in list(source.features.values()):
        body = {"user_stories": list(feature.listed_stories.values()), **vars(feature), "stories": None}
        call.world.hold_feature(new_feature(call, body, ()), target.id)
    return Answer({"features": call.world.features(target.id, objects=call.objects)})


def _feature_payload(call: Call, state: ProductState, feature_id: int) -> Payload:
    features = call.world.features(state.id, objects=True)
    return next(feature for feature in features if feature["id"] == feature_id)


def _stories(call: Call, state: ProductState) -> Iterator[Payload]:
    """The user stories in reach of the request: a product with sections wants to know which."""
    section_id = call.number("section_id")
    if state.section_ids and section_id is None:
        invalid("section_id can't be blank")
    wanted = section_id if state.section_ids else None
    if wanted is not None and wanted not in state.section_ids:
        raise Refused(404, "Section not found")
    seen = set()
    for feature in call.world.features(state.id, wanted, objects=True):
        for story in feature["user_stories"]:
            if story["id"] not in seen:
                seen.add(story["id"])
                yield story


def list_stories(call: Call) -> Answer:
    """The user stories of a product or section."""
    return Answer({"user_stories": list(_stories(call, call.product()))})


def get_story(call: Call) -> Answer:
    """One user story, unwrapped as the guides show it."""
    for product_id in call.world.product_ids:
        for feature in call.world.features(product_id, objects=True):
            for story in feature["user_stories"]:
                if story["id"] == call.ids["usid"]:
                    return Answer(story)
    raise Refused(404, "User story not found")


def create_story(call: Call) -> Answer:
    """A user story of a feature."""
    state = call.product()
    list(_stories(call, state))
    body = call.root("user_story")
    require(body, feature_id=int, path=str)
    if body["feature_id"] not in state.features:
        invalid("feature_id must be a feature of the product")
    story_id = call.world.new_id()
    state.features[body["feature_id"]].stories[story_id] = body["path"]
    return Answer({"user_story": _story(call, state, story_id)}, 201)


def update_story(call: Call) -> Answer:
    """A new text for a user story."""
    state = call.product()
    body = call.root("user_story")
    require(body, path=str)
    story = _story(call, state, call.ids["usid"])
    state.features[story["feature_id"]].stories[story["id"]] = body["path"]
    return Answer({"user_story": _story(call, state, story["id"])})


def delete_story(call: Call) -> Answer:
    """The user story that was."""
    state = call.product()
    story = _story(call, state, call.ids["usid"])
    state.features[story["feature_id"]].gone_stories.add(story["id"])
    return Answer({"user_story": story})


def _story(call: Call, state: ProductState, story_id: int) -> Payload:
    for story in _stories(call, state):
        if story["id"] == story_id:
            return story
    raise Refused(404, "User story not found")


# --- test environments


def list_environments(call: Call) -> Answer:
    """The test environments of a product."""
    return Answer({"test_environments": list(call.product().environments.values())})


def get_environment(call: Call) -> Answer:
    """One test environment."""
    return Answer({"test_environment": _environment(call)})


def create_environment(call: Call) -> Answer:
    """A test environment with exactly one way in."""
    state, body = call.product(), call.root("test_environment")
    require(body, title=str)
    check_environment(body, creating=True)
    environment = {"id": call.world.new_id(), **body}
    environment.pop("file_base_64", None)
    state.environments[environment["id"]] = environment
    return Answer({"test_environment": environment}, 201)


def check_environment(body: Payload, *, creating: bool) -> None:
    """Refuse an environment without exactly one way in, or with unknown information about it."""
    ways = [name for name in _ACCESS if body.get(name)]
    if (creating and len(ways) != 1) or len(ways) > 1:
        invalid(f"exactly one of {', '.join(_ACCESS)} is needed")
    if "file_base_64" in ways:
        require(body, file_name=str)
    if information := body.get("environment_test_information"):
        if not isinstance(information, dict):
            invalid("environment_test_information must be an object")
        one_of(information, "data_type", ("custom", "access_claims"))
        require(information, data_type=str)
        if len(str(information.get("description") or "")) > _DESCRIPTION_LIMIT:
            invalid(f"description is too long (maximum is {_DESCRIPTION_LIMIT} characters)")


def update_environment(call: Call) -> Answer:
    """Changed fields of a test environment."""
    environment, body = _environment(call), call.root("test_environment")
    check_environment(body, creating=False)
    environment.update({key: value for key, value in body.items() if key != "id"})
    return Answer({"test_environment": environment})


def delete_environment(call: Call) -> Answer:
    """The test environment that was."""
    environment = _environment(call)
    del call.product().environments[environment["id"]]
    return Answer({"test_environment": environment})


def _environment(call: Call) -> Payload:
    environment = call.product().environments.get(call.ids["eid"])
    if environment is None:
        raise Refused(404, "Test environment not found")
    return environment


# --- test templates


def list_templates(call: Call) -> Answer:
    """The test templates of a product: at most twenty, with the real count beside them."""
    product_id, section_id = call.number("product_id"), call.number("section_id")
    if product_id is None:
        raise Refused(400, "product_id is missing")
    state = call.world.product_state(call.world.product(product_id)["id"])
    found = [
        {key: value for key, value in template.items() if not key.startswith("_")}
        for template in state.templates.values()
        if section_id in (None, template["section_id"])
    ]
    limit = ALL if call.staging else TEMPLATES_LIMIT
    return Answer({"test_templates": found[:limit], "section": {"test_templates": {"total": len(found)}}})


_UPLOAD_LIMIT = 1 << 30
_CONNECTION = ("name", "url", "fixed", "product_ids", "section_ids")


def _make(call: Call, kind: str, **fields: object) -> Payload:
    record: Payload = {"id": call.world.new_id(), **fields}
    call.world.made.setdefault(kind, {})[record["id"]] = record
    return record


def _find_created(call: Call, kind: str, record_id: Any) -> Payload:
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
    cases = [
        _find_created(call, "test_case", case.get("id")) for case in body["test_cases"] if isinstance(case, dict)
    ]
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
    return Answer({"connection": _find_created(call, "connection", call.ids["cid"])})


def update_connection(call: Call) -> Answer:
    """Changed fields of a connection."""
    connection, body = _find_created(call, "connection", call.ids["cid"]), call.body.get("connection", call.body)
    connection.update(only(body, _CONNECTION))
    return Answer({"connection": connection})


def delete_connection(call: Call) -> Answer:
    """The connection that was."""
    connection = _find_created(call, "connection", call.ids["cid"])
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
    app = _find_created(call, "binary_app", call.ids["aid"])
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
