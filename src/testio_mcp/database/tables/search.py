"""What the full text search keeps beside its indexes, which are no ordinary tables."""

from datetime import UTC, datetime

from sqlmodel import Field, SQLModel

from testio_mcp.database.tables.columns import when
from testio_mcp.database.types import BigId

NEVER, ALWAYS = datetime(1000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


class SearchSlice(SQLModel, table=True):
    """A range of ids that an index holds records of, for one product and (as product 0) for all.

    All moments of these records lie between `first_at` and `last_at`; without any, `first_at` is the later one.
    """

    __tablename__ = "search_slice"

    kind: str = Field(primary_key=True)
    product_id: int = Field(primary_key=True, sa_type=BigId)
    number: int = Field(primary_key=True, sa_type=BigId)
    first_at: datetime = when()
    last_at: datetime = when()
