"""Products, features, user stories, environments and templates."""

from collections.abc import Iterator

from .call import ALL, Answer, Call, Refused, among, chosen, invalid, one_of, only, require
from .catalog import INDUSTRIES, PRODUCT_TYPES, Payload
from .state import Feature, ProductState

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
    return Answer({"feature": _shown(call, state, feature.id)}, 201)


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


def _shown(call: Call, state: ProductState, feature_id: int) -> Payload:
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
