"""Tables on a terminal: which columns have room, and how wide each is. No id and no short value is ever cut."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from testio_mcp.surfaces.mcp.plain import EMPTY, cell, format_moment

Records = Sequence[Mapping[str, Any]]
_GAP = 2
_NAMES = frozenset({"title", "name", "text", "snippet"})
_NAME_WIDTH, _TEXT_WIDTH, _WORD_WIDTH = 22, 12, 20
_FIRST = ("id", "title", "name", "status", "level", "kind", "hours_left", "bugs", "end_at", "reported_at", "product")
"""What is shown before all else; of the other columns, those on the left."""


@dataclass
class _Column:
    """A column: the width that shows everything on one line, and the one at which it is still easy to read."""

    name: str
    heading: str
    is_number: bool
    longest: int
    width: int


def grid(
    records: Records,
    width: int,
    title: str = "",
    columns: Sequence[str] = (),
    requested: Container[str] = (),
    zone: tzinfo = UTC,
) -> tuple[Table, list[str]]:
    """Records as a table with times in `zone`, and the names of the columns that had no room.

    Chosen `columns` are all shown. Otherwise an empty column that was not `requested`, and an id whose name stands
    beside it, is left out, and on a narrow terminal what matters least.
    """
    shown = [_column(name, records, zone) for name in columns or _names(records, requested)]
    left_out = [] if columns else _make_room(shown, width)
    _widen(shown, width)
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in shown:
        table.add_column(
            Text(column.heading),
            justify="right" if column.is_number else "left",
            min_width=column.width,
            max_width=column.width,
            overflow="fold",
        )
    for record in records:
        table.add_row(*(Text(in_grid(record.get(column.name), zone)) for column in shown))
    return table, left_out


def natural_width(records: Records, columns: Sequence[str]) -> int:
    """The least width at which chosen columns can stand side by side."""
    return sum(_column(name, records, UTC).width + _GAP for name in columns) - _GAP


def in_grid(value: object, zone: tzinfo = UTC) -> str:
    """A value on one line, with times in `zone`; of counts those that are not zero."""
    if isinstance(value, dict) and any(isinstance(item, str) for item in value.values()):
        return "; ".join(f"{name}: {format_moment(item, zone)}" for name, item in value.items() if item)
    if isinstance(value, dict):
        return ", ".join(f"{cell(count)} {name}" for name, count in value.items() if count) or "0"
    return format_moment(value, zone)


def _names(records: Records, requested: Container[str]) -> list[str]:
    every = list(dict.fromkeys(name for record in records for name in record))
    filled = [name for name in every if name in requested or any(record.get(name) not in EMPTY for record in records)]
    return [name for name in filled if not (name.endswith("_id") and name.removesuffix("_id") in filled)]


def _column(name: str, records: Records, zone: tzinfo) -> _Column:
    values = [in_grid(record.get(name), zone) for record in records]
    heading = name.removesuffix("_at").replace("_", " ")
    is_number = all(isinstance(record.get(name), int | float | None) for record in records)
    longest = max([cell_len(value) for value in values], default=0)
    in_heading = max(cell_len(word) for word in heading.split() or [""])
    if is_number or name.endswith("_at") or not any(" " in value for value in values):
        least = longest
    else:
        word = max(cell_len(word) for value in values for word in value.split() or [""])
        least = min(longest, _NAME_WIDTH if name in _NAMES else max(_TEXT_WIDTH, min(word, _WORD_WIDTH)))
    return _Column(name, heading, is_number, max(longest, in_heading), max(least, in_heading))


def _make_room(columns: list[_Column], width: int) -> list[str]:
    """Take away the columns that matter least until the others fit, at least the first two; their names."""
    left_out: list[str] = []

    def weight(place: int) -> tuple[bool, int]:
        name = columns[place].name
        return (name not in _FIRST, _FIRST.index(name) if name in _FIRST else place)

    while len(columns) > 2 and sum(column.width + _GAP for column in columns) - _GAP > width:
        left_out.append(columns.pop(max(range(len(columns)), key=weight)).name)
    return left_out[::-1]


def _widen(columns: Sequence[_Column], width: int) -> None:
    """Give the columns the room that is left: those with names first, then from the left."""
    room = width - sum(column.width + _GAP for column in columns) + _GAP
    for column in sorted(columns, key=lambda column: column.name not in _NAMES):
        more = max(0, min(room, column.longest - column.width))
        column.width += more
        room -= more
        if room < 0 and column.name in _NAMES:  # a very narrow terminal, or many columns that were asked for
            column.width = max(8, column.width + room)
            room = 0
