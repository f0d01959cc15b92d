"""Settings, from the environment and a `.env` file, with the prefix `TESTIO_`."""

import re
from pathlib import Path
from typing import Annotated, Self, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from platformdirs import user_data_path
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from testio_mcp.errors import BadInput
from testio_mcp.rules import HEALTH, READINESS, Rules, read_health, read_readiness, written
from testio_mcp.tokens import default_token_file, find_token

API_URL = "https://api.test.io/customer/v2/"
S = TypeVar("S", bound="ToolSettings")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def default_db_path() -> Path:
    """Where the store lives unless `TESTIO_DB_PATH` says otherwise: the user's data directory."""
    return user_data_path("testio-mcp", appauthor=False) / "store.db"


def default_export_dir() -> Path:
    """Where files that people ask for go unless `TESTIO_EXPORT_DIR` says otherwise."""
    return user_data_path("testio-mcp", appauthor=False) / "exports"


class ToolSettings(BaseSettings):
    """Which operations assistants get as tools; REST and the command line always have all of them."""

    model_config = SettingsConfigDict(
        env_prefix="TESTIO_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    toolsets: Annotated[
        str,
        Field(description="MCP tools: any of catalog, tests, bugs, numbers, sync, default, all (a,b)."),
    ] = ""
    tools: Annotated[
        str, Field(description="MCP tools by name: added to the toolsets, or alone if none are named.")
    ] = ""
    exclude_tools: Annotated[str, Field(description="MCP tools by name that are left out.")] = ""
    read_only: Annotated[bool, Field(description="No MCP tool that changes data, whatever else is asked for.")] = (
        False
    )


