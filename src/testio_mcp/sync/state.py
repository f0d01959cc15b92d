"""What the sync remembers between runs: runs, checkpoints, problems and the change log."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, bindparam, case, delete, func, insert, literal, or_, select, union, update

from testio_mcp.api.records import ProblemRecord
from testio_mcp.database.dialect import Row, fetch, upsert
from testio_mcp.database.tables import (
    ApiPause,
    Bug,
    ChangeLog,
    Checkpoint,
    DeadLetter,
    Execution,
    Product,
    RejectReason,
    Section,
    SyncRun,
    Test,
    TestStoryResult,
    table_of,
)
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.domain import AWAITING, DID_NOT_RUN
from testio_mcp.rejections import Match, Reason

MUTABLE = ("initialized", "customer_finalized", "waiting", "running", "locked")
"""Statuses of tests that can still change; an unknown status counts as mutable as well."""
IMMUTABLE = ("archived", "cancelled")
ENDED = (*IMMUTABLE, "locked")
"""Statuses of tests in which nobody runs anything any more."""
UNDECIDED = ("pending", "unknown")
"""Statuses of executions without an outcome."""
POSITION = "position "
"""How the key of a problem begins when all that is known of the record is its place in a list."""

Part = Literal["bugs", "metrics", "results"]
"""What is read test by test."""
_RUN, _POINT, _PROBLEM = table_of(SyncRun), table_of(Checkpoint), table_of(DeadLetter)
_TEST, _BUG, _PAUSE = table_of(Test), table_of(Bug), table_of(ApiPause)
_REASON, _SECTION, _EXECUTION = table_of(RejectReason), table_of(Section), table_of(Execution)
_PRODUCT, _CHANGE, _STORY = table_of(Product), table_of(ChangeLog), table_of(TestStoryResult)
_STATUS_CHANGES = (_CHANGE.c.entity == "test", _CHANGE.c.field.in_(("status", "gone_at")))
"""Lines of the change log about tests that have another status, or that came or went."""
_WITH_WAITING_BUGS = select(_BUG.c.test_id).where(_BUG.c.status.in_(AWAITING), _BUG.c.gone_at.is_(None))


def begin_run(conn: Connection, mode: str, now: datetime) -> int:
    """Note that a run starts; whatever a killed run left behind as running was interrupted."""
    stale = update(_RUN).where(_RUN.c.status == "running")
    end = case((_RUN.c.started_at > now, _RUN.c.started_at), else_=literal(now, _RUN.c.started_at.type))
    conn.execute(stale.values(status="interrupted", finished_at=end))
    started: int = conn.execute(insert(_RUN).values(_run_values(mode, now)).returning(_RUN.c.id)).scalar_one()
    return started


def _run_values(mode: str, now: datetime) -> dict[str, object]:
    counts = dict.fromkeys(("requests", "records_new", "records_changed", "records_unchanged"), 0)
    return {"mode": mode, "status": "running", "started_at": now, **counts}


def end_run(conn: Connection, run_id: int, **values: object) -> None:
    """Note how a run ended."""
    conn.execute(update(_RUN).where(_RUN.c.id == run_id).values(values))


def log_changes(conn: Connection, lines: list[Row]) -> None:
    """Write lines of the change log, in the transaction that changes the records."""
    conn.execute(insert(_CHANGE), lines)


@dataclass(frozen=True)
class Point:
    """Where a listing stands: the page to resume at, and when it was last read to its end."""

    next_page: int | None = None
    completed_at: datetime | None = None


def checkpoint(conn: Connection, resource: str, product_id: int) -> Point:
    """The checkpoint of one resource of one product."""
    found = conn.execute(
        select(_POINT.c.next_page, _POINT.c.completed_at).where(
            _POINT.c.resource == resource, _POINT.c.product_id == product_id
        )
    ).first()
    return Point(*found) if found else Point()


def save_checkpoint(conn: Connection, resource: str, product_id: int, point: Point) -> None:
    """Store how far a listing has come, in the transaction that stores its records."""
    values = {"next_page": point.next_page, "completed_at": point.completed_at}
    upsert(conn, _POINT, [{"resource": resource, "product_id": product_id, **values}])


def forget_gone_products(conn: Connection) -> None:
    """Remove the checkpoints and problems of products that are gone: nobody asks for them any more."""
    gone = select(_PRODUCT.c.id).where(_PRODUCT.c.gone_at.is_not(None))
    conn.execute(delete(_POINT).where(_POINT.c.product_id.in_(gone)))
    conn.execute(delete(_PROBLEM).where(_PROBLEM.c.product_id.in_(gone)))


def save_problems(
    conn: Connection, resource: str, product_id: int, problems: Iterable[ProblemRecord], now: datetime
) -> None:
    """Keep the records that could not be copied as problems, one per record however often it fails."""
    for problem in {problem.key: problem for problem in problems}.values():
        place = (
            _PROBLEM.c.resource == resource,
            _PROBLEM.c.product_id == product_id,
            _PROBLEM.c.record_key == problem.key,
        )
        again = {"reason": problem.reason, "attempts": _PROBLEM.c.attempts + 1, "last_seen_at": now}
        if not conn.execute(update(_PROBLEM).where(*place).values(again)).rowcount:
            first = {"attempts": 1, "first_seen_at": now, "last_seen_at": now, "reason": problem.reason}
            key = {"resource": resource, "product_id": product_id, "record_key": problem.key}
            conn.execute(insert(_PROBLEM).values(key | first))


def move_problems(
    conn: Connection, resource: str, product_id: int, moves: Iterable[tuple[str, str]], now: datetime
) -> None:
    """Rename problems that were met again at another place: each from one key to another, the last one first."""
    ours = (_PROBLEM.c.resource == resource, _PROBLEM.c.product_id == product_id)
    for old, new in moves:
        if new != old:
            conn.execute(delete(_PROBLEM).where(*ours, _PROBLEM.c.record_key == new))
        met = {"record_key": new, "attempts": _PROBLEM.c.attempts + 1, "last_seen_at": now}
        conn.execute(update(_PROBLEM).where(*ours, _PROBLEM.c.record_key == old).values(met))


_problem_reasons = select(_PROBLEM.c.record_key, _PROBLEM.c.reason).where(
    _PROBLEM.c.resource == bindparam("resource"), _PROBLEM.c.product_id == bindparam("product_id")
)
_solved_problems = delete(_PROBLEM).where(
    _PROBLEM.c.resource == bindparam("resource_"),
    _PROBLEM.c.product_id == bindparam("product_id_"),
    _PROBLEM.c.record_key.in_(bindparam("keys", expanding=True)),
)


def clear_problems(conn: Connection, resource: str, product_id: int, keys: Sequence[int | str]) -> None:
    """Remove the problems of records that were copied after all."""
    if found := {str(key) for key in keys}.intersection(problem_reasons(conn, resource, product_id)):
        conn.execute(_solved_problems, {"resource_": resource, "product_id_": product_id, "keys": sorted(found)})


def clear_old_problems(conn: Connection, resource: str, product_id: int, seen_at: datetime) -> None:
    """Remove the problems that a complete listing did not meet again; it met those of `seen_at`."""
    conn.execute(
        delete(_PROBLEM).where(
            _PROBLEM.c.resource == resource, _PROBLEM.c.product_id == product_id, _PROBLEM.c.last_seen_at != seen_at
        )
    )


def forget_problems(conn: Connection, problem_ids: Sequence[int]) -> int:
    """Remove these problems, or all; how many there were."""
    statement = delete(_PROBLEM)
    if problem_ids:
        statement = statement.where(_PROBLEM.c.id.in_(problem_ids))
    return conn.execute(statement).rowcount


def products_with_problems(conn: Connection) -> list[int]:
    """The products that miss records; none, for all, when a missing record is not known to belong to one."""
    found = [row[0] for row in conn.execute(select(_PROBLEM.c.product_id).distinct())]
    return [] if ACCOUNT in found else found


def count_problems(conn: Connection) -> int:
    """How many records are missing from the copy."""
    return conn.execute(select(func.count(_PROBLEM.c.id))).scalar_one()


def problem_reasons(conn: Connection, resource: str, product_id: int) -> dict[str, str]:
    """The keys of the problems of one resource of one product, each with its reason."""
    return {row[0]: row[1] for row in fetch(conn, _problem_reasons, {"resource": resource, "product_id": product_id})}


def reasons(conn: Connection) -> tuple[Reason, ...]:
    """The reasons for which a bug may be rejected."""
    columns = (_REASON.c.key, _REASON.c.name, _REASON.c.default_comment)
    return tuple(Reason(*row) for row in conn.execute(select(*columns).order_by(_REASON.c.key)))


def replace_reasons(conn: Connection, listed: Iterable[Reason], *, is_whole: bool) -> None:
    """Store the reasons that the account lists; where they differ from before, all rejections are matched again.

    `is_whole` says that the list is all there is: what it lacks is removed.
    """
    before, listed = reasons(conn), list(listed)
    if is_whole:
        conn.execute(delete(_REASON).where(_REASON.c.key.not_in([reason.key for reason in listed])))
    upsert(conn, _REASON, [reason._asdict() for reason in listed])
    if reasons(conn) != before:
        conn.execute(update(_BUG).where(_BUG.c.status == "rejected").values(rejection_match=None))


_unmatched = (
    select(_BUG.c.id, _BUG.c.raw)
    .where(_BUG.c.status == "rejected", _BUG.c.rejection_match.is_(None), _BUG.c.content_hash != "")
    .order_by(_BUG.c.id)
    .limit(bindparam("limit"))
)


def unmatched_rejections(conn: Connection, limit: int) -> list[tuple[int, str]]:
    """Rejected bugs whose reason was not looked for since the reasons changed, with their payloads."""
    return [(row[0], row[1]) for row in conn.execute(_unmatched, {"limit": limit})]


_save_match = (
    update(_BUG)
    .where(_BUG.c.id == bindparam("bug_id"))
    .values(rejection_reason=bindparam("reason"), rejection_match=bindparam("certainty"))
)


def save_matches(conn: Connection, matches: Mapping[int, Match]) -> None:
    """Store why bugs were rejected."""
    if matches:
        conn.execute(_save_match, [{"bug_id": bug_id, **found._asdict()} for bug_id, found in matches.items()])


def known_tests(conn: Connection, test_ids: Collection[int]) -> set[int]:
    """Those of the tests that are in the store."""
    found = select(_TEST.c.id).where(_TEST.c.id.in_(bindparam("ids", expanding=True)))
    return {row[0] for row in conn.execute(found, {"ids": list(test_ids)})}


def product_names(conn: Connection) -> dict[int, str]:
    """The products of the store, by id."""
    found = select(_PRODUCT.c.id, _PRODUCT.c.name).where(_PRODUCT.c.gone_at.is_(None)).order_by(_PRODUCT.c.id)
    return {row[0]: row[1] for row in conn.execute(found)}


def products_of(conn: Connection, test_ids: Collection[int]) -> dict[int, int]:
    """The product of each of the tests that is in the store."""
    found = select(_TEST.c.id, _TEST.c.product_id).where(_TEST.c.id.in_(bindparam("ids", expanding=True)))
    return {row[0]: row[1] for row in conn.execute(found, {"ids": list(test_ids)})}


def have_tests(conn: Connection, product_ids: Collection[int]) -> bool:
    """Whether the list of tests of each of the products was read to its end."""
    read = select(_POINT.c.product_id).where(_POINT.c.resource == "tests", _POINT.c.completed_at.is_not(None))
    return set(product_ids) <= {row[0] for row in conn.execute(read)}


def mutable_tests(conn: Connection, product_id: int) -> list[int]:
    """Tests of the product that can still change, newest first."""
    statement = select(_TEST.c.id).where(
        _TEST.c.product_id == product_id, _TEST.c.status.not_in(IMMUTABLE), _TEST.c.gone_at.is_(None)
    )
    return [row[0] for row in conn.execute(statement.order_by(_TEST.c.id.desc()))]


def sections(conn: Connection, product_id: int) -> list[int]:
    """The sections of a product."""
    listed = select(_SECTION.c.id).where(_SECTION.c.product_id == product_id, _SECTION.c.gone_at.is_(None))
    return [row[0] for row in conn.execute(listed.order_by(_SECTION.c.id))]


class OpenExecution(NamedTuple):
    """An execution without an outcome, in a test that has not ended."""

    id: int
    version_id: int
    test_id: int


def open_executions(conn: Connection) -> list[OpenExecution]:
    """The executions whose outcome can still be told, newest first."""
    columns = _EXECUTION.c
    statement = (
        select(columns.id, columns.user_story_version_id, columns.test_id)
        .join_from(_TEST, _EXECUTION, columns.test_id == _TEST.c.id)
        .where(_TEST.c.status.not_in(ENDED), _TEST.c.gone_at.is_(None))
        .where(columns.status.in_(UNDECIDED), columns.gone_at.is_(None), columns.user_story_version_id.is_not(None))
        .order_by(columns.id.desc())
    )
    return [OpenExecution(*row) for row in conn.execute(statement)]


def tests_that_ran(conn: Connection, test_ids: Collection[int]) -> set[int]:
    """Those of the tests that ran, or run."""
    ran = select(_TEST.c.id).where(_TEST.c.id.in_(bindparam("ids", expanding=True)))
    found = conn.execute(ran.where(_TEST.c.status.not_in(DID_NOT_RUN)), {"ids": list(test_ids)})
    return {row[0] for row in found}


def tests_awaiting(
    conn: Connection,
    part: Part,
    product_ids: Collection[int],
    *,
    full: bool = False,
    since: datetime | None = None,
    archived: Collection[int] | None = None,
) -> list[tuple[int, int]]:
    """Tests whose bugs or metrics have to be read, newest first, each with its product.

    They were not read since the test last changed, or, for bugs, can still change: the test can, or one of its bugs
    waits for a decision. The status of a test does not matter: whatever it is now, people see what belongs to it.
    Results are those of all test-case tests. With `full` all tests are read, with `since` none that ended before that
    moment, with `archived` only those of these tests that are.
    """
    read = _TEST.c.bugs_synced_hash if part == "bugs" else _TEST.c.metrics_synced_hash
    due = read.is_distinct_from(_TEST.c.content_hash)
    if part == "bugs":
        due |= _TEST.c.status.not_in(IMMUTABLE) | _TEST.c.id.in_(_WITH_WAITING_BUGS)
    statement = (
        select(_TEST.c.id, _TEST.c.product_id)
        .where(_TEST.c.gone_at.is_(None))
        .where(_TEST.c.product_id.in_(bindparam("product_ids", expanding=True)))
        .order_by(_TEST.c.id.desc())
    )
    if part == "results":
        statement = statement.where(_TEST.c.testing_type == "test_case")
    elif not full:
        statement = statement.where(due)
    if since is not None:
        statement = statement.where(_TEST.c.sort_at >= since)
    if archived is not None:
        statement = statement.where(_TEST.c.id.in_(archived), _TEST.c.status.in_(IMMUTABLE))
    return [(row[0], row[1]) for row in conn.execute(statement, {"product_ids": list(product_ids)})]


def _mark_read(conn: Connection, column: str, test_ids: Sequence[int]) -> None:
    chosen = update(_TEST).where(_TEST.c.id.in_(bindparam("ids", expanding=True)))
    conn.execute(chosen.values({column: _TEST.c.content_hash}), {"ids": list(test_ids)})


def mark_bugs_read(conn: Connection, test_ids: Sequence[int]) -> None:
    """Note that the bugs of these tests are stored, as of the tests' present version."""
    _mark_read(conn, "bugs_synced_hash", test_ids)


