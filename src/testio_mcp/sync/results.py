"""What becomes of a test's execution metrics, of executions, and of what else hangs on a product."""

from typing import Any

from testio_mcp.api.payloads import ExecutionPayload, TemplatePayload, TestFeaturePayload, TestPayload
from testio_mcp.api.records import EnvironmentPayload
from testio_mcp.database.dialect import Row
from testio_mcp.database.tables import ExecutionDevice, TestFeatureResult, TestStoryResult, table_of
from testio_mcp.sync.rows import Record, Scope, device_row

_FEATURE, _STORY = table_of(TestFeatureResult), table_of(TestStoryResult)
_DEVICE = table_of(ExecutionDevice)
_ANALYTICS = {
    "testers": "testers_count",
    "devices": "devices_count",
    "total_features": "total_features",
    "tested_features": "tested_features",
    "passed_features": "passed_features",
    "failed_features": "failed_features",
    "total_user_stories": "total_user_stories",
    "tested_user_stories": "tested_user_stories",
    "passed_user_stories": "passed_user_stories",
    "failed_user_stories": "failed_user_stories",
    "blocked_user_stories": "blocked_user_stories",
    "total_bugs": "total_bugs",
}


def only_metrics(raw: dict[str, Any]) -> dict[str, Any]:
    """The part of a test's single payload that tells how its execution went."""
    return {name: raw[name] for name in ("analytics", "features") if name in raw}


def metric_record(payload: TestPayload, scope: Scope) -> Record:
    """The metrics of a test, of its features and of its user stories."""
    analytics = payload.analytics or {}
    counts = {name: analytics.get(word) for name, word in _ANALYTICS.items()}
    record = Record({"id": payload.id, **{n: v if type(v) is int and v >= 0 else None for n, v in counts.items()}})
    for position, feature in enumerate(payload.features):
        row = {
            "test_id": payload.id,
            "position": position,
            "test_feature_id": feature.id,
            "execution_status": feature.execution_status,
            "testers": feature.tester_count,
            "bugs": feature.bugs_found,
        }
        record.parts.append((_FEATURE, row))
    stories = [row for feature in payload.features for row in _stories(record, feature, scope)]
    record.parts += [(_STORY, {"test_id": payload.id, "position": n} | row) for n, row in enumerate(stories)]
    return record


def _stories(record: Record, feature: TestFeaturePayload, scope: Scope) -> list[Row]:
    return [
        {
            "test_feature_id": feature.id,
            "user_story_id": record.story(story, feature.feature_id, scope, scope.product_id, feature.title),
            "user_story_version_id": story.version_id,
            "title": story.title,
            "execution_status": story.execution_status,
            "testers": story.tested_by_count,
            "bugs": story.bugs_found,
        }
        for story in feature.user_stories
    ]


def execution_record(payload: ExecutionPayload, scope: Scope) -> Record:
    """An execution with its devices."""
    record = Record({})
    product_id = scope.product_of_test.get(payload.test_id or 0)
    if product_id is not None:
        record.environment(payload.environment, scope, product_id)
        if payload.user_story is not None:
            record.story(payload.user_story, payload.user_story.feature_id, scope, product_id)
    record.row = {
        "id": payload.id,
        "test_id": payload.test_id,
        "user_story_id": payload.user_story_id,
        "user_story_version_id": payload.user_story_version_id,
        "status": payload.status or "unknown",
        "comment": payload.comment,
        "executed_by_id": record.person(payload.executed_by),
        "executed_at": payload.executed_at,
    }
    for position, device in enumerate(payload.devices):
        record.parts.append((_DEVICE, {"execution_id": payload.id, "position": position, **device_row(device)}))
    return record


def environment_record(payload: EnvironmentPayload, scope: Scope) -> Record:
    """A test environment."""
    return Record({"id": payload.id, "product_id": scope.product_id, "title": payload.title, "url": payload.url})


def template_record(payload: TemplatePayload, scope: Scope) -> Record:
    """A test template."""
    record = Record({})
    record.row = {
        "id": payload.id,
        "product_id": scope.product_id,
        "section_id": record.section(payload.section_id, scope, scope.product_id, payload.section_name),
        "title": payload.title or f"Template {payload.id}",
    }
    return record
