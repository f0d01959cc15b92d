"""The way to the API: each hop in turn is the one that fails."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testio_mcp.api import probe as probing
from testio_mcp.api.probe import probe
from testio_mcp.api.resilience import RetryPolicy
from testio_mcp.doctor.evidence import Diagnosis, Finding
from testio_mcp.doctor.examination import examine
from testio_sandbox import Fault, World, serve_sandbox
from tests.conftest import SettingsFor
from tests.support.certificates import DAY, NOW, make_certificate
from tests.support.scripted import Step, answer, raw, reset, respond, scripted, stall

REFUSED = respond(401, date="Thu, 01 Jan 2026 00:00:00 GMT")
WORLD = World(seed=1, products=2, tests_per_product=1)


def _finding(diagnosis: Diagnosis, name: str) -> Finding:
    return next(finding for finding in diagnosis.checks if finding.check == name)


@pytest.fixture
async def closed_port() -> AsyncIterator[int]:
    """A port on which nothing answers."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


async def test_a_valid_token(canary: str, settings_for: SettingsFor, tmp_path: Path) -> None:
    settings_for()
    async with serve_sandbox(WORLD, token=canary) as sandbox:
        given = {"customer_api_base_url": sandbox.url, "customer_api_token": canary, "db_path": tmp_path / "store.db"}
        diagnosis = await examine(**given)
        assert _finding(diagnosis, "API").state == "ok"
        assert _finding(diagnosis, "clock").found == "agrees with the API"
        assert _finding(diagnosis, "token").found == "valid; the account has 2 products"
        assert len(sandbox.requests) == 2
        refused = _finding(await examine(**{**given, "customer_api_token": "another-token"}), "token")
    assert refused.state == "fail"
    assert "401" in refused.found
    assert canary not in diagnosis.model_dump_json()


async def test_an_api_that_asks_to_wait_is_not_asked_again(
    canary: str, settings_for: SettingsFor, tmp_path: Path
) -> None:
    settings_for()
    async with serve_sandbox(WORLD, token=canary) as sandbox:
        sandbox.faults.add(Fault("rate_limit", retry_after="120"))
        diagnosis = await examine(
            customer_api_base_url=sandbox.url, customer_api_token=canary, db_path=tmp_path / "store.db"
        )
        assert len(sandbox.requests) == 2
    assert "429" in _finding(diagnosis, "token").found


async def test_the_probe_carries_no_token(settings_for: SettingsFor, canary: str) -> None:
    async with scripted(REFUSED) as server:
        way = await probe(settings_for(customer_api_base_url=server.url))
    (seen,) = server.seen
    assert way.passed == ("name resolution", "TCP connect", "HTTP")
    assert way.error is None
    assert way.skew is not None
    assert "authorization" not in seen.headers
    assert canary not in repr(seen)


@pytest.mark.parametrize("fault", ["expired", "wrong host", "unknown authority"])
async def test_certificates_that_are_not_trusted(settings_for: SettingsFor, tmp_path: Path, fault: str) -> None:
    address = "127.0.0.9" if fault == "wrong host" else "127.0.0.1"
    certificate = make_certificate(tmp_path, address, NOW - DAY if fault == "expired" else NOW + DAY)
    ca_file = None if fault == "unknown authority" else certificate.path
    async with scripted(REFUSED, tls=certificate.server) as server:
        way = await probe(settings_for(customer_api_base_url=server.url, ca_file=ca_file))
    assert (way.failed, way.passed) == ("TLS", ("name resolution", "TCP connect"))
    assert way.error is not None
    assert "certificate is not trusted" in way.error.message
    assert "TESTIO_CA_FILE" in way.error.next_step
    assert server.seen == []


