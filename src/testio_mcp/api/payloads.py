"""The payloads of the Customer API: what `CustomerApi` returns."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from testio_mcp.api.mapping import (
    EXECUTION_STATUSES,
    KIND_OF_SEVERITY,
    KNOWN_TESTING_TYPES,
    PRODUCT_TYPES,
    REVIEW_STATUSES,
    ROLLUP_STATUSES,
    SHOWN_STATUS,
    TEST_STATUSES,
    severity_of,
    shown_status,
    testing_type_of,
)
from testio_mcp.api.records import (
    CommentPayload,
    DevicePayload,
    EnvironmentPayload,
    SectionPayload,
    environment_of,
    open_record,
    read_comments,
    read_devices,
    read_environment,
    read_product_sections,
    read_reference,
    read_sections,
)
from testio_mcp.fields import AttachmentPayload, Fields, Unreadable, as_id, as_name, read_attachments
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


_TEST_FIELDS = """
    id test_title title status review_status testing_type test_environment features app_sections goal
    goal_text out_of_scope out_of_scope_text instructions instructions_text attachments requirements
    report_language section section_id product product_id enable_low enable_high enable_critical
    allow_device_clouds allow_device_clouds_enabled created_by submitted_by start_at end_at allowed_bug_types
    reviews demo analytics duration
"""
TEST_FIELDS = frozenset(_TEST_FIELDS.split())


@dataclass(frozen=True, slots=True)
class TestFeaturePayload:
    """A test's own copy of a feature; `feature_id` points at the product's feature."""

    __test__ = False

    id: int
    feature_id: int | None
    title: str | None
    description: str | None
    howtofind: str | None
    enable_default: bool | None
    enable_content: bool | None
    enable_visual: bool | None
    user_stories: tuple[UserStoryPayload, ...]
    execution_status: str | None
    tester_count: int | None
    bugs_found: int | None
    bug_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlatformPayload:
    """One platform that a test asks for: a device category and an operating system in a range of versions."""

    category: str | None
    operating_system: str | None
    min_version: str | None
    max_version: str | None
    browsers: tuple[str, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TestPayload:
    """A test. `analytics` and the execution fields of features come with the single GET only."""

    __test__ = False

    id: int
    title: str | None
    status: str | None
    review_status: str | None
    testing_type: str | None
    product_id: int | None
    product_name: str | None
    product_sections: tuple[SectionPayload, ...]
    section_id: int | None
    section_name: str | None
    environment: EnvironmentPayload | None
    created_by: str | None
    submitted_by: str | None
    start_at: datetime | None
    end_at: datetime | None
    report_language: str | None
    goal: str | None
    instructions: str | None
    out_of_scope: str | None
    features: tuple[TestFeaturePayload, ...]
    requirements: tuple[PlatformPayload, ...]
    attachments: tuple[AttachmentPayload, ...]
    enable_low: bool | None
    enable_high: bool | None
    enable_critical: bool | None
    analytics: dict[str, Any] | None
    drift: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)


def parse_test(record: dict[str, Any]) -> TestPayload:
    """Read a test. Raises `Unreadable` without a usable id, `TooDeep`."""
    fields = open_record(record)
    test_id = fields.required_id()
    product_id, product_name = read_reference(fields, "product")
    section_id, section_name = read_reference(fields, "section")
    analytics = fields.child("analytics")
    fields.note_gaps(TEST_FIELDS, "title|test_title", "status")
    return TestPayload(
        id=test_id,
        title=fields.text("title", "test_title"),
        status=fields.word("status", TEST_STATUSES),
        review_status=fields.word("review_status", REVIEW_STATUSES),
        testing_type=_testing_type(fields),
        product_id=product_id,
        product_name=product_name,
        product_sections=read_product_sections(fields),
        section_id=section_id,
        section_name=section_name,
        environment=read_environment(fields),
        created_by=fields.name("created_by"),
        submitted_by=fields.name("submitted_by"),
        start_at=fields.time("start_at"),
        end_at=fields.time("end_at"),
        report_language=fields.name("report_language"),
        goal=fields.text("goal_text", "goal"),
        instructions=fields.text("instructions_text", "instructions"),
        out_of_scope=fields.text("out_of_scope_text", "out_of_scope"),
        features=_test_features(fields),
        requirements=tuple(_platform(child) for child in fields.children("requirements") if child.record),
        attachments=read_attachments(fields),
        enable_low=fields.flag("enable_low"),
        enable_high=fields.flag("enable_high"),
        enable_critical=fields.flag("enable_critical"),
        analytics=analytics.record if analytics else None,
        drift=tuple(fields.drift),
        raw=fields.record,
    )


def _testing_type(fields: Fields) -> str | None:
    """A null says "test-case test"; an absent or odd field says nothing."""
    if "testing_type" not in fields.record:
        return None
    word = fields.word("testing_type", KNOWN_TESTING_TYPES)
    return None if word is None and fields.record["testing_type"] is not None else testing_type_of(word)


def _test_features(fields: Fields) -> tuple[TestFeaturePayload, ...]:
    """Copies without an id cannot be told apart: they are noted and left out."""
    found = []
    for child in fields.children("features"):
        if child.id("id") is None:
            child.note("id", ":missing")
        else:
            found.append(_test_feature(child))
    return tuple(found)


def _test_feature(fields: Fields) -> TestFeaturePayload:
    return TestFeaturePayload(
        id=fields.required_id(),
        feature_id=read_reference(fields, "feature")[0],
        title=fields.text("title"),
        description=fields.text("description"),
        howtofind=fields.text("howtofind"),
        enable_default=fields.flag("enable_default"),
        enable_content=fields.flag("enable_content"),
        enable_visual=fields.flag("enable_visual"),
        user_stories=read_stories(fields),
        execution_status=fields.word("execution_status", ROLLUP_STATUSES),
        tester_count=fields.count("tester_count"),
        bugs_found=fields.count("bugs_found"),
        bug_ids=fields.ids("bug_ids"),
    )


def _platform(fields: Fields) -> PlatformPayload:
    return PlatformPayload(
        category=fields.name("category"),
        operating_system=fields.name("operating_system"),
        min_version=fields.name("min_operating_system_version", "min_version", "operating_system_version"),
        max_version=fields.name("max_operating_system_version", "max_version"),
        browsers=fields.names("browsers"),
        devices=fields.names("devices"),
    )


_BUG_FIELDS = """
    id title severity status language location expected_result actual_result steps author comments devices device
    reproductions feature feature_id test_feature test_feature_id app_section section section_id test test_id
    test_case test_case_id test_environment product product_id attachments known fixed external_idx exported_at
    reported_at auto_accepted rejection_reason report custom_report_configuration_id
