"""Products, features, user stories and what else hangs on a product, as the API tells them."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from testio_mcp.api.records import (
    DevicePayload,
    EnvironmentPayload,
    SectionPayload,
    environment_of,
    open_record,
    read_devices,
    read_environment,
    read_reference,
    read_sections,
)
from testio_mcp.api.vocabulary import EXECUTION_STATUSES, PRODUCT_TYPES, ROLLUP_STATUSES
from testio_mcp.fields import Fields, Unreadable, as_id
from testio_mcp.scrub import scrub_environment

_PRODUCT_FIELDS = """
    id name title description type product_type default_section_id sections sections_with_default connection
    remote_device_testing industry
"""
PRODUCT_FIELDS = frozenset(_PRODUCT_FIELDS.split())
_FEATURE_FIELDS = """
    id title description howtofind section_ids sections section user_stories product_id target_idx
    use_markdown
"""
FEATURE_FIELDS = frozenset(_FEATURE_FIELDS.split())
_EXECUTION_FIELDS = """
    id status comment executed_by executed_at device_reports test_cycle exploratory_test user_story user_story_id
    user_story_version user_story_version_id
"""
EXECUTION_FIELDS = frozenset(_EXECUTION_FIELDS.split())
ENVIRONMENT_FIELDS = frozenset(["id", "title", "name", "url", "product_id", "environment_test_information"])
TEMPLATE_FIELDS = frozenset(["id", "title", "name", "section", "section_id", "product", "product_id"])
REASON_FIELDS = frozenset(["key", "name", "default_comment"])


@dataclass(frozen=True, slots=True)
class ProductPayload:
    """A product with the union of its section lists."""

    id: int
    name: str | None
    description: str | None
    type: str | None
    default_section_id: int | None
    sections: tuple[SectionPayload, ...]
    drift: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class UserStoryPayload:
    """A user story; inside a test it is a version of one, with its own id and results, or plain text without id."""

    id: int | None
    title: str | None
    feature_id: int | None
    version_id: int | None
    execution_status: str | None
    tested_by_count: int | None
    bugs_found: int | None
    bug_ids: tuple[int, ...]
    drift: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FeaturePayload:
    """A feature of a product, member of any number of sections."""

    id: int
    title: str | None
    description: str | None
    howtofind: str | None
    section_ids: tuple[int, ...]
    sections: tuple[SectionPayload, ...]
    user_stories: tuple[UserStoryPayload, ...]
    drift: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TemplatePayload:
    """A test template."""

    id: int
    title: str | None
    section_id: int | None
    section_name: str | None
    drift: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RejectReasonPayload:
    """A reason to reject a bug; a rejection shows as a comment that starts with `default_comment`."""

    key: str
    name: str | None
    default_comment: str | None
    drift: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CaseResultPayload:
    """How one test case of a test-case test went."""

    id: int
    title: str | None
    status: str | None
    tester: str | None
    drift: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExecutionPayload:
    """One tester's run of one user story version."""

    id: int
    status: str | None
    comment: str | None
    executed_by: str | None
    executed_at: datetime | None
    devices: tuple[DevicePayload, ...]
    test_id: int | None
    test_title: str | None
    environment: EnvironmentPayload | None
    user_story_id: int | None
    user_story: UserStoryPayload | None
    user_story_version_id: int | None
    drift: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)


def parse_product(record: dict[str, Any]) -> ProductPayload:
    """Read a product. Raises `Unreadable` without a usable id, `TooDeep`."""
    fields = open_record(record)
    product_id = fields.required_id()
    fields.note_gaps(PRODUCT_FIELDS, "name|title", "type|product_type")
    return ProductPayload(
        id=product_id,
        name=fields.text("name", "title"),
        description=fields.text("description"),
        type=fields.word("type" if "type" in fields.record else "product_type", PRODUCT_TYPES),
        default_section_id=fields.id("default_section_id"),
        sections=read_sections(fields, "sections", "sections_with_default"),
        drift=tuple(fields.drift),
        raw=fields.record,
    )


def parse_feature(record: dict[str, Any]) -> FeaturePayload:
    """Read a feature. Raises `Unreadable` without a usable id, `TooDeep`."""
    fields = open_record(record)
    feature_id = fields.required_id()
    members = {**dict.fromkeys(fields.ids("section_ids"))}
    sections = read_sections(fields, "sections", "section")
    members.update(dict.fromkeys(section.id for section in sections))
    stories = read_stories(fields)
    fields.note_gaps(FEATURE_FIELDS, "title|name")
    return FeaturePayload(
        id=feature_id,
        title=fields.text("title", "name"),
        description=fields.text("description"),
        howtofind=fields.text("howtofind"),
        section_ids=tuple(members),
        sections=sections,
        user_stories=stories,
        drift=tuple(fields.drift),
        raw=fields.record,
    )


