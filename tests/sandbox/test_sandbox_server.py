"""The running server: authorisation, the log, the switches, start and end."""

import asyncio
import signal
import socket
import sys

import httpx2
import pytest

from testio_mcp.errors import BadInput
from testio_mcp.surfaces.cli.demo import make_world
from testio_sandbox import Fault, Faults, Sandbox, World, serve_sandbox
from testio_sandbox.texts import load_pools


@pytest.mark.parametrize(
    "header", [None, "Token wrong", "Bearer sandbox-token", "sandbox-token", "Token sandbox-tokené"]
)
async def test_a_wrong_token_is_refused(sandbox: Sandbox, header: str | None) -> None:
    headers = {b"Authorization": header.encode()} if header else {}
    async with httpx2.AsyncClient(base_url=sandbox.url, headers=headers) as client:
        for path in ("products", "bugs/1", "products/21001/exploratory_tests"):
            response = await client.get(path)
            assert response.status_code == 401
            assert response.json() == {"error": "Unauthorized"}


async def test_another_token_can_be_chosen() -> None:
    async with serve_sandbox(World(products=1), token="mine") as sandbox, httpx2.AsyncClient() as client:
        answer = await client.get(sandbox.url + "products", headers={"Authorization": "Token mine"})
        assert answer.status_code == 200


async def test_unknown_paths_and_methods_answer_as_json(client: httpx2.AsyncClient) -> None:
    for method, path, status in (("GET", "nothing", 404), ("GET", "products/abc", 404), ("DELETE", "bugs", 405)):
        response = await client.request(method, path)
        assert response.status_code == status and "error" in response.json()


async def test_requests_are_recorded(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    await client.get("bugs", params=[("filter_test_cycle_ids", "1,2"), ("includes[]", "a"), ("includes[]", "b")])
    (request,) = sandbox.requests
    assert (request.method, request.path) == ("GET", "/bugs")
    assert request.query == {"filter_test_cycle_ids": "1,2", "includes[]": "a,b"}
    log = sandbox.url.replace("/customer/v2/", "/_sandbox/requests")
    assert (await client.get(log)).json()["count"] == 1
    await client.delete(log)
    assert sandbox.requests == []


async def test_time_passes_on_request(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    control = sandbox.url.replace("/customer/v2/", "/_sandbox/")
    before = (await client.get(control + "truth")).json()["products"]
    answer = await client.post(control + "advance", json={"days": 1, "new_tests": 2})
    assert len(answer.json()["tests"]) == 6
    after = (await client.get(control + "truth")).json()["products"]
    assert [new["tests"] - old["tests"] for new, old in zip(after, before, strict=True)] == [2, 2, 2]
    assert (await client.post(control + "advance", json={"days": "x"})).status_code == 422


async def test_it_ends_at_once_while_a_client_waits(capfd: pytest.CaptureFixture[str]) -> None:
    async with httpx2.AsyncClient(headers={"Authorization": "Token sandbox-token"}) as client:
        async with serve_sandbox(World(products=1), faults=Faults(Fault("stall"))) as sandbox:
            waiting = asyncio.create_task(client.get(sandbox.url + "products", timeout=30))
            while not sandbox.requests:  # noqa: ASYNC110 - the log is a plain list
                await asyncio.sleep(0.001)
        assert (await waiting).status_code == 503
        with pytest.raises(httpx2.ConnectError):
            await client.get(sandbox.url + "products")
    assert capfd.readouterr().out == ""


async def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        async with serve_sandbox(World(products=1), port=taken.getsockname()[1]):
            pass


async def test_many_callers_at_once(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    pages = await asyncio.gather(*(client.get("bugs", params={"filter_product_ids": "21001"}) for _ in range(20)))
    assert len({page.text for page in pages}) == 1


async def test_it_runs_alone_until_interrupted() -> None:
    code = "from testio_sandbox import World, run_sandbox; run_sandbox(World(products=1))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    lines = [(await process.stderr.readline()).decode() for _ in range(4)]
    url = lines[1].strip().removeprefix("export TESTIO_CUSTOMER_API_BASE_URL=")
    assert lines[2].strip() == "export TESTIO_CUSTOMER_API_TOKEN=sandbox-token"
    async with httpx2.AsyncClient(headers={"Authorization": "Token sandbox-token"}) as client:
        assert (await client.get(url + "products")).status_code == 200
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")


def test_without_the_extra_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faker", None)
    load_pools.cache_clear()
    with pytest.raises(BadInput) as caught:
        make_world()
    assert caught.value.message == "The simulated account needs the demo extra."
    assert caught.value.next_step == "Install it with: pip install 'testio-mcp[demo]'"
