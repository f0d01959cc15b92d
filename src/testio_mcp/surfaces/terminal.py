"""What people see in a terminal: tables, details, progress bars. Data goes to stdout, talk to stderr."""

import csv
import io
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from testio_mcp.surfaces import plain

if TYPE_CHECKING:
    from testio_mcp.sync.progress import Progress, Report

_NAMES, _READABLE = frozenset({"title", "name"}), 22
_DISPENSABLE = ("review_status", "start_at", "testing_type", "type", "feature_id")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?Z")


def talk(message: str) -> None:
    """Say something to the person; never part of the data."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def show(answer: Mapping[str, Any], *, as_json: bool = False, as_csv: bool = False) -> None:
    """Print an answer to stdout: a table on a terminal, tab-separated when piped, or as asked for."""
    if as_json:
        _write(json.dumps(answer, ensure_ascii=False, indent=2))
    elif as_csv:
        _write(_csv(answer))
    elif sys.stdout.isatty():
        show_record(Console(), answer)
    else:
        _write(_piped(answer))
    _talk_about(answer)


def _write(text: str) -> None:
    sys.stdout.buffer.write(text.rstrip("\n").encode(errors="replace") + b"\n")
    sys.stdout.buffer.flush()


def _csv(answer: Mapping[str, Any]) -> str:
    out = io.StringIO()
    columns, rows = plain.table(answer.get("items", [answer]))
    csv.writer(out, lineterminator="\n").writerows([columns, *([plain.cell(value) for value in row] for row in rows)])
    return out.getvalue()


def _piped(answer: Mapping[str, Any]) -> str:
    return plain.tsv(*plain.table(answer["items"])) if "items" in answer else plain.text(answer)


def _talk_about(answer: Mapping[str, Any]) -> None:
    """What a page says besides its records."""
    if "items" not in answer:
        return
    known = [f"{len(answer['items'])} of {answer['total']}" if answer.get("total") is not None else ""]
    known.append(
        f"as of {moment(answer['as_of'])}" if answer.get("as_of") else "not synced yet: run 'testio-mcp sync'"
    )
    if answer.get("next_cursor"):
        known.append(f"more with --cursor {answer['next_cursor']}")
    talk("; ".join(part for part in known if part))


def moment(value: object) -> str:
    """A time as people read it: UTC, to the minute."""
    return _MOMENT.sub(r"\1 \2", plain.cell(value))


def show_record(console: Console, answer: Mapping[str, Any], indent: int = 0) -> None:
    """Print an answer with Rich: a page as a table, a detail as its facts and the tables in it."""
    for part in _parts(answer, console.width - indent):
        console.print(Padding(part, (0, 0, 0, indent)))


def _parts(answer: Mapping[str, Any], width: int) -> Iterator[RenderableType]:
    if "items" in answer:
        yield grid(answer["items"], width) if answer["items"] else Text("No records match.")
        return
    tables = {name: value for name, value in answer.items() if plain.is_table(value)}
    facts = Table.grid(padding=(0, 2))
    for name, value in answer.items():
        if name not in tables and value not in (None, "", [], {}):
            facts.add_row(Text(name.replace("_", " "), style="bold"), Text(_shown(value)))
    yield facts
    for name, records in tables.items():
        yield grid(records, width, name.replace("_", " "))


def _shown(value: object) -> str:
    return plain.readable(value.strip()) if isinstance(value, str) and "\n" in value else moment(value)


def grid(records: Sequence[Mapping[str, Any]], width: int, title: str = "") -> Table:
    """Records as a table; an empty column, and an id whose name stands beside it, is left out.

    On a narrow terminal the columns that matter least go as well: no text is cut off.
    """
    names = [name for name in records[0] if any(record.get(name) not in (None, "", [], {}) for record in records)]
    grid = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    shown = [name for name in names if not (name.endswith("_id") and name.removesuffix("_id") in names)]
    for dispensable in _DISPENSABLE:
        if dispensable in shown and sum(_width(name, records) + 2 for name in shown) > width:
            shown.remove(dispensable)
    is_tight = sum(_longest(name, records) + 2 for name in shown) > width
    for name in shown:
        is_number = all(isinstance(record.get(name), int | float | None) for record in records)
        justify: JustifyMethod = "right" if is_number else "left"
        # Rich shrinks the widest columns first, down to nothing, unless their width is given.
        fixed = _width(name, records) if is_tight and (name in _NAMES or name.endswith("_at")) else None
        one_word = _width(name, records) >= _longest(name, records)
        grid.add_column(Text(_heading(name)), justify=justify, width=fixed, no_wrap=one_word, overflow="fold")
    for record in records:
        grid.add_row(*(Text(_in_grid(record.get(name))) for name in shown))
    return grid


def _heading(name: str) -> str:
    return name.removesuffix("_at").replace("_", " ")


def _width(name: str, records: Sequence[Mapping[str, Any]]) -> int:
    """The least width at which a column is still easy to read."""
    if name in _NAMES:
        return min(_READABLE, _longest(name, records))
    values = [_in_grid(record.get(name)) for record in records]
    return max(len(word) for value in (*values, _heading(name)) for word in value.split() or [""])


def _longest(name: str, records: Sequence[Mapping[str, Any]]) -> int:
    return max(len(_in_grid(record.get(name))) for record in records)


def _in_grid(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{plain.cell(count)} {name}" for name, count in value.items() if count) or "0"
    return moment(value)


@asynccontextmanager
async def progress() -> AsyncIterator["Report"]:
    """Show the progress of a sync on stderr: bars on a terminal, a line per finished step when piped."""
    if not sys.stderr.isatty():
        async with _lines() as report_lines:
            yield report_lines
        return
    from rich import progress as rich_progress

    columns = (
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[tuple[str, str], Any] = {}

        async def report(step: "Progress") -> None:
            key = (step.product, step.resource)
            if key not in tasks:
                tasks[key] = bars.add_task(" ".join(filter(None, key)), total=None)
            bars.update(tasks[key], completed=step.done, total=step.total)

        yield report


@asynccontextmanager
async def _lines() -> AsyncIterator["Report"]:
    last: dict[str, Progress] = {}

    def say(what: str) -> None:
        talk(f"{what}: {last.pop(what).done}")

    async def report(step: "Progress") -> None:
        what = f"{step.product} {step.resource}".strip()
        last[what] = step
        if step.total is not None and step.done >= step.total:
            say(what)

    yield report
    for what in list(last):
        say(what)
