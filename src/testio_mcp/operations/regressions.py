"""Bugs that were found again after they had been marked as fixed."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field
from sqlalchemy import Connection


class Regression(BaseModel):
    """A bug that says the same as one that was marked as fixed before."""

    id: int
    title: str
    level: str
    status: str
    test_id: int
    feature_id: int
    feature: str
    reported_at: datetime
    fixed_bug_id: int
    fixed_title: str
    fixed_at: datetime | None = Field(
        description="When the sync found it marked as fixed; null for one that was when it was first copied."
    )
    similarity: float = Field(description="From 0 to 1: the words in common, of titles and of what happened.")


def regressions(
    conn: Connection,
    *,
    product_ids: Sequence[int] = (),
    test_ids: Sequence[int] = (),
    exclude_test_ids: Sequence[int] = (),
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int = 20,
) -> list[Regression]:
    """The bugs of tests that ran and ended in [start, end) that were found again, newest first."""
    del conn, product_ids, test_ids, exclude_test_ids, start, end, limit
    return []
