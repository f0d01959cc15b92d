"""Arguments of the shape that a type wants and of no use, over REST and MCP: refused or answered, never a defect."""

import asyncio
import base64
import json
from collections.abc import Coroutine, Iterator
from functools import cache
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from testio_mcp.operations.registry import Operation, operations
from tests.surfaces.conftest import Copy
from tests.surfaces.programs import HttpServer, http_server

pytestmark = pytest.mark.slow

DEFECT = "Something went wrong inside testio-mcp"
EDGES = (
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00", "9999-12-31T24:00:00Z", "0001-01-01"),
    *("9999-12-31", "0000-00-00", "2026-02-30", "10000-01-01", "2026-W53-7", "2026-11-22T00:00:00", "-1-1-1"),
)
ODD_TEXTS = (
    *("\0", "\x1b[31m", "\ufeff", "\u202e", "\ud800", "\U0010ffff", "e\u0301" * 40, "İ", "ß", "\u0660\u0661", "²"),
    *("%", "_", "\\", "'", '"', "NEAR(", "*", "a OR", '"a', "(" * 300, "[" * 300, "x" * 5000, "--5", "-", "=", ","),
    *("severity=", "product=--5", "product=-", "tester=²", "feature=" + "9" * 5000, "week=2026-W99", "known=2"),
    *("last 99999 days", "since 0001-01-01", "0001-01-01 to 9999-12-31", "9999-Q4", "KW 53 9999", "1e999", "nan"),
    *("max_open_critical=1e999", "min_pass_rate=nan", "x=1/2/3", "../../x.html", "a.html", "C:\\x.md", "-" * 90),
)
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "fuzz", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
NUMBERS = (0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308, -0.0)


def forged(keys: Any) -> str:
    """A cursor with these keys, packed as ours are."""
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


@cache
def marks() -> tuple[str, ...]:
    """What cursors of lists begin with."""
    from testio_mcp.operations.work import triage

    lists = [operation.function for operation in operations().values()]
    listings = [function.listing for function in lists if hasattr(function, "listing")] + [triage._listing]
    return tuple(
        dict.fromkeys(
            f"{listing.table.name} {order.keys[0].key} {way}"
            for listing in listings
            for order in listing.orders.values()
            for way in ("up", "down")
        )
    )


NUMBER = st.sampled_from(NUMBERS) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.sampled_from(ODD_TEXTS) | st.sampled_from(EDGES) | st.text(max_size=30)
KEY = st.one_of(NUMBER, TEXT, st.none(), st.booleans())
CURSOR = st.one_of(
    st.builds(lambda mark, keys: forged([mark, *keys]), st.sampled_from(marks()), st.lists(KEY, max_size=4)),
    st.builds(
        lambda mark, edge, key: forged([mark, edge, key]), st.sampled_from(marks()), st.sampled_from(EDGES), NUMBER
    ),
    st.lists(KEY, max_size=4).map(forged),
    st.just(base64.urlsafe_b64encode(b"[" * 5000).decode()),
    TEXT,
)
DEEP: Any = 1
for _ in range(60):
    DEEP = [DEEP]
