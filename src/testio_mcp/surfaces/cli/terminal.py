"""What people see in a terminal: tables, details, progress bars. Data goes to stdout, talk to stderr."""

import json
import os
import re
import stat
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from testio_mcp.surfaces.cli import exports
from testio_mcp.surfaces.cli.columns import arranged
from testio_mcp.surfaces.cli.grids import grid, natural_width
from testio_mcp.surfaces.cli.standard_output import STDOUT
from testio_mcp.surfaces.mcp import plain

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from testio_mcp.app import Progress as Step
    from testio_mcp.app import Report

Form = Literal["json", "csv", "md"]
UTC_ZONE = ZoneInfo("UTC")
# JSON may hold these as they are, and a terminal obeys some of them.
_STEERS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SAID = frozenset({"items", "total", "total_is_capped", "groups", "sort", "tied", "next_cursor", "as_of", "notes"})


def talk(message: str) -> None:
    """Say something to the person; never part of the data. Nothing is said where standard error is full or closed."""
    with suppress(OSError):
        sys.stderr.write(plain.readable(message) + "\n")
        sys.stderr.flush()


def show(
    answer: Mapping[str, Any],
    form: Form | None = None,
    columns: Sequence[str] = (),
    request: plain.ListRequest = plain.ListRequest(),  # noqa: B008 - frozen
    *,
    zone: ZoneInfo = UTC_ZONE,
    has_bom: bool = True,
) -> None:
    """Print an answer to stdout: a table on a terminal, tab-separated when piped, or as asked for.

    `columns` are those of a page that were chosen, `request` what was asked of it besides. People read times in
    `zone`, programs in UTC. With `has_bom`, CSV that goes to a new file begins with a byte order mark, as Excel needs
    it to read anything but ASCII.
    """
    left_out: list[str] = []
    if form == "json":
        _write(_STEERS.sub(_escaped, json.dumps(answer, ensure_ascii=False, indent=2)))
        _talk_about(answer, left_out, request, zone)
        return
    answer = plain.without_empty_list(answer)
    data = {name: value for name, value in _with_commands(answer).items() if name != "not_refreshed"}
    if columns and "items" in data:
        data = arranged(data, columns)
    if form is not None:
        mark = "\ufeff" if form == "csv" and has_bom and _is_new_file() else ""
        _write(mark + {"csv": exports.comma_separated, "md": exports.markdown}[form](data, columns))
        _talk_digest(data)
    elif sys.stdout.isatty():
        left_out = show_record(Console(), data, columns=columns, zone=zone)
    else:
        _write(exports.tab_separated(data, columns))
        _talk_digest(data)
    _talk_about(answer, left_out, request, zone)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def show_report(answer: Mapping[str, Any], form: Form | None = None) -> None:
    """Print a report to stdout: laid out on a terminal, as Markdown when piped or asked for."""
    from testio_mcp.surfaces.report_files import written

    text = written(answer, "md").decode()
    if form is None and sys.stdout.isatty():
        from rich.markdown import Markdown

        Console().print(Markdown(text, hyperlinks=False))
    else:
        _write(text)