class Settings(ToolSettings):
    """Everything that can be configured. Secrets never show in a repr."""

    customer_api_token: Annotated[
        SecretStr | None, Field(description="API token of the customer account (Test IO: Settings > API tokens).")
    ] = None
    customer_api_token_file: Annotated[
        Path, Field(description="File of the token where neither a variable nor the keyring has it; 0600, in 0700.")
    ] = Field(default_factory=default_token_file)
    customer_api_base_url: Annotated[
        str, Field(description="Base address of the Customer API; https, or http on loopback.")
    ] = API_URL
    db_path: Annotated[Path, Field(description="File of the SQLite store.")] = Field(default_factory=default_db_path)
    export_dir: Annotated[Path, Field(description="Directory of the files that reports are written to.")] = Field(
        default_factory=default_export_dir
    )
    database_url: Annotated[
        SecretStr | None,
        Field(description="PostgreSQL in place of SQLite: postgresql+asyncpg://user:password@host/database."),
    ] = None
    database_schema: Annotated[
        str, Field(description="PostgreSQL schema of this account.", pattern="^[a-z_][a-z0-9_]{0,62}$")
    ] = "testio"
    skip_migrations: Annotated[bool, Field(description="Start without migrating the store.")] = False
    max_requests_in_flight: Annotated[int, Field(ge=1, le=10, description="Concurrent requests to the API.")] = 10
    max_response_mb: Annotated[
        int, Field(ge=1, le=1024, description="Largest accepted answer of the API, in MiB.")
    ] = 64
    refresh_after_minutes: Annotated[
        int, Field(ge=0, description="Answers older than this are refreshed before they are given; 0: never.")
    ] = 15
    refresh_budget_seconds: Annotated[
        float, Field(ge=0, le=60, description="How long an answer waits for its refresh.")
    ] = 2.0
    sync_every_minutes: Annotated[
        int, Field(ge=0, description="How often the HTTP server syncs by itself; 0: never.")
    ] = 0
    time_zone: Annotated[
        str, Field(description="Time zone in which a day begins and ends: an IANA name such as Europe/Berlin.")
    ] = "UTC"
    auto_accept_days: Annotated[
        int, Field(ge=1, le=90, description="Days from the end of a test until the clock accepts its open bugs.")
    ] = 10
    alert_rules: Annotated[
        Path | None, Field(description="TOML file of the rules for alerts; without it, those that are built in.")
    ] = None
    alert_webhook: Annotated[
        SecretStr | None,
        Field(description="Address that alerts are posted to as JSON; https, or http on loopback."),
    ] = None
    alert_webhook_secret: Annotated[
        SecretStr | None, Field(description="Signs what is posted there: HMAC-SHA256 of the body.")
    ] = None
    health: Annotated[
        Rules,
        NoDecode,
        BeforeValidator(read_health),
        Field(description=f"Rates from which on one is a warning/critical, in place of {written(HEALTH)}."),
    ] = HEALTH
    readiness: Annotated[
        Rules,
        NoDecode,
        BeforeValidator(read_readiness),
        Field(
            description="Limits of a release: name=caution/stop or name=stop, - for none; "
            f"in place of {written(READINESS)}."
        ),
    ] = READINESS
    web_url: Annotated[
        str | None, Field(description="Your Test IO in the browser, for links to it: https://yourcompany.test.io.")
    ] = None
    ca_file: Annotated[Path | None, Field(description="CA bundle for a TLS-inspecting proxy.")] = None
    proxy: Annotated[str | None, Field(description="Proxy for calls to the API.")] = None
    http_token: Annotated[
        SecretStr | None,
        Field(description="Bearer token that the HTTP server asks for; required on any bind but loopback."),
    ] = None
    http_requests_per_minute: Annotated[
        int, Field(ge=0, description="Requests that the HTTP server takes from one address per minute; 0: no limit.")
    ] = 6000
    http_requests_at_once: Annotated[
        int, Field(ge=1, description="Requests that the HTTP server works on at once; others are told to come again.")
    ] = 200
    http_patience_seconds: Annotated[
        float,
        Field(
            gt=0, le=600, description="How long the HTTP server waits for a request, or for its answer to be read."
        ),
    ] = 10.0
    log_level: Annotated[
        str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR.")
    ] = "WARNING"

    @field_validator(
        *("customer_api_token", "database_url", "http_token", "alert_webhook", "alert_webhook_secret"), mode="after"
    )
    @classmethod
    def _blank_is_unset(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value and value.get_secret_value().strip() else None

    @field_validator("time_zone", mode="after")
    @classmethod
    def _is_a_time_zone(cls, value: str) -> str:
        try:
            return ZoneInfo(value.strip() or "UTC").key
        except (ValueError, KeyError, OSError):  # not a name, no such zone, a directory of zones
            raise ValueError("must be an IANA time zone such as Europe/Berlin") from None

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which a day begins and ends."""
        return ZoneInfo(self.time_zone)

    @field_validator("alert_webhook", mode="after")
    @classmethod
    def _alerts_travel_encrypted(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_safe(value.get_secret_value()):
            raise ValueError("must be an address with https:// (http:// only on loopback) and without a user")
        return value

    @field_validator("web_url", mode="after")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"https?://[\w.:\[\]-]+/?", value):
            raise ValueError("must be an address such as https://yourcompany.test.io")
        return value or None

    @model_validator(mode="after")
    def _token_travels_encrypted(self) -> Self:
        url = urlsplit(self.customer_api_base_url)
        if not (url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)):
            raise ValueError("customer_api_base_url must start with https:// (http:// only on loopback)")
        if url.username or url.password:
            raise ValueError("customer_api_base_url must not hold a user name or password")
        if not url.hostname or url.port == 0:  # `port` raises ValueError for what is no port
            raise ValueError("customer_api_base_url must name a host")
        return self


def _is_safe(address: str) -> bool:
    """Whether what is posted to an address is encrypted on its way, or stays on this machine."""
    try:
        url = urlsplit(address)
        is_closed = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)
        return bool(is_closed and url.hostname and url.port != 0 and not (url.username or url.password))
    except ValueError:  # its text would show a part of the address
        return False


def load_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` win over the environment.

    A token that neither names is looked for in the keyring and in the token file. Raises `BadInput` naming the
    variable and the rule, never the value.
    """
    settings = _loaded(Settings, overrides)
    if settings.customer_api_token is not None or "customer_api_token" in overrides:
        return settings
    found = find_token(settings.customer_api_base_url, settings.customer_api_token_file)
    return settings.model_copy(update={"customer_api_token": SecretStr(found)}) if found else settings


def load_tool_settings(**overrides: object) -> ToolSettings:
    """Read what chooses the tools and nothing else: another setting that is wrong does not matter yet.

    Raises `BadInput` as `load_settings` does.
    """
    return _loaded(ToolSettings, overrides)


def _loaded(kind: type[S], overrides: dict[str, object]) -> S:
    try:
        return kind(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "TESTIO_" + str(first["loc"][0]).upper() if first["loc"] else "Settings"
        rule = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"{name}: {rule}.", "Correct it in the environment or the .env file.") from None