"""
BUG_FIELDS = frozenset(_BUG_FIELDS.split())


@dataclass(frozen=True, slots=True)
class CustomReportPayload:
    """The custom report inside a bug: `data` holds objects of key, name, type, value and position."""

    configuration_id: int | None
    data: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class BugPayload:
    """A bug. `severity` and `api_status` are the API's words; `kind`, `level` and `status` are the domain's.

    `test_feature_id` is the test's copy of the feature, under its older name `app_section` too.
    """

    id: int
    title: str | None
    severity: str | None
    kind: str
    level: str
    status: str
    api_status: str | None
    auto_accepted: bool
    known: bool | None
    fixed: bool | None
    language: str | None
    location: str | None
    expected_result: str | None
    actual_result: str | None
    steps: str | None
    author: str | None
    comments: tuple[CommentPayload, ...]
    devices: tuple[DevicePayload, ...]
    reproductions: int | None
    feature_id: int | None
    feature_title: str | None
    test_feature_id: int | None
    section_id: int | None
    section_name: str | None
    test_id: int | None
    test_title: str | None
    test_case_id: int | None
    environment: EnvironmentPayload | None
    product_id: int | None
    product_sections: tuple[SectionPayload, ...]
    attachments: tuple[AttachmentPayload, ...]
    external_idx: str | None
    exported_at: datetime | None
    reported_at: datetime | None
    rejection_reason: str | None
    custom_report: CustomReportPayload | None
    drift: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)


def parse_bug(record: dict[str, Any]) -> BugPayload:
    """Read a bug. Raises `Unreadable` without a usable id, `TooDeep`."""
    fields = open_record(record)
    bug_id = fields.required_id()
    severity = fields.word("severity", KIND_OF_SEVERITY)
    kind, level = severity_of(severity)
    api_status = fields.word("status", SHOWN_STATUS)
    status = shown_status(api_status, fields.flag("auto_accepted") is True)
    test_id, test_title = read_reference(fields, "test")
    feature_id, feature_title = _feature_of_bug(fields)
    section_id, section_name = read_reference(fields, "section")
    fields.note_gaps(BUG_FIELDS, "title", "severity", "status", "author", "test|test_id")
    return BugPayload(
        id=bug_id,
        title=fields.text("title"),
        severity=severity,
        kind=kind,
        level=level,
        status=status,
        api_status=api_status,
        auto_accepted=status == "auto_accepted",
        known=fields.flag("known"),
        fixed=fields.flag("fixed"),
        language=fields.text("language"),
        location=fields.text("location"),
        expected_result=fields.text("expected_result"),
        actual_result=fields.text("actual_result"),
        steps=fields.lines("steps"),
        author=fields.name("author"),
        comments=read_comments(fields),
        devices=read_devices(fields) or read_devices(fields, "device"),
        reproductions=fields.count("reproductions"),
        feature_id=feature_id,
        feature_title=feature_title,
        test_feature_id=read_reference(fields, "test_feature", "app_section")[0],
        section_id=section_id,
        section_name=section_name,
        test_id=test_id,
        test_title=test_title,
        test_case_id=read_reference(fields, "test_case")[0],
        environment=read_environment(fields),
        product_id=read_reference(fields, "product")[0],
        product_sections=read_product_sections(fields),
        attachments=read_attachments(fields),
        external_idx=_external_idx(fields),
        exported_at=fields.past("exported_at"),
        reported_at=fields.past("reported_at"),
        rejection_reason=fields.name("rejection_reason"),
        custom_report=_custom_report(fields),
        drift=tuple(fields.drift),
        raw=fields.record,
    )


def _feature_of_bug(fields: Fields) -> tuple[int | None, str | None]:
    """Id and title of the product's feature; where only the test's copy is named, what the copy points at."""
    found = read_reference(fields, "feature")
    if found[0] is not None:
        return found
    for name in ("test_feature", "app_section"):
        copy = fields.child(name) if type(fields.record.get(name)) is dict else None
        if copy and copy.record:
            return copy.id("feature_id"), as_name(copy.record)
    return None, as_name(fields.record.get("feature"))


def _external_idx(fields: Fields) -> str | None:
    value = fields.record.get("external_idx")
    return str(value) if type(value) is int else fields.text("external_idx")


def _custom_report(fields: Fields) -> CustomReportPayload | None:
    if fields.record.get("report") is None:
        return None
    report = fields.child("report")
    content = report.child("content") if report else None
    if report is None:
        return None
    data = tuple(item.record for item in content.children("data")) if content else ()
    name = "custom_report_configuration_id"
    found = report.id(name)
    if found is None and content:
        found = content.id(name)
    return CustomReportPayload(found if found is not None else fields.id(name), data)
