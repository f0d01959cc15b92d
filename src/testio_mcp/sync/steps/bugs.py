"""Copying the bugs of the tests that may have new ones: many tests per request, several requests at a time."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import orjson
from sqlalchemy import Connection, bindparam, select, update

from testio_mcp.api.payloads import BugPayload, parse_bug
from testio_mcp.api.records import Page, ProblemRecord
from testio_mcp.database.tables import Bug, TestFeature, table_of
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.errors import ApiError, ApiUnreachable
from testio_mcp.rejections import UNRECOGNISED, Match
from testio_mcp.sync import state
from testio_mcp.sync.rows import BUGS, rejection_of
from testio_mcp.sync.run import Run
from testio_mcp.sync.walk import FATAL, read_bugs
from testio_mcp.sync.writer import missing

TESTS_PER_REQUEST = 50
"""How many tests' bugs are asked for at once: few enough for a short address and an answer of a megabyte or so."""
_MATCHED_AT_ONCE = 500
_WORKERS = 4
"""How many such requests are under way: they are large, and metrics are read beside them."""
_BUG, _COPY = table_of(Bug).c, table_of(TestFeature).c
# Some bugs name only the test's copy of the feature.
_BY_COPY = select(_BUG.id).where(
    _BUG.id.in_(bindparam("ids", expanding=True)), _BUG.feature_id.is_(None), _BUG.test_feature_id.is_not(None)
)
_FEATURE_OF_COPY = select(_COPY.feature_id).where(_COPY.id == _BUG.test_feature_id).scalar_subquery()


async def match_rejections(run: Run) -> None:
    """Find out again why bugs were rejected where the reasons were read, or changed, after the bugs."""

    def work(conn: Connection) -> None:
        rows = state.unmatched_rejections(conn, _MATCHED_AT_ONCE)
        bugs = {bug_id: parse_bug(orjson.loads(raw)) for bug_id, raw in rows}
        nothing = Match(UNRECOGNISED, "none")
        state.save_matches(conn, {bug_id: rejection_of(bug, run.reasons) or nothing for bug_id, bug in bugs.items()})

    while await run.read(lambda conn: bool(state.unmatched_rejections(conn, 1))):
        await run.write(work)


async def copy_bugs(run: Run, products: Sequence[int]) -> None:
    """Read the bugs of these products' tests that have changed, or whose bugs can still change.

    A test counts as read only when each of its bugs is stored, so whatever is missing is asked for again next time.
    Raises `ApiError` when the API as a whole does not answer.
    """
    if not run.options.wants("bugs"):
        return
    waiting, point, has_tests = await run.read(
        lambda conn: (
            state.tests_awaiting(conn, "bugs", products, full=run.options.full, since=run.options.since),
            state.checkpoint(conn, BUGS.name, ACCOUNT),
            run.options.wants("tests") or state.have_tests(conn, products),
        )
    )
    # Of about one size: what fails for a test beside others tells more than what fails for a last one alone.
    size = -(-len(waiting) // max(1, -(-len(waiting) // TESTS_PER_REQUEST))) or 1
    batches = (waiting[n : n + size] for n in range(0, len(waiting), size))
    copy = _Copy(run, len(waiting), log_new=point.completed_at is not None)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_WORKERS):
            tasks.create_task(copy.work(batches))
    if copy.refused is not None:
        await run.store(BUGS, ACCOUNT, (), [ProblemRecord("list of bugs", copy.refused.message, None)])
    elif has_tests and not run.options.product_ids and run.options.since is None:
        await run.write(lambda conn: state.clear_old_problems(conn, BUGS.name, ACCOUNT, run.started_at))
        await run.store(BUGS, ACCOUNT, (), point=state.Point(None, run.started_at))


class _Copy:
    """The workers' common state."""

    def __init__(self, run: Run, total: int, *, log_new: bool) -> None:
        self._run = run
        self._total = total
        self._done = 0
        self._log_new = log_new
        self.refused: ApiError | None = None

    async def work(self, batches: Iterator[list[tuple[int, int]]]) -> None:
        """Copy batch after batch until there is none left, or the API gives the bugs of no test at all."""
        for batch in batches:
            try:
                await self._copy(dict(batch))
            except (*FATAL, ApiUnreachable):
                raise
            except ApiError as error:
                self.refused = error
            if self.refused is not None:
                return
            self._done += len(batch)
            await self._run.tell("bugs of tests", "", self._done, self._total)

    async def _copy(self, tests: dict[int, int]) -> None:
        page, lost = await read_bugs(self._run.api, list(tests))
        bugs = [bug for bug in page.records if bug.test_id in tests]
        problems = [*page.problems, *await self._homeless(page, tests)]
        unread = {*lost, *_touched(problems, tests)}
        read = [test_id for test_id in tests if test_id not in unread]
        listed = {bug.id for bug in bugs}

        def finish(conn: Connection) -> None:
            _find_features(conn, list(listed))
            gone = missing(conn, BUGS, listed, _BUG.test_id.in_(read))
            if self._run.remove(conn, BUGS, ACCOUNT, gone, f"tests {min(tests)} to {max(tests)}") is None:
                state.mark_bugs_read(conn, read)
            is_first = not self._log_new
            state.forget_metrics(conn, "bugs", list(tests), self._run.started_at, is_first=is_first)

        unreadable = [ProblemRecord(f"test {test_id}", "its bugs cannot be read", None) for test_id in lost]
        await self._run.store(
            BUGS,
            ACCOUNT,
            bugs,
            [*problems, *unreadable],
            log_new=self._log_new,
            tests=tests,
            also=finish,
        )

    async def _homeless(self, page: Page[BugPayload], tests: dict[int, int]) -> list[ProblemRecord]:
        """The bugs that name no test, or none of the store.

        A server that ignores the filter sends bugs of other tests as well; those are asked for on their own.
        """
        named = {bug.test_id for bug in page.records if bug.test_id is not None} - tests.keys()
        unknown = named - await self._run.read(lambda conn: state.known_tests(conn, named)) if named else named
        reasons: dict[int | None, str] = {None: "names no test", **dict.fromkeys(unknown, "names an unknown test")}
        return [
            ProblemRecord(str(bug.id), reasons[bug.test_id], bug.raw)
            for bug in page.records
            if bug.test_id in reasons
        ]


def _find_features(conn: Connection, bug_ids: list[int]) -> None:
    """Give bugs that name no feature that of the test's copy."""
    if ids := [row[0] for row in conn.execute(_BY_COPY, {"ids": bug_ids})]:
        conn.execute(update(BUGS.table).where(_BUG.id.in_(ids)).values(feature_id=_FEATURE_OF_COPY))


def _touched(problems: Iterable[ProblemRecord], tests: dict[int, int]) -> set[int]:
    """The tests that miss a bug; all of them, when a broken bug does not say where it belongs."""
    touched = set()
    for problem in problems:
        test = (problem.raw or {}).get("test")
        test_id = test.get("id") if isinstance(test, dict) else None
        if not isinstance(test_id, int) or test_id not in tests:
            return set(tests)
        touched.add(test_id)
    return touched