def parse_user_story(record: dict[str, Any]) -> UserStoryPayload:
    """Read a user story that stands alone. Raises `Unreadable` without a usable id, `TooDeep`."""
    fields = open_record(record)
    fields.required_id()
    return _story(fields, own_drift=True)


def read_stories(fields: Fields, name: str = "user_stories") -> tuple[UserStoryPayload, ...]:
    """The stories inside a feature, given as plain texts or as objects; drift goes to the record around them."""
    found = []
    for item in fields.items(name):
        if type(item) is str:
            found.append(UserStoryPayload(None, item, None, None, None, None, None, (), (), {}))
        elif type(item) is dict:
            child = Fields(item, f"{fields.where}{name}.", fields.drift)
            found.append(story := _story(child, own_drift=False))
            if item and story.id is None and not story.title:
                child.note("id", ":missing")
        elif item is not None:
            fields.wrong(name, item)
    return tuple(found)


def _story(fields: Fields, *, own_drift: bool) -> UserStoryPayload:
    return UserStoryPayload(
        id=fields.id("id"),
        title=fields.text("title", "path"),
        feature_id=read_reference(fields, "feature")[0],
        version_id=fields.id("user_story_version_id"),
        execution_status=fields.word("execution_status", ROLLUP_STATUSES),
        tested_by_count=fields.count("tested_by_count"),
        bugs_found=fields.count("bugs_found"),
        bug_ids=fields.ids("bug_ids"),
        drift=tuple(fields.drift) if own_drift else (),
        raw=fields.record,
    )


def parse_environment(record: dict[str, Any]) -> EnvironmentPayload:
    """Read a test environment without its secrets. Raises `Unreadable` without a usable id."""
    fields = Fields(scrub_environment(record))
    fields.required_id()
    fields.note_gaps(ENVIRONMENT_FIELDS, "title|name")
    return replace(environment_of(fields), drift=tuple(fields.drift))


def parse_template(record: dict[str, Any]) -> TemplatePayload:
    """Read a test template. Raises `Unreadable` without a usable id, `TooDeep`."""
    fields = open_record(record)
    template_id = fields.required_id()
    title = fields.text("title", "name")
    section_id, section_name = read_reference(fields, "section")
    fields.note_gaps(TEMPLATE_FIELDS, "title|name")
    return TemplatePayload(template_id, title, section_id, section_name, tuple(fields.drift), fields.record)


def parse_reject_reason(record: dict[str, Any]) -> RejectReasonPayload:
    """Read a reason to reject a bug. Raises `Unreadable` without a key, `TooDeep`."""
    fields = open_record(record)
    key = fields.text("key")
    if not key:
        raise Unreadable("key is missing", fields.record)
    name, comment = fields.text("name"), fields.text("default_comment")
    fields.note_gaps(REASON_FIELDS, "name", "default_comment")
    return RejectReasonPayload(key, name, comment, tuple(fields.drift), fields.record)


def parse_execution(record: dict[str, Any]) -> ExecutionPayload:
    """Read an execution. Raises `Unreadable` without a usable id, `TooDeep`."""
    fields = open_record(record)
    execution_id = fields.required_id()
    test_id, test_title = read_reference(fields, "test_cycle", "exploratory_test")
    test = fields.child("test_cycle")
    fields.note_gaps(EXECUTION_FIELDS, "status", "executed_by", "test_cycle|exploratory_test")
    return ExecutionPayload(
        id=execution_id,
        status=fields.word("status", EXECUTION_STATUSES),
        comment=fields.text("comment"),
        executed_by=fields.name("executed_by"),
        executed_at=fields.past("executed_at"),
        devices=read_devices(fields, "device_reports"),
        test_id=test_id,
        test_title=test_title,
        environment=read_environment(test) if test else None,
        user_story_id=read_reference(fields, "user_story")[0],
        user_story=_executed_story(fields),
        user_story_version_id=read_reference(fields, "user_story_version")[0],
        drift=tuple(fields.drift),
        raw=fields.record,
    )


def _executed_story(fields: Fields) -> UserStoryPayload | None:
    """The user story that an execution names, if it says more than the id."""
    value = fields.record.get("user_story")
    child = fields.child("user_story") if type(value) is dict else None
    return _story(child, own_drift=False) if child and as_id(child.record.get("id")) is not None else None


def parse_case_result(record: dict[str, Any]) -> CaseResultPayload:
    """Read the result of a test case. Raises `Unreadable` without a usable id, `TooDeep`."""
    fields = open_record(record)
    case_id = read_reference(fields, "test_case")[0]
    return CaseResultPayload(
        id=fields.required_id() if case_id is None else case_id,
        title=fields.text("title", "name"),
        status=fields.text("status"),
        tester=fields.name("executed_by", "tester"),
        drift=tuple(fields.drift),
        raw=fields.record,
    )
