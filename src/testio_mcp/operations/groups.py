"""Counts by groups, for records by the ten thousands.

On SQLite the statement steps through an index from one group to the next, and counts each group as one range of that
index: a third of the time of GROUP BY, little more than counting all records at once. It needs an index that begins
with the columns of the conditions and goes on with those of the groups. PostgreSQL does not see that such an index is
in order behind an IS NULL, and is fast at GROUP BY.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, Select, func, select

from testio_mcp.database.dialect import fetch


class Groups:
    """Records by the words in some columns, which are never null."""

    def __init__(
        self,
        columns: Sequence[ColumnElement[Any]],
        *conditions: ColumnElement[bool],
        among: Select[Any] | None = None,
    ) -> None:
        """Prepare the statements; `among` selects the words of the first column where they are known."""
        self._stepping = _stepping(columns, conditions, among)
        chosen = conditions if among is None else (*conditions, columns[0].in_(among))
        self._grouping = select(*columns, func.count()).where(*chosen).group_by(*columns)

    def count(self, conn: Connection, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The words of each group and how many records have them."""
        return fetch(conn, self._stepping if conn.dialect.name == "sqlite" else self._grouping, values)


def _stepping(
    columns: Sequence[ColumnElement[Any]], conditions: tuple[ColumnElement[bool], ...], among: Select[Any] | None
) -> Select[Any]:
    groups: CTE | None = None if among is None else among.cte("by_1")
    for level in range(0 if groups is None else 1, len(columns)):
        groups = _level(columns[: level + 1], conditions, groups)
    words = [] if groups is None else list(groups.c)
    same = [column == word for column, word in zip(columns, words, strict=True)]
    number = select(func.count()).where(*conditions, *same).scalar_subquery()
    return select(*words, number.label("number")).where(words[-1].is_not(None))


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
