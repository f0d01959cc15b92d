"""Counts and rates of bugs and executions: one definition each, for every answer that tells them.

Statements give groups, rows of words followed by a number (`select(status, level, kind, count()).group_by(...)`);
what is told of them is added up here, so that two answers about the same records cannot differ.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement

from testio_mcp.database.tables import Test, table_of
from testio_mcp.sync.state import WITHOUT_BUGS

SCOPE = f"bugs of tests that ran, which is all but {', '.join(sorted(WITHOUT_BUGS))}"
"""The default scope of metrics, in words; a status that nobody knows yet counts as having run."""
AWAITING = ("open", "question")
"""Statuses of the bugs that the clock will accept unless somebody decides."""
STATUS, LEVEL, KIND = 0, 1, 2
"""Places of the words in a group of bugs."""

RAN: ColumnElement[bool] = table_of(Test).c.status.not_in(WITHOUT_BUGS)
DID_NOT_RUN: ColumnElement[bool] = table_of(Test).c.status.in_(WITHOUT_BUGS)

Group = Sequence[Any]

_ORDER = {
    word: place
    for words in (
        ("critical", "high", "low", "none"),
        ("open", "question", "accepted", "auto_accepted", "rejected", "submitted", "manager_approved"),
        ("running", "locked", "waiting", "customer_finalized", "initialized", "archived", "cancelled"),
        ("passed", "failed", "blocked", "pending"),
        ("functional", "visual", "content", "usability", "custom", "test_case", "spelling"),
    )
    for place, word in enumerate(words)
}


class Rates(BaseModel):
    """Shares from 0 to 1; null where there is nothing to divide by."""

    active_acceptance_rate: float | None = Field(description="Accepted by a person, of all bugs.")
    auto_acceptance_rate: float | None = Field(description="Accepted by the clock, of all accepted.")
    overall_acceptance_rate: float | None = Field(description="Accepted by a person or the clock, of all bugs.")
    rejection_rate: float | None = Field(description="Rejected, of all bugs.")
    review_rate: float | None = Field(description="Accepted or rejected by a person, of all bugs.")


def share(part: int, whole: int) -> float | None:
    """`part` of `whole` to four digits; None over nothing, never 0."""
    return round(part / whole, 4) if whole else None


def rates(by_status: Mapping[str, int]) -> dict[str, float | None]:
    """The five `Rates` of bugs counted by status; every other status counts among all bugs."""
    bugs = sum(by_status.values())
    accepted, automatic, rejected = (by_status.get(word, 0) for word in ("accepted", "auto_accepted", "rejected"))
    return {
        "active_acceptance_rate": share(accepted, bugs),
        "auto_acceptance_rate": share(automatic, accepted + automatic),
        "overall_acceptance_rate": share(accepted + automatic, bugs),
        "rejection_rate": share(rejected, bugs),
        "review_rate": share(accepted + rejected, bugs),
    }


def pass_rate(by_status: Mapping[str, int]) -> float | None:
    """Passed executions of those that came to an end: neither pending nor cancelled."""
    passed, failed, blocked = (by_status.get(word, 0) for word in ("passed", "failed", "blocked"))
    return share(passed, passed + failed + blocked)


def tally(groups: Iterable[Group], place: int = 0, **only: str) -> dict[str, int]:
    """Groups added up by the word at `place`: the words of the domain in their order, then any others.

    `only` picks groups by their `status` or `level`.
    """
    counts: Counter[str] = Counter()
    wanted = {{"status": STATUS, "level": LEVEL}[name]: word for name, word in only.items()}
    for group in groups:
        if all(group[where] == word for where, word in wanted.items()):
            counts["unknown" if group[place] is None else group[place]] += group[-1]
    return dict(sorted(counts.items(), key=lambda item: (rank(item[0]), item[0])))


def rank(word: str) -> int:
    """The place of a word of the domain among its kind; unknown words come last."""
    return _ORDER.get(word, len(_ORDER))


def bug_counts(groups: Iterable[Group]) -> dict[str, int]:
    """What `BugCounts` holds, from groups of bugs that begin with status and level."""
    groups = list(groups)
    levels = tally(groups, LEVEL)
    total = sum(levels.values())
    known = {level: levels.get(level, 0) for level in ("critical", "high", "low")}
    is_open = tally(groups, STATUS).get("open", 0)
    return {"total": total, **known, "other": total - sum(known.values()), "open": is_open}


def minus(counts: Mapping[str, int], less: Mapping[str, int]) -> dict[str, int]:
    """What is left of `counts`; words of which nothing is left are gone."""
    return {word: count - less.get(word, 0) for word, count in counts.items() if count != less.get(word, 0)}


def moment(value: str | datetime | None) -> datetime | None:
    """A moment as `fetch` gives it."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def auto_accept_at(end_at: str | datetime | None, statuses: Iterable[str], days: int) -> datetime | None:
    """When the clock accepts those bugs of a test that await a decision; None if none of the statuses does so.

    `days` after the end of the test (setting `auto_accept_days`).
    """
    end = moment(end_at)
    if end is None or not any(status in AWAITING for status in statuses):
        return None
    return end + timedelta(days=days)
