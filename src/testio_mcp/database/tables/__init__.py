"""The schema.

Ids of the customer account are kept as they are (64 bits). `content_hash` identifies the stored version of a record,
`gone_at` says when a complete listing stopped naming it, and `raw` is the payload as received, without secrets, in
the last column so that lists never read it.
"""

from testio_mcp.database.tables.bugs import Attachment, Bug, BugComment, BugDevice
from testio_mcp.database.tables.catalog import (
    Feature,
    FeatureSection,
    Person,
    Product,
    ProductCount,
    Section,
    TestEnvironment,
    UserStory,
)
from testio_mcp.database.tables.columns import metadata, table_of
from testio_mcp.database.tables.exploratory import Test, TestFeature, TestPlatform
from testio_mcp.database.tables.sync import ChangeLog, Checkpoint, DeadLetter, SyncRun

__all__ = [
    "Attachment",
    "Bug",
    "BugComment",
    "BugDevice",
    "ChangeLog",
    "Checkpoint",
    "DeadLetter",
    "Feature",
    "FeatureSection",
    "Person",
    "Product",
    "ProductCount",
    "Section",
    "SyncRun",
    "Test",
    "TestEnvironment",
    "TestFeature",
    "TestPlatform",
    "UserStory",
    "metadata",
    "table_of",
]
