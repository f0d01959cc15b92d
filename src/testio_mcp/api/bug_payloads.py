"""A bug as the API tells it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from testio_mcp.api.records import (
    CommentPayload,
    DevicePayload,
    EnvironmentPayload,
    SectionPayload,
    open_record,
    read_comments,
    read_devices,
    read_environment,
    read_product_sections,
    read_reference,
)
from testio_mcp.api.words import KIND_OF_SEVERITY, SHOWN_STATUS, severity_of, shown_status
from testio_mcp.fields import AttachmentPayload, Fields, as_name, read_attachments

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
    feature_id, feature_title = _feature(fields)
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


def _feature(fields: Fields) -> tuple[int | None, str | None]:
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
