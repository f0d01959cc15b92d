"""Exploratory tests and what belongs to them."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Index
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
    from testio_mcp.database.tables.bugs import Bug
    from testio_mcp.database.tables.catalog import Product


class Test(Mirrored, table=True):
    """An exploratory test (test cycle).

    `sort_at` is `end_at`, or the far future for a test that has none yet: lists order by it.
    `bugs_synced_hash` is the `content_hash` for which the bugs were last read, `metrics_synced_hash` that for which
    the metrics were; another value means that they have to be read again.
    """

    __table_args__ = (
        # What stands after the id lets a filter or a count read the index alone.
        Index(
            "ix_test_wide_product_id",
            *("product_id", "sort_at", "id", "testing_type", "gone_at"),
            *("status", "start_at", "section_id", "test_environment_id", "created_by_id", "submitted_by_id"),
        ),
        Index(None, "product_id", "status", "sort_at", "id", "testing_type", "gone_at"),
        Index(None, "status", "sort_at", "id", "testing_type", "gone_at"),
        Index(
            "ix_test_wide_sort_at",
            *("sort_at", "id", "testing_type", "gone_at", "status", "start_at", "product_id"),
            *("section_id", "test_environment_id", "created_by_id", "submitted_by_id"),
        ),
        Index(None, "product_id", "start_at"),
        Index(None, "test_environment_id", "sort_at", "id", "status", "gone_at"),
        Index(None, "product_id", "gone_at", sqlite_where=GONE, postgresql_where=GONE),
        Index(None, "created_by_id", "sort_at", "id", "status", "start_at", "gone_at"),
        Index(None, "submitted_by_id", "sort_at", "id", "status", "start_at", "gone_at"),
    )

    id: int = key()
    product_id: int = ref("product")
    section_id: int | None = ref("section", default=None)
    test_environment_id: int | None = ref("test_environment", default=None)
    created_by_id: int | None = ref("person", default=None)
    submitted_by_id: int | None = ref("person", default=None)
    title: str
    status: str
    review_status: str | None = None
    testing_type: str
    report_language: str | None = None
    start_at: datetime | None = when(default=None)
    end_at: datetime | None = when(default=None)
    sort_at: datetime = when()
    bugs_synced_hash: str | None = Field(default=None, max_length=32)
    metrics_synced_hash: str | None = Field(default=None, max_length=32)
    goal: str | None = None
    instructions: str | None = None
    out_of_scope: str | None = None
    raw: str = json_text()

    product: "Product" = Relationship(back_populates="tests")
    bugs: list["Bug"] = Relationship(back_populates="test")
    features: list["TestFeature"] = Relationship(back_populates="test")
    platforms: list["TestPlatform"] = Relationship(back_populates="test")


class TestFeature(SQLModel, table=True):
    """A test's own copy of a product's feature."""

    __tablename__ = "test_feature"
    __table_args__ = (Index(None, "test_id", "feature_id"), Index(None, "feature_id", "test_id"))

    id: int = key()
    test_id: int = ref("test")
    feature_id: int | None = ref("feature", default=None)
    title: str
    enable_default: bool = True
    enable_content: bool = False
    enable_visual: bool = False

    test: Test = Relationship(back_populates="features")


class TestPlatform(SQLModel, table=True):
    """A device requirement of a test."""

    __tablename__ = "test_platform"

    test_id: int = part_of("test")
    position: int = Field(primary_key=True)
    category: str | None = None
    operating_system: str | None = None
    version_from: str | None = None
    version_to: str | None = None
    browsers: str | None = None

    test: Test = Relationship(back_populates="platforms")


class TestMetric(Mirrored, table=True):
    """Execution metrics of a test, as its single GET tells them; counts may disagree with the bugs in the store.

    `content_hash` identifies the stored version of the metrics, with those of features and stories.
    """

    __tablename__ = "test_metric"

    id: int = part_of("test")
    testers: int | None = None
    devices: int | None = None
    total_features: int | None = None
    tested_features: int | None = None
    passed_features: int | None = None
    failed_features: int | None = None
    total_user_stories: int | None = None
    tested_user_stories: int | None = None
    passed_user_stories: int | None = None
    failed_user_stories: int | None = None
    blocked_user_stories: int | None = None
    total_bugs: int | None = None
    raw: str = json_text()


class TestFeatureResult(SQLModel, table=True):
    """What executions and bugs add up to for one feature of a test."""

    __tablename__ = "test_feature_result"

    test_id: int = part_of("test")
    position: int = Field(primary_key=True)
    test_feature_id: int | None = ref(None, default=None)
    execution_status: str | None = None
    testers: int | None = None
    bugs: int | None = None


class TestStoryResult(SQLModel, table=True):
    """A test's copy of a user story (user story version), with what its executions add up to."""

    __tablename__ = "test_story_result"
    __table_args__ = (
        Index("ix_test_story_result_wide_user_story_id", "user_story_id", "test_id", "execution_status", "bugs"),
        Index(None, "user_story_version_id"),
    )

    test_id: int = part_of("test")
    position: int = Field(primary_key=True)
    test_feature_id: int | None = ref(None, default=None)
    user_story_id: int | None = ref(None, default=None)
    user_story_version_id: int | None = ref(None, default=None)
    title: str | None = None
    execution_status: str | None = None
    testers: int | None = None
    bugs: int | None = None


class Execution(Mirrored, table=True):
    """One tester's run of one user story version.

    Its test and story need not be in the store: the list of executions is the account's, not a product's.
    """

    __table_args__ = (
        Index(
            "ix_execution_wide_test_id",
            "test_id",
            "status",
            "gone_at",
            "user_story_id",
            "executed_by_id",
            "executed_at",
        ),
        Index(None, "user_story_id", "gone_at", "status"),
        Index(None, "executed_by_id", "gone_at", "status", "executed_at"),
    )

    id: int = key()
    test_id: int | None = ref(None, default=None)
    user_story_id: int | None = ref(None, default=None)
    user_story_version_id: int | None = ref(None, default=None)
    status: str
    comment: str | None = None
    executed_by_id: int | None = ref("person", default=None)
    executed_at: datetime | None = when(default=None)
    raw: str = json_text()


class ExecutionDevice(DeviceColumns, table=True):
    """A device that an execution ran on."""

    __tablename__ = "execution_device"
    __table_args__ = tuple(Index(None, *texts) for texts in DEVICE_TEXTS)

    execution_id: int = part_of("execution")
    position: int = Field(primary_key=True)


class TestCaseResult(SQLModel, table=True):
    """How one test case of a test-case test went, on accounts that tell it."""

    __tablename__ = "test_case_result"

    test_id: int = part_of("test")
    position: int = Field(primary_key=True)
    test_case_id: int | None = ref(None, default=None)
    title: str | None = None
    status: str | None = None
    tester_id: int | None = ref("person", default=None)
    raw: str = json_text()
