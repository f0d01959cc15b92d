"""The simulated API as a web application: authorisation, JSON, errors, and the switches under `/_sandbox`."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict
from itertools import chain, islice
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from .account import NoSuchRecord
from .call import Answer, Call, Handler, Refused, Upload
from .catalog import Payload
from .faults import Faults, parse_fault
from .faulty import BASE, FaultLayer, Recorded, encode
from .routes import ROUTES
from .world import World

# Longer lists are sent in pieces, so that no answer is ever held whole.
_AT_ONCE = 200


def create_app(world: World, token: str, faults: Faults | None = None) -> Starlette:
    """The simulated API of `world` for callers with this token; `faults` may change while it runs.

    `app.state.requests` lists what arrived; setting `app.state.closing` ends every delay.
    """
    rules = Faults() if faults is None else faults
    requests: list[Recorded] = []
    closing = asyncio.Event()
    layer = Middleware(FaultLayer, world=world, faults=rules, closing=closing, requests=requests)
    api = [Route(path, _endpoint(handler, world, token), methods=[method]) for method, path, handler in ROUTES]
    app = Starlette(
        routes=[Mount(BASE, routes=api), Mount("/_sandbox", routes=_Switches(world, rules, requests).routes())],
        middleware=[layer],
        exception_handlers={HTTPException: _http_error, Refused: _refused, NoSuchRecord: _unknown},
    )
    app.state.requests, app.state.closing = requests, closing
    return app


def _json(payload: Any, status: int = 200) -> Response:
    return Response(encode(payload), status, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    del request
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _json({"error": "Not found" if status == 404 else "Method not allowed"}, status)


async def _refused(request: Request, error: Exception) -> Response:
    del request
    return _json({"error": str(error)}, error.status if isinstance(error, Refused) else 500)


async def _unknown(request: Request, error: Exception) -> Response:
    del request, error
    return _json({"error": "Not found"}, 404)


def _endpoint(handler: Handler, world: World, token: str) -> Any:
    async def endpoint(request: Request) -> Response:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode("latin-1"), f"Token {token}".encode()):
            raise Refused(401, "Unauthorized")
        body, files = await _body(request)
        state = request.scope.get("state", {})
        paging = bool(state.get("staging")), state.get("largest")
        return _answer(handler(Call(world, dict(request.path_params), request.query_params, body, files, *paging)))

    return endpoint


async def _body(request: Request) -> tuple[Payload, dict[str, Upload]]:
    if request.headers.get("content-type", "").startswith("multipart/"):
        async with request.form() as form:
            parts = {name: part for name, part in form.items() if isinstance(part, UploadFile)}
            return {}, {name: Upload(part.filename or "", part.size or 0) for name, part in parts.items()}
    raw = await request.body()
    try:
        body = json.loads(raw) if raw else {}
    except ValueError as wrong:
        raise Refused(400, "The body is not JSON") from wrong
    if not isinstance(body, dict):
        raise Refused(400, "The body is not an object")
    return body, {}


def _answer(answer: Answer) -> Response:
    if not answer.root:
        return _json(answer.payload, answer.status)
    records = iter(answer.records)
    first = list(islice(records, _AT_ONCE))
    if len(first) < _AT_ONCE:
        return _json({answer.root: first}, answer.status)
    pieces = _pieces(answer.root, chain(first, records))
    return StreamingResponse(pieces, answer.status, media_type="application/json")


async def _pieces(root: str, records: Iterable[Payload]) -> AsyncIterator[bytes]:
    """The JSON of a long list, a few records at a time; other requests are answered in between."""
    opening, left = encode({root: []})[:-2], iter(records)
    while batch := list(islice(left, 50)):
        yield opening + encode(batch)[1:-1]
        opening = b","
        await asyncio.sleep(0)
    yield b"]}"


class _Switches:
    """What steers the simulation from outside."""

    def __init__(self, world: World, faults: Faults, requests: list[Recorded]) -> None:
        self._world, self._faults, self._requests = world, faults, requests

    def routes(self) -> list[Route]:
        """The paths below `/_sandbox`."""
        return [
            Route("/faults", self._rules, methods=["GET", "POST", "DELETE"]),
            Route("/requests", self._log, methods=["GET", "DELETE"]),
            Route("/advance", self._advance, methods=["POST"]),
            Route("/truth", self._truth),
        ]

    async def _rules(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._faults.clear()
        elif request.method == "POST":
            body, _ = await _body(request)
            try:
                self._faults.add(parse_fault(body))
            except ValueError as wrong:
                raise Refused(422, str(wrong)) from wrong
        return _json({"faults": self._faults.shown()}, 201 if request.method == "POST" else 200)

    async def _log(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._requests.clear()
        return _json({"count": len(self._requests), "requests": [asdict(entry) for entry in self._requests]})

    async def _advance(self, request: Request) -> Response:
        body, _ = await _body(request)
        days, tests = body.get("days", 1), body.get("new_tests", 1)
        if not isinstance(days, int | float) or days < 0 or not isinstance(tests, int):
            raise Refused(422, "days and new_tests must be numbers")
        return _json(self._world.advance(days, tests))

    async def _truth(self, request: Request) -> Response:
        del request
        world = self._world
        return _json({"products": [asdict(world.truth(product_id)) for product_id in world.product_ids]})