async def test_a_certificate_that_is_trusted(settings_for: SettingsFor, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with scripted(REFUSED, tls=certificate.server) as server:
        way = await probe(settings_for(customer_api_base_url=server.url, ca_file=certificate.path))
    assert (way.failed, way.passed[-2:]) == (None, ("TLS", "HTTP"))


async def test_no_tls_where_it_is_expected(settings_for: SettingsFor) -> None:
    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert (await probe(settings_for(customer_api_base_url=url))).failed == "TLS"


async def test_an_unreadable_ca_file(settings_for: SettingsFor, tmp_path: Path, closed_port: int) -> None:
    async with scripted(REFUSED) as server:
        settings = settings_for(
            customer_api_base_url=server.url.replace("http://", "https://"), ca_file=tmp_path / "missing.pem"
        )
        way = await probe(settings)
    assert way.failed == "TLS"
    assert "TESTIO_CA_FILE" in str(way.error)


async def test_nobody_listens(settings_for: SettingsFor, closed_port: int) -> None:
    way = await probe(settings_for(customer_api_base_url=f"http://127.0.0.1:{closed_port}/"))
    assert (way.failed, way.passed) == ("TCP connect", ("name resolution",))


@pytest.mark.parametrize("host", ["api.invalid", "a..b.invalid", "x" * 64 + ".invalid"])
async def test_an_unknown_name(settings_for: SettingsFor, host: str) -> None:
    way = await probe(settings_for(customer_api_base_url=f"https://{host}/"))
    assert (way.failed, way.passed) == ("name resolution", ())
    assert host in str(way.error)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (respond(503), "status 503"),
        (respond(302, location="https://login.example/"), "redirects (302)"),
        (respond(404), "status 404"),
        (respond(200, b"<html>", content_type="text/html"), "web page"),
        (reset(), "the connection broke"),
        (raw(b"nonsense\r\n\r\n", close=True), "the connection broke"),
    ],
)
async def test_answers_that_are_not_the_apis(settings_for: SettingsFor, step: Step, said: str) -> None:
    async with scripted(step) as server:
        way = await probe(settings_for(customer_api_base_url=server.url))
    assert way.failed == "HTTP"
    assert said in str(way.error)
    assert "login.example" not in str(way.error)


async def test_an_api_that_never_answers(settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_POLICY", RetryPolicy(attempts=1, connect=5, read=0.05, total=0.05))
    async with scripted(stall()) as server:
        way = await probe(settings_for(customer_api_base_url=server.url))
    assert way.failed == "HTTP"
    assert "time" in str(way.error)


async def test_the_way_through_a_proxy(settings_for: SettingsFor) -> None:
    """The proxy is reached; what lies behind it is asked through it."""
    async with scripted(respond(403)) as proxy:
        settings = settings_for(customer_api_base_url="https://api.invalid/", proxy=f"http://127.0.0.1:{proxy.port}")
        way = await probe(settings)
    assert way.passed == ("proxy name resolution", "proxy TCP connect")
    assert way.failed == "HTTP"
    assert "proxy refuses" in str(way.error)
    assert [seen.method for seen in proxy.seen] == ["CONNECT"]


@pytest.mark.parametrize("proxy", ["proxy", "http://", "http://[::1", "socks9://127.0.0.1:1"])
async def test_a_proxy_that_cannot_be(settings_for: SettingsFor, proxy: str) -> None:
    way = await probe(settings_for(customer_api_base_url="https://api.invalid/", proxy=proxy))
    assert way.error is not None


async def test_the_proxy_of_the_environment_sees_nothing(
    settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch, canary: str, tmp_path: Path
) -> None:
    settings_for()
    async with scripted(answer({"products": []})) as proxy, serve_sandbox(WORLD, token=canary) as sandbox:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        diagnosis = await examine(
            customer_api_base_url=sandbox.url, customer_api_token=canary, db_path=tmp_path / "store.db"
        )
    assert proxy.seen == []
    assert _finding(diagnosis, "token").state == "ok"
    assert "ignored" in _finding(diagnosis, "proxy").found


async def test_both_examinations_run_at_once(settings_for: SettingsFor, canary: str, sqlite_file: Path) -> None:
    settings_for()
    async with serve_sandbox(WORLD, token=canary) as sandbox:
        given = {"customer_api_base_url": sandbox.url, "customer_api_token": canary, "db_path": sqlite_file}
        diagnoses = await asyncio.gather(*(examine(**given) for _ in range(3)))
    assert {diagnosis.status for diagnosis in diagnoses} <= {"ok", "warn"}
