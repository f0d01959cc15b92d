"""Counts by groups for records by the ten thousands, in a fraction of the time that GROUP BY takes.

The statement steps through an index from one group to the next, and counts each group as one range of that index,
which costs little more than counting all records at once. It needs an index that begins with the columns of the
conditions and goes on with those of the groups.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, func, select


def counted_by(
    columns: Sequence[ColumnElement[Any]], *conditions: ColumnElement[bool], among: Select[Any] | None = None
) -> Select[Any]:
    """Groups of records: the words in `columns`, which are never null, and how many records have these words.

    `among` selects the words of the first column where they are known.
    """
    groups: CTE | None = None if among is None else among.cte("by_1")
    for level in range(0 if groups is None else 1, len(columns)):
        groups = _level(columns[: level + 1], conditions, groups)
    words = [] if groups is None else list(groups.c)
    same = [column == word for column, word in zip(columns, words, strict=True)]
    number = select(func.count()).where(*conditions, *same).scalar_subquery()
    return select(*words, number).where(words[-1].is_not(None))


def _level(
    columns: Sequence[ColumnElement[Any]], conditions: tuple[ColumnElement[bool], ...], outer: CTE | None
) -> CTE:
    """The groups by the first columns, made of the groups by one column less; each search ends with a null."""
    column = columns[-1]
    above = [] if outer is None else list(outer.c)

    def least(words: Sequence[ColumnElement[Any]], *beyond: ColumnElement[bool]) -> ColumnElement[Any]:
        same = [known == word for known, word in zip(columns, words, strict=False)]
        return select(func.min(column)).where(*conditions, *same, *beyond).scalar_subquery()

    name = f"by_{len(columns)}"
    first = select(*above, least(above).label(f"word_{len(columns)}"))
    if above:
        first = first.where(above[-1].is_not(None))
    steps = first.cte(name, recursive=True)
    *same, last = steps.c
    following = select(*same, least(same, column > last)).where(last.is_not(None))
    return steps.union_all(following)
