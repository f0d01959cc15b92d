"""Spans of time: where a statement looks, and to which group what it finds there belongs."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import CTE, BigInteger, String

from testio_mcp.database.dialect import each_record
from testio_mcp.database.types import UtcDateTime, utc_text
from testio_mcp.operations.metrics.periods import Period, Unit, buckets, starts_of

_OPEN = {"sqlite": ("", "~"), "postgresql": ("-infinity", "infinity")}
"""What stands for an open side: before and after every moment as it is stored."""


class Span(NamedTuple):
    """From `starts` to before `ends` in UTC, None for an open side; of one product, or of all; part of a bucket."""

    starts: datetime | None
    ends: datetime | None
    bucket: date | None = None
    product_id: int | None = None


@lru_cache(maxsize=2)
def spans(dialect: str) -> CTE:
    """The spans that a statement is given, as a table."""
    moment = String() if dialect == "sqlite" else UtcDateTime()
    columns = {"product_id": BigInteger(), "starts": moment, "ends": moment, "bucket": String()}
    return each_record("spans", columns, dialect)


def as_json(found: Iterable[Span], dialect: str) -> str:
    """The spans as the variable `spans` takes them."""
    before, after = _OPEN[dialect]
    return json.dumps(
        [
            (
                span.product_id,
                before if span.starts is None else utc_text(span.starts),
                after if span.ends is None else utc_text(span.ends),
                None if span.bucket is None else span.bucket.isoformat(),
            )
            for span in found
        ]
    )


def split(first: datetime, last: datetime, unit: Unit, zone: ZoneInfo) -> list[Span]:
    """The days, weeks, months or quarters from the one around `first` to the one around `last`."""
    if first > last:
        return []
    units = buckets(Period(first.astimezone(zone).date(), last.astimezone(zone).date()), unit)
    edges = starts_of(units, zone)
    return [Span(starts, ends, each.first) for each, starts, ends in zip(units, edges, edges[1:], strict=False)]


def cut(found: Iterable[Span], start: datetime | None, end: datetime | None) -> list[Span]:
    """The parts of bounded spans that are between `start` and `end`."""
    parts = [
        span._replace(starts=max(span.starts, start or span.starts), ends=min(span.ends, end or span.ends))
        for span in found
        if span.starts and span.ends
    ]
    return [part for part in parts if part.starts and part.ends and part.starts < part.ends]


def for_products(found: Sequence[Span], product_ids: Iterable[int]) -> list[Span]:
    """Each span for each of the products."""
    return [span._replace(product_id=product) for product in product_ids for span in found]


def utc(text: str | datetime | None) -> datetime | None:
    """A moment as a statement gives it."""
    moment = datetime.fromisoformat(text) if isinstance(text, str) else text
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
