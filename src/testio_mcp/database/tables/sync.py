"""What the sync remembers: runs, checkpoints, problems and the log of changes."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from testio_mcp.database.tables.columns import key, ref, when
from testio_mcp.database.types import BigId

ACCOUNT = 0
"""The product id under which the state of account-wide resources is kept."""
ALL_TESTS, ALL_EXECUTIONS = "all tests", "all executions"
"""Checkpoints that tell when these lists were last read from end to end: all deletions up to then are known.

`next_page` of the second is how many executions the copy held then beyond those that the API counts.
"""
NO_LONGER_KNOWN = "the API no longer knows it"
"""Why a test is a problem that was listed before: it is gone if the next run hears the same."""
LACKS = "the list lacks "
"""How the reason of a problem begins whose list shrank too much to be believed."""


class SyncRun(SQLModel, table=True):
    """One run of the sync. `status`: running, completed, incomplete (problems), failed, interrupted."""

    __tablename__ = "sync_run"

    id: int | None = key(default=None)
    mode: str
    status: str
    started_at: datetime = when()
    finished_at: datetime | None = when(default=None)
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
    completed_at: datetime | None = when(default=None)


class DeadLetter(SQLModel, table=True):
    """A record that could not be copied; retried on every run and removed once it succeeds."""

    __tablename__ = "dead_letter"
    __table_args__ = (UniqueConstraint("resource", "product_id", "record_key"),)

    id: int | None = key(default=None)
    resource: str
    product_id: int = ref(None)
    record_key: str
    reason: str
    attempts: int = 1
    first_seen_at: datetime = when()
    last_seen_at: datetime = when()


class ChangeLog(SQLModel, table=True):
    """One changed field of one record: the API cannot say what changed, this table can."""

    __tablename__ = "change_log"
    __table_args__ = (
        Index(None, "product_id", "id"),
        Index(None, "entity", "entity_id", "id"),
    )

    id: int | None = key(default=None)
    run_id: int = ref("sync_run")
    entity: str
    entity_id: int = ref(None)
    product_id: int = ref(None)
    field: str
    old_value: str | None = None
    new_value: str | None = None
    changed_at: datetime = when()


class Derived(SQLModel, table=True):
    """By which version of its definition a kind of derived data was computed (`database/derived.py`)."""

    name: str = Field(primary_key=True)
    version: int


class SyncLease(SQLModel, table=True):
    """Who may write entity data: one row, taken over by whoever gets the lock beside it.

    `fence` grows with every taking, and each page's transaction compares it, so that a holder who lost the lock
    writes nothing more. The holder moves `expires_at` on: once it has passed, he was killed or is stuck.
    """

    __tablename__ = "sync_lease"

    name: str = Field(primary_key=True)
    owner: str
    fence: int
    acquired_at: datetime = when()
    expires_at: datetime = when()


class Drift(SQLModel, table=True):
    """A way in which payloads differ from the API's reference: an unknown field or word, or a wrong type."""

    resource: str = Field(primary_key=True)
    note: str = Field(primary_key=True)
    records: int
    first_seen_at: datetime = when()
    last_seen_at: datetime = when()


class Reader(SQLModel, table=True):
    """Up to which line of the change log a named reader has looked."""

    name: str = Field(primary_key=True)
    last_change_id: int = ref(None)
    looked_at: datetime = when()


class ApiPause(SQLModel, table=True):
    """Until when the API asked to be left alone; kept because the wish outlives the process."""

    __tablename__ = "api_pause"

    host: str = Field(primary_key=True)
    until: datetime = when()
