"""Answers as plain text: tab-separated tables for lists, `key: value` lines for the rest."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = dict[str, Any]
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?Z")
_BREAKS = re.compile(r"[\t\r\n\v\f\x85\u2028\u2029]+")

# Text by strangers must not steer a terminal; a line break and a tab are text.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def readable(text: str) -> str:
    """Text whose control characters, line breaks and tabs apart, are visible marks."""
    return _CONTROLS.sub("\ufffd", text.replace("\r\n", "\n"))


def moment(value: object) -> str:
    """A value on one line whose times are as people read them: UTC, to the minute."""
    return _MOMENT.sub(r"\1 \2", cell(value))


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
    if isinstance(value, dict):
        said = {key: item for key, item in value.items() if item not in (None, [], {}, "")}
        return ", ".join(
            f"{key} ({cell(v)})" if isinstance(v, dict) else f"{key} {cell(v)}" for key, v in said.items()
        )
    return readable(_BREAKS.sub(" ", value)) if isinstance(value, str) else json.dumps(value)


def flat(record: Mapping[str, Any], prefix: str = "") -> Json:
    """A record whose nested records became fields with dotted names."""
    fields: Json = {}
    for key, value in record.items():
        if isinstance(value, dict):
            fields |= flat(value, f"{prefix}{key}.")
        else:
            fields[prefix + key] = value
    return fields


def table(records: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of records; a column without any value is left out."""
    rows = [flat(record) for record in records]
    columns = dict.fromkeys(key for row in rows for key, value in row.items() if value not in (None, "", []))
    order = [key for key in dict.fromkeys(key for row in rows for key in row) if key in columns]
    return order, [[row.get(key) for key in order] for row in rows]


def tsv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table with a heading, tab-separated."""
    lines = [columns, *([cell(value) for value in row] for row in rows)]
    return "\n".join("\t".join(line) for line in lines)


def text(answer: Mapping[str, Any]) -> str:
    """A whole answer; a page starts with its records, a detail with its plain fields."""
    tables = [(name, value) for name, value in answer.items() if is_table(value)]
    lines = [f"{name}: {_value(value)}" for name, value in answer.items() if _is_said(name, value)]
    sections = [("" if name == "items" else f"{name}:\n") + tsv(*table(value)) for name, value in tables]
    if "items" in answer:
        parts = [*(sections or ["No records match."]), "\n".join(lines)]
    else:
        parts = ["\n".join(lines), *sections]
    return "\n\n".join(part for part in parts if part)


def _is_said(name: str, value: object) -> bool:
    return name != "items" and value not in (None, "", [], {}) and not is_table(value)


def _value(value: object) -> str:
    return readable(value).replace("\n", "\n  ") if isinstance(value, str) else cell(value)
