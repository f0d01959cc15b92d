"""What changes in the results of tests: of their user stories, of their features, and how many stories passed."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from testio_mcp.database.tables import TestFeature, TestFeatureResult, TestMetric, TestStoryResult, table_of
from testio_mcp.sync.rows import Scope
from testio_mcp.sync.state import log_changes

Outcomes = dict[tuple[Any, ...], Any]
"""A status or a number by entity, id and field, and by what tells apart the copies that tests hold of a story."""
_NUMBERS = ("passed_user_stories", "failed_user_stories", "blocked_user_stories")
_NOTHING = (None, "not_tested", 0)
"""What says that nothing was tested yet: the first result of a test begins there."""
_story, _result = table_of(TestStoryResult).c, table_of(TestFeatureResult).c
_copy, _metric = table_of(TestFeature).c, table_of(TestMetric).c
_ids: Any = bindparam("ids", expanding=True)
_of_stories = select(
    _story.user_story_id,
    _story.test_id,
    _story.test_feature_id,
    _story.user_story_version_id,
    _story.execution_status,
).where(_story.test_id.in_(_ids), _story.user_story_id.is_not(None))
_of_features = (
    select(_copy.feature_id, _result.test_id, _result.test_feature_id, _result.execution_status)
    .join_from(table_of(TestFeatureResult), table_of(TestFeature), _copy.id == _result.test_feature_id)
    .where(_result.test_id.in_(_ids), _copy.feature_id.is_not(None))
)
_of_tests = select(_metric.id, *(_metric[name] for name in _NUMBERS)).where(_metric.id.in_(_ids))


def outcomes(conn: Connection, test_ids: Sequence[int]) -> Outcomes:
    """The results of these tests as they are stored now."""
    ids = {"ids": list(test_ids)}
    found: Outcomes = {}
    for entity, statement in (("user_story", _of_stories), ("feature", _of_features)):
        for record_id, *copy, status in conn.execute(statement, ids):
            found[entity, record_id, "execution_status", *copy] = status
    for test_id, *numbers in conn.execute(_of_tests, ids):
        found |= {("test", test_id, name): number for name, number in zip(_NUMBERS, numbers, strict=True)}
    return found


def log_outcomes(conn: Connection, before: Outcomes, after: Outcomes, scope: Scope, run_id: int) -> None:
    """Write a line of the change log for each result that differs; one that went with its story or test has none."""
    origin = {"run_id": run_id, "product_id": scope.product_id, "changed_at": scope.now}
    lines = []
    for key, new in after.items():
        old = before.get(key)
        if old != new and not (old in _NOTHING and new in _NOTHING):
            entity, record_id, field, *_ = key
            values = {"old_value": _text(old), "new_value": _text(new)}
            lines.append(origin | {"entity": entity, "entity_id": record_id, "field": field} | values)
    if lines:
        log_changes(conn, lines)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
