"""The schema.

Ids of the customer account are kept as they are (64 bits). `content_hash` identifies the stored version of a record,
`gone_at` says when a complete listing stopped naming it, and `raw` is the payload as received, without secrets, in
the last column so that lists never read it.
"""

from testio_mcp.database.tables.bugs import Attachment, Bug, BugComment, BugDevice, BugField
from testio_mcp.database.tables.catalog import (
    Feature,
    FeatureSection,
    KeptCount,
    Person,
    Product,
    ProductCount,
    RejectReason,
    Section,
    TestEnvironment,
    TestTemplate,
    UserStory,
)
from testio_mcp.database.tables.columns import metadata, table_of
from testio_mcp.database.tables.exploratory import (
    Execution,
    ExecutionDevice,
    Test,
    TestCaseResult,
    TestFeature,
    TestFeatureResult,
    TestMetric,
    TestPlatform,
    TestStoryResult,
)
from testio_mcp.database.tables.rollups import RollupCell, RollupCount, RollupMember
from testio_mcp.database.tables.search import SearchSlice
from testio_mcp.database.tables.sync import (
    ApiPause,
    ChangeCount,
    ChangeLog,
    Checkpoint,
    DeadLetter,
    Drift,
    Reader,
    SyncLease,
    SyncRun,
)

__all__ = [
    "ApiPause",
    "Attachment",
    "Bug",
    "BugComment",
    "BugDevice",
    "BugField",
    "ChangeCount",
    "ChangeLog",
    "Checkpoint",
    "DeadLetter",
    "Drift",
    "Execution",
    "ExecutionDevice",
    "Feature",
    "FeatureSection",
    "KeptCount",
    "Person",
    "Product",
    "ProductCount",
    "Reader",
    "RejectReason",
    "RollupCell",
    "RollupCount",
    "RollupMember",
    "SearchSlice",
    "Section",
    "SyncLease",
    "SyncRun",
    "Test",
    "TestCaseResult",
    "TestEnvironment",
    "TestFeature",
    "TestFeatureResult",
    "TestMetric",
    "TestPlatform",
    "TestStoryResult",
    "TestTemplate",
    "UserStory",
    "metadata",
    "table_of",
]
