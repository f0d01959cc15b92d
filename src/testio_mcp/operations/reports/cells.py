"""The arithmetic of a matrix of runs: cells, and the columns that they stand in."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

COLUMNS = 12
"""How many columns are shown; the runs of all others are added up in one more."""
OTHER, UNKNOWN = "(other)", "(unknown)"
RESULTS = ("failed", "blocked", "passed")
"""Statuses of the runs that came to an end, the worst first."""
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_WORDS = ("passed", "failed", "blocked", "not_tested")


class MatrixColumn(BaseModel):
    """A column with the runs of all stories, also those of other pages."""

    name: str = Field(description="Its name in the cells.")
    id: int | None = Field(description="Of a test or an environment.")
    title: str | None = Field(description="Of a test, or what the column of all others holds.")
    executions: int
    passed: int
    failed: int
    blocked: int
    not_tested: int


@dataclass
class Cell:
    """Some runs: how many ended how, and when the latest of each kind.

    Not tested are those that did not end: pending, cancelled or of a status that nobody knows.
    """

    counts: Counter[str] = field(default_factory=Counter)
    latest: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, cells: Iterable["Cell"]) -> "Cell":
        """The runs of several cells in one."""
        whole = cls()
        for cell in cells:
            for word, runs in cell.counts.items():
                whole.add(word, runs, cell.latest.get(word))
        return whole

    def add(self, status: str, runs: int, at: datetime | None = None) -> None:
        """Count runs of one status, the latest of them at that moment."""
        word = status if status in RESULTS else "not_tested"
        self.counts[word] += runs
        if word in RESULTS:
            before = self.latest.get(word)
            if before is None or (at is not None and at > before):
                self.latest[word] = at or BEGINNING

    @property
    def last(self) -> str:
        """How the latest run ended; of runs of one moment the worst counts."""
        # max() keeps the first of equals.
        return max((word for word in RESULTS if word in self.latest), key=self.latest.__getitem__, default=_WORDS[-1])

    @property
    def is_flaky(self) -> bool:
        """Whether the same thing both passed and failed here."""
        return self.counts["passed"] > 0 and self.counts["failed"] > 0

    def to_counts(self) -> dict[str, int]:
        """The runs by how they ended."""
        return {word: self.counts[word] for word in _WORDS}

    def __str__(self) -> str:
        said = ", ".join(f"{self.counts[word]} {word.replace('_', ' ')}" for word in _WORDS if self.counts[word])
        return f"{said} (last {self.last})" if len(self.latest) > 1 else said


def largest(cells: Mapping[int, Cell]) -> list[int]:
    """The keys of the tests that are shown as columns: those with the most runs, the newest of equals."""
    return sorted(cells, key=lambda key: (-cells[key].counts.total(), -key))[:COLUMNS]


class Columns:
    """The columns in use, by key: most used first, then the newest test or the first name."""

    def __init__(self, cells: Mapping[Any, Cell], titles: Mapping[Any, str | None], by: str) -> None:
        self._cells, self._titles, self._by = cells, titles, by
        seen = Counter(self._titles.get(key) for key in cells)
        self.names = {key: self._named(key, seen[titles.get(key)] > 1) for key in cells}
        ordered = sorted(cells, key=lambda key: (-cells[key].counts.total(), *self._order(key)))
        self._shown, self._others = ordered[:COLUMNS], ordered[COLUMNS:]

    def _named(self, key: Any, is_ambiguous: bool) -> str:
        if key is None or self._by == "test":
            return UNKNOWN if key is None else str(key)
        title = self._titles.get(key) or UNKNOWN
        return f"{title} ({key})" if is_ambiguous and self._by == "environment" else title

    def _order(self, key: Any) -> tuple[Any, ...]:
        return (-key,) if self._by == "test" else (self.names[key], str(key))

    def select_columns(self, cells: Mapping[Any, Cell]) -> dict[str, Cell]:
        """The cells of one row under the names of all columns; those of columns that are not shown are added up."""
        named = {self.names[key]: cells.get(key, Cell()) for key in self._shown}
        others = [cells[key] for key in self._others if key in cells]
        return named | ({OTHER: Cell.of(others)} if self._others else {})

    def flaky(self, cells: Mapping[Any, Cell]) -> list[str]:
        """The columns on which a row is flaky; one by one, also those that are not shown."""
        return [self.names[key] for key in [*self._shown, *self._others] if key in cells and cells[key].is_flaky]

    def to_dicts(self) -> Sequence[dict[str, Any]]:
        """What `MatrixColumn` holds, for every column."""
        keys = {self.names[key]: key for key in self._shown}
        return [self._to_dict(name, keys.get(name), cell) for name, cell in self.select_columns(self._cells).items()]

    def _to_dict(self, name: str, key: Any, cell: Cell) -> dict[str, Any]:
        title = self._titles.get(key) if self._by == "test" else None
        return {
            "name": name,
            "id": key if self._by in ("environment", "test") else None,
            "title": f"{len(self._others)} more" if name == OTHER else title,
            "executions": cell.counts.total(),
            **cell.to_counts(),
        }
