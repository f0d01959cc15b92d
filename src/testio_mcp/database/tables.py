"""The whole schema on one page.

Ids of the customer account are kept as they are (64 bits). `content_hash` identifies the stored version of a
record, `gone_at` says when a complete listing stopped naming it, and `raw` is the payload as received, without
secrets, in the last column so that lists never read it. Definitions of the words: `docs/architecture`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, MetaData, Table, UniqueConstraint
from sqlmodel import Field, Relationship, SQLModel

from testio_mcp.database.types import BigId, JsonText, UtcDateTime

metadata: MetaData = SQLModel.metadata
metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def _key(**options: Any) -> Any:
    """A primary key that holds an id of the account, or counts up when `default=None` is given."""
    automatic = "default" in options
    return Field(primary_key=True, sa_type=BigId, sa_column_kwargs={"autoincrement": automatic}, **options)


def _ref(target: str | None, **options: Any) -> Any:
    """A 64-bit reference to another table's `id`."""
    return Field(sa_type=BigId, foreign_key=f"{target}.id" if target else None, **options)


def _part_of(target: str) -> Any:
    """The first half of a part's key: the record it belongs to; `position` is the other half."""
    return Field(primary_key=True, sa_type=BigId, foreign_key=f"{target}.id")


def _when(**options: Any) -> Any:
    """A moment in UTC."""
    return Field(sa_type=UtcDateTime, **options)


def _json(**options: Any) -> Any:
    """A JSON document as text."""
    return Field(sa_type=JsonText, **options)


class Mirrored(SQLModel):
    """What every copied record carries."""

    content_hash: str = Field(default="", max_length=32)
    synced_at: datetime = _when()
    gone_at: datetime | None = _when(default=None)


class Product(Mirrored, table=True):
    """A product under test."""

    id: int = _key()
    name: str
    type: str | None = None
    description: str | None = None
    default_section_id: int | None = _ref(None, default=None)
    raw: str = _json()

    sections: list["Section"] = Relationship(back_populates="product")
    tests: list["Test"] = Relationship(back_populates="product")


class ProductCount(SQLModel, table=True):
    """Totals of one product, kept exact inside the transaction of every change.

    Records that are gone are not counted; `open_bugs` are bugs without a decision (status `open`).
    """

    __tablename__ = "product_count"

    product_id: int = Field(primary_key=True, sa_type=BigId, foreign_key="product.id")
    tests: int = 0
    bugs: int = 0
    open_bugs: int = 0


class Section(SQLModel, table=True):
    """A part of a product."""

    __table_args__ = (Index(None, "product_id"),)

    id: int = _key()
    product_id: int = _ref("product")
    name: str

    product: Product = Relationship(back_populates="sections")


class Feature(Mirrored, table=True):
    """A feature of a product."""

    __table_args__ = (Index(None, "product_id"),)

    id: int = _key()
    product_id: int = _ref("product")
    title: str
    description: str | None = None
    howtofind: str | None = None
    raw: str = _json()

    user_stories: list["UserStory"] = Relationship(back_populates="feature")


class FeatureSection(SQLModel, table=True):
    """A feature's membership in a section; one feature may have several."""

    __tablename__ = "feature_section"
    __table_args__ = (Index(None, "section_id"),)

    feature_id: int = Field(primary_key=True, sa_type=BigId, foreign_key="feature.id")
    section_id: int = Field(primary_key=True, sa_type=BigId, foreign_key="section.id")


class UserStory(Mirrored, table=True):
    """A user story of a feature."""

    __tablename__ = "user_story"
    __table_args__ = (Index(None, "feature_id"), Index(None, "product_id"))

    id: int = _key()
    product_id: int = _ref("product")
    feature_id: int = _ref("feature")
    title: str

    feature: Feature = Relationship(back_populates="user_stories")


class Person(SQLModel, table=True):
    """A tester or customer contact; a display name is all the API tells, and identifies a person.

    The id is computed from the name, so that two stores of one account agree on it.
    """

    __table_args__ = (UniqueConstraint("name"),)

    id: int = _key()
    name: str


class TestEnvironment(SQLModel, table=True):
    """Where a product is tested; access data is dropped before anything is stored."""

    __tablename__ = "test_environment"
    __table_args__ = (Index(None, "product_id"),)

    id: int = _key()
    product_id: int = _ref("product")
    title: str | None = None
    url: str | None = None


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

    id: int = _key()
    product_id: int = _ref("product")
    section_id: int | None = _ref("section", default=None)
    test_environment_id: int | None = _ref("test_environment", default=None)
    created_by_id: int | None = _ref("person", default=None)
    submitted_by_id: int | None = _ref("person", default=None)
    title: str
    status: str
    review_status: str | None = None
    testing_type: str
    report_language: str | None = None
    start_at: datetime | None = _when(default=None)
    end_at: datetime | None = _when(default=None)
    sort_at: datetime = _when()
    bugs_synced_hash: str | None = Field(default=None, max_length=32)
    goal: str | None = None
    instructions: str | None = None
    out_of_scope: str | None = None
    raw: str = _json()

    product: Product = Relationship(back_populates="tests")
    bugs: list["Bug"] = Relationship(back_populates="test")
    features: list["TestFeature"] = Relationship(back_populates="test")
    platforms: list["TestPlatform"] = Relationship(back_populates="test")


