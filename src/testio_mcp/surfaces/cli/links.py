"""`testio-mcp open`: where a record is in the customer's own Test IO."""

import asyncio
import webbrowser
from typing import Annotated, Any, Literal

import typer

from testio_mcp.errors import BadInput
from testio_mcp.surfaces.account import importing, registry
from testio_mcp.surfaces.cli.terminal import talk

Kind = Literal["product", "test", "bug"]


def open_record(
    kind: Annotated[Kind, typer.Argument(help="product, test or bug.", metavar="product|test|bug")],
    record_id: Annotated[int, typer.Argument(help="Its id.", metavar="ID", min=0)],
    browser: Annotated[bool, typer.Option("--browser", help="Open it in the browser as well.")] = False,
) -> None:
    """Print the link to a product, test or bug in Test IO's web app; --browser opens it.

    TESTIO_WEB_URL has to hold the address of your Test IO, such as https://yourcompany.test.io.
    """
    with importing():
        from testio_mcp.settings import load_settings
    settings = load_settings()
    if settings.web_url is None:
        step = "Set it to the address of your Test IO, such as https://yourcompany.test.io."
        raise BadInput("TESTIO_WEB_URL is not set.", step)
    link = f"{settings.web_url.rstrip('/')}/{_path(kind, asyncio.run(_record(kind, record_id)))}"
    typer.echo(link)
    if browser and not webbrowser.open(link):
        talk("No browser could be started.")
        raise typer.Exit(1)


def _path(kind: Kind, record: dict[str, Any]) -> str:
    if kind == "product":
        return f"products/{record['id']}"
    test = f"products/{record['product_id']}/test_cycles/"
    return f"{test}{record['id']}" if kind == "test" else f"{test}{record['test_id']}/bugs/{record['id']}"


async def _record(kind: Kind, record_id: int) -> dict[str, Any]:
    """The record itself: a link needs to know where it belongs. Raises `NotFound`."""
    from testio_mcp.app import open_app
    from testio_mcp.settings import load_settings

    operation = next(operation for operation in registry().values() if operation.about == kind)
    [argument] = operation.arguments.model_fields
    async with open_app(load_settings()) as app:
        return await operation.answer(app, {argument: record_id})
