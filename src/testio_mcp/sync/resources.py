"""What is copied, as data: one `Resource` per kind of record, parents before children."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table

from testio_mcp.database.tables import (
    Attachment,
    Bug,
    BugComment,
    BugDevice,
    BugField,
    Execution,
    ExecutionDevice,
    Feature,
    FeatureSection,
    Product,
    Section,
    Test,
    TestEnvironment,
    TestFeature,
    TestFeatureResult,
    TestMetric,
    TestPlatform,
    TestStoryResult,
    TestTemplate,
    UserStory,
    table_of,
)
from testio_mcp.sync.results import (
    environment_record,
    execution_record,
    metric_record,
    only_metrics,
    template_record,
)
from testio_mcp.sync.rows import Record, Scope, bug_record, feature_record, product_record, test_record


@dataclass(frozen=True)
class Resource:
    """One kind of record: where it is kept, how a payload becomes rows, and which changes are worth a line.

    `parts` names the tables whose rows belong to one record, with the column that says to which. `canonical`
    picks from the payload what makes a version of the record.
    """

    name: str
    entity: str
    table: Table
    record: Callable[[Any, Scope], Record]
    parts: tuple[tuple[Table, str], ...] = ()
    tracked: tuple[str, ...] = ()
    canonical: Callable[[dict[str, Any]], dict[str, Any]] = lambda raw: raw


_METRICS = frozenset({"analytics", "execution_status", "tester_count", "tested_by_count", "bugs_found", "bug_ids"})


def without_metrics(raw: dict[str, Any]) -> dict[str, Any]:
    """A test as its list entry shows it: the single GET adds metrics, which do not make it another version."""
    plain = {name: value for name, value in raw.items() if name not in _METRICS}
    for name in ("features", "user_stories"):
        if isinstance(nested := plain.get(name), list):
            plain[name] = [without_metrics(item) if isinstance(item, dict) else item for item in nested]
    return plain


PRODUCTS = Resource("products", "product", table_of(Product), product_record, tracked=("name",))
SECTIONS = Resource("sections", "section", table_of(Section), product_record)
"""Stored with their product, which lists them."""
FEATURES = Resource(
    "features",
    "feature",
    table_of(Feature),
    feature_record,
    parts=((table_of(FeatureSection), "feature_id"),),
    tracked=("title",),
)
STORIES = Resource("user stories", "user_story", table_of(UserStory), feature_record)
"""Stored with their feature, which lists them."""
TESTS = Resource(
    "tests",
    "test",
    table_of(Test),
    test_record,
    parts=((table_of(TestFeature), "test_id"), (table_of(TestPlatform), "test_id")),
    tracked=("title", "status", "review_status", "start_at", "end_at"),
    canonical=without_metrics,
)
BUGS = Resource(
    "bugs",
    "bug",
    table_of(Bug),
    bug_record,
    parts=(
        (table_of(BugDevice), "bug_id"),
        (table_of(BugComment), "bug_id"),
        (table_of(BugField), "bug_id"),
        (table_of(Attachment), "bug_id"),
    ),
    tracked=("title", "kind", "level", "status", "is_known", "is_fixed", "exported_at", "comment_count"),
)
METRICS = Resource(
    "metrics",
    "test_metric",
    table_of(TestMetric),
    metric_record,
    parts=((table_of(TestFeatureResult), "test_id"), (table_of(TestStoryResult), "test_id")),
    canonical=only_metrics,
)
EXECUTIONS = Resource(
    "executions",
    "execution",
    table_of(Execution),
    execution_record,
    parts=((table_of(ExecutionDevice), "execution_id"),),
    tracked=("status",),
)
ENVIRONMENTS = Resource("environments", "test_environment", table_of(TestEnvironment), environment_record)
TEMPLATES = Resource("templates", "test_template", table_of(TestTemplate), template_record)
