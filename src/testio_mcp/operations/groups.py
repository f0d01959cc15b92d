"""Counts that the sync keeps (`sync/counts.py`): a few rows to read, however many records they stand for."""

from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, or_, select

from testio_mcp.database.tables import KeptCount, table_of
from testio_mcp.sync.counts import Kept

_kept = table_of(KeptCount).c


def groups_of(kept: Kept, owner: ColumnElement[Any] | Select[Any], *words: str) -> Select[Any]:
    """Records of one or several owners as groups: the words in these columns of the count, and a number of records.

    A group may come several times where the count is split by more than these words.
    """
    mine = _kept.owner_id.in_(owner) if isinstance(owner, Select) else _kept.owner_id == owner
    return select(*(_kept[word] for word in words), _kept.number).where(_kept.counted == kept.name, mine)


def number_of(kept: Kept, owner: ColumnElement[Any], **words: str) -> ColumnElement[int]:
    """How many records an owner has, or how many with these words."""
    chosen = (_kept[name] == word for name, word in words.items())
    number = select(func.coalesce(func.sum(_kept.number), 0)).where(
        _kept.counted == kept.name, _kept.owner_id == owner, *chosen
    )
    return number.scalar_subquery()


def has_any(owner: ColumnElement[Any], *counts: Kept) -> ColumnElement[bool]:
    """Whether an owner has a record in any of these counts."""
    return or_(*(exists().where(_kept.counted == kept.name, _kept.owner_id == owner) for kept in counts))
