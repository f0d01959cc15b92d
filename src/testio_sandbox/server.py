"""The simulated API on a real port: its routes, authorisation and errors, and the switches under `/_sandbox`."""

import asyncio
import hmac
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from . import routes_products as products
from . import routes_tests as tests
from .call import Answer, Call, Handler, Refused, Upload
from .catalog import Payload
from .fault_injection import BASE, FaultLayer, Faults, Recorded, encode, parse_fault
from .world import NoSuchRecord, World

# Longer lists are sent in pieces, so that no answer is ever held whole.
_AT_ONCE = 200
_STORIES = "/products/{pid:int}/user_stories"
_ENVIRONMENTS = "/products/{pid:int}/test_environments"

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/products", products.list_products),
    ("POST", "/products", products.create_product),
    ("GET", "/products/{pid:int}", products.get_product),
    ("PUT", "/products/{pid:int}", products.update_product),
    ("DELETE", "/products/{pid:int}", products.delete_product),
    ("GET", "/products/{pid:int}/features", products.list_features),
    ("GET", "/products/{pid:int}/sections/{sid:int}/features", products.list_section_features),
    ("PUT", "/products/{pid:int}/features/copy", products.copy_features),
    ("POST", "/features", products.create_feature),
    ("GET", "/user_stories/{usid:int}", products.get_story),
    ("GET", _STORIES, products.list_stories),
    ("POST", _STORIES, products.create_story),
    ("PUT", _STORIES + "/{usid:int}", products.update_story),
    ("DELETE", _STORIES + "/{usid:int}", products.delete_story),
    ("GET", "/user_story_version_executions", tests.list_executions),
    ("GET", "/products/{pid:int}/exploratory_tests", tests.list_tests),
    ("POST", "/products/{pid:int}/exploratory_tests", tests.create_test),
    ("GET", "/exploratory_tests/{tid:int}", tests.get_test),
    ("PUT", "/exploratory_tests/{tid:int}", tests.update_test),
    ("POST", "/exploratory_tests/{tid:int}/launch", tests.launch_test),
    ("POST", "/exploratory_tests/{tid:int}/duplicate", tests.duplicate_test),
    ("POST", "/exploratory_tests/{tid:int}/templates", tests.create_template),
    ("GET", "/bugs", tests.list_bugs),
    ("POST", "/bugs", tests.search_bugs),
    # Test IO's own Java client posts its search here.
    ("POST", "/bugs/search", tests.search_bugs),
    ("GET", "/bugs/reject_reasons", tests.list_reject_reasons),
    ("GET", "/bugs/{bid:int}", tests.get_bug),
    ("PUT", "/bugs/{bid:int}/accept", tests.accept_bug),
    ("PUT", "/bugs/{bid:int}/reject", tests.reject_bug),
    ("PUT", "/bugs/{bid:int}/mark_as_exported", tests.mark_exported),
    ("PUT", "/bugs/{bid:int}/mark_as_known", tests.mark_known),
    ("PUT", "/bugs/{bid:int}/mark_as_fixed", tests.mark_fixed),
    ("POST", "/bug_report_confirmations", tests.create_confirmation),
    ("GET", _ENVIRONMENTS, products.list_environments),
    ("POST", _ENVIRONMENTS, products.create_environment),
    ("GET", _ENVIRONMENTS + "/{eid:int}", products.get_environment),
    ("PUT", _ENVIRONMENTS + "/{eid:int}", products.update_environment),
    ("DELETE", _ENVIRONMENTS + "/{eid:int}", products.delete_environment),
    ("GET", "/test_templates", products.list_templates),
    ("POST", "/products/{pid:int}/test_cases", products.create_test_cases),
    ("POST", "/products/{pid:int}/test_case_test", products.create_test_case_test),
    ("GET", "/products/{pid:int}/test_case_tests/{tid:int}", products.get_test_case_test),
    ("GET", "/products/{pid:int}/test_case_tests/{tid:int}/results", products.list_results),
    ("POST", "/connections", products.create_connection),
    ("GET", "/connections/{cid:int}", products.get_connection),
    ("PUT", "/connections/{cid:int}", products.update_connection),
    ("DELETE", "/connections/{cid:int}", products.delete_connection),
    ("POST", "/binary_apps", products.create_binary_app),
    ("GET", "/binary_apps/upload_url", products.upload_url),
    ("PUT", "/binary_apps/{aid:int}", products.finalize_binary_app),
)
"""The whole Customer API as one table: method, path, what answers it."""


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
        return _json({"faults": self._faults.to_dicts()}, 201 if request.method == "POST" else 200)

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


_GRACE_SECONDS = 5


@dataclass(frozen=True)
class Sandbox:
    """A running simulation; `url` is the base URL for a client and ends in a slash."""

    url: str
    token: str
    world: World
    faults: Faults
    requests: list[Recorded] = field(repr=False)


class _Connection(H11Protocol):
    """A connection whose transport the faults can reach, so that they can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class _Server(uvicorn.Server):
    """A server that ends when it is told to and leaves signals to the program around it."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when requests are answered, or that they never will be."""
        try:
            await super().startup(sockets)
        finally:
            self.listening.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def main_loop(self) -> None:
        """Keep the Date header right until the end."""
        while not self._closing.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is under way; uvicorn's own way waits a tenth of a second even when nothing is."""
        del sockets
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn keeps plain sets
                    await asyncio.sleep(0.002)
        for task in list(state.tasks):
            task.cancel()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's delay (40 ms per answer) only when the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _config(app: Starlette) -> uvicorn.Config:
    options: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "ws": "none"}
    return uvicorn.Config(app, http=_Connection, **options)


@asynccontextmanager
async def serve_sandbox(
    world: World,
    *,
    token: str = "sandbox-token",  # noqa: S107
    host: str = "127.0.0.1",
    port: int = 0,
    faults: Faults | None = None,
) -> AsyncIterator[Sandbox]:
    """Serve `world` in the running loop for as long as the block lasts; port 0 takes a free one.

    Raises `OSError` when the port is taken.
    """
    rules = Faults() if faults is None else faults
    app = create_app(world, token, rules)
    closing: asyncio.Event = app.state.closing
    with _listening(host, port) as listener:
        server = _Server(_config(app), closing)
        running = asyncio.ensure_future(server.serve(sockets=[listener]))
        try:
            await server.listening.wait()
            shown = f"[{host}]" if ":" in host else host
            url = f"http://{shown}:{listener.getsockname()[1]}{BASE}/"
            yield Sandbox(url, token, world, rules, app.state.requests)
        finally:
            closing.set()
            await running


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    listener = _bound(host, port)
    try:
        yield listener
    finally:
        listener.close()


def run_sandbox(
    world: World,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "sandbox-token",  # noqa: S107
) -> None:
    """Serve `world` until interrupted; what a client needs to use it goes to stderr."""
    asyncio.run(_run(world, host, port, token))


async def _run(world: World, host: str, port: int, token: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no signal handlers in the loop; there Ctrl+C raises KeyboardInterrupt.
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with serve_sandbox(world, token=token, host=host, port=port) as sandbox:
        lines = (
            f"Simulated Test IO account at {sandbox.url}",
            f"  export TESTIO_CUSTOMER_API_BASE_URL={sandbox.url}",
            f"  export TESTIO_CUSTOMER_API_TOKEN={token}",
            "Ctrl+C ends it.",
        )
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
        await stop.wait()
