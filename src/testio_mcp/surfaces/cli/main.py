"""The command line: every operation of the registry as a command, and the commands that run the product."""

import asyncio
import logging
import random
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testio_mcp import __version__
from testio_mcp.errors import ApiError, AuthFailed, BadInput, NotFound, OutputFailed, TestioError, TokenMissing
from testio_mcp.surfaces.account import importing, read_settings, registry
from testio_mcp.surfaces.cli.commands import run_commands
from testio_mcp.surfaces.cli.signatures import Wish, command
from testio_mcp.surfaces.cli.standard_output import discard_standard_output, guard_standard_output
from testio_mcp.surfaces.cli.terminal import progress, show, show_report, talk, talk_about_age
from testio_mcp.surfaces.logs import log_to_stderr
from testio_mcp.surfaces.mcp.plain import list_request
from testio_mcp.surfaces.operation_names import in_commands
from testio_mcp.surfaces.report_files import is_report, keep, place_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from testio_mcp.app import App
    from testio_mcp.operations.registry import Operation

INCOMPLETE = 3
"""Exit code of a sync that left records behind."""
INTERRUPTED = 130
WATCH_SECONDS = 900.0
"""How long 'sync --watch' rests between two runs, give or take a tenth."""
_OWN_COMMANDS = frozenset({"serve", "db", "sandbox", "demo", "doctor", "gate", "--version"})
_GROUPS = {
    "products": "The products of the account.",
    "features": "Features of products, and how they were tested.",
    "stories": "User stories of features, and how they were tested.",
    "people": "Testers, and the customer's own people.",
    "environments": "Where products are tested.",
    "templates": "Templates of tests.",
    "tests": "Exploratory tests.",
    "executions": "Runs of user stories by testers.",
    "bugs": "Bugs, their decisions and their devices.",
    "report": "Reports, to read here or as files.",
    "problems": "Records that could not be copied.",
}
logger = logging.getLogger(__name__)
_ABOUT = """Ask questions about Test IO crowdtesting data.

Without a command, testio-mcp is an MCP server on stdin and stdout."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0, 1 failure, 2 usage, 3 sync incomplete, 4 and 5 gate, 6 standard output cannot be written, 130 interrupted.
    """
    guard_standard_output()
    log_to_stderr()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        program = build(_choose_operations(given))
        code: object = program(given, prog_name="testio-mcp", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        talk(_usage(error))
        return error.exit_code
    except OutputFailed as error:
        talk(f"{error.message} {error.next_step}")
        discard_standard_output()
        return error.exit_code
    except TestioError as error:
        talk(in_commands(f"{error.message} {error.next_step}"))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough; Python would complain once more when it flushes stdout.
        discard_standard_output()
        return 0
    except Exception as error:
        logger.debug("The command failed.", exc_info=error)
        talk(f"Something went wrong inside testio-mcp ({type(error).__name__}). TESTIO_LOG_LEVEL=DEBUG shows where.")
        return 1


def _usage(error: typer.TyperException) -> str:
    message = error.format_message()
    if message.startswith("Usage:"):
        return message
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context else "testio-mcp"
    return f"{message.rstrip('.')}. '{path} --help' shows what there is."


def _choose_operations(given: Sequence[str]) -> "list[Operation]":
    """The operations among which the line chooses; all where its first word names none, as for help.

    The registry costs the import of the libraries below it, and a command its share of the start.
    """
    if given and given[0] in _OWN_COMMANDS:
        return []
    known = list(registry().values())
    return [operation for operation in known if given and operation.command.split()[0] == given[0]] or known


def build(wanted: "Sequence[Operation]") -> typer.Typer:
    """The command line with these operations and the commands that run the product."""
    program = typer.Typer(
        help=_ABOUT,
        add_completion=True,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    program.callback()(_global_options)
    groups: dict[str, typer.Typer] = {}
    for operation in wanted:
        *group, word = operation.command.split()
        owner = program
        if group:
            if group[0] not in groups:
                groups[group[0]] = typer.Typer(no_args_is_help=True)
                program.add_typer(groups[group[0]], name=group[0], help=_GROUPS.get(group[0], group[0].capitalize()))
            owner = groups[group[0]]
        owner.command(word, short_help=operation.summary)(_command_of(operation))
    run_commands(program)
    return program


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"testio-mcp {__version__}")
        raise typer.Exit


def _global_options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
    env_file: Annotated[
        str, typer.Option("--env-file", metavar="FILE", help="Settings, a line TESTIO_NAME=value each.")
    ] = "",  # taken before this line is read, wherever it stands
) -> None:
    """Hold the options that belong to no command."""