ANYTHING = st.one_of(
    KEY, st.lists(KEY, max_size=3), st.dictionaries(st.text(max_size=5), KEY, max_size=2), st.just(DEEP)
)


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Garbage of the shape that a schema wants, and now and then of another."""
    words = schema.get("enum") or schema.get("items", {}).get("enum") or ()
    word = st.sampled_from(words) if words else TEXT
    by_type: dict[str, st.SearchStrategy[Any]] = {
        "integer": NUMBER,
        "boolean": st.booleans() | NUMBER | TEXT,
        "array": st.lists(word | KEY, max_size=4),
        "string": word | TEXT,
    }
    return st.one_of(by_type.get(schema.get("type", ""), ANYTHING), ANYTHING)


def arguments_of(operation: Operation) -> st.SearchStrategy[dict[str, Any]]:
    """Some arguments of an operation, most of the time with all that it requires."""
    properties = operation.input_schema["properties"]
    known = {name: CURSOR if name == "cursor" else values_of(schema) for name, schema in properties.items()}
    required = set(operation.input_schema.get("required", ()))
    useful = {name: st.just(value) | known[name] for name, value in operation.examples[0].items() if name in required}
    return st.fixed_dictionaries(
        {name: useful.get(name, known[name]) for name in required},
        optional={name: each for name, each in known.items() if name not in required},
    )


@pytest.fixture(scope="module")
def own_server(synced: Copy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A server that may write: on a copy of the store, with no token, so that no sync goes anywhere."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "own.db").write_bytes(synced.path.read_bytes())
    environment = {
        "TESTIO_DB_PATH": str(folder / "own.db"),
        "TESTIO_TOOLSETS": "all",
        "TESTIO_EXPORT_DIR": str(folder / "exports"),
        "TESTIO_HTTP_REQUESTS_PER_MINUTE": "0",
    }
    with http_server(environment, folder) as running:
        yield running


def in_query(value: Any) -> Any:
    """A value as a query string has it."""
    if isinstance(value, bool | dict) or value is None:
        return json.dumps(value)
    if isinstance(value, list):
        return [in_query(each) for each in value]
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else str(value)


async def over_rest(server: HttpServer, operation: Operation, arguments: dict[str, Any]) -> None:
    """Ask over REST: what comes back is no defect."""
    given_in_path = {name for name in arguments if f"{{{name}}}" in operation.path}
    path = operation.path
    for name in given_in_path:
        path = path.replace(f"{{{name}}}", quote(arguments[name]))
    others = {name: value for name, value in arguments.items() if name not in given_in_path}
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as web:
        if operation.method == "POST":
            body = json.dumps(others).encode()
            answer = await web.post(f"/api{path}", content=body, headers={"content-type": "application/json"})
        else:
            answer = await web.get(f"/api{path}?{query(others)}")
    no_token = operation.safety != "read" and "token_missing" in answer.text
    assert answer.status_code < 500 or no_token, (operation.name, answer.status_code, answer.text[:300])


def quote(value: Any) -> str:
    """A value in a path, of one segment."""
    from urllib.parse import quote as quoted

    read = in_query(value)
    return quoted(read if isinstance(read, bytes) else str(read), safe="").replace(".", "%2E")[:200] or "0"


def query(arguments: dict[str, Any]) -> str:
    """Arguments as a query string."""
    from urllib.parse import urlencode

    return urlencode({name: in_query(value) for name, value in arguments.items()}, doseq=True)[:6000]


async def over_mcp(server: HttpServer, operation: Operation, arguments: dict[str, Any]) -> None:
    """Ask over MCP, as bytes that a client of ours would not send: what comes back is no defect."""
    tool, named = operation.name, arguments
    if operation.about:
        tool, named = "get", {"kind": operation.about, "id": next(iter(arguments.values()), None)}
    params = {"name": tool, "arguments": named, "_meta": ENVELOPE}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as web:
        answer = await web.post("/mcp", content=json.dumps(message).encode(), headers=headers)
    assert answer.status_code < 500, (operation.name, answer.text[:300])
    assert DEFECT not in answer.text, (operation.name, answer.text[:300])
    # A message that is no JSON in UTF-8 is refused as such; all others reach the operation.
    assert answer.status_code == 200 or '"code":-32700' in answer.text, (operation.name, answer.text[:300])


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end in a loop of its own."""
    asyncio.run(work)


@pytest.mark.parametrize("operation", operations().values(), ids=lambda operation: operation.name)
def test_garbage_is_never_a_defect(operation: Operation, own_server: HttpServer) -> None:
    @seed(11)
    @settings(
        max_examples=25,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(arguments_of(operation))
    def ask(arguments: dict[str, Any]) -> None:
        async def both() -> None:
            await over_rest(own_server, operation, arguments)
            await over_mcp(own_server, operation, arguments)

        run(both())

    ask()


@pytest.mark.parametrize(
    "name", [name for name, each in operations().items() if "cursor" in each.arguments.model_fields]
)
async def test_a_forged_cursor_at_the_edges_of_time_is_refused(
    name: str, own_server: HttpServer, synced: Copy
) -> None:
    """Every mark that a cursor may have, with moments that no clock in UTC has, in every order of the list."""
    operation = operations()[name]
    orders = operation.input_schema["properties"].get("sort", {}).get("enum", [None])
    some = {"query": "checkout"} if name == "search" else {"product_id": synced.product_id}
    some = some if name in ("search", "execution_matrix", "test_case_results", "custom_report") else {}
    async with httpx2.AsyncClient(base_url=own_server.url, trust_env=False, timeout=30) as web:
        for mark in marks():
            for keys in ([EDGES[0], 1], [EDGES[1], 1], [EDGES[0]], [EDGES[0], 10**30], ["2026-11-22T00:00:00", 1]):
                for order in orders:
                    wanted = some | {"cursor": forged([mark, *keys])} | ({"sort": order} if order else {})
                    answer = await web.get(f"/api{operation.path}", params=wanted)
                    told = (mark, keys, order, answer.status_code, answer.text[:200])
                    assert answer.status_code < 500, told
                    assert answer.status_code == 422 or "_at " not in mark, told
