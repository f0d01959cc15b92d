"""Answers as plain text: tab-separated tables for lists, `key: value` lines for the rest."""

import json
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testio_mcp.operations.registry import Operation

Json = dict[str, Any]
Render = Callable[[object], str]
"""Writes a value on one line."""
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?Z")
LINK = {"operation", "arguments"}
"""The fields of a link, which is shown as a call."""
_BREAKS = re.compile(r"[\t\r\n\v\f\x85\u2028\u2029]+")

EMPTY: tuple[object, ...] = (None, "", [], {})
_INTERNAL = frozenset({"chart"})
"""Fields for programs that draw; people and models make nothing of them."""
_FALSE_BY_DEFAULT = frozenset({"is_to_date"})
_OWN = ("id", "title", "name")
"""What a record is known by: always a column."""

# Text by strangers must not steer a terminal; a line break and a tab are text.
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class ListRequest:
    """What was asked of a list: only certain fields, the most that `limit` may be, a page after the first.

    On a command line the names of arguments begin with `dashes`.
    """

    has_fields: bool = False
    most: int = 0
    is_later: bool = False
    dashes: str = ""


def list_request(operation: "Operation", arguments: Mapping[str, object], dashes: str = "") -> ListRequest:
    """What the arguments of a call ask of a list."""
    arguments = operation.normalize(arguments)
    limit = operation.input_schema["properties"].get("limit", {})
    return ListRequest(
        bool(arguments.get("fields")),
        limit.get("maximum", 0),
        bool(arguments.get("cursor")),
        dashes,
    )


def says_nothing(name: str, value: object) -> bool:
    """Whether a field is empty, false by default or internal: neither people nor models read it."""
    is_quiet = value is False and (name.endswith("is_capped") or name in _FALSE_BY_DEFAULT)
    is_neutral = (name, value) in (("direction", "neutral"), ("tied", 0))
    return value in EMPTY or is_quiet or is_neutral or name in _INTERNAL


def requested_columns(answer: Mapping[str, Any], request: ListRequest | None = None) -> Container[str]:
    """The columns that were asked for, which stand there even where they are empty: fields, or metrics by what."""
    if request is not None and request.has_fields:
        return {name for record in answer.get("items", ()) for name in record}
    return answer.get("definitions", {}) if "groups" in answer else ()


def extent(answer: Mapping[str, Any], request: ListRequest) -> str:
    """How much of a list an answer holds, and the way to the rest: `50 of 72; limit 72 shows all`."""
    is_grouped = "groups" in answer
    total, shown = answer.get("groups", answer.get("total")), len(answer.get("items", ()))
    if total is None:
        return ""
    is_capped, cursor = answer.get("total_is_capped", False), answer.get("next_cursor")
    if is_grouped and total == 1:
        return ""
    limit = f"{request.dashes}limit"
    of = f"{shown} of {'over ' if is_capped else ''}{total:,}{' groups' if is_grouped else ''}"
    is_whole = not cursor and (not is_grouped or shown >= total)
    if is_whole or (is_grouped and "notice" in answer):
        return of
    if not is_capped and not request.is_later and total <= request.most and "notice" not in answer:
        return f"{of}; {limit} {total} shows all"
    if not cursor:
        return f"{of}; {limit} {request.most} shows more" if request.most > shown else of
    # What a model passes on stands in a line of its own.
    return f"{of}; {f'{request.dashes}cursor {cursor}' if request.dashes else 'next_cursor'} shows more"


