"""Exploratory tests and what belongs to them."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Index
from sqlmodel import Field, Relationship, SQLModel

from testio_mcp.database.tables.columns import Mirrored, json_text, key, part_of, ref, when

if TYPE_CHECKING:
    from testio_mcp.database.tables.bugs import Bug
    from testio_mcp.database.tables.catalog import Product


class Test(Mirrored, table=True):
    """An exploratory test (test cycle).

    `sort_at` is `end_at`, or the far future for a test that has none yet: lists order by it.
    `bugs_synced_hash` is the `content_hash` for which the bugs were last read; another value means that they
    have to be read again.
    """

    __table_args__ = (
        # The type stands last so that a filter on it reads the index alone.
        Index(None, "product_id", "sort_at", "id", "testing_type"),
        Index(None, "product_id", "status", "sort_at", "id", "testing_type"),
        Index(None, "status", "sort_at", "id", "testing_type"),
        Index(None, "sort_at", "id", "testing_type"),
        Index(None, "product_id", "start_at"),
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
    __table_args__ = (Index(None, "test_id"), Index(None, "feature_id", "test_id"))

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
