"""The payloads of the Customer API: what `CustomerApi` returns."""

from testio_mcp.api.bug_payloads import BugPayload, CustomReportPayload, parse_bug
from testio_mcp.api.product_payloads import (
    CaseResultPayload,
    ExecutionPayload,
    FeaturePayload,
    ProductPayload,
    RejectReasonPayload,
    TemplatePayload,
    UserStoryPayload,
    parse_case_result,
    parse_environment,
    parse_execution,
    parse_feature,
    parse_product,
    parse_reject_reason,
    parse_template,
    parse_user_story,
)
from testio_mcp.api.records import (
    CommentPayload,
    DevicePayload,
    EnvironmentPayload,
    Page,
    Reject,
    SectionPayload,
    parse_records,
)
from testio_mcp.api.test_payloads import PlatformPayload, TestFeaturePayload, TestPayload, parse_test
from testio_mcp.fields import MAX_ID, AttachmentPayload, Unreadable
from testio_mcp.scrub import TooDeep, scrub_secrets

__all__ = [
    "MAX_ID",
    "AttachmentPayload",
    "BugPayload",
    "CaseResultPayload",
    "CommentPayload",
    "CustomReportPayload",
    "DevicePayload",
    "EnvironmentPayload",
    "ExecutionPayload",
    "FeaturePayload",
    "Page",
    "PlatformPayload",
    "ProductPayload",
    "Reject",
    "RejectReasonPayload",
    "SectionPayload",
    "TemplatePayload",
    "TestFeaturePayload",
    "TestPayload",
    "TooDeep",
    "Unreadable",
    "UserStoryPayload",
    "parse_bug",
    "parse_case_result",
    "parse_environment",
    "parse_execution",
    "parse_feature",
    "parse_product",
    "parse_records",
    "parse_reject_reason",
    "parse_template",
    "parse_test",
    "parse_user_story",
    "scrub_secrets",
]
