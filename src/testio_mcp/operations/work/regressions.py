"""Bugs that were found again after they had been marked as fixed.

A bug is a regression when it was reported after another one of the same product and feature had been marked as fixed,
and their titles are alike, by themselves and together with what was seen to happen (see `duplicates`), on whatever
device. The moment of the mark is that of the sync that found it; of a bug that was fixed already when it was first
copied, all bugs of other tests reported later than itself count. Rejected bugs do not.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain, islice
from typing import Any, NamedTuple

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select

from testio_mcp.database.dialect import among, fetch, in_order
from testio_mcp.database.tables import Bug, ChangeLog, Feature, Test, table_of
from testio_mcp.domain import FAR_FUTURE
from testio_mcp.operations import figures
from testio_mcp.operations.work.duplicates import LIKELY, combine_likeness, compute_likeness, split_title, split_words

FIXED = 300
"""How many fixed bugs are compared with: those reported last, before the end of the period."""
REPORTS = 1_000
"""How many bugs on the features of fixed ones are looked at: those of the tests that ended last in the period."""
MOST = 20
"""How many regressions are shown."""
_FINALISTS = 4
_AT_ONCE = 50
_TEXT = 1_000


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
        description="When a sync found it marked as fixed; null for one that was when it was first copied."
    )
    similarity: float = Field(description="From 0 to 1: the words in common, of titles and of what happened.")


class _Fixed(NamedTuple):
    id: int
    feature_id: int
    test_id: int
    title: str
    reported_at: Any


class _Report(NamedTuple):
    id: int
    feature_id: int
    test_id: int
    title: str
    reported_at: Any
    level: str
    status: str
    feature: str


class _Pair(NamedTuple):
    """A report and a fixed bug whose titles are alike."""

    titles: float
    report: _Report
    fixed: _Fixed


_bugs, _tests, _features = table_of(Bug), table_of(Test), table_of(Feature)
_bug, _test, _change = _bugs.c, _tests.c, table_of(ChangeLog).c
_shared = (_bug.id, _bug.feature_id, _bug.test_id, _bug.title, _bug.reported_at)
_texts = select(_bug.id, func.substr(func.coalesce(_bug.actual_result, _bug.steps, ""), 1, _TEXT)).where(
    among(_bug.id, bindparam("ids"))
)
_marks = (
    select(_change.entity_id, func.min(_change.changed_at))
    .where(_change.entity == "bug", _change.field == "is_fixed", _change.new_value == "True")
    .where(among(_change.entity_id, bindparam("ids")))
    .group_by(_change.entity_id)
)


def find_regressions(
    conn: Connection,
    *,
    product_ids: Sequence[int] = (),
    test_ids: Sequence[int] = (),
    exclude_test_ids: Sequence[int] = (),
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int = MOST,
) -> list[Regression]:
    """The bugs of tests that ran and ended in [start, end) that were found again, those reported last first.

    Each bug is listed once, with the fixed bug that it is most like. The work is bounded: of products with more than
    `FIXED` fixed bugs, or a period with more than `REPORTS` bugs on their features, older regressions are not found.
    """
    if start and not end:
        end = FAR_FUTURE  # which is where tests without an end stand
    filters = {
        "product_id": product_ids[0] if len(product_ids) == 1 else None,
        "product_ids": _json_list(product_ids) if len(product_ids) > 1 else None,
        "test_ids": _json_list(test_ids) if test_ids else None,
        "exclude_test_ids": _json_list(exclude_test_ids) if exclude_test_ids else None,
        "start": start,
        "end": end,
    }
    values = {name: value for name, value in filters.items() if value is not None}
    which_fixed, which_reports = _statements(frozenset(values))
    fixed = [_Fixed(*row) for row in fetch(conn, which_fixed, values)]
    if not fixed:
        return []
    features = _json_list({bug.feature_id for bug in fixed})
    reports = [_Report(*row) for row in fetch(conn, which_reports, {**values, "feature_ids": features})]
    reports.sort(key=lambda report: (report.reported_at, report.id), reverse=True)
    found: list[Regression] = []
    pairs = _pair_titles(fixed, reports)
    while len(found) < limit and (some := list(islice(pairs, _AT_ONCE))):
        found += _compare_texts(conn, list(chain.from_iterable(some)))
    return found[:limit]


def _json_list(ids: Sequence[int] | set[int]) -> str:
    return f"[{','.join(map(str, sorted(ids)))}]"


@lru_cache(maxsize=64)
def _statements(names: frozenset[str]) -> tuple[Select[Any], Select[Any]]:
    """The fixed bugs and the reports to compare, chosen by what has these names."""
    end = bindparam("end", type_=_test.sort_at.type)
    of_tests: dict[str, ColumnElement[bool]] = {
        "product_id": _test.product_id == bindparam("product_id"),
        "product_ids": among(_test.product_id, bindparam("product_ids")),
        "test_ids": among(_test.id, bindparam("test_ids")),
        "exclude_test_ids": ~among(_test.id, bindparam("exclude_test_ids")),
        "start": _test.sort_at >= bindparam("start", type_=_test.sort_at.type),
        "end": _test.sort_at < end,
    }
    named = select(_test.product_id).where(among(_test.id, bindparam("test_ids")))
    of_fixed: dict[str, ColumnElement[bool]] = {
        "product_id": _bug.product_id == bindparam("product_id"),
        "product_ids": among(_bug.product_id, bindparam("product_ids")),
        "test_ids": _bug.product_id.in_(named),
        "end": _bug.reported_at < end,
    }
    fixed = (
        select(*_shared)
        .where(_bug.is_fixed, _bug.gone_at.is_(None), _bug.feature_id.is_not(None), _bug.reported_at.is_not(None))
        .where(*(condition for name, condition in of_fixed.items() if name in names))
        .order_by(_bug.reported_at.desc())
        .limit(FIXED)
    )
    page = (
        select(_bug.id)
        .select_from(in_order(_tests, _bugs, _bug.test_id == _test.id))
        .where(_test.gone_at.is_(None), figures.RAN, _bug.gone_at.is_(None), _bug.status != "rejected")
        .where(among(_bug.feature_id, bindparam("feature_ids")))
        .where(*(condition for name, condition in of_tests.items() if name in names))
        .order_by(_test.sort_at.desc())
        .limit(REPORTS)
        .subquery()
    )
    reports = (
        select(*_shared, _bug.level, _bug.status, _features.c.title.label("feature"))
        .select_from(in_order(page, _bugs, _bug.id == page.c.id))
        .join(_features, _bug.feature_id == _features.c.id)
        .where(_bug.reported_at.is_not(None))
    )
    return fixed, reports


def _pair_titles(fixed: Sequence[_Fixed], reports: Sequence[_Report]) -> Iterator[list[_Pair]]:
    """Each report with the earlier fixed bugs, filters newest first, whose titles are most like its own.

    A title is a number with a bit for each word: comparing two of them costs a tenth of what two sets of words cost.
    """
    bits: dict[int, dict[str, int]] = defaultdict(dict)
    titles: dict[int, list[tuple[int, int, _Fixed]]] = defaultdict(list)
    for bug in fixed:
        words, bit_of = split_title(bug.title), bits[bug.feature_id]
        mask = sum(bit_of.setdefault(word, 1 << len(bit_of)) for word in words)
        titles[bug.feature_id].append((mask, len(words), bug))
    for report in reports:
        words, bit_of = split_title(report.title), bits[report.feature_id]
        own, count = sum(bit_of.get(word, 0) for word in words), len(words)
        found = [
            _Pair(common / (count + size - common), report, bug)
            for mask, size, bug in titles[report.feature_id]
            if (common := (mask & own).bit_count()) >= LIKELY * (count + size - common)
            and bug.reported_at < report.reported_at
        ]
        if found:
            found.sort(key=lambda pair: pair.titles, reverse=True)
            yield found[:_FINALISTS]


def _compare_texts(conn: Connection, pairs: Sequence[_Pair]) -> Iterator[Regression]:
    """The reports that came after a mark and are alike in text too, each with the bug that it is most like."""
    fixed_ids = {pair.fixed.id for pair in pairs}
    ids = _json_list(fixed_ids | {pair.report.id for pair in pairs})
    words = {number: split_words(text) for number, text in fetch(conn, _texts, {"ids": ids})}
    marks = {row[0]: row[1] for row in fetch(conn, _marks, {"ids": _json_list(fixed_ids)})}
    best: dict[int, tuple[float, _Pair]] = {}
    for pair in pairs:
        one, other = words[pair.report.id], words[pair.fixed.id]
        similarity = round(combine_likeness(pair.titles, compute_likeness(one, other) if one and other else None), 2)
        # Without a mark, in another test: a test reports the same bug twice.
        mark = marks.get(pair.fixed.id)
        is_later = pair.report.reported_at > mark if mark else pair.report.test_id != pair.fixed.test_id
        if similarity >= LIKELY and is_later:
            previous = best.get(pair.report.id)
            if previous is None or similarity > previous[0]:
                best[pair.report.id] = similarity, pair
    for similarity, (_, report, bug) in best.values():
        yield Regression.model_validate(
            report._asdict()
            | {"fixed_bug_id": bug.id, "fixed_title": bug.title, "fixed_at": marks.get(bug.id)}
            | {"similarity": similarity}
        )
