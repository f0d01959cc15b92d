"""Checks of the way to the API: proxy, CA file, hops, clock, token."""

import os
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from testio_mcp.doctor.case import Case
from testio_mcp.doctor.findings import Verdict, fail, ok, skip, warn
from testio_mcp.settings import LOOPBACK, Settings

_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
SKEW_SECONDS = 60.0


def check_proxy(case: Case) -> Verdict:
    """The proxy of the settings; that of the environment is never used, because it would see the token."""
    return judge_proxy(case.settings, os.environ)


def judge_proxy(settings: Settings, environment: Mapping[str, str]) -> Verdict:
    """Which proxy is used, and which is not."""
    ignored = _set(_PROXY_VARIABLES, environment)
    if settings.proxy:
        place = _place(settings.proxy)
        if place is None:
            return fail("TESTIO_PROXY is not the address of a proxy", "Write it as http://host:port.")
        if urlsplit(settings.customer_api_base_url).hostname in LOOPBACK:
            return ok(f"{place}, not used for an API on this machine")
        return ok(f"{place} (TESTIO_PROXY)")
    if ignored:
        return warn(f"{', '.join(ignored)} set, and ignored", "Set TESTIO_PROXY if only a proxy leads out.")
    return ok("none")


def _set(names: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
    spellings = [spelling for name in names for spelling in (name, name.lower())]
    return [name for name in spellings if environment.get(name)]


def _place(proxy: str) -> str | None:
    """The proxy without user name and password."""
    try:
        url = urlsplit(proxy)
        port = f":{url.port}" if url.port else ""
    except ValueError:
        return None
    return f"{url.scheme}://{url.hostname}{port}" if url.hostname and url.scheme in ("http", "https") else None


def check_ca(case: Case) -> Verdict:
    """Whose certificates are trusted."""
    return judge_ca(case.settings, os.environ)


def judge_ca(settings: Settings, environment: Mapping[str, str]) -> Verdict:
    """Whether the CA file can be used, and which variables are not."""
    ignored = _set(_CA_VARIABLES, environment)
    if settings.ca_file is None:
        if ignored:
            return warn(f"{', '.join(ignored)} set, and ignored", "Set TESTIO_CA_FILE to trust other certificates.")
        return ok("the usual authorities")
    try:
        authorities = ssl.create_default_context(cafile=str(settings.ca_file)).cert_store_stats()["x509_ca"]
    except OSError:
        return fail(
            f"TESTIO_CA_FILE: {settings.ca_file} is not a readable PEM file of certificates",
            "Correct the path or the file.",
        )
    return ok(f"{settings.ca_file} ({authorities} authorities)")


def check_api(case: Case) -> Verdict:
    """How far a request gets: name resolution, TCP, TLS, HTTP."""
    way = case.way
    if way.error is not None:
        passed = f" (works: {', '.join(way.passed)})" if way.passed else ""
        return fail(f"{way.failed}: {way.error.message}{passed}", way.error.next_step)
    return ok(f"{way.host} answers ({', '.join(way.passed)})")


def check_clock(case: Case) -> Verdict:
    """The local clock against the API's."""
    skew = case.way.skew
    if skew is None:
        return skip("the API did not tell the time")
    found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the API"
    if abs(skew) > SKEW_SECONDS:
        return warn(found, "Set this machine's clock, for example with NTP: ages and periods depend on it.")
    return ok("agrees with the API" if abs(skew) < 2 else found)


def check_token(case: Case) -> Verdict:
    """Whether there is a token, and whether the API takes it."""
    if case.settings.customer_api_token is None:
        return fail("none", "Set TESTIO_CUSTOMER_API_TOKEN (Test IO: Settings > API tokens).")
    if case.token_error is not None:
        return fail(case.token_error.message, case.token_error.next_step)
    if case.products is None:
        return skip("set; the API could not be asked whether it is valid")
    contents = case.store.contents
    if case.products and contents and contents.products and not case.products & contents.products:
        return fail(
            f"valid, but its account has none of the {len(contents.products)} products in the store",
            "It is another account's: set TESTIO_DB_PATH (or TESTIO_DATABASE_SCHEMA) to a place of its own.",
        )
    return ok(f"valid; the account has {len(case.products)} products")
