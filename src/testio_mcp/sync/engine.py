"""One run of the sync."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, Field

from testio_mcp.app import App
from testio_mcp.sync.progress import Report


class SyncSummary(BaseModel):
    """What a finished run did."""

    run_id: int
    status: str = Field(description="completed, or incomplete when some records could not be copied.")
    started_at: datetime
    finished_at: datetime
    requests: int
    records_new: int
    records_changed: int
    records_unchanged: int
    problems: int = Field(description="Records that could not be copied; the next run tries them again.")


@dataclass(frozen=True)
class SyncOptions:
    """What to copy: all products or some, incrementally or every page again."""

    product_ids: tuple[int, ...] = ()
    full: bool = False


async def run_sync(app: App, options: SyncOptions, report: Report) -> SyncSummary:
    """Copy the account's data."""
    raise NotImplementedError