def mark_metrics_read(conn: Connection, test_ids: Sequence[int]) -> None:
    """Note that the metrics of these tests are stored, as of the tests' present version."""
    _mark_read(conn, "metrics_synced_hash", test_ids)


def forget_metrics(
    conn: Connection,
    changed: Literal["bugs", "executions"],
    test_ids: Sequence[int],
    moment: datetime,
    *,
    is_first: bool,
) -> None:
    """Have the metrics read again of those tests whose bugs or executions were written or went at `moment`.

    While a copy is first filled those of archived tests stay: they are read beside the bugs, not after them.
    """
    columns = (_BUG if changed == "bugs" else _EXECUTION).c
    touched = select(columns.test_id).where(
        columns.test_id.in_(bindparam("ids", expanding=True)),
        or_(columns.synced_at == moment, columns.gone_at == moment),
    )
    unread = update(_TEST).where(_TEST.c.id.in_(touched))
    if is_first:
        unread = unread.where(_TEST.c.status.not_in(IMMUTABLE))
    conn.execute(unread.values(metrics_synced_hash=None), {"ids": list(test_ids)})


def forget_parts(conn: Connection, test_ids: Sequence[int], moment: datetime) -> None:
    """Have bugs and metrics read again of those tests whose status changed at `moment`, even if it changes back."""
    ids: Any = bindparam("ids", expanding=True)
    changed = select(_CHANGE.c.entity_id).where(
        *_STATUS_CHANGES, _CHANGE.c.entity_id.in_(ids), _CHANGE.c.changed_at == moment
    )
    unread = update(_TEST).where(_TEST.c.id.in_(changed))
    conn.execute(unread.values(bugs_synced_hash=None, metrics_synced_hash=None), {"ids": list(test_ids)})


