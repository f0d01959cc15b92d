"""Settings, with the prefix `TESTIO_`: where they come from, and what each may be.

An option of the command line wins over the environment, that over the file that `--env-file` or `TESTIO_ENV_FILE`
names, and that over the file of the user's configuration directory. No file of the working directory is read unless
it is named: an assistant starts the server in whatever project is open, and its files are a stranger's.
"""

import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)

from testio_mcp.directories import data_directory, default_token_file, user_env_file
from testio_mcp.errors import BadInput
from testio_mcp.rules import HEALTH, READINESS, Rules, read_health, read_readiness, written
from testio_mcp.tokens import decode_file, find_token_in_file, find_token_in_keyring, refuse_readable

API_URL = "https://api.test.io/customer/v2/"
PREFIX = "TESTIO_"
ENV_FILE = "TESTIO_ENV_FILE"
S = TypeVar("S", bound="ToolSettings")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_MOST_BYTES = 1024 * 1024
_OPTION, _ENVIRONMENT, _DEFAULT = "an option", "the environment", "the defaults"
_SECRETS = ("customer_api_token", "database_url", "http_token", "alert_webhook", "alert_webhook_secret")
_LEADS_THE_TOKEN = ("customer_api_base_url", "proxy", "ca_file")
"""Settings that decide who gets to see the token."""
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}|\$[A-Za-z_]\w*|%[A-Za-z_]\w*%|\$\(.*\)|undefined|null", re.IGNORECASE)
_UNFILLED = re.compile(r"\$\{[A-Za-z_][\w:.-]*\}")
_UNEXPANDED = re.compile(r"\$\{|\$[A-Za-z_]|%[A-Za-z_]\w*%")


def default_db_path() -> Path:
    """Where the store lives unless `TESTIO_DB_PATH` says otherwise: the user's data directory."""
    return data_directory() / "store.db"


def default_export_dir() -> Path:
    """Where files that people ask for go unless `TESTIO_EXPORT_DIR` says otherwise."""
    return data_directory() / "exports"


def expand_path(value: object) -> object:
    """A path with `~`, `$NAME`, `${NAME}` and `%NAME%` replaced; anything but a path is given back.

    Raises `ValueError` for what nobody can expand, and for what no file can be called.
    """
    if not isinstance(value, str | os.PathLike):
        return value
    text = os.path.expandvars(os.path.expanduser(os.fspath(value)))  # noqa: PTH111 - of a text
    text = re.sub(r"%([A-Za-z_]\w*)%", lambda found: os.environ.get(found[1], found[0]), text)
    if text.startswith("~") or _UNEXPANDED.search(text):
        raise ValueError("names a directory or variable that does not exist; write the whole path")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be a path in UTF-8") from None
    if "\0" in text:
        raise ValueError("must not hold a NUL")
    return Path("/" + text.lstrip("/") if text.startswith("//") and os.sep == "/" else text)


UserPath = Annotated[Path, BeforeValidator(expand_path)]


