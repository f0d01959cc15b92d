"""The schema.

Ids of the customer account are kept as they are (64 bits). `content_hash` identifies the stored version of a record,
`gone_at` says since when the account is known not to list it (what only a test or a bug mentions is a name with a
`gone_at`, and counts nowhere), and `raw` is the payload as received, without secrets, in the last column so that
lists never read it.
"""

from testio_mcp.database.tables.bugs import Attachment, Bug, BugComment, BugDevice, BugField
from testio_mcp.database.tables.catalog import (
    Feature,
    FeatureSection,
    Person,
    Product,
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
from testio_mcp.database.tables.search import SearchSlice
from testio_mcp.database.tables.sync import (
    ApiPause,
    ChangeLog,
    Checkpoint,
    DeadLetter,
    Derived,
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
    "ChangeLog",
    "Checkpoint",
    "DeadLetter",
    "Derived",
    "Drift",
    "Execution",
    "ExecutionDevice",
    "Feature",
    "FeatureSection",
    "Person",
    "Product",
    "Reader",
    "RejectReason",
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