def tests_of_another_status(conn: Connection, since: datetime) -> list[int]:
    """Tests whose status changed after that moment, or that came back."""
    changed = select(_CHANGE.c.entity_id).where(*_STATUS_CHANGES, _CHANGE.c.changed_at > since)
    statement = select(_TEST.c.id).where(_TEST.c.id.in_(changed), _TEST.c.gone_at.is_(None))
    return [row[0] for row in conn.execute(statement.order_by(_TEST.c.id.desc()))]


def unfinished_tests(conn: Connection) -> list[int]:
    """Tests in which somebody can still run something, or that have just ended."""
    unfinished = select(_TEST.c.id).where(
        _TEST.c.status.not_in((*DID_NOT_RUN, *IMMUTABLE)), _TEST.c.gone_at.is_(None)
    )
    return [row[0] for row in conn.execute(unfinished.order_by(_TEST.c.id.desc()))]


def versions_of(conn: Connection, test_ids: Sequence[int]) -> list[int]:
    """The user story versions of these tests: those that were executed, and those with a result."""
    ids: Any = bindparam("ids", expanding=True)
    parts = (
        select(columns.user_story_version_id).where(
            columns.test_id.in_(ids), columns.user_story_version_id.is_not(None)
        )
        for columns in (_EXECUTION.c, _STORY.c)
    )
    return sorted((row[0] for row in conn.execute(union(*parts), {"ids": list(test_ids)})), reverse=True)