def _in_lower_case(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class ToolSettings(BaseModel):
    """Which operations assistants get as tools; REST and the command line always have all of them."""

    model_config = ConfigDict(extra="ignore", frozen=True, str_strip_whitespace=True, validate_default=True)

    toolsets: Annotated[
        str,
        BeforeValidator(_in_lower_case),
        Field(description="MCP tools: any of catalog, tests, bugs, numbers, sync, default, all (a,b)."),
    ] = ""
    tools: Annotated[
        str,
        BeforeValidator(_in_lower_case),
        Field(description="MCP tools by name: added to the toolsets, or alone if none are named."),
    ] = ""
    exclude_tools: Annotated[
        str, BeforeValidator(_in_lower_case), Field(description="MCP tools by name that are left out.")
    ] = ""
    read_only: Annotated[bool, Field(description="No MCP tool that changes data, whatever else is asked for.")] = (
        False
    )


class Settings(ToolSettings):
    """Everything that can be configured. Secrets never show in a repr."""

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    customer_api_token: Annotated[
        SecretStr | None, Field(description="API token of the customer account (Test IO: Settings > API tokens).")
    ] = None
    customer_api_token_file: Annotated[
        UserPath,
        Field(description="File of the token where neither a variable nor the keyring has it; 0600, in 0700."),
    ] = Field(default_factory=default_token_file)
    customer_api_base_url: Annotated[
        str, Field(description="Base address of the Customer API; https, or http on loopback.")
    ] = API_URL
    db_path: Annotated[UserPath, Field(description="File of the SQLite store.")] = Field(
        default_factory=default_db_path
    )
    export_dir: Annotated[UserPath, Field(description="Directory of the files that reports are written to.")] = Field(
        default_factory=default_export_dir
    )
    database_url: Annotated[
        SecretStr | None,
        Field(description="PostgreSQL in place of SQLite: postgresql+asyncpg://user:password@host/database."),
    ] = None
    database_schema: Annotated[
        str,
        BeforeValidator(_in_lower_case),
        Field(description="PostgreSQL schema of this account.", pattern="^[a-z_][a-z0-9_]{0,62}$"),
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
    fiscal_year_starts: Annotated[
        int, Field(ge=1, le=12, description="Month in which your fiscal year begins; FY26 ends in 2026.")
    ] = 1
    auto_accept_days: Annotated[
        int, Field(ge=1, le=90, description="Days from the end of a test until its open bugs are auto-accepted.")
    ] = 10
    alert_rules: Annotated[
        UserPath | None, Field(description="TOML file of the rules for alerts; without it, those that are built in.")
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
        BeforeValidator(read_health),
        Field(description=f"Rates from which on one is a warning/critical, in place of {written(HEALTH)}."),
    ] = HEALTH
    readiness: Annotated[
        Rules,
        BeforeValidator(read_readiness),
        Field(
            description="Limits of a release: name=caution/stop or name=stop, - for none; "
            f"in place of {written(READINESS)}."
        ),
    ] = READINESS
    web_url: Annotated[
        str | None, Field(description="Your Test IO in the browser, for links to it: https://yourcompany.test.io.")
    ] = None
    ca_file: Annotated[UserPath | None, Field(description="CA bundle for a TLS-inspecting proxy.")] = None
    proxy: Annotated[str | None, Field(description="Proxy for calls to the API.")] = None
    http_token: Annotated[
        SecretStr | None,
        Field(description="Bearer token that the HTTP server asks for; required on any bind but loopback."),
    ] = None
    http_requests_per_minute: Annotated[
        int | None,
        Field(
            ge=0,
            description="Requests that the HTTP server takes from one address per minute; 0: no limit. "
            "Unset: 6000, and no limit for this machine itself.",
        ),
    ] = None
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
        str,
        BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
        Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR."),
    ] = "WARNING"

    @field_validator(*_SECRETS, mode="after")
    @classmethod
    def _blank_is_unset(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value().strip() if value else ""
        return SecretStr(text) if text else None

    @field_validator("db_path", mode="before")
    @classmethod
    def _is_a_file(cls, value: object) -> object:
        if isinstance(value, str) and re.match(r":|(file|sqlite)(\+\w+)?:", value, re.IGNORECASE):
            raise ValueError("must be the path of a file, not an address or :memory:")
        return value

    @field_validator("database_schema", mode="after")
    @classmethod
    def _is_not_reserved(cls, value: str) -> str:
        if value.startswith("pg_"):
            raise ValueError("must not begin with pg_, which PostgreSQL keeps for itself")
        return value

    @field_validator("time_zone", mode="after")
    @classmethod
    def _is_a_time_zone(cls, value: str) -> str:
        with suppress(ValueError, KeyError, OSError):  # not a name, no such zone, a directory of zones
            return ZoneInfo(value or "UTC").key
        # In another case, perhaps; the list of all zones is read for that alone.
        zone = next((zone for zone in available_timezones() if zone.casefold() == value.casefold()), None)
        if zone is None:
            raise ValueError("must be an IANA time zone such as Europe/Berlin")
        return zone

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

    @field_validator("customer_api_base_url", mode="after")
    @classmethod
    def _token_travels_encrypted(cls, value: str) -> str:
        try:
            url, port = urlsplit(value), urlsplit(value).port
        except ValueError:  # its text would show a part of the address
            raise ValueError("must be an address, its port from 1 to 65535") from None
        if not (url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)):
            raise ValueError("must start with https:// (http:// only on loopback)")
        if url.username or url.password:
            raise ValueError("must not hold a user name or password")
        if not url.hostname or port == 0:
            raise ValueError("must name a host")
        return value

    def source_of(self, name: str) -> str:
        """Where the value of a setting comes from: an option, the environment, a file, or the defaults."""
        return self._sources.get(name, _DEFAULT)

    @property
    def unusual_api(self) -> str | None:
        """The API's address and where it comes from; None for the usual one."""
        url = urlsplit(self.customer_api_base_url)
        if url.netloc == urlsplit(API_URL).netloc:
            return None
        return f"{url.scheme}://{url.netloc}, from {self.source_of('customer_api_base_url')}"


def _is_safe(address: str) -> bool:
    """Whether what is posted to an address is encrypted on its way, or stays on this machine."""
    try:
        url = urlsplit(address)
        is_closed = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)
        return bool(is_closed and url.hostname and url.port != 0 and not (url.username or url.password))
    except ValueError:  # its text would show a part of the address
        return False