class TestFeature(SQLModel, table=True):
    """A test's own copy of a product's feature."""

    __tablename__ = "test_feature"
    __table_args__ = (Index(None, "test_id"), Index(None, "feature_id", "test_id"))

    id: int = _key()
    test_id: int = _ref("test")
    feature_id: int | None = _ref("feature", default=None)
    title: str
    enable_default: bool = True
    enable_content: bool = False
    enable_visual: bool = False

    test: Test = Relationship(back_populates="features")


class TestPlatform(SQLModel, table=True):
    """A device requirement of a test."""

    __tablename__ = "test_platform"

    test_id: int = _part_of("test")
    position: int = Field(primary_key=True)
    category: str | None = None
    operating_system: str | None = None
    version_from: str | None = None
    version_to: str | None = None
    browsers: str | None = None

    test: Test = Relationship(back_populates="platforms")


class Bug(Mirrored, table=True):
    """A bug report. `kind` and `level` are the two halves of the API's severity; `status` as shown to people."""

    __table_args__ = (
        Index(None, "test_id", "gone_at", "level", "status"),
        Index(None, "product_id", "status", "id"),
        Index(None, "product_id", "reported_at", "id"),
        Index(None, "feature_id"),
        Index(None, "author_id"),
    )

    id: int = _key()
    test_id: int = _ref("test")
    product_id: int = _ref("product")
    section_id: int | None = _ref("section", default=None)
    feature_id: int | None = _ref("feature", default=None)
    test_feature_id: int | None = _ref(None, default=None)
    author_id: int | None = _ref("person", default=None)
    title: str
    kind: str
    level: str
    status: str
    is_known: bool = False
    language: str | None = None
    location: str | None = None
    external_idx: str | None = None
    exported_at: datetime | None = _when(default=None)
    reported_at: datetime | None = _when(default=None)
    rejection_reason: str | None = None
    comment_count: int = 0
    steps: str | None = None
    expected_result: str | None = None
    actual_result: str | None = None
    raw: str = _json()

    test: Test = Relationship(back_populates="bugs")
    devices: list["BugDevice"] = Relationship(back_populates="bug")
    comments: list["BugComment"] = Relationship(back_populates="bug")


class BugDevice(SQLModel, table=True):
    """A device on which a bug was seen."""

    __tablename__ = "bug_device"

    bug_id: int = _part_of("bug")
    position: int = Field(primary_key=True)
    category: str | None = None
    vendor: str | None = None
    name: str | None = None
    operating_system: str | None = None
    operating_system_version: str | None = None
    browsers: str | None = None

    bug: Bug = Relationship(back_populates="devices")


class BugComment(SQLModel, table=True):
    """A comment on a bug."""

    __tablename__ = "bug_comment"

    bug_id: int = _part_of("bug")
    position: int = Field(primary_key=True)
    comment_id: int | None = _ref(None, default=None)
    author_id: int | None = _ref("person", default=None)
    body: str
    created_at: datetime | None = _when(default=None)

    bug: Bug = Relationship(back_populates="comments")


class Attachment(SQLModel, table=True):
    """A file attached to a bug; only its address is kept."""

    bug_id: int = _part_of("bug")
    position: int = Field(primary_key=True)
    attachment_id: int | None = _ref(None, default=None)
    url: str


class SyncRun(SQLModel, table=True):
    """One run of the sync. `status`: running, completed, incomplete (dead letters), failed, interrupted."""

    __tablename__ = "sync_run"

    id: int | None = _key(default=None)
    mode: str
    status: str
    started_at: datetime = _when()
    finished_at: datetime | None = _when(default=None)
    requests: int = 0
    records_new: int = 0
    records_changed: int = 0
    records_unchanged: int = 0
    error: str | None = None


class Checkpoint(SQLModel, table=True):
    """How far the copy of one resource of one product has come.

    `next_page` is where an interrupted listing resumes (null: nothing is under way), `completed_at` the start of
    the newest run that read it to the end: the data is as of then. Product 0 stands for the account.
    """

    resource: str = Field(primary_key=True)
    product_id: int = Field(primary_key=True, sa_type=BigId)
    next_page: int | None = None
    completed_at: datetime | None = _when(default=None)


class DeadLetter(SQLModel, table=True):
    """A record that could not be copied; retried on every run and removed once it succeeds."""

    __tablename__ = "dead_letter"
    __table_args__ = (UniqueConstraint("resource", "product_id", "record_key"),)

    id: int | None = _key(default=None)
    resource: str
    product_id: int = _ref(None)
    record_key: str
    reason: str
    attempts: int = 1
    first_seen_at: datetime = _when()
    last_seen_at: datetime = _when()


class ChangeLog(SQLModel, table=True):
    """One changed field of one record: the API cannot say what changed, this table can."""

    __tablename__ = "change_log"
    __table_args__ = (
        Index(None, "product_id", "id"),
        Index(None, "entity", "entity_id", "id"),
        Index(None, "changed_at"),
    )

    id: int | None = _key(default=None)
    run_id: int = _ref("sync_run")
    entity: str
    entity_id: int = _ref(None)
    product_id: int = _ref(None)
    field: str
    old_value: str | None = None
    new_value: str | None = None
    changed_at: datetime = _when()


def table_of(model: type[SQLModel]) -> Table:
    """The Core table of a model: lists and bulk writes use it, entities are for single records."""
    return metadata.tables[str(model.__tablename__)]