def gone_tests(conn: Connection, test_ids: Collection[int]) -> set[int]:
    """Those of the tests that are gone."""
    gone = select(_TEST.c.id).where(_TEST.c.id.in_(bindparam("ids", expanding=True)), _TEST.c.gone_at.is_not(None))
    return {row[0] for row in conn.execute(gone, {"ids": list(test_ids)})}


def tests_of_executions(conn: Connection, execution_ids: Collection[int]) -> list[int]:
    """The tests of these executions."""
    found = select(_EXECUTION.c.test_id).where(_EXECUTION.c.id.in_(bindparam("ids", expanding=True))).distinct()
    return [row[0] for row in conn.execute(found, {"ids": list(execution_ids)}) if row[0] is not None]


def surplus_executions(conn: Connection, listed: int | None) -> int:
    """How many executions the copy holds beyond the number that is `listed`; 0 where the API tells no number."""
    if listed is None:
        return 0
    held = conn.execute(select(func.count(_EXECUTION.c.id)).where(_EXECUTION.c.gone_at.is_(None))).scalar_one()
    broken = conn.execute(select(func.count(_PROBLEM.c.id)).where(_PROBLEM.c.resource == "executions")).scalar_one()
    return max(0, int(held + broken - listed))


def living_tests_from(conn: Connection, product_id: int, first: int) -> list[int]:
    """Tests of the product that were listed, from an id on, newest first."""
    listed = select(_TEST.c.id).where(
        _TEST.c.product_id == product_id, _TEST.c.id >= first, _TEST.c.gone_at.is_(None)
    )
    return [row[0] for row in conn.execute(listed.order_by(_TEST.c.id.desc()))]


def pause_left(conn: Connection, host: str, now: datetime) -> float:
    """Seconds for which the API at `host` still asked to be left alone.

    0 when a run has started in the future: the clock was set back since, and the API can say again how long.
    """
    until = conn.execute(select(_PAUSE.c.until).where(_PAUSE.c.host == host)).scalar()
    newest = conn.execute(select(func.max(_RUN.c.started_at))).scalar()
    if until is None or (newest is not None and newest > now):
        return 0.0
    left: float = (until - now).total_seconds()
    return max(0.0, left)


def save_pause(conn: Connection, host: str, until: datetime) -> None:
    """Remember until when the API at `host` asked to be left alone."""
    upsert(conn, _PAUSE, [{"host": host, "until": until}])
