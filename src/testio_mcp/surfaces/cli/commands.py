"""The commands that run the product: servers, the store, the sandbox and the demo."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from testio_mcp.surfaces.account import importing, read_settings
from testio_mcp.surfaces.cli.links import open_record
from testio_mcp.surfaces.cli.release_gate import gate
from testio_mcp.surfaces.cli.repairs import add_repairs
from testio_mcp.surfaces.cli.terminal import show, talk

if TYPE_CHECKING:
    from testio_mcp.app import App

T = TypeVar("T")


def run_commands(program: typer.Typer) -> None:
    """Add serve, sandbox, demo, gate, open, doctor and db to the program."""
    for function in (serve, sandbox, demo):
        program.command(short_help=(function.__doc__ or "").partition("\n")[0])(function)
    program.command("gate", short_help="Pass or fail a product by the exit code, for pipelines.")(gate)
    program.command("open", short_help="Print the link to a product, test or bug in the web app.")(open_record)
    database = typer.Typer(no_args_is_help=True)
    for work in (upgrade, check, rebuild, backup, stats):
        database.command()(work)
    program.add_typer(database, name="db", help="The local store.")
    add_repairs(program, database)


def serve(
    transport: Annotated[Literal["stdio", "http"], typer.Option(help="stdio, or http for MCP and REST.")] = "stdio",
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs TESTIO_HTTP_TOKEN.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name, with its port, under which clients reach the server.")
    ] = None,
    toolsets: Annotated[str | None, typer.Option(help="MCP tools of these toolsets: catalog,bugs or all.")] = None,
    tools: Annotated[
        str | None, typer.Option(help="These MCP tools by name: added to the toolsets, or alone.")
    ] = None,
    exclude_tools: Annotated[str | None, typer.Option(help="Leave these MCP tools out.")] = None,
    read_only: Annotated[
        bool | None, typer.Option("--read-only", help="No MCP tool that changes data, whatever else is asked for.")
    ] = None,
) -> None:
    """Serve MCP on stdin and stdout, or MCP and REST over HTTP.

    The options that choose tools also work without 'serve', and as TESTIO_TOOLSETS and so on in the environment.
    """
    wishes = {"toolsets": toolsets, "tools": tools, "exclude_tools": exclude_tools, "read_only": read_only}
    options: dict[str, Any] = {name: wish for name, wish in wishes.items() if wish is not None}
    if transport == "stdio":
        with importing():
            from testio_mcp.surfaces.mcp.stdio import serve_stdio

        serve_stdio(**options)
        return
    with importing():
        from testio_mcp.surfaces.http.server import serve_http

    asyncio.run(serve_http(host, port, allow_host or [], **options))


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8766,
    token: Annotated[str, typer.Option(help="The token that clients have to send.")] = "sandbox-token",  # noqa: S107
    seed: Annotated[int, typer.Option(help="Another seed, other data.")] = 1,
    products: Annotated[int, typer.Option(min=1, help="Number of products.")] = 6,
    tests: Annotated[int, typer.Option(min=1, help="Tests per product.")] = 20,
    bugs: Annotated[int, typer.Option(min=0, help="Bugs per test.")] = 8,
) -> None:
    """Serve a simulated Test IO account, to try things without a real one."""
    from testio_mcp.surfaces.cli.demo import make_world
    from testio_mcp.surfaces.http.ports import port_taken
    from testio_sandbox import run_sandbox

    with port_taken(host, port):
        world = make_world(seed, products, tests, bugs)
        run_sandbox(world, host=host, port=port, token=token)


def demo(
    db: Annotated[Path | None, typer.Option(help="Keep the demo's store in this file.")] = None,
) -> None:
    """Show the product at work: a simulated account, a sync, and questions asked over MCP."""
    from testio_mcp.surfaces.cli.demo import show_demo

    asyncio.run(show_demo(db))


def upgrade() -> None:
    """Create the store, or migrate it to the newest schema after a verified backup."""

    async def work(app: "App") -> None:
        from testio_mcp.database.migrate import HEAD

        talk(f"The store {app.store.place} is at revision {HEAD}.")

    _with_store(work)


def check(
    deep: Annotated[
        bool, typer.Option("--deep", help="Recount all derived data, not a sample of 200 records a kind.")
    ] = False,
) -> None:
    """Check every page of the store's file and recount a sample of all derived data; exit code 1 when one is wrong.

    Derived data are what is computed from stored data: the search index, and columns from the payloads of the API.
    Nothing is changed; 'testio-mcp db rebuild' mends derived data.
    """

    async def work(app: "App") -> tuple[list[str], list[str]]:
        from testio_mcp.sync.derived import first_differences

        damage = await app.store.check() if app.store.connection is not None else []
        return damage, [] if damage else await app.store.read(lambda conn: first_differences(conn, deep=deep))

    damage, differences = _with_store(work)
    for line in (*damage, *differences):
        typer.echo(line)
    if damage:
        talk("The store is damaged. 'testio-mcp doctor --repair' puts it aside and restores the newest sound backup.")
    if differences:
        talk("Derived data are wrong. 'testio-mcp db rebuild' computes them again from what is stored.")
    if damage or differences:
        raise typer.Exit(1)
    talk("The store is sound.")


def rebuild() -> None:
    """Compute all derived data again from what is stored: the search index, and columns from payloads."""

    async def work(app: "App") -> None:
        from testio_mcp.sync.derived import rebuild as rebuild_all

        await rebuild_all(app.store.write, told=lambda name: talk(f"Computing again: {name}."))

    _with_store(work)
    talk("All derived data were computed again.")


def backup() -> None:
    """Make a verified copy of the store and print its path."""
    typer.echo(_with_store(lambda app: app.store.backup()))


def stats(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show how many rows each table holds, and the size of the file."""
    from testio_mcp.database.stats import store_stats

    show(_with_store(lambda app: store_stats(app.store)), "json" if as_json else None)


def _with_store(work: Callable[["App"], Awaitable[T]]) -> T:
    from testio_mcp.app import open_app

    async def run() -> T:
        async with open_app(await read_settings()) as app:
            return await work(app)

    return asyncio.run(run())
