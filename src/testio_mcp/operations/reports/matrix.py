"""Which user stories pass where: executions of user stories by device, operating system, environment or test."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    bindparam,
    exists,
    func,
    or_,
    select,
    union,
)

from testio_mcp.database.dialect import fetch, in_order
from testio_mcp.database.tables import (
    Execution,
    ExecutionDevice,
    Feature,
    Product,
    Test,
    TestEnvironment,
    TestStoryResult,
    UserStory,
    table_of,
)
from testio_mcp.domain import RAN_IN_WORDS, story_coverage
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.figures import RAN, pass_rate, read_timestamp
from testio_mcp.operations.lists.filters import Equal, Where, any_of
from testio_mcp.operations.lists.listing import Listing, Order
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.registry import operation
from testio_mcp.operations.reports.cells import BEGINNING, RESULTS, Cell, Columns, MatrixColumn, largest
from testio_mcp.settings import Settings

By = Literal["device", "operating_system", "environment", "test"]
_Groups = Sequence[Sequence[Any]]
"""Rows of story, column, status, number of runs, and the moment of the latest."""
Only = Literal["all", "problems", "untested"]
_REASONS, _QUOTED = 3, 160
_END = datetime(9999, 12, 31, tzinfo=UTC)

_run, _result, _story = table_of(Execution).c, table_of(TestStoryResult).c, table_of(UserStory).c
_test, _feature, _device = table_of(Test).c, table_of(Feature).c, table_of(ExecutionDevice).c
_environment = table_of(TestEnvironment).c


class MatrixRow(BaseModel):
    """A user story with its runs in each column."""

    id: int
    title: str
    feature_id: int
    feature: str
    latest: str = Field(description="How its latest run ended; not_tested when none did.")
    passed: int
    failed: int
    blocked: int
    not_tested: int = Field(description="Runs without an end: pending, cancelled or of unknown status.")
    tests: int = Field(description="Tests with the story in them, of those whose metrics are copied.")
    failed_only_by_bug: int = Field(
        description="Tests that count it as failed because a bug is linked to it, although no run failed."
    )
    flaky_on: list[str] = Field(description="Columns on which it both passed and failed.")
    blocked_reasons: list[str] = Field(description=f"Comments of blocked runs, newest first, at most {_REASONS}.")
    cells: dict[str, str] = Field(description="By column: how many runs ended how, and how the last one did.")


class MatrixTotals(BaseModel):
    """All runs, whatever the page."""

    executions: int
    passed: int
    failed: int
    blocked: int
    not_tested: int
    without_story: int = Field(description="Runs of no known user story: they are in no cell.")
    pass_rate: float | None = Field(description="Passed, of all that passed, failed or were blocked.")
    stories_tested: int = Field(description="Stories with an execution, whatever became of it.")
    stories: int = Field(description="Stories of the product, or of the feature.")
    story_coverage: float | None = Field(description="stories_tested of stories.")


class MatrixPage(Page):
    """User stories by feature, with their runs by column."""

    items: list[MatrixRow]
    scope: str
    columns: list[MatrixColumn] = Field(description="Most used first; of equals the newest test.")
    totals: MatrixTotals


@dataclass(frozen=True)
class _Scope:
    """Which runs count: those of tests that ran, one or all of a product; with or without a period."""

    of_test: bool
    is_dated: bool

    @property
    def tests(self) -> list[ColumnElement[bool]]:
        """The tests."""
        if self.of_test:
            return [_test.gone_at.is_(None), _test.id == bindparam("test_id"), RAN]
        return [_test.gone_at.is_(None), _test.product_id == _PRODUCT, RAN]

    @property
    def runs(self) -> list[ColumnElement[bool]]:
        """The runs, joined with their tests."""
        dates = [_run.executed_at >= _FROM, _run.executed_at < _BEFORE] if self.is_dated else []
        return [_run.gone_at.is_(None), *self.tests, *dates]

    @property
    def results(self) -> list[ColumnElement[bool]]:
        """What runs and bugs add up to in the tests that were under way in the period."""
        started = or_(_test.start_at.is_(None), _test.start_at < _BEFORE)
        return [*self.tests, *([started, _test.sort_at >= _FROM] if self.is_dated else [])]


_PRODUCT: BindParameter[int] = bindparam("product_id")
_FROM, _BEFORE = (bindparam(name, type_=_run.executed_at.type) for name in ("executed_from", "executed_before"))
_of_page: BindParameter[Any] = bindparam("story_ids", expanding=True)
_runs = table_of(Execution).join(table_of(Test), _run.test_id == _test.id)
_runs_in_order = in_order(table_of(Execution), table_of(Test), _run.test_id == _test.id)
_results = table_of(TestStoryResult).join(table_of(Test), _result.test_id == _test.id)
_story_counts = (_story.gone_at.is_(None), _story.product_id == _PRODUCT)
_main_device = (table_of(ExecutionDevice), (_device.execution_id == _run.id) & (_device.position == 0))
# By: the column's key, and what has to be joined for it.
_AXES: Mapping[str, tuple[ColumnElement[Any], Sequence[tuple[FromClause, ColumnElement[bool]]]]] = {
    "device": (_device.name, (_main_device,)),
    "operating_system": (_device.operating_system, (_main_device,)),
    "environment": (_test.test_environment_id, ()),
    "test": (_run.test_id, ()),
}
_TITLES: Mapping[str, Select[Any]] = {
    "environment": select(_environment.id, _environment.title).where(any_of(_environment.id, "keys")),
    "test": select(_test.id, _test.title).where(any_of(_test.id, "keys")),
}


@lru_cache(maxsize=4)
def _stories(scope: _Scope) -> Listing:
    """The rows: stories of a product, or of one test."""
    runs = exists().select_from(_runs).where(_run.user_story_id == _story.id, *scope.runs)
    bad = exists().select_from(_results).where(_result.user_story_id == _story.id, *scope.results)
    in_test = union(
        select(_result.user_story_id).where(_result.test_id == bindparam("test_id")),
        select(_run.user_story_id).where(_run.test_id == bindparam("test_id")),
    )
    return Listing(
        table=table_of(UserStory),
        columns=(_story.id, _story.title, _story.feature_id, _feature.title.label("feature")),
        joins=((table_of(Feature), _story.feature_id == _feature.id),),
        always=(_story.gone_at.is_(None), *([_story.id.in_(in_test)] if scope.of_test else [])),
        filters={
            "product_id": Equal(_story.product_id, exists=table_of(Product)),
            "feature_id": Equal(_story.feature_id, exists=table_of(Feature)),
            "problems": Where(
                or_(
                    runs.where(_run.status.in_(["failed", "blocked"])),
                    bad.where(_result.execution_status.in_(["failed", "blocked"])),
                )
            ),
            "untested": Where(~runs.where(_run.status.in_(RESULTS))),
        },
        orders={"feature": Order((_story.feature_id, _story.id), is_descending=False)},
        resources=("features", "tests", "executions"),
    )


@lru_cache(maxsize=32)
def _groups(scope: _Scope, by: By, of_feature: bool) -> Select[Any]:
    """All runs by story, column and status: how many there are, and when the latest was."""
    key, joined = _AXES[by]
    # The few runs of a feature's stories come first, where the tests of a product would.
    source = _runs_in_order if of_feature else _runs
    for table, same in joined:
        source = source.outerjoin(table, same)
    chosen = [_run.user_story_id.in_(_select_stories(True))] if of_feature else []
    return (
        select(_run.user_story_id, key, _run.status, func.count(), func.max(_run.executed_at))
        .select_from(source)
        .where(*scope.runs, *chosen)
        .group_by(_run.user_story_id, key, _run.status)
    )


@lru_cache(maxsize=2)
def _select_stories(of_feature: bool) -> Select[Any]:
    """The stories of a product, or of a feature of it."""
    return select(_story.id).where(
        *_story_counts, *([_story.feature_id == bindparam("feature_id")] if of_feature else [])
    )


@lru_cache(maxsize=4)
def _rollups(scope: _Scope) -> Select[Any]:
    """Per story of a page: the tests that it was part of, and those in which only a bug makes it count as failed."""
    # Joined as a set that is read once: looked up per result, SQLite walks all failed runs of the story each time.
    of_test = [_run.test_id == bindparam("test_id")] if scope.of_test else []
    failed = (
        select(_run.test_id, _run.user_story_id)
        .where(_run.user_story_id.in_(_of_page), _run.status == "failed", _run.gone_at.is_(None), *of_test)
        .distinct()
        .subquery()
    )
    same = (failed.c.test_id == _result.test_id) & (failed.c.user_story_id == _result.user_story_id)
    by_bug = (_result.execution_status == "failed") & (_result.bugs > 0) & failed.c.test_id.is_(None)
    tests = func.count(_result.test_id.distinct())
    return (
        select(_result.user_story_id, tests, tests.filter(by_bug))
        .select_from(_results.outerjoin(failed, same))
        .where(_result.user_story_id.in_(_of_page), *scope.results)
        .group_by(_result.user_story_id)
    )


@lru_cache(maxsize=4)
def _reasons(scope: _Scope) -> Select[Any]:
    """What blocked the stories of a page, newest first."""
    text, latest = func.substr(_run.comment, 1, _QUOTED), func.max(func.coalesce(_run.executed_at, _START))
    return (
        select(_run.user_story_id, text)
        .select_from(_runs_in_order)
        .where(_run.user_story_id.in_(_of_page), _run.status == "blocked", _run.comment.is_not(None), *scope.runs)
        .group_by(_run.user_story_id, text)
        .order_by(latest.desc(), func.max(_run.id).desc())
    )


_START = bindparam("beginning", BEGINNING, type_=_run.executed_at.type)
_test_by_id = select(_test.product_id, RAN).where(_test.id == bindparam("test_id"))


@operation(
    "/matrix",
    command="matrix",
    toolset="tests",
    needs=("features", "tests", "executions", "metrics"),
    examples=({"product_id": 1}, {"test_id": 1, "by": "device"}),
)
def execution_matrix(
    conn: Connection,
    settings: Settings,
    product_id: Annotated[
        int | None, Field(description="Required unless test_id is given; list_products shows the ids.")
    ] = None,
    test_id: Annotated[int | None, Field(description="Only this test; list_tests shows the ids.")] = None,
    feature_id: Annotated[int | None, Field(description="Only this feature; list_features shows the ids.")] = None,
    by: Annotated[
        By, Field(description="What the columns are: device, operating_system, environment or test.")
    ] = "test",
    date_from: Annotated[date | None, Field(description="Run on or after this day.")] = None,
    date_to: Annotated[date | None, Field(description="Run on or before this day.")] = None,
    only: Annotated[
        Only, Field(description="problems: stories that failed or were blocked; untested: those without a result.")
    ] = "all",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=50, description="User stories per page, 1 to 50.")] = 20,
) -> MatrixPage:
    """Show which user stories passed, failed or were blocked on which device, system, environment or test.

    A story is flaky where it both passed and failed. Each run counts once, with its first device.
    """
    product_id, words = _product_of(conn, product_id, test_id)
    scope = _Scope(test_id is not None, date_from is not None or date_to is not None)
    binds: dict[str, Any] = {"product_id": product_id}
    if test_id is not None:
        binds["test_id"] = test_id
    if feature_id is not None:
        binds["feature_id"] = feature_id
    if scope.is_dated:
        begins, ends = bounds(Period(date_from, date_to), settings.zone)
        binds |= {"executed_from": begins or BEGINNING, "executed_before": ends or _END}
    chosen = {} if only == "all" else {only: True}
    page = _stories(scope).page(conn, binds | chosen, order="feature", cursor=cursor, limit=limit)
    groups = fetch(conn, _groups(scope, by, feature_id is not None), binds)
    stories = {row[0] for row in fetch(conn, _select_stories(feature_id is not None), binds)}
    columns = _columns(conn, by, groups, stories)
    page["items"] = _rows(conn, scope, binds, groups, page["items"], columns) if page["items"] else []
    totals = _totals(groups, stories)
    return MatrixPage.model_validate({**page, "scope": words, "columns": columns.to_dicts(), "totals": totals})


def _product_of(conn: Connection, product_id: int | None, test_id: int | None) -> tuple[int, str]:
    """The product, and the scope in words."""
    if test_id is None:
        if product_id is None:
            raise BadInput("product_id: it is required unless test_id is given.", "list_products shows the ids.")
        return product_id, RAN_IN_WORDS
    found = fetch(conn, _test_by_id, {"test_id": test_id})
    if not found:
        raise NotFound(f"Test {test_id} is not in the store.", "list_tests shows the ids.")
    if product_id not in (None, found[0][0]):
        raise BadInput(f"test_id: test {test_id} is one of product {found[0][0]}.", "Leave product_id out.")
    product, has_run = found[0]
    return int(product), f"test {test_id}" if has_run else f"test {test_id}, which did not run: nothing of it counts"


def _columns(conn: Connection, by: By, groups: _Groups, stories: set[int]) -> Columns:
    """The columns with their runs of known stories."""
    number: Counter[tuple[Any, str]] = Counter()
    for story, key, status, runs, _ in groups:
        if story in stories:
            number[key, status] += runs
    cells: dict[Any, Cell] = defaultdict(Cell)
    for (key, status), runs in number.items():
        cells[key].add(status, runs)
    if by not in _TITLES:
        return Columns(cells, {key: key for key in cells}, by)
    # Of many thousand tests only the few that are shown need a title.
    keys = largest(cells) if by == "test" else [key for key in cells if key is not None]
    titles = {row[0]: row[1] for row in fetch(conn, _TITLES[by], {"keys": keys})} if keys else {}
    return Columns(cells, titles, by)


def _totals(groups: _Groups, stories: set[int]) -> dict[str, Any]:
    """What `MatrixTotals` holds."""
    number: Counter[str] = Counter()
    for _, _, status, runs, _ in groups:
        number[status] += runs
    everything = Cell()
    for status, runs in number.items():
        everything.add(status, runs)
    tested = len({story for story, *_ in groups} & stories)
    return {
        **everything.to_counts(),
        "executions": everything.counts.total(),
        "without_story": sum(runs for story, _, _, runs, _ in groups if story not in stories),
        "pass_rate": pass_rate(everything.counts),
        "stories_tested": tested,
        "stories": len(stories),
        "story_coverage": story_coverage(tested, len(stories)).share,
    }


def _rows(
    conn: Connection,
    scope: _Scope,
    binds: dict[str, Any],
    groups: _Groups,
    stories: list[dict[str, Any]],
    columns: Columns,
) -> list[dict[str, Any]]:
    """What `MatrixRow` holds for each of the stories."""
    rows: dict[int, dict[Any, Cell]] = {story["id"]: defaultdict(Cell) for story in stories}
    wholes = {story: Cell() for story in rows}
    for story, key, status, runs, at in groups:
        if story in rows:
            latest = read_timestamp(at)
            rows[story][key].add(status, runs, latest)
            wholes[story].add(status, runs, latest)
    asked = binds | {"story_ids": list(rows)}
    rollups = {story: (tests, by_bug) for story, tests, by_bug in fetch(conn, _rollups(scope), asked)}
    reasons: dict[int, list[str]] = defaultdict(list)
    if blocked := [story for story, whole in wholes.items() if whole.counts["blocked"]]:
        for story, comment in fetch(conn, _reasons(scope), binds | {"story_ids": blocked, "beginning": BEGINNING}):
            reasons[story].append(comment)
    told = []
    for story in stories:
        cells, whole = rows[story["id"]], wholes[story["id"]]
        tests, by_bug = rollups.get(story["id"], (0, 0))
        row = {
            "latest": whole.last,
            "tests": tests,
            "failed_only_by_bug": by_bug,
            "flaky_on": columns.flaky(cells),
            "blocked_reasons": reasons[story["id"]][:_REASONS],
            "cells": {name: str(cell) for name, cell in columns.select_columns(cells).items()},
        }
        told.append(story | whole.to_counts() | row)
    return told
