"""Bugs and what belongs to them."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Index, text
from sqlmodel import Field, Relationship, SQLModel

from testio_mcp.database.tables.columns import (
    DEVICE_TEXTS,
    GONE,
    DeviceColumns,
    Mirrored,
    json_text,
    key,
    part_of,
    ref,
    when,
)

if TYPE_CHECKING:
    from testio_mcp.database.tables.exploratory import Test


BACKLOG = text(
    "status IN ('accepted', 'auto_accepted') AND exported_at IS NULL AND external_idx IS NULL AND gone_at IS NULL"
)
"""Bugs that were accepted and are in nobody's tracker yet; a query says it in the same words to be quick."""
FIXED, FIXED_ON_SQLITE = text("is_fixed AND gone_at IS NULL"), text("is_fixed = 1 AND gone_at IS NULL")
"""Bugs that are marked as fixed, in the words in which a condition on the flag reaches each database."""
WAITING = text("status IN ('open', 'question') AND gone_at IS NULL")
"""Bugs that wait for a decision; a query says it in the same words to be quick."""


class Bug(Mirrored, table=True):
    """A bug report. `kind` and `level` are the two halves of the API's severity; `status` as shown to people."""

    __table_args__ = (
        Index(
            "ix_bug_wide_test_id",
            *("test_id", "gone_at", "level", "status"),
            *("kind", "is_known", "feature_id", "author_id"),
        ),
        Index(None, "kind", "id", "gone_at"),
        Index(None, "product_id", "reported_at", "id"),
        Index(None, "reported_at", "id"),
        # What stands after the id lets a filter read the index alone.
        Index(None, "product_id", "id", "status", "level", "kind", "is_known", "gone_at"),
        Index(None, "status", "id", "level", "gone_at", "rejection_reason"),
        Index(None, "feature_id", "id"),
        Index(None, "product_id", "reported_at", "id", "exported_at", sqlite_where=BACKLOG, postgresql_where=BACKLOG),
        Index(None, "product_id", "reported_at", "feature_id", sqlite_where=FIXED_ON_SQLITE, postgresql_where=FIXED),
        Index(None, "reported_at", "feature_id", sqlite_where=FIXED_ON_SQLITE, postgresql_where=FIXED),
        Index(
            None,
            "status",
            "level",
            "product_id",
            "test_id",
            "kind",
            "author_id",
            "gone_at",
            sqlite_where=WAITING,
            postgresql_where=WAITING,
        ),
        Index(None, "product_id", "gone_at", sqlite_where=GONE, postgresql_where=GONE),
        # Counts by group read these alone.
        Index(None, "product_id", "gone_at", "status", "level", "kind"),
        Index(None, "feature_id", "gone_at", "status", "level", "kind"),
        Index(None, "author_id", "gone_at", "product_id", "status", "level", "reported_at"),
    )

    id: int = key()
    test_id: int = ref("test")
    product_id: int = ref("product")
    section_id: int | None = ref("section", default=None)
    feature_id: int | None = ref("feature", default=None)
    test_feature_id: int | None = ref(None, default=None)
    author_id: int | None = ref("person", default=None)
    title: str
    kind: str
    level: str
    status: str
    is_known: bool = False
    is_fixed: bool = False
    language: str | None = None
    location: str | None = None
    external_idx: str | None = None
    exported_at: datetime | None = when(default=None)
    reported_at: datetime | None = when(default=None)
    rejection_reason: str | None = None
    rejection_match: str | None = None
    comment_count: int = 0
    steps: str | None = None
    expected_result: str | None = None
    actual_result: str | None = None
    raw: str = json_text()

    test: "Test" = Relationship(back_populates="bugs")
    devices: list["BugDevice"] = Relationship(back_populates="bug")
    comments: list["BugComment"] = Relationship(back_populates="bug")


class BugDevice(DeviceColumns, table=True):
    """A device on which a bug was seen."""

    __tablename__ = "bug_device"
    __table_args__ = tuple(Index(None, *texts) for texts in DEVICE_TEXTS)

    bug_id: int = part_of("bug")
    position: int = Field(primary_key=True)

    bug: Bug = Relationship(back_populates="devices")


class BugComment(SQLModel, table=True):
    """A comment on a bug."""

    __tablename__ = "bug_comment"

    bug_id: int = part_of("bug")
    position: int = Field(primary_key=True)
    comment_id: int | None = ref(None, default=None)
    author_id: int | None = ref("person", default=None)
    body: str
    created_at: datetime | None = when(default=None)

    bug: Bug = Relationship(back_populates="comments")


class Attachment(SQLModel, table=True):
    """A file attached to a bug; only its address is kept."""

    bug_id: int = part_of("bug")
    position: int = Field(primary_key=True)
    attachment_id: int | None = ref(None, default=None)
    url: str


class BugField(SQLModel, table=True):
    """A field of the custom report in a bug."""

    __tablename__ = "bug_field"
    __table_args__ = (Index(None, "configuration_id", "name"),)

    bug_id: int = part_of("bug")
    position: int = Field(primary_key=True)
    configuration_id: int | None = ref(None, default=None)
    field_key: str | None = None
    name: str | None = None
    type: str | None = None
    value: str | None = None
