"""The registry as REST routes below `/api`, described at /openapi.json and /docs."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from testio_mcp import __version__
from testio_mcp.app import App
from testio_mcp.errors import BadInput, RateLimited, TestioError
from testio_mcp.operations.links import address
from testio_mcp.operations.registry import Operation
from testio_mcp.reports.links import Link, with_links
from testio_mcp.scrub import repair
from testio_mcp.surfaces.account import Account, registry
from testio_mcp.surfaces.http.docs_page import docs_page
from testio_mcp.surfaces.http.etags import entity_tag, is_known
from testio_mcp.surfaces.http.openapi import completed, responses
from testio_mcp.surfaces.http.problems import problem
from testio_mcp.surfaces.logs import masked
from testio_mcp.surfaces.operation_names import PREFIX, in_routes
from testio_mcp.surfaces.report_files import JSON, asked_for, is_report, whole, written
from testio_mcp.surfaces.report_files import headers as headers_of


def rest_app(account: Account, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    """The routes of all operations on one account."""
    app = FastAPI(
        title="testio-mcp",
        summary="Questions about Test IO crowdtesting data.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    operations = registry()
    for operation in operations.values():
        _add_route(app, account, operation)

    @app.get("/health", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"}
        return HTMLResponse(docs_page(operations.values(), PREFIX), headers=policy)

    app.add_exception_handler(HTTPException, _no_such_route)
    _describe(app, operations.values())
    return app


def _describe(app: FastAPI, operations: Iterable[Operation]) -> None:
    generated = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = completed(generated(), operations)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


async def _no_such_route(request: Request, error: Exception) -> JSONResponse:
    """404 and 405 in the shape of all errors."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    message = "That route takes another method." if status == 405 else "There is no such route."
    return problem(status, "no_such_route", message, "/docs lists the routes.", headers)


def _add_route(app: FastAPI, account: Account, operation: Operation) -> None:
    app.add_api_route(
        PREFIX + operation.path,
        _endpoint(account, operation),
        methods=[operation.method],
        operation_id=operation.name,
        name=operation.name,
        summary=operation.title,
        description=in_routes(operation.description),
        tags=[operation.toolset],
        response_model=operation.result,
        responses=responses(operation),
    )


def _endpoint(account: Account, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            app = await account.app()
            if operation.method == "GET":
                return await _answer(app, operation, request)
            return await _act(app, operation, request)
        except TestioError as error:
            wait = {"Retry-After": str(math.ceil(error.retry_after))} if isinstance(error, RateLimited) else None
            message, step = (in_routes(repair(text)) for text in (error.message, error.next_step))
            return problem(error.status, error.code, message, step, wait)
        except Exception as error:  # noqa: BLE001 - the surface's one handler: what is not expected is masked
            message = masked(f"{operation.method} {PREFIX}{operation.path}", error)
            return problem(500, "internal_error", message, "The server's log holds the reason.")

    return endpoint


async def _answer(app: App, operation: Operation, request: Request) -> Response:
    """The answer to a question, or that the client has it already."""
    arguments = _with_path(_query(request), request)
    form = asked_for(arguments, request.headers.get("accept")) if is_report(operation) else JSON
    tag = await entity_tag(app, operation, request, form)
    headers = ({"ETag": tag} if tag else {}) | ({"Vary": "Accept"} if is_report(operation) else {})
    if tag and is_known(tag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    if form != JSON:
        answer = repair(await operation.answer(app, whole(operation, arguments)))
        content = await asyncio.to_thread(written, answer, form)
        return Response(content, headers=headers | headers_of(answer, form))
    answer = repair(await operation.answer(app, arguments))
    if "not_refreshed" in answer:
        answer["not_refreshed"] = in_routes(answer["not_refreshed"])
    if _has_links(operation.result):
        answer = with_links(answer, _with_url)
    if cursor := answer.get("next_cursor"):
        headers["Link"] = f'<{_next_page(request, cursor)}>; rel="next"'
    return JSONResponse(answer, headers=headers)


@lru_cache
def _has_links(result: type[BaseModel]) -> bool:
    """Whether answers of this kind hold links."""
    return Link.__name__ in result.model_json_schema().get("$defs", {})


def _with_url(link: Link) -> dict[str, Any]:
    """A link with its address on this server."""
    return {**link.model_dump(), "url": PREFIX + address(link)}


async def _act(app: App, operation: Operation, request: Request) -> Response:
    """The outcome of an action, which ends when its client leaves."""
    action = asyncio.ensure_future(operation.answer(app, await _action(request)))
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({action, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if action.done():
            return JSONResponse(repair(action.result()))
        return Response(status_code=499)  # nobody reads it
    finally:
        for task in (action, leaving):
            task.cancel()
        await asyncio.wait({action, leaving})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _next_page(request: Request, cursor: str) -> str:
    """The address of the next page, relative to this server's: a proxy may know it under another name."""
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{quote(request.url.path)}?{urlencode([*others, ('cursor', cursor)])}"


def _query(request: Request) -> dict[str, object]:
    """Arguments of a question; a name given twice is a list. The operation validates them, as on every surface."""
    values = {name: request.query_params.getlist(name) for name in request.query_params}
    return {name: value if len(value) > 1 else value[0] for name, value in values.items()}


def _with_path(given: dict[str, object], request: Request) -> dict[str, object]:
    """All arguments; those of the path stand there alone."""
    for name in request.path_params:
        if name in given:
            raise BadInput(f"{name}: it is given twice.", "It stands in the path; leave it out elsewhere.")
    return {**given, **request.path_params}


async def _action(request: Request) -> dict[str, object]:
    """Arguments of an action: a JSON object, or nothing at all."""
    if request.query_params:
        name = next(iter(request.query_params))
        raise BadInput(f"{name[:60]}: there is no such parameter.", "Send the arguments as JSON in the body.")
    body = await request.body()
    return _with_path(_object(request, body) if body else {}, request)


def _object(request: Request, body: bytes) -> dict[str, object]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadInput("The body is not marked as JSON.", "Send it with 'Content-Type: application/json'.")
    try:
        arguments = json.loads(body)
    except (ValueError, RecursionError):
        raise BadInput("The body is not JSON.", "Send an object with the arguments; /docs shows them.") from None
    if not isinstance(arguments, dict):
        raise BadInput("The body is not a JSON object.", "Send an object with the arguments; /docs shows them.")
    return arguments
