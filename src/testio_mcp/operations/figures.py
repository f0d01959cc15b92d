"""Counts and rates of bugs and executions: one definition each, for every answer that tells them.

Statements give groups, rows of words followed by a number (`select(status, level, kind, count()).group_by(...)`);
what is told of them is added up here, so that two answers about the same records cannot differ.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, ScalarSelect, Table, func, select

from testio_mcp.database.dialect import utc_now
from testio_mcp.database.tables import Test, table_of
from testio_mcp.domain import Ratio, ran
from testio_mcp.operations.lists.paging import as_of

STATUS, LEVEL, KIND = 0, 1, 2
"""Places of the words in a group of bugs."""

_test = table_of(Test).c
DATA_AS_OF: ColumnElement[Any] = func.coalesce(as_of("tests"), utc_now())
"""The moment of the data: up to which the tests were read completely, or now before the first complete sync."""
RAN: ColumnElement[bool] = ran(_test.status, _test.start_at, DATA_AS_OF)
"""Whether a test ran (`domain.ran`), for every statement on tests."""

Group = Sequence[Any]

_ORDER = {
    word: position
    for words in (
        ("critical", "high", "low", "none"),
        ("open", "question", "accepted", "auto_accepted", "rejected", "submitted", "manager_approved"),
        ("running", "locked", "waiting", "customer_finalized", "initialized", "archived", "cancelled"),
        ("passed", "failed", "blocked", "pending"),
        ("functional", "visual", "content", "usability", "custom", "test_case", "spelling"),
    )
    for position, word in enumerate(words)
}


class Rates(BaseModel):
    """Shares from 0 to 1; null where there is nothing to divide by."""

    active_acceptance_rate: float | None = Field(description="Accepted by a person, of all bugs.")
    auto_acceptance_rate: float | None = Field(description="Auto-accepted, of all accepted.")
    overall_acceptance_rate: float | None = Field(description="Accepted by a person or auto-accepted, of all bugs.")
    rejection_rate: float | None = Field(description="Rejected, of all bugs.")
    review_rate: float | None = Field(description="Accepted or rejected by a person, of all bugs.")


def count_present(table: Table, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """How many records meet the conditions and are not gone, as a column of each row of a statement.

    It reads an index that has the columns of the conditions and `gone_at`.
    """
    return select(func.count()).select_from(table).where(*conditions, table.c.gone_at.is_(None)).scalar_subquery()


def count_all_but_gone(table: Table, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    """The same for very many records: all less the few that are gone.

    SQLite then reads no more of each than that it is there, which takes half the time.
    """
    every = select(func.count()).select_from(table).where(*conditions)
    gone = every.where(table.c.gone_at.is_not(None))
    return every.scalar_subquery() - gone.scalar_subquery()


def rates(by_status: Mapping[str, int]) -> dict[str, float | None]:
    """The five `Rates` of bugs counted by status; every other status counts among all bugs."""
    return {name: ratio.share for name, ratio in bug_ratios(by_status).items()}


def bug_ratios(by_status: Mapping[str, int]) -> dict[str, Ratio]:
    """What each of the five `Rates` is made of."""
    bugs = sum(by_status.values())
    accepted, automatic, rejected = (by_status.get(word, 0) for word in ("accepted", "auto_accepted", "rejected"))
    return {
        "active_acceptance_rate": Ratio(accepted, bugs),
        "auto_acceptance_rate": Ratio(automatic, accepted + automatic),
        "overall_acceptance_rate": Ratio(accepted + automatic, bugs),
        "rejection_rate": Ratio(rejected, bugs),
        "review_rate": Ratio(accepted + rejected, bugs),
    }


def pass_rate(by_status: Mapping[str, int]) -> float | None:
    """Passed executions of those that came to an end: neither pending nor cancelled."""
    return pass_ratio(by_status).share


def pass_ratio(by_status: Mapping[str, int]) -> Ratio:
    """What the pass rate is made of."""
    passed, failed, blocked = (by_status.get(word, 0) for word in ("passed", "failed", "blocked"))
    return Ratio(passed, passed + failed + blocked)


def tally(groups: Iterable[Group], position: int = 0, **only: str) -> dict[str, int]:
    """Groups added up by the word at `place`: the words of the domain in their order, then any others.

    `only` picks groups by their `status` or `level`.
    """
    counts: Counter[str] = Counter()
    wanted = {{"status": STATUS, "level": LEVEL}[name]: word for name, word in only.items()}
    for group in groups:
        if all(group[where] == word for where, word in wanted.items()):
            counts["unknown" if group[position] is None else group[position]] += group[-1]
    return dict(sorted(counts.items(), key=lambda item: (rank(item[0]), item[0])))


def rank(word: str) -> int:
    """The place of a word of the domain among its kind; unknown words come last."""
    return _ORDER.get(word, len(_ORDER))


def bug_counts(groups: Iterable[Group]) -> dict[str, int]:
    """What `BugCounts` holds, from groups of bugs that begin with status and level."""
    groups = list(groups)
    levels = tally(groups, LEVEL)
    total = sum(levels.values())
    by_level = {level: levels.get(level, 0) for level in ("critical", "high", "low")}
    is_open = tally(groups, STATUS).get("open", 0)
    return {"total": total, **by_level, "other": total - sum(by_level.values()), "open": is_open}


def minus(counts: Mapping[str, int], less: Mapping[str, int]) -> dict[str, int]:
    """What is left of `counts`; words of which nothing is left are gone."""
    return {word: count - less.get(word, 0) for word, count in counts.items() if count != less.get(word, 0)}


def read_timestamp(value: str | datetime | None) -> datetime | None:
    """A timestamp as `fetch` gives it: SQLite has text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value