def _command_of(operation: "Operation") -> Any:
    def answer(wish: Wish) -> None:
        if wish.mode == "watch":
            asyncio.run(_watch(operation, wish))
            return
        if is_report(operation):
            _report(operation, wish)
            return
        if wish.options.get("to", "stdout") != "stdout" or "output" in wish.options:
            asyncio.run(_send(wish))
            return
        asks_status = wish.mode == "status"
        wanted = registry()["get_status"] if asks_status else operation
        result, zone = asyncio.run(_ask(wanted, {} if asks_status else wish.arguments))
        request = list_request(wanted, wish.arguments, "--")
        show(result, wish.form, wish.columns, request, zone=zone, has_bom=wish.has_bom)
        if result.get("status") == "incomplete":
            raise typer.Exit(INCOMPLETE)

    return command(operation, answer)


def _report(operation: "Operation", wish: Wish) -> None:
    """Print a report, or write it to a file."""
    output = wish.options.get("output")
    # Before anything is asked: a name that leads elsewhere is wrong whatever the answer.
    place = None if output is None else place_of(output)
    answer, zone = asyncio.run(_ask(operation, wish.arguments))
    if place is not None:
        talk(f"The report is in {keep(answer, *place, has_bom=wish.has_bom)}.")
    elif wish.form == "json":
        show(answer, "json", zone=zone)
    else:
        show_report(answer, wish.form)
    if wish.form != "json" or place is not None:
        talk_about_age(answer)


async def _watch(operation: "Operation", wish: Wish) -> None:
    """Sync until somebody ends it; each run is shown on stdout, a failed one on stderr.

    Raises what the next run could not do better: `BadInput`, `NotFound`, and a token that is missing or refused.
    """
    while True:
        try:
            result, zone = await _ask(operation, wish.arguments)
            show(result, wish.form, zone=zone, has_bom=wish.has_bom)
        except (BadInput, NotFound, TokenMissing, AuthFailed):
            raise
        except TestioError as error:
            talk(in_commands(f"{error.message} {error.next_step}"))
        await asyncio.sleep(WATCH_SECONDS * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, hides nothing


async def _send(wish: Wish) -> None:
    """Write the digest to a file or post it."""
    from testio_mcp.surfaces.alerting import send_digest

    async with _account() as app:
        talk(await send_digest(app, wish.arguments, wish.options))


@asynccontextmanager
async def _account() -> AsyncIterator["App"]:
    with importing():
        from testio_mcp.app import open_app
    async with open_app(await read_settings(), refreshes=True, is_brief=True) as app:
        yield app


async def _ask(operation: "Operation", arguments: Mapping[str, object]) -> "tuple[dict[str, Any], ZoneInfo]":
    """The answer to a question, and the time zone in which people read it."""
    with importing():
        from testio_mcp.scrub import repair
    async with _account() as app:
        if operation.safety == "read":
            result = await operation.answer(app, arguments)
        else:
            result = await _act(app, operation, arguments)
    clean: dict[str, Any] = repair(result)
    return clean, app.settings.zone


async def _act(app: "App", operation: "Operation", arguments: Mapping[str, object]) -> dict[str, Any]:
    """Run an action; what the rules for alerts say after a sync goes to stderr, also when the sync failed."""
    is_sync = operation.name == "sync_data" and not arguments.get("dry_run")
    try:
        async with progress() as report:
            result = await operation.answer(app, arguments, report)
    except ApiError:
        if is_sync:
            await _tell(app, has_synced=False)
        raise
    if is_sync:
        await _tell(app, has_synced=True)
    return result


async def _tell(app: "App", *, has_synced: bool) -> None:
    from testio_mcp.surfaces.alerting import tell

    await tell(app, has_synced=has_synced)
