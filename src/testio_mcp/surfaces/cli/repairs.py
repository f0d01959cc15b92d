"""The commands for a bad day: doctor, and the backups of the store."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from testio_mcp.surfaces.cli.terminal import show, talk

if TYPE_CHECKING:
    from testio_mcp.database.restore import Restored
    from testio_mcp.doctor.evidence import Diagnosis, Finding

_STYLES = {"ok": "green", "skip": "dim", "warn": "yellow", "fail": "bold red"}
_LINES_AROUND = 4
"""Above the checks the command, below them an empty line, the sum and the next prompt."""
_SYNC_NEXT = "Run 'testio-mcp sync' to bring the copy up to date."
Name = Annotated[str | None, typer.Argument(metavar="NAME", help="A backup; 'db backups' lists them.")]


def add_repairs(program: typer.Typer, database: typer.Typer) -> None:
    """Add doctor to the program, and restore, verify and backups to its group for the store."""
    program.command(short_help="Check this installation, and say how to mend it.")(doctor)
    for function in (restore, verify, backups):
        database.command(short_help=(function.__doc__ or "").partition("\n")[0])(function)


def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="Put a damaged store aside first, and restore the newest sound backup.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Recount all derived data, not a sample; takes minutes on a large store.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this installation: versions, files, store, network, token. Exit code 1 when something fails."""
    from testio_mcp.doctor.examination import examine

    if repair:
        _repair()
    with Console(stderr=True).status("Looking at the store and the way to the API"):
        diagnosis = asyncio.run(examine(deep=deep))
    if as_json or not sys.stdout.isatty():
        show(diagnosis.model_dump(mode="json"), "json" if as_json else None)
    else:
        _draw(Console(), diagnosis)
    if diagnosis.status == "fail":
        raise typer.Exit(1)


def _draw(console: Console, diagnosis: "Diagnosis") -> None:
    """One line per check, and below it what to do. On a screen that is too low, the good ones share a line."""
    grid = _screen(diagnosis.checks)
    if len(console.render_lines(grid)) + _LINES_AROUND > console.height:
        by_state = [[finding for finding in diagnosis.checks if finding.state == state] for state in _STYLES]
        grid = _screen([*by_state[2], *by_state[3]], by_state[:2])
    console.print(grid)
    counts = {state: sum(finding.state == state for finding in diagnosis.checks) for state in ("fail", "warn")}
    said = [f"{count} {state}" for state, count in counts.items() if count]
    console.print(Text(f"\n{', '.join(said) or 'All is well'}.", style="bold"))


def _screen(findings: list["Finding"], together: Sequence[list["Finding"]] = ()) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for group in filter(None, together):
        style = _STYLES[group[0].state]
        names = ", ".join(finding.check for finding in group)
        grid.add_row(
            Text(group[0].state, style=style), Text(f"{len(group)} checks"), Text(names, style=_faded(style))
        )
    for finding in findings:
        style = _STYLES[finding.state]
        grid.add_row(Text(finding.state, style=style), Text(finding.check), Text(finding.found, style=_faded(style)))
        if finding.fix:
            grid.add_row("", "", Text(f"-> {finding.fix}", style="cyan"))
    return grid


def _faded(style: str) -> str:
    return style if style == "dim" else ""


def _repair() -> None:
    from testio_mcp.database.restore import repair

    done = repair(_store_file("doctor --repair"))
    if done is None:
        talk("The store needs no repair.")
        return
    _tell(done)


def restore(name: Name = None) -> None:
    """Put a backup in the place of the store; the newest sound one by default.

    The present file is moved to the directory 'aside' beside it, which keeps the three newest.
    """
    from testio_mcp.database.restore import restore as put_back

    _tell(put_back(_store_file("db restore"), name))


def _tell(done: "Restored") -> None:
    for reason in done.reasons:
        talk(f"A backup was passed over. {reason}")
    if done.aside is not None:
        talk(f"The old files are in {done.aside}.")
    for path in done.removed:
        talk(f"Older files in {path} were removed.")
    what = "No sound backup was found, so the store starts empty." if done.backup is None else ""
    talk(what or f"The store was restored from {done.backup}.")
    talk(_SYNC_NEXT)


def verify(name: Name = None) -> None:
    """Check every page of a backup, or of all of them; exit code 1 when one is damaged."""
    from testio_mcp.database.backup import list_backups
    from testio_mcp.database.restore import find_backup

    path = _store_file("db verify")
    _list([find_backup(path, name)] if name else list_backups(path), verified=True)


def backups() -> None:
    """List the backups of the store, newest first."""
    from testio_mcp.database.backup import list_backups

    _list(list_backups(_store_file("db backups")), verified=False)


def _list(found: list[Path], *, verified: bool) -> None:
    from testio_mcp.database.restore import complaint

    rows: list[dict[str, Any]] = []
    for path in found:
        row: dict[str, Any] = {"name": path.name, "bytes": path.stat().st_size}
        rows.append(row | ({"result": complaint(path) or "sound"} if verified else {}))
    if rows:
        show({"backups": rows})
    else:
        talk("There is no backup yet; 'testio-mcp db backup' makes one.")
    if any(row.get("result", "sound") != "sound" for row in rows):
        raise typer.Exit(1)


def _store_file(command: str) -> Path:
    """The file of the store. Raises `BadInput` on PostgreSQL."""
    from testio_mcp.errors import BadInput
    from testio_mcp.settings import load_settings
    from testio_mcp.surfaces.logs import apply_log_settings

    settings = load_settings()
    apply_log_settings(settings)
    if settings.database_url is not None:
        raise BadInput(f"'{command}' works on a SQLite file.", "Use the server's own tools, such as pg_restore.")
    return settings.db_path
