"""A test (also "test cycle") as the API tells it, with its own copies of features and stories."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from testio_mcp.api.product_payloads import UserStoryPayload, read_stories
from testio_mcp.api.records import (
    EnvironmentPayload,
    SectionPayload,
    open_record,
    read_environment,
    read_product_sections,
    read_reference,
)
from testio_mcp.api.vocabulary import REVIEW_STATUSES, ROLLUP_STATUSES, TEST_STATUSES
from testio_mcp.api.words import KNOWN_TESTING_TYPES, testing_type_of
from testio_mcp.fields import AttachmentPayload, Fields, read_attachments

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
        features=_features(fields),
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


def _features(fields: Fields) -> tuple[TestFeaturePayload, ...]:
    """Copies without an id cannot be told apart: they are noted and left out."""
    found = []
    for child in fields.children("features"):
        if child.id("id") is None:
            child.note("id", ":missing")
        else:
            found.append(_feature(child))
    return tuple(found)


def _feature(fields: Fields) -> TestFeaturePayload:
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