def _with_commands(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer whose links are commands."""
    from testio_mcp.operations.links import command_line
    from testio_mcp.reports.links import with_links

    found: dict[str, Any] = with_links(answer, command_line)
    return found


def _is_new_file() -> bool:
    """Whether standard output is a file in which nothing stands yet; not what a program around this one reads."""
    try:
        about = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):  # what stands in for it has no descriptor
        return False
    return sys.stdout.fileno() == STDOUT and stat.S_ISREG(about.st_mode) and about.st_size == 0


def _write(text: str) -> None:
    sys.stdout.buffer.write(text.rstrip("\n").encode(errors="replace") + b"\n")
    sys.stdout.buffer.flush()


def _talk_about(
    answer: Mapping[str, Any], left_out: Sequence[str], request: plain.ListRequest, zone: ZoneInfo
) -> None:
    """What a page says besides its records, and any answer of its age."""
    if "items" in answer:
        _talk_about_page(answer, request, zone)
        for note in answer.get("notes", ()):
            talk(plain.cell(note))
    if left_out:
        talk(f"No room for {', '.join(left_out)}; --columns chooses, --csv has all.")
    talk_about_age(answer)


def _talk_digest(answer: Mapping[str, Any]) -> None:
    """Say what the records of a page come to, where stdout holds nothing but the records."""
    if "items" in answer:
        for line in answer.get("digest", ()):
            talk(plain.cell(line))


def talk_about_age(answer: Mapping[str, Any]) -> None:
    """Say what could not be brought up to date for an answer."""
    from testio_mcp.surfaces.operation_names import in_commands

    if note := answer.get("not_refreshed"):
        talk(in_commands(note))


def _talk_about_page(answer: Mapping[str, Any], request: plain.ListRequest, zone: ZoneInfo) -> None:
    known = [plain.extent(answer, request), str(answer.get("sort", "")) if len(answer["items"]) > 1 else ""]
    known.append(
        f"as of {plain.format_moment(answer['as_of'], zone)} {zone.key}"
        if answer.get("as_of")
        else "not synced yet: run 'testio-mcp sync'"
    )
    talk("; ".join(part for part in known if part))


def show_record(
    console: Console,
    answer: Mapping[str, Any],
    indent: int = 0,
    columns: Sequence[str] = (),
    zone: ZoneInfo = UTC_ZONE,
) -> list[str]:
    """Print an answer with Rich, times in `zone`: a page as a table, a detail as its facts and the tables in it.

    Returns the columns of a page that had no room.
    """
    if answer.get("items") == []:
        console.print(Padding(Text("No records match."), (0, 0, 0, indent)))
    left_out: list[str] = []
    if records := answer.get("items"):
        # More columns can be asked for than fit: then the terminal breaks the lines, and nothing is cut off.
        room = max(console.width - indent, natural_width(records, columns))
        table, left_out = grid(records, room, columns=columns, requested=plain.requested_columns(answer), zone=zone)
        wide = Console(file=console.file, width=room + indent) if room + indent > console.width else console
        wide.print(Padding(table, (0, 0, 0, indent)))
    rest = {name: value for name, value in answer.items() if "items" not in answer or name not in _SAID}
    for part in _parts(rest, console.width - indent, zone):
        console.print(Padding(part, (0, 0, 0, indent)))
    return left_out


def _parts(answer: Mapping[str, Any], width: int, zone: ZoneInfo) -> Iterator[RenderableType]:
    tables = {name: value for name, value in answer.items() if plain.is_table(value)}
    facts = Table.grid(padding=(0, 2))
    for name, value in answer.items():
        if name not in tables and not plain.says_nothing(name, value):
            facts.add_row(
                Text(name.replace("_", " "), style="bold"),
                Text(_render_value(value, zone) + (f" {zone.key}" if name == "as_of" else "")),
            )
    if facts.row_count:
        yield facts
    for name, records in tables.items():
        yield grid(records, width, name.replace("_", " "), zone=zone)[0]


def _render_value(value: object, zone: ZoneInfo) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(plain.format_moment(item, zone) for item in value)
    if isinstance(value, str) and "\n" in value:
        return plain.readable(value.strip())
    return plain.format_moment(value, zone)


@asynccontextmanager
async def progress() -> AsyncIterator["Report"]:
    """Show the progress of a sync on stderr: bars on a terminal, a line per finished step when piped."""
    if not sys.stderr.isatty():
        with _lines() as report_lines:
            yield report_lines
        return
    from rich import progress as rich_progress
    from rich.table import Column

    console = Console(stderr=True)
    names = Column(no_wrap=True, overflow="ellipsis", max_width=console.width // 2)
    columns = (
        rich_progress.TextColumn("{task.description}", markup=False, table_column=names),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(table_column=Column(no_wrap=True)),
        rich_progress.TimeElapsedColumn(table_column=Column(no_wrap=True)),
    )
    with rich_progress.Progress(*columns, console=console) as bars:
        yield _Bars(bars).report


class _Bars:
    """A bar per step, as many as the terminal has room for: those that ended make room for others, as lines."""

    def __init__(self, bars: "Progress") -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._ended: set[str] = set()

    async def report(self, step: "Step") -> None:
        """Move a bar forward."""
        what = _step(step)
        if what in self._ended:
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=None, is_whole=not step.product)
        self._bars.update(self._tasks[what], completed=step.done, total=step.total)
        self._make_room(self._bars.console.height - 1)

    def _make_room(self, room: int) -> None:
        tasks = self._bars.tasks
        for task in [task for task in tasks if task.finished][: max(0, len(tasks) - room)]:
            self._bars.console.print(Text(f"{task.description}: {task.completed}"))
            self._bars.remove_task(self._tasks.pop(task.description))
            self._ended.add(task.description)
        tasks = self._bars.tasks
        room -= sum(task.fields["is_whole"] for task in tasks)
        for place, task in enumerate(task for task in tasks if not task.fields["is_whole"]):
            self._bars.update(task.id, visible=place < room)


def _step(step: "Step") -> str:
    return plain.cell(f"{step.product} {step.resource}".strip())


@contextmanager
def _lines() -> Iterator["Report"]:
    """A line when a step ends, and at the end for those that did not."""
    last: dict[str, int] = {}
    said: set[str] = set()

    def say(what: str) -> None:
        said.add(what)
        talk(f"{what}: {last[what]}")

    async def report(step: "Step") -> None:
        what = _step(step)
        last[what] = step.done
        if what not in said and step.total is not None and step.done >= step.total:
            say(what)

    yield report
    for what in last.keys() - said:
        say(what)
