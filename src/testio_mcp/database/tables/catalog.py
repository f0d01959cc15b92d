"""What is tested, and by whom: products, sections, features, user stories, environments, people."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, Relationship, SQLModel

from testio_mcp.database.tables.columns import Mirrored, json_text, key, ref, when
from testio_mcp.database.types import BigId

if TYPE_CHECKING:
    from testio_mcp.database.tables.exploratory import Test


class Product(Mirrored, table=True):
    """A product under test."""

    id: int = key()
    name: str
    type: str | None = None
    description: str | None = None
    default_section_id: int | None = ref(None, default=None)
    raw: str = json_text()

    sections: list["Section"] = Relationship(back_populates="product")
    tests: list["Test"] = Relationship(back_populates="product")


class Section(SQLModel, table=True):
    """A part of a product; `gone_at` is set while the product does not list it."""

    __table_args__ = (Index(None, "product_id"),)

    id: int = key()
    product_id: int = ref("product")
    name: str
    gone_at: datetime | None = when(default=None)

    product: Product = Relationship(back_populates="sections")


class Feature(Mirrored, table=True):
    """A feature of a product."""

    __table_args__ = (Index(None, "product_id"),)

    id: int = key()
    product_id: int = ref("product")
    title: str
    description: str | None = None
    howtofind: str | None = None
    raw: str = json_text()

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

    id: int = key()
    product_id: int = ref("product")
    feature_id: int = ref("feature")
    title: str

    feature: Feature = Relationship(back_populates="user_stories")


class Person(SQLModel, table=True):
    """A tester or customer contact; a display name is all the API tells, and identifies a person.

    The id is computed from the name, so that two stores of one account agree on it.
    """

    __table_args__ = (UniqueConstraint("name"),)

    id: int = key()
    name: str


class TestEnvironment(Mirrored, table=True):
    """Where a product is tested; access data is dropped before anything is stored."""

    __tablename__ = "test_environment"
    __table_args__ = (Index(None, "product_id"),)

    id: int = key()
    product_id: int = ref("product")
    title: str | None = None
    url: str | None = None
    raw: str = json_text()


class TestTemplate(Mirrored, table=True):
    """A template to make tests from."""

    __tablename__ = "test_template"
    __table_args__ = (Index(None, "product_id"),)

    id: int = key()
    product_id: int = ref("product")
    section_id: int | None = ref("section", default=None)
    title: str
    raw: str = json_text()


class RejectReason(SQLModel, table=True):
    """A reason to reject a bug; a rejection shows as a comment that says `default_comment` in some form."""

    __tablename__ = "reject_reason"

    key: str = Field(primary_key=True)
    name: str | None = None
    default_comment: str | None = None
