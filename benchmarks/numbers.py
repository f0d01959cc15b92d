"""The calls that count: metrics of the largest product and of the whole account, and reports."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.cases import Case, Group, known_in
from testio_mcp.operations.metrics.definitions import METRICS

_ALL = tuple(METRICS)
_RATES = (
    "active_acceptance_rate",
    "auto_acceptance_rate",
    "overall_acceptance_rate",
    "rejection_rate",
    "review_rate",
)
_COUNTS = ("test_count", "bug_count", "bugs_per_test", *_RATES)
_LAST_QUARTER, _THIS_YEAR, _LAST_DAYS = "2026-Q3", "2026", "2026-08-04 to 2026-11-01"
"""What these words mean in the stores' present, `accounts.NOW`: the answer does not depend on today."""
_DAYS: Mapping[str, str] = {
    "last 90 days": _LAST_DAYS,
    "this quarter": "2026-10-01 to 2026-11-01",
    "this year": "2026-01-01 to 2026-11-01",
}
_COMMON: Mapping[str, dict[str, Any]] = {
    "all metrics, all time": {"metrics": _ALL},
    "all metrics by month, all time": {"metrics": _ALL, "by": ("month",), "limit": 1000},
    "all metrics by month, this year": {"metrics": _ALL, "by": ("month",), "period": _THIS_YEAR},
    "by testing_type, all time": {"metrics": (*_COUNTS, "executions", "pass_rate"), "by": ("testing_type",)},
    "by severity and bug_status, all time": {
        "metrics": ("bug_count", "bug_severity_score"),
        "by": ("severity", "bug_status"),
    },
    "by kind and known, all time": {"metrics": ("bug_count", *_RATES), "by": ("kind", "known")},
}
"""What people ask often."""
_SPLIT: Mapping[str, tuple[str, ...]] = {
    "feature": ("bug_count", "test_count", "bug_severity_score", "rejection_rate"),
    "tester": ("bug_count", "overall_acceptance_rate", "rejection_rate"),
    "device": ("bug_count",),
    "operating_system": ("bug_count",),
    "week": ("test_count", "bug_count", "rejection_rate", "review_rate"),
    "contact": ("bug_count", "test_count", "review_rate"),
    "severity": ("bug_count", "test_count"),
}
"""What is split by what many records differ in."""
_COMPARED: Mapping[str, dict[str, Any]] = {
    "all metrics, last quarter, compared": {"metrics": _ALL, "period": _LAST_QUARTER},
    "by month, last quarter, compared": {"metrics": _COUNTS, "by": ("month",), "period": _LAST_QUARTER},
    "all metrics, last 90 days, compared": {"metrics": _ALL, "period": _LAST_DAYS},
}
_PORTFOLIO: Mapping[str, dict[str, Any]] = {
    "tests, bugs and rates by month": {"metrics": _COUNTS, "by": ("month",), "limit": 1000},
    "all metrics by month": {"metrics": _ALL, "by": ("month",), "limit": 1000},
    "tests, bugs and rates by product and month": {"metrics": _COUNTS, "by": ("product", "month"), "limit": 1000},
    "by severity and bug_status": {"metrics": ("bug_count", "bug_severity_score"), "by": ("severity", "bug_status")},
    "tests, bugs and rates by product": {"metrics": _COUNTS, "by": ("product",)},
}


@lru_cache(maxsize=8)
def numbers_of(path: Path) -> MappingProxyType[str, Case]:
    """All cases that count, by name."""
    product_id = known_in(path).product_id
    cases = (*_of_product(product_id), *_of_portfolio(), *_reports(product_id))
    return MappingProxyType({case.name: case for case in cases})


def _of_product(product_id: int) -> Iterator[Case]:
    product = {"filters": (f"product={product_id}",)}
    for name, given in _COMMON.items():
        yield _metrics(f"product, {name}", "product metrics", product | given)
    for name, period in (("last 90 days", _LAST_DAYS), ("last quarter", _LAST_QUARTER)):
        for by, metrics in _SPLIT.items():
            given = {"metrics": metrics, "by": (by,), "period": period}
            yield _metrics(f"product, by {by}, {name}", "product metrics", product | given)
    for name, given in _COMPARED.items():
        yield _metrics(f"product, {name}", "product metrics", product | given | {"compare": True})
    for by in ("feature", "tester", "device", "contact", "severity"):
        given = {"metrics": _SPLIT[by], "by": (by,)}
        yield _metrics(f"product, by {by}, all time", "product metrics, every record", product | given)


def _of_portfolio() -> Iterator[Case]:
    for name, given in _PORTFOLIO.items():
        yield _metrics(f"portfolio, {name}, all time", "portfolio metrics", given)


def _metrics(name: str, group: Group, given: Mapping[str, Any]) -> Case:
    lists = {word: list(value) if isinstance(value, tuple) else value for word, value in given.items()}
    return Case(f"query_metrics, {name}", "query_metrics", lists, group)


def _reports(product_id: int) -> Iterator[Case]:
    for name, period in _DAYS.items():
        given = {"product_ids": [product_id], "period": period, "detail": "full"}
        yield Case(f"quality_report, product, {name}", "quality_report", given, "report")
    given = {"period": _LAST_QUARTER, "detail": "full"}
    yield Case("quality_report, portfolio, last quarter", "quality_report", given, "report, portfolio")
