"""Where the token goes, and where it does not: redirects, proxies, TLS, other hosts."""

import asyncio
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testio_mcp.api.client import CustomerApi
from testio_mcp.errors import ApiError, ApiRejected, ApiUnreachable, BadInput
from testio_mcp.settings import Settings
from tests.api.conftest import ClientFor
from tests.conftest import SettingsFor
from tests.support.certificates import DAY, NOW, Certificate, make_certificate
from tests.support.scripted import answer, respond, scripted

PRODUCTS = answer({"products": [{"id": 1}]})
Failure = Callable[..., Any]


@pytest.fixture(scope="session")
def certificate_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Certificate]:
    """Make a certificate for an address, valid until a moment."""
    return lambda *given: make_certificate(tmp_path_factory.mktemp("tls"), *given)


async def test_the_token_goes_to_the_host_that_is_configured(api_for: ClientFor, canary: str) -> None:
    async with scripted(PRODUCTS) as server, api_for(server) as api:
        await api.list_products()
    (seen,) = server.seen
    assert seen.headers["authorization"] == f"Token {canary}"
    assert canary not in seen.target
    assert seen.path == "/customer/v2/products"


async def test_the_client_and_its_parts_do_not_show_the_token(api_for: ClientFor, canary: str) -> None:
    async with scripted(PRODUCTS) as server, api_for(server) as api:
        await api.list_products()
        assert canary not in repr(api) + repr(vars(api)) + repr(vars(api._transport)) + repr(vars(api._calls))


async def test_nothing_that_is_alive_during_a_call_shows_the_token(api_for: ClientFor, canary: str) -> None:
    """Settings, client, request, connection: whatever a debugger or a traceback might print."""
    shown: dict[str, str] = {}

    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for thing in gc.get_objects():
            module, name = str(type(thing).__module__), type(thing).__qualname__
            if module.partition(".")[0] in ("testio_mcp", "httpx2", "httpcore2", "pydantic"):
                shown[f"{module}.{name}"] = shown.get(f"{module}.{name}", "") + repr(thing)
        await PRODUCTS(reader, writer)

    async with scripted(look) as server, api_for(server) as api:
        await api.list_products()
    assert {"testio_mcp.settings.Settings", "testio_mcp.api.client.CustomerApi", "httpx2.Request"} <= set(shown)
    assert [kind for kind, text in shown.items() if canary in text] == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int, api_for: ClientFor, failure: Failure) -> None:
    async with scripted(PRODUCTS) as other:
        async with scripted(respond(status, location=other.url)) as server, api_for(server) as api:
            error = await failure(ApiRejected, api.list_products())
        assert other.seen == []
    assert str(other.port) not in str(error)
    assert "TESTIO_CUSTOMER_API_BASE_URL" in error.next_step


@pytest.mark.parametrize("path", ["{other}/products", "//127.0.0.1:{port}/products"])
async def test_a_path_cannot_lead_to_another_host(path: str, api_for: ClientFor, canary: str) -> None:
    async with scripted(PRODUCTS) as other:
        async with scripted(respond(404)) as server, api_for(server) as api:
            with pytest.raises(ApiError, match=r"configured host|not found") as caught:
                await api.send("PUT", path.format(other=other.url, port=other.port))
        assert other.seen == []
    assert canary not in repr(caught.value)


async def test_proxies_of_the_environment_see_nothing(
    api_for: ClientFor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with scripted(PRODUCTS) as proxy, scripted(PRODUCTS) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password else\n")
        monkeypatch.setenv("NETRC", str(netrc))
        async with api_for(server) as api:
            await api.list_products()
        assert proxy.seen == []
        assert server.seen[0].headers["authorization"].startswith("Token ")


async def test_a_proxy_sees_the_host_and_no_token(api_for: ClientFor, failure: Failure, canary: str) -> None:
    async with scripted(respond(403)) as proxy:
        settings = {"proxy": f"http://127.0.0.1:{proxy.port}", "customer_api_base_url": "https://api.test.invalid/"}
        async with api_for(proxy, **settings) as api:
            error = await failure(ApiUnreachable, api.list_products())
        assert {(seen.method, seen.target) for seen in proxy.seen} == {("CONNECT", "api.test.invalid:443")}
        assert all(canary not in str(seen) for seen in proxy.seen)
    assert "TESTIO_PROXY" in error.next_step


async def test_loopback_needs_no_proxy(api_for: ClientFor) -> None:
    async with scripted(PRODUCTS) as proxy, scripted(PRODUCTS) as server:
        async with api_for(server, proxy=f"http://127.0.0.1:{proxy.port}") as api:
            await api.list_products()
        assert (len(proxy.seen), len(server.seen)) == (0, 1)


async def test_a_certificate_from_the_ca_file_is_trusted(
    api_for: ClientFor, certificate_for: Callable[..., Certificate]
) -> None:
    certificate = certificate_for()
    trusted = {"ca_file": certificate.path}
    async with scripted(PRODUCTS, tls=certificate.server) as server, api_for(server, **trusted) as api:
        assert (await api.list_products()).count == 1


@pytest.mark.parametrize("fault", ["self-signed", "wrong host", "expired"])
async def test_a_bad_certificate_is_refused_with_advice(
    fault: str, api_for: ClientFor, certificate_for: Callable[..., Certificate], failure: Failure
) -> None:
    certificate = certificate_for(
        "127.0.0.9" if fault == "wrong host" else "127.0.0.1", NOW - DAY if fault == "expired" else NOW + DAY
    )
    trusted = {} if fault == "self-signed" else {"ca_file": certificate.path}
    async with scripted(PRODUCTS, tls=certificate.server) as server, api_for(server, **trusted) as api:
        error = await failure(ApiUnreachable, api.list_products())
        assert (server.seen, api.requests) == ([], 1)
    assert "TESTIO_CA_FILE" in error.next_step


async def test_certificates_of_the_environment_are_not_trusted(
    api_for: ClientFor,
    certificate_for: Callable[..., Certificate],
    failure: Failure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate = certificate_for()
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(certificate.path))
    monkeypatch.setenv("SSL_CERT_DIR", str(certificate.path.parent))
    async with scripted(PRODUCTS, tls=certificate.server) as server, api_for(server) as api:
        await failure(ApiUnreachable, api.list_products())
        assert server.seen == []


def test_nothing_switches_the_check_of_certificates_off() -> None:
    assert [name for name in Settings.model_fields if re.search(r"verif|insecure|tls|ssl|trust|cert", name)] == []


async def test_tls_to_a_server_without_tls_is_refused_with_advice(
    settings_for: SettingsFor, failure: Failure
) -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with CustomerApi(settings_for(customer_api_base_url=url)) as api:
            error = await failure(ApiUnreachable, api.list_products())
            assert api.requests == 1
    assert "TESTIO_CA_FILE" in error.next_step


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_an_unusable_ca_file_is_named(content: str | None, settings_for: SettingsFor, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInput, match="TESTIO_CA_FILE"):
        async with CustomerApi(settings_for(ca_file=path)):
            pass
