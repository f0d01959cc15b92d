"""Addresses of PostgreSQL as hosted databases hand them out, and engines for them, also behind a pooler."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from testio_mcp.errors import BadInput

IS_POOLED = "is_pooled"
"""The execution option of an engine whose transactions may each get another connection of the server."""
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SECONDS = ("connect_timeout", "timeout", "command_timeout")
# The driver reads these from an address of its own kind.
_TLS = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword", "sslnegotiation")
_TLS_VERSIONS = ("ssl_min_protocol_version", "ssl_max_protocol_version")
_DRIVER = ("host", "port", "ssl", "timeout", "command_timeout", "prepared_statement_cache_size")
_LIBPQ = ("sslmode", "connect_timeout", "application_name", "target_session_attrs", "options", *_TLS, *_TLS_VERSIONS)
_POOLING = ("pgbouncer", "prepared_statements", "statement_cache_size")
# What other programs are told, or what this driver does without: it binds no channel and needs no such advice.
_IGNORED = (
    *("channel_binding", "gssencmode", "sslcompression", "sslsni", "client_encoding", "fallback_application_name"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
    *("load_balance_hosts", "require_auth", "connection_limit", "pool_timeout", "pool_size", "max_overflow", "supa"),
)
_SET_SEARCH_PATH = text("SELECT set_config('search_path', :schema, true)")
_POOLER_STATES = frozenset({"08P01", "26000", "42P05"})
"""A setting at the start of a connection that a pooler does not pass on; prepared statements that it loses."""


def parse_database_url(text: str) -> URL:
    """The address of a PostgreSQL database, also as hosted databases hand it out. Raises `BadInput`, without it."""
    try:
        url = make_url(text.strip())
        is_supported = url.drivername in ("postgresql+asyncpg", "postgresql", "postgres")
        if url.port is not None and not 0 < url.port < 65_536:
            raise BadInput("TESTIO_DATABASE_URL: the port must be from 1 to 65535.", "Correct the address.")
    except (ArgumentError, ValueError):
        is_supported = False
    if not is_supported or not (url.database or "").strip():
        raise BadInput(
            "TESTIO_DATABASE_URL names no supported database.",
            "Write it as postgresql+asyncpg://user:password@host/database.",
        )
    _refuse_unknown(url)
    return url.set(drivername="postgresql+asyncpg")


def _refuse_unknown(url: URL) -> None:
    for name in url.query:
        if name not in (*_DRIVER, *_LIBPQ, *_POOLING, *_IGNORED):
            allowed = ", ".join(sorted({*_DRIVER, *_LIBPQ, *_POOLING}))
            raise BadInput(f"TESTIO_DATABASE_URL: there is no parameter {name[:40]!r}.", f"It takes {allowed}.")
    if (mode := url.query.get("sslmode")) is not None and mode not in _SSL_MODES:
        raise BadInput("TESTIO_DATABASE_URL: sslmode is unknown.", f"It takes {', '.join(_SSL_MODES)}.")
    for name in _SECONDS:
        if name in url.query and not str(url.query[name]).isdigit():
            raise BadInput(f"TESTIO_DATABASE_URL: {name} takes whole seconds.", "Correct the address.")


def _arguments_of_driver(url: URL) -> tuple[URL, dict[str, Any]]:
    """The address without the words of others, and what the driver is told in their place."""
    said = {name: str(value) for name, value in url.query.items() if name not in ("host", "port", "ssl")}
    arguments: dict[str, Any] = {}
    if "sslmode" in said:
        arguments["ssl"] = said["sslmode"]
    tls = {name: said[name] for name in (*_TLS, *_TLS_VERSIONS) if name in said}
    if tls.get("sslrootcert") == "system":  # the authorities of the system, and the name must be right
        del tls["sslrootcert"]
        arguments["ssl"] = True
    if tls:
        arguments["dsn"] = f"postgresql:///?{urlencode(tls)}"
    if "target_session_attrs" in said:
        arguments["target_session_attrs"] = said["target_session_attrs"]
    seconds = said.get("connect_timeout") or said.get("timeout", "")
    if int(seconds or 0):
        arguments["timeout"] = float(seconds)
    if "command_timeout" in said:
        arguments["command_timeout"] = float(said["command_timeout"])
    if "prepared_statement_cache_size" in said:
        arguments["prepared_statement_cache_size"] = said["prepared_statement_cache_size"]
    arguments["server_settings"] = {name: said[name] for name in ("application_name", "options") if name in said}
    return url.difference_update_query(said), arguments


def create_async_engine_for_postgresql(url: str | URL, schema: str, *, is_pooled: bool = False) -> AsyncEngine:
    """The engine of a PostgreSQL store; every name resolves inside `schema` alone.

    With `is_pooled`, each transaction says so anew, and no statement is prepared for the next one. Raises `BadInput`
    for an unusable address.
    """
    address = parse_database_url(url) if isinstance(url, str) else url
    is_pooled = is_pooled or _names_pooler(address)
    address, arguments = _arguments_of_driver(address)
    settings = {**arguments.pop("server_settings"), "timezone": "UTC"}
    if is_pooled:
        # Statements without a name: one that has a name would stay on a connection that others get next.
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        arguments["prepared_statement_name_func"] = str
    else:
        settings["search_path"] = schema
    engine = create_async_engine(
        address,
        pool_size=5,
        max_overflow=5,
        pool_pre_ping=True,
        connect_args={"server_settings": settings, **arguments},
        json_deserializer=str,  # the driver would parse every document; the store hands out text
        execution_options={IS_POOLED: is_pooled},
    )
    if is_pooled:

        def set_search_path(connection: Connection) -> None:
            connection.execute(_SET_SEARCH_PATH, {"schema": schema})

        event.listen(engine.sync_engine, "begin", set_search_path)
    return engine


def _names_pooler(url: URL) -> bool:
    """Whether an address says that it is a pooler's, in the words that their hosts use."""
    said = {name: str(url.query.get(name, "")).lower() for name in _POOLING}
    return said["pgbouncer"] in ("true", "1") or said["prepared_statements"] in ("false", "0")


async def connect_postgresql(url: URL, schema: str) -> AsyncEngine:
    """An engine that was connected once; behind a pooler, one that needs nothing to stay between transactions."""
    engine = create_async_engine_for_postgresql(url, schema)
    is_direct = False
    try:
        async with engine.connect() as connection:
            found = (await connection.exec_driver_sql("SHOW search_path")).scalar_one()
        is_direct = str(found).strip('"') == schema
    except DBAPIError as error:
        if not _is_of_pooler(error):
            raise
    finally:
        if not is_direct:
            await engine.dispose()
    return engine if is_direct else create_async_engine_for_postgresql(url, schema, is_pooled=True)


def _is_of_pooler(error: BaseException) -> bool:
    return any(str(getattr(cause, "sqlstate", None)) in _POOLER_STATES for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, DBAPIError) and error.orig is not None:
            yield error.orig
        error = error.__cause__
