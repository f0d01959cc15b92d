"""The registry as REST routes below `/api`, described at /openapi.json and /docs."""

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from testio_mcp import __version__
from testio_mcp.api.scrub import repair
from testio_mcp.errors import BadInput, TestioError
from testio_mcp.operations.registry import Operation
from testio_mcp.surfaces.account import Account, registry
from testio_mcp.surfaces.docs_page import docs_page
from testio_mcp.surfaces.gate import problem
from testio_mcp.surfaces.logs import masked

PREFIX = "/api"


class ErrorDetail(BaseModel):
    """What is wrong and what to do next."""

    code: str
    message: str
    next_step: str


class Problem(BaseModel):
    """Every error has this shape."""

    error: ErrorDetail


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
    return app


async def _no_such_route(request: Request, error: Exception) -> JSONResponse:
    """404 and 405 in the shape of all errors."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    message = "That route takes another method." if status == 405 else "There is no such route."
    return problem(status, "no_such_route", message, "/docs lists the routes.", headers)


def _add_route(app: FastAPI, account: Account, operation: Operation) -> None:
    errors: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (404, 422, 500, 502, 503)}
    app.add_api_route(
        PREFIX + operation.path,
        _endpoint(account, operation),
        methods=[operation.method],
        operation_id=operation.name,
        name=operation.name,
        summary=operation.title,
        description=operation.description,
        tags=[operation.toolset],
        response_model=operation.result,
        responses=errors,
        openapi_extra=_described(operation),
    )


def _endpoint(account: Account, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            given = _query(request) if operation.method == "GET" else await _body(request)
            answer = await operation.answer(await account.app(), {**given, **request.path_params})
            return JSONResponse(repair(answer))
        except TestioError as error:
            return problem(error.status, error.code, repair(error.message), repair(error.next_step))
        except Exception as error:  # noqa: BLE001 - the surface's one handler: what is not expected is masked
            message = masked(f"{operation.method} {PREFIX}{operation.path}", error)
            return problem(500, "internal_error", message, "The server's log holds the reason.")

    return endpoint


def _query(request: Request) -> dict[str, object]:
    """Arguments of a question; a name given twice is a list. The operation validates them, as on every surface."""
    values = {name: request.query_params.getlist(name) for name in request.query_params}
    return {name: value if len(value) > 1 else value[0] for name, value in values.items()}


async def _body(request: Request) -> dict[str, object]:
    """Arguments of an action: a JSON object, or nothing at all."""
    body = await request.body()
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadInput("The body is not marked as JSON.", "Send it with 'Content-Type: application/json'.")
    try:
        arguments = json.loads(body)
    except (ValueError, RecursionError):
        raise BadInput("The body is not JSON.", "Send an object with the arguments; /docs shows them.") from None
    if not isinstance(arguments, dict):
        raise BadInput("The body is not a JSON object.", "Send an object with the arguments; /docs shows them.")
    return arguments


def _described(operation: Operation) -> dict[str, Any]:
    """The arguments in OpenAPI's words, from the same schema that MCP clients read."""
    schema = operation.input_schema
    if operation.method == "POST":
        return {"requestBody": {"content": {"application/json": {"schema": schema}}}}
    parameters = []
    for name, about in schema.get("properties", {}).items():
        in_path = f"{{{name}}}" in operation.path
        parameter = {"name": name, "in": "path" if in_path else "query", "schema": about}
        parameter |= {"required": in_path or name in schema.get("required", [])}
        if "description" in about:
            parameter |= {"description": about["description"]}
        if about.get("type") == "array":
            parameter |= {"style": "form", "explode": True}
        parameters.append(parameter)
    return {"parameters": parameters}
