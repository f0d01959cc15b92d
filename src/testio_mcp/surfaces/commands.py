"""The commands that run the product: servers, the store, the sandbox and the demo."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from testio_mcp.surfaces.account import importing
from testio_mcp.surfaces.links import open_record
from testio_mcp.surfaces.release_gate import gate
from testio_mcp.surfaces.repairs import add_repairs
from testio_mcp.surfaces.terminal import show, talk

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
    for work in (upgrade, check, backup, stats):
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
            from testio_mcp.surfaces.stdio import serve_stdio

        serve_stdio(**options)
        return
    with importing():
        from testio_mcp.surfaces.http import serve_http

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
    from testio_mcp.sandbox import World, run_sandbox
    from testio_mcp.surfaces.ports import port_taken

    with port_taken(host, port):
        world = World(seed=seed, products=products, tests_per_product=tests, bugs_per_test=bugs)
        run_sandbox(world, host=host, port=port, token=token)


def demo(
    db: Annotated[Path | None, typer.Option(help="Keep the demo's store in this file.")] = None,
) -> None:
    """Show the product at work: a simulated account, a sync, and questions asked over MCP."""
    from testio_mcp.surfaces.demo import show_demo

    asyncio.run(show_demo(db))


def upgrade() -> None:
    """Create the store, or migrate it to the newest schema after a verified backup."""

    async def work(app: "App") -> None:
        from testio_mcp.database.migrate import HEAD

        talk(f"The store {app.store.place} is at revision {HEAD}.")

    _with_store(work)


def check() -> None:
    """Check every page of the store's file; exit code 1 when something is wrong."""
    found = _with_store(lambda app: app.store.check())
    for line in found:
        typer.echo(line)
    if found:
        talk("The store is damaged. 'testio-mcp doctor --repair' puts it aside and restores the newest sound backup.")
        raise typer.Exit(1)
    talk("The store is sound.")


def backup() -> None:
    """Make a verified copy of the store and print its path."""
    typer.echo(_with_store(lambda app: app.store.backup()))


def stats(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show how many rows each table holds, and the size of the file."""
    from testio_mcp.database.stats import store_stats

    show(_with_store(lambda app: store_stats(app.store)), "json" if as_json else None)


def _with_store(work: Callable[["App"], Awaitable[T]]) -> T:
    from testio_mcp.app import open_app
    from testio_mcp.settings import load_settings
    from testio_mcp.surfaces.logs import adopt

    async def run() -> T:
        settings = load_settings()
        adopt(settings)
        async with open_app(settings) as app:
            return await work(app)

    return asyncio.run(run())