@dataclass(frozen=True)
class _SourcedValues:
    """What the environment and the files set, as text, and where."""

    values: dict[str, str]
    sources: dict[str, str]


def read_sources(names: Mapping[str, object]) -> _SourcedValues:
    """The settings of these names that the environment and the files give; what is empty counts as left out.

    Raises `BadInput` for a file that cannot be read, and for a value that holds a placeholder.
    """
    found = _SourcedValues({}, {})
    for source, variables in _variables():
        for variable, text in variables.items():
            name = variable.upper().removeprefix(PREFIX).lower()
            value = (text or "").strip()
            if not variable.upper().startswith(PREFIX) or name not in names or name in found.values:
                continue
            if value in ("", '""', "''"):
                continue
            if names[name] != Path and (_PLACEHOLDER.fullmatch(value) or _UNFILLED.search(value)):
                message = f"{variable.upper()} holds a placeholder instead of a value."
                raise BadInput(message, f"Correct it in {source}: what should have filled it in did not.")
            found.values[name] = _resolve(variable, value, source) if names[name] == Path else value
            found.sources[name] = source
    return found


def _resolve(variable: str, value: str, source: str) -> str:
    """A path as it is meant: one in a file begins at the file, wherever the program runs. Raises `BadInput`."""
    if source == _ENVIRONMENT or re.match(r":|(file|sqlite)(\+\w+)?:", value, re.IGNORECASE):
        return value
    try:
        return str(Path(source).parent / str(expand_path(value)))
    except ValueError as error:
        raise BadInput(f"{variable.upper()}: {error}.", f"Correct it in {source}.") from None


def _variables() -> list[tuple[str, Mapping[str, str | None]]]:
    return [(_ENVIRONMENT, os.environ), *((str(path), read_env_file(path)) for path in env_files())]


def env_files() -> list[Path]:
    """The files of settings that are read: the one that is named, and the user's own where there is one.

    Naming the null device is for a program that is to read none. Raises `BadInput` when there is none of that name.
    """
    named, own = _named_file(), user_env_file()
    if named == Path(os.devnull):
        return []
    return [*([named] if named else []), *([own] if own.exists() else [])]


def _named_file() -> Path | None:
    """The file of settings that the environment names. Raises `BadInput` when there is none of that name."""
    value = os.environ.get(ENV_FILE, "").strip()
    if not value:
        return None
    try:
        path = Path(str(expand_path(value))).absolute()
    except ValueError as error:
        raise BadInput(f"{ENV_FILE}: {error}.", "Name the file of settings, or leave it out.") from None
    if not path.exists():
        raise BadInput(f"{ENV_FILE}: there is no file {path}.", "Name the file of settings, or leave it out.")
    return path