def without_empty_list(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """An answer that has a total and no records, as a page asked for its total alone, without its list."""
    is_total = answer.get("items") == [] and bool(answer.get("total"))
    return {name: value for name, value in answer.items() if name != "items"} if is_total else answer


def readable(text: str) -> str:
    """Text whose control characters, line breaks and tabs apart, are visible marks, and that nothing turns around."""
    return _CONTROLS.sub("\ufffd", _TURNS.sub("", text.replace("\r\n", "\n")))


def format_moment(value: object, zone: tzinfo = UTC) -> str:
    """A value on one line whose times are as people read them: in their time zone, to the minute."""
    return _MOMENT.sub(lambda found: _local(found, zone), cell(value))


def _local(found: re.Match[str], zone: tzinfo) -> str:
    """A time in UTC as one of a time zone; at the edges of the calendar, where there is none, as it is."""
    try:
        return f"{datetime.fromisoformat(found[0]).astimezone(zone):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError):
        return f"{found[1]} {found[2]}"


def is_table(value: object) -> bool:
    """Whether a value is a list of records."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def cell(value: object) -> str:
    """A value on one line, without tabs."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(cell(item) for item in value)
    if isinstance(value, dict) and "words" in value:
        return _period(value)
    if isinstance(value, dict):
        if value.keys() == LINK:
            arguments = json.dumps(value["arguments"], ensure_ascii=False, sort_keys=True)
            return readable(_BREAKS.sub(" ", f"{value['operation']} {arguments}".removesuffix(" {}")))
        said = {key: item for key, item in value.items() if not says_nothing(key, item)}
        return ", ".join(
            f"{key} ({cell(v)})" if isinstance(v, dict) else f"{key} {cell(v)}" for key, v in said.items()
        )
    return readable(_BREAKS.sub(" ", value)) if isinstance(value, str) else json.dumps(value)


def _period(period: Mapping[str, Any]) -> str:
    """A period as it was named, with its days where the name does not say them."""
    words = cell(period["words"])
    first, last = (str(period.get(name) or "") for name in ("first", "last"))
    days = " to ".join(day for day in (first, last) if day and day not in words)
    inside = ", ".join(filter(None, (days, "to date" if period.get("is_to_date") else "")))
    return words + (f" ({inside})" if inside else "")


def flat(record: Mapping[str, Any], prefix: str = "") -> Json:
    """A record whose nested records became fields with dotted names."""
    fields: Json = {}
    for key, value in record.items():
        if isinstance(value, dict) and value.keys() != LINK:
            fields |= flat(value, f"{prefix}{key}.")
        else:
            fields[prefix + key] = value
    return fields


def table(records: Iterable[Mapping[str, Any]], requested: Container[str] = ()) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of records; a column without any value is left out unless it was requested."""
    rows = [flat(record) for record in records]
    columns = dict.fromkeys(
        key for row in rows for key, value in row.items() if value not in EMPTY or key in requested
    )
    order = [key for key in dict.fromkeys(key for row in rows for key in row) if key in columns]
    return order, [[row.get(key) for key in order] for row in rows]


def _compact(records: Sequence[Mapping[str, Any]], requested: Container[str], render: Render) -> str:
    """A table whose constant columns went into a line above it."""
    columns, rows = table(records, requested)
    constant = {
        name: rows[0][place]
        for place, name in enumerate(columns)
        if len(rows) > 1
        and name not in _OWN
        and name not in requested
        and all(row[place] == rows[0][place] for row in rows)
    }
    if len(constant) == len(columns):
        constant = {}
    kept = [place for place, name in enumerate(columns) if name not in constant]
    shared = ", ".join(f"{name} {cell(value)}" for name, value in constant.items() if not says_nothing(name, value))
    lines = [f"in all rows: {shared}"] if shared else []
    return "\n".join(
        [*lines, tsv([columns[place] for place in kept], [[row[place] for place in kept] for row in rows], render)]
    )


def tsv(columns: Sequence[str], rows: Iterable[Sequence[Any]], render: Render = cell) -> str:
    """A table with a heading, tab-separated; `render` writes each heading and value on one line."""
    lines = [[render(value) for value in line] for line in (columns, *rows)]
    return "\n".join("\t".join(line) for line in lines)


def text(answer: Mapping[str, Any], requested: Container[str] = (), render: Render = cell) -> str:
    """A whole answer; a page starts with its records, a detail with its plain fields. `render` is that of `tsv`."""
    tables = [(name, value) for name, value in answer.items() if is_table(value)]
    lines = [f"{name}: {_value(value, render)}" for name, value in answer.items() if _is_said(name, value)]
    sections = [
        _compact(value, requested, render) if name == "items" else f"{name}:\n{_compact(value, (), render)}"
        for name, value in tables
    ]
    if "items" in answer:
        parts = [*(sections or ["No records match."]), "\n".join(lines)]
    else:
        parts = ["\n".join(lines), *sections]
    return "\n\n".join(part for part in parts if part)


def _is_said(name: str, value: object) -> bool:
    return name != "items" and not says_nothing(name, value) and not is_table(value)


def _value(value: object, render: Render) -> str:
    if isinstance(value, list) and all(isinstance(item, str) and item.endswith(".") for item in value):
        return cell(" ".join(value))  # sentences
    if isinstance(value, str):
        first, *others = readable(value).split("\n")
        return "\n  ".join([first, *(render(line) if line else "" for line in others)])
    return cell(value)
