"""Counts of past months, kept so that questions about years need not count every bug.

A cell is one product, or all of them, and one month of tests' ends. It is removed with the change that makes it
wrong, and made again after a sync; what has no cell is counted from the records. `starts_at` is inside the cell,
`ends_at` is not.
"""

from datetime import datetime

from sqlmodel import Field, SQLModel

from testio_mcp.database.tables.columns import when
from testio_mcp.database.types import BigId

NOBODY = -1
"""The member that stands for records without one."""
EVERY = -1
"""The product of cells that hold what all products have together."""


class RollupCell(SQLModel, table=True):
    """A product's month whose counts are kept."""

    __tablename__ = "rollup_cell"

    product_id: int = Field(primary_key=True, sa_type=BigId)
    starts_at: datetime = when(primary_key=True)
    ends_at: datetime = when()


class RollupCount(SQLModel, table=True):
    """How many tests, bugs or executions of tests that ran are in a cell; words that do not apply are empty."""

    __tablename__ = "rollup_count"
    __table_args__ = ({"sqlite_with_rowid": False},)

    product_id: int = Field(primary_key=True, sa_type=BigId)
    fact: str = Field(primary_key=True)
    starts_at: datetime = when(primary_key=True)
    testing_type: str = Field(primary_key=True, default="")
    status: str = Field(primary_key=True, default="")
    level: str = Field(primary_key=True, default="")
    kind: str = Field(primary_key=True, default="")
    is_known: bool = Field(primary_key=True, default=False)
    number: int


class RollupMember(SQLModel, table=True):
    """The testers, user stories and features in a cell."""

    __tablename__ = "rollup_member"
    __table_args__ = ({"sqlite_with_rowid": False},)

    product_id: int = Field(primary_key=True, sa_type=BigId)
    fact: str = Field(primary_key=True)
    starts_at: datetime = when(primary_key=True)
    member_id: int = Field(primary_key=True, sa_type=BigId)