def read_env_file(path: Path) -> Mapping[str, str | None]:
    """The variables of a file with a line `NAME=value` each, in UTF-8 or UTF-16. Raises `BadInput`."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode) or info.st_size > _MOST_BYTES:
            raise BadInput(f"{path} is no file of settings.", "Name a text file with a line NAME=value each.")
        if os.name == "posix" and info.st_mode & stat.S_IWOTH:
            raise BadInput(f"The file {path} is not used: everybody may change it.", f"Run chmod o-w '{path}'.")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"The file {path} cannot be read ({error.strerror}).", "Make it readable for you.") from None
    try:
        text = decode_file(data)
    except UnicodeError:
        text = "\0"
    if "\0" in text:
        raise BadInput(f"The file {path} is not text in UTF-8.", "Save it again with the encoding UTF-8.")
    variables = dotenv_values(stream=StringIO(text), interpolate=False)
    if any(variables.get(PREFIX + name.upper()) for name in _SECRETS):
        refuse_readable(path, directory=False)
    return variables


def load_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` win over the environment, and that over the files.

    A token that none of them names is looked for in the keyring and in the token file. Raises `BadInput` naming the
    variable and the rule, never the value.
    """
    settings = _loaded(Settings, overrides)
    if settings.customer_api_token is None and "customer_api_token" not in overrides:
        host = urlsplit(settings.customer_api_base_url).netloc
        token, source = find_token_in_keyring(host), "the keyring"
        if token is None:
            token = find_token_in_file(settings.customer_api_token_file)
            source = settings.source_of("customer_api_token_file")
        if token:
            sources = settings._sources | {"customer_api_token": source}
            settings = settings.model_copy(update={"customer_api_token": SecretStr(token)})
            settings._sources = sources
    _refuse_to_lead_astray(settings)
    return settings


def _refuse_to_lead_astray(settings: Settings) -> None:
    """A file that is named can lead its own token anywhere, and none that comes from elsewhere.

    A token of the keyring belongs to the host that it is kept for. Raises `BadInput`.
    """
    named = _named_file()
    file = str(named) if named else None
    secrets = {"customer_api_token": _LEADS_THE_TOKEN, "alert_webhook_secret": ("alert_webhook",)}
    for secret, leads in secrets.items():
        source = settings.source_of(secret)
        if file is None or getattr(settings, secret) is None or source == file:
            continue
        for name in leads:
            if settings.source_of(name) != file or (name == _LEADS_THE_TOKEN[0] and _is_bound(settings, source)):
                continue
            message = f"{_variable(name)} is set in {file}, and {_variable(secret)} is not: it is not sent there."
            raise BadInput(message, "Set both in the same place.")


def _is_bound(settings: Settings, source: str) -> bool:
    return settings.unusual_api is None or source == "the keyring"


def load_tool_settings(**overrides: object) -> ToolSettings:
    """Read what chooses the tools and nothing else: another setting that is wrong does not matter yet.

    Raises `BadInput` as `load_settings` does.
    """
    return _loaded(ToolSettings, overrides)


def _loaded(kind: type[S], overrides: Mapping[str, object]) -> S:
    given = read_sources({name: _plain_type(field.annotation) for name, field in kind.model_fields.items()})
    sources = given.sources | dict.fromkeys(overrides, _OPTION)
    values: dict[str, Any] = {**given.values, **overrides}
    try:
        settings = kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        rule = first["msg"].removeprefix("Value error, ")
        source = sources.get(name, _ENVIRONMENT)
        place = source if source not in (_OPTION, _DEFAULT) else _ENVIRONMENT
        raise BadInput(f"{_variable(name) if name else 'Settings'}: {rule}.", f"Correct it in {place}.") from None
    if isinstance(settings, Settings):
        settings._sources = sources
    return settings


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _plain_type(annotation: object) -> object:
    """`Path` for settings that are paths, whose placeholders are expanded."""
    return Path if "Path" in str(annotation) else str
