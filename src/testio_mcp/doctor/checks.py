"""The checks: of the machine, of the store, of the connection to the API."""

import os
import platform
import shlex
import shutil
import sqlite3
import ssl
import stat
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from testio_mcp.database.backup import aside_directory, backup_directory, list_backups
from testio_mcp.database.examine import files_of
from testio_mcp.database.migrate import HEAD
from testio_mcp.database.mounts import ELSEWHERE, NETWORK, SHARED, file_system_of
from testio_mcp.database.restore import KEEP_ASIDE, list_aside
from testio_mcp.directories import user_env_file
from testio_mcp.doctor.evidence import (
    LONGEST_SCAN,
    Contents,
    Evidence,
    StoreFacts,
    Verdict,
    fail,
    mebibytes,
    ok,
    skip,
    warn,
)
from testio_mcp.errors import StoreCorrupt, StoreForeign, StoreTooNew
from testio_mcp.settings import LOOPBACK, Settings, env_files

NEEDED_PYTHON = (3, 11)
NEEDED_SQLITE = (3, 35, 0)
WAL_RESET_BUG = ((3, 7, 0), (3, 51, 2))
_FIXED_EARLIER = frozenset({(3, 44, 6), (3, 50, 7)})
_MIB = 2**20
_TIGHT, _ROOMY = 20 * _MIB, 100 * _MIB


def check_python(_: Evidence | None = None) -> Verdict:
    """The interpreter."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < NEEDED_PYTHON:
        return fail(found, "Install Python 3.11 or newer.")
    return ok(found)


def check_sqlite(_: Evidence | None = None) -> Verdict:
    """The library that Python was built with."""
    return judge_sqlite(sqlite3.sqlite_version_info)


def judge_sqlite(version: tuple[int, ...]) -> Verdict:
    """What is known of a version of SQLite."""
    found = ".".join(map(str, version))
    if version < NEEDED_SQLITE:
        return fail(found, "Install a Python that is built with SQLite 3.35 or newer.")
    first, last = WAL_RESET_BUG
    if first <= version <= last and version not in _FIXED_EARLIER:
        return warn(
            f"{found} has the WAL-reset bug; it does not affect testio-mcp, which writes through one connection",
            "Nothing urgent: SQLite 3.51.3 fixes it.",
        )
    return ok(found)


def check_disk(evidence: Evidence) -> Verdict:
    """Room for the store to grow, and for the backup before a migration."""
    if evidence.settings.database_url is not None:
        return skip("the store is on a server")
    store = evidence.settings.db_path
    free = shutil.disk_usage(next(folder for folder in store.parents if folder.is_dir())).free
    size = sum(path.stat().st_size for path in files_of(store))
    found = f"{mebibytes(free)} free, the store takes {mebibytes(size)}"
    if free < _TIGHT:
        return fail(found, "Free some space: a sync fails when the disk is full.")
    if free < 2 * size + _ROOMY:
        return warn(found, "Free some space: a backup needs as much as the store.")
    return ok(found)


_LEADING = ("db_path", "database_url", "alert_webhook", "alert_rules", "proxy", "ca_file")
"""Settings that lead data or their reader somewhere, beside the address of the API."""


def check_settings(evidence: Evidence) -> Verdict:
    """Which files of settings are read, which of them lead anywhere, and which file here is not read."""
    read = ", ".join(map(str, env_files())) or "the environment alone"
    api = f"; API {evidence.settings.unusual_api}" if evidence.settings.unusual_api else ""
    # Not what they say: an address may hold a secret, and the paths and the proxy have checks of their own.
    leading = [name for name in _LEADING if evidence.settings.source_of(name) != "the defaults"]
    api += "".join(f"; TESTIO_{name.upper()} from {evidence.settings.source_of(name)}" for name in leading)
    stray = Path(".env")
    if stray.is_file() and stray.absolute() not in [path.absolute() for path in env_files()]:
        try:
            holds_settings = b"TESTIO_" in stray.read_bytes()[:65536]
        except OSError:
            holds_settings = False
        if holds_settings:
            step = f"Name it with --env-file .env, or move its lines to {user_env_file()}."
            return warn(f"{read}{api}; the .env of this directory is not read", step)
    return ok(f"{read}{api}")


def check_modes(evidence: Evidence) -> Verdict:
    """Only the owner may read the store, its backups, and files of settings."""
    if sys.platform == "win32":
        return skip("this system has no file modes")
    open_files = [path for path in _private_files(evidence) if _read_mode(path) & 0o077]
    open_directories = [path for path in _private_directories(evidence) if _read_mode(path) & 0o077]
    closable = [path for path in open_directories if not _is_shared(path)]
    fixes = [
        shlex.join(["chmod", mode, *map(str, paths)])
        for mode, paths in (("600", open_files), ("700", closable))
        if paths
    ]
    advice = [" && ".join(fixes)] if fixes else []
    if len(closable) < len(open_directories):
        advice.append("move the store to a directory of its own, and set TESTIO_DB_PATH")
    if not advice:
        return ok(
            "only this user may read the store" if evidence.settings.database_url is None else "no file to read"
        )
    found = "; ".join(f"{path.name} is {_read_mode(path):04o}" for path in (*open_files, *open_directories))
    # Behind a closed directory an open file cannot be reached, and an open directory shows names alone.
    is_exposed = any(_read_mode(path.parent) & 0o011 for path in open_files)
    return (fail if is_exposed else warn)(f"others may look: {found}", "; ".join(advice))


def _private_files(evidence: Evidence) -> list[Path]:
    settings = [path.absolute() for path in env_files() if path.is_file()]
    if evidence.settings.database_url is not None:
        return settings
    store = evidence.settings.db_path
    files = [path for path in files_of(store) if path.is_file()]
    return [*files, *list_backups(store), *settings]


def _private_directories(evidence: Evidence) -> list[Path]:
    if evidence.settings.database_url is not None:
        return []
    store = evidence.settings.db_path
    return [path for path in (store.parent, backup_directory(store), aside_directory(store)) if path.is_dir()]


def _is_shared(directory: Path) -> bool:
    """Whether others need the directory too, such as /tmp: closing it would do harm, or cannot be done."""
    info = directory.stat()
    return bool(info.st_mode & stat.S_ISVTX) or os.geteuid() not in (0, info.st_uid)


def _read_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def check_file_system(evidence: Evidence) -> Verdict:
    """A store lives on a local disk."""
    if evidence.settings.database_url is not None:
        return skip("the store is on a server")
    return judge_file_system(file_system_of(evidence.settings.db_path))


def judge_file_system(kind: str | None) -> Verdict:
    """Whether a store may live on a file system of that kind."""
    if kind is None:
        return skip("this system does not tell the kind of a file system")
    if kind in NETWORK:
        return fail(f"{kind}: a network file system, on which no store is opened", ELSEWHERE)
    if kind in SHARED:
        return warn(f"{kind}: shared with another machine", "Use the store from one machine only, or a local disk.")
    return ok(f"{kind}: local")


OLD = timedelta(hours=24)
_SYNC = "testio-mcp sync"
_REPAIR = "testio-mcp doctor --repair"


def check_store(evidence: Evidence) -> Verdict:
    """Whether the store can be opened, read and written."""
    facts, is_file = evidence.store, evidence.settings.database_url is None
    if facts.error is not None:
        return fail(facts.error.message, _REPAIR if _is_damaged(facts) else facts.error.next_step)
    if not facts.exists:
        return _missing(evidence.settings.db_path)
    if not facts.may_write:
        return fail(
            f"this user may not write to {facts.place}",
            "Let the owner of the database grant the user USAGE and CREATE on the schema, and all on its tables.",
        )
    if is_file and not all(
        os.access(path, os.W_OK) for path in (evidence.settings.db_path, evidence.settings.db_path.parent)
    ):
        return fail(f"{facts.place} is read-only", "Make the file and its directory writable for this user.")
    return ok(facts.place)


def _missing(path: Path) -> Verdict:
    parent = next(place for place in path.parents if place.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        return fail(f"{path} cannot be made", "Make its directory writable, or set TESTIO_DB_PATH.")
    return warn(f"{path} is not there yet", _SYNC)


def _is_damaged(facts: StoreFacts) -> bool:
    return isinstance(facts.error, StoreCorrupt) and not isinstance(facts.error, StoreForeign)


def check_integrity(evidence: Evidence) -> Verdict:
    """Every page of a SQLite file."""
    facts = evidence.store
    if facts.damage:
        more = f" (and {len(facts.damage) - 1} more)" if len(facts.damage) > 1 else ""
        return fail(f"{' '.join(facts.damage[0].split())[:100]}{more}", _REPAIR)
    if _is_damaged(facts):
        return fail("the file is damaged or not a store", _REPAIR)
    if facts.is_too_large:
        return skip(f"reading all of it takes over {LONGEST_SCAN:.0f} s; 'testio-mcp db check' does")
    if facts.damage is None:
        return skip(_why_unknown(facts))
    if evidence.settings.database_url is not None:
        return ok("every column is there; pages are the server's to check")
    return ok("every page is sound")


def check_schema(evidence: Evidence) -> Verdict:
    """Where the migrations stand."""
    facts = evidence.store
    if isinstance(facts.error, StoreTooNew):
        return fail("the store comes from a newer version", facts.error.next_step)
    if not facts.exists or (facts.error is not None and facts.revision is None):
        return skip(_why_unknown(facts))
    if not facts.may_write:
        return skip("the store cannot be written")
    if facts.revision is None:
        return warn("the store is empty", _SYNC)
    if facts.revision != HEAD:
        return warn(f"revision {facts.revision}; the next start migrates it to {HEAD}", "testio-mcp db upgrade")
    return ok(f"revision {HEAD}, the newest")


def check_derived(evidence: Evidence) -> Verdict:
    """Whether a sample of what is computed from stored data is what computing it again gives; with --deep, all."""
    facts = evidence.store
    if facts.outdated:
        found = f"not of this version: {', '.join(facts.outdated)}; the next start computes them again"
        return warn(found, "testio-mcp db rebuild")
    if facts.differences is None:
        return skip(_why_unknown(facts))
    if facts.differences:
        more = f" (and {len(facts.differences) - 1} more kinds)" if len(facts.differences) > 1 else ""
        return fail(f"{facts.differences[0][:200]}{more}", "testio-mcp db rebuild")
    return ok("what was counted again agrees")


def check_backups(evidence: Evidence) -> Verdict:
    """Copies to fall back on."""
    if evidence.settings.database_url is not None:
        return skip("a PostgreSQL server has backups of its own")
    backups, aside = list_backups(evidence.settings.db_path), list_aside(evidence.settings.db_path)
    if not (backups or aside or evidence.store.exists):
        return skip("there is nothing to copy yet")
    found = (
        f"{len(backups)}, the newest is {backups[0].name}" if backups else "none; 'testio-mcp db backup' makes one"
    )
    if aside:
        size = sum(file.stat().st_size for path in aside for file in path.iterdir())
        found += f"; {len(aside)} put aside by repairs ({mebibytes(size)})"
    if evidence.settings.db_path.with_name(f"{evidence.settings.db_path.name}.restoring").exists():
        return warn(f"{found}; a restore was cut off", "testio-mcp db restore")
    if len(aside) > KEEP_ASIDE:
        remove = shlex.join(["rm", "-r", *map(str, aside[KEEP_ASIDE:])])
        return warn(found, f"When you need nothing from the oldest any more: {remove}")
    return ok(found)


def check_sync(evidence: Evidence) -> Verdict:
    """How old the data is, and how the newest run ended."""
    contents = evidence.store.contents
    if contents is None:
        return skip(_why_unknown(evidence.store))
    run = contents.last_run
    if run is None:
        return warn("never synced", _SYNC)
    age = _describe_age(evidence, contents)
    if run.status in ("failed", "interrupted"):
        outcome = "failed" if run.status == "failed" else "was interrupted"
        return warn(f"the newest run {outcome}; {age}" + (f" ({run.error})" if run.error else ""), _SYNC)
    if run.status == "running":
        return ok(f"a run began at {run.started_at:%Y-%m-%d %H:%M} UTC; {age}")
    if contents.as_of is None or evidence.now - contents.as_of > OLD:
        return warn(age, _SYNC)
    return ok(age)


def _describe_age(evidence: Evidence, contents: Contents) -> str:
    if contents.as_of is None:
        return "the local copy is not complete yet"
    minutes = int((evidence.now - contents.as_of).total_seconds() // 60)
    if minutes < 0:
        return "the data is from the future: look at the clock"
    hours, days = minutes // 60, minutes // 1440
    age = f"{minutes} min" if hours < 1 else f"{hours} h" if days < 2 else f"{days} days"
    return f"the data is {age} old"


def check_problems(evidence: Evidence) -> Verdict:
    """Records that could not be copied."""
    contents = evidence.store.contents
    if contents is None:
        return skip(_why_unknown(evidence.store))
    if contents.problems:
        return warn(
            f"{contents.problems} records could not be copied; every sync tries them again",
            "testio-mcp problems list",
        )
    return ok("every record was copied")


def check_drift(evidence: Evidence) -> Verdict:
    """Differences between what the API sends and what its reference says."""
    contents = evidence.store.contents
    if contents is None:
        return skip(_why_unknown(evidence.store))
    if not contents.drift:
        return ok("the API sends what its reference says")
    shown = "; ".join(f"{resource}: {note} ({records})" for resource, note, records in contents.drift[:3])
    more = f"; and {len(contents.drift) - 3} more" if len(contents.drift) > 3 else ""
    return warn(f"{shown}{more}"[:300], "Nothing is lost; a newer testio-mcp may know what this is.")


def _why_unknown(facts: StoreFacts) -> str:
    if not facts.exists:
        return "there is no store yet"
    if facts.damage or _is_damaged(facts):
        return "the store is damaged"
    if facts.error is not None:
        return "the store cannot be read"
    return "the store is to be migrated first" if facts.revision else "the store is empty"


_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
SKEW_SECONDS = 60.0


def check_proxy(evidence: Evidence) -> Verdict:
    """The proxy of the settings; that of the environment is never used, because it would see the token."""
    return judge_proxy(evidence.settings, os.environ)


def judge_proxy(settings: Settings, environment: Mapping[str, str]) -> Verdict:
    """Which proxy is used, and which is not."""
    ignored = _find_set_variables(_PROXY_VARIABLES, environment)
    if settings.proxy:
        place = _display_proxy(settings.proxy)
        if place is None:
            return fail("TESTIO_PROXY is not the address of a proxy", "Write it as http://host:port.")
        if urlsplit(settings.customer_api_base_url).hostname in LOOPBACK:
            return ok(f"{place}, not used for an API on this machine")
        return ok(f"{place} (TESTIO_PROXY)")
    if ignored:
        return warn(f"{', '.join(ignored)} set, and ignored", "Set TESTIO_PROXY if only a proxy leads out.")
    return ok("none")


def _find_set_variables(names: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
    spellings = [spelling for name in names for spelling in (name, name.lower())]
    return [name for name in spellings if environment.get(name)]


def _display_proxy(proxy: str) -> str | None:
    """The proxy without user name and password."""
    try:
        url = urlsplit(proxy)
        port = f":{url.port}" if url.port else ""
    except ValueError:
        return None
    return f"{url.scheme}://{url.hostname}{port}" if url.hostname and url.scheme in ("http", "https") else None


def check_ca(evidence: Evidence) -> Verdict:
    """Whose certificates are trusted."""
    return judge_ca(evidence.settings, os.environ)


def judge_ca(settings: Settings, environment: Mapping[str, str]) -> Verdict:
    """Whether the CA file can be used, and which variables are not."""
    ignored = _find_set_variables(_CA_VARIABLES, environment)
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


def check_api(evidence: Evidence) -> Verdict:
    """How far a request gets: name resolution, TCP, TLS, HTTP."""
    probe = evidence.connection
    if probe.error is not None:
        passed = f" (works: {', '.join(probe.passed)})" if probe.passed else ""
        return fail(f"{probe.failed}: {probe.error.message}{passed}", probe.error.next_step)
    return ok(f"{probe.host} answers ({', '.join(probe.passed)})")


def check_clock(evidence: Evidence) -> Verdict:
    """The local clock against the API's."""
    skew = evidence.connection.skew
    if skew is None:
        return skip("the API did not tell the time")
    found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the API"
    if abs(skew) > SKEW_SECONDS:
        return warn(found, "Set this machine's clock, for example with NTP: ages and periods depend on it.")
    return ok("agrees with the API" if abs(skew) < 2 else found)


def check_token(evidence: Evidence) -> Verdict:
    """Whether there is a token, and whether the API takes it."""
    if evidence.settings.customer_api_token is None:
        return fail("none", "Set TESTIO_CUSTOMER_API_TOKEN (Test IO: Settings > API tokens).")
    if evidence.token_error is not None:
        return fail(evidence.token_error.message, evidence.token_error.next_step)
    if evidence.products is None:
        return skip("set; the API could not be asked whether it is valid")
    contents = evidence.store.contents
    if evidence.products and contents and contents.products and not evidence.products & contents.products:
        return fail(
            f"valid, but its account has none of the {len(contents.products)} products in the store",
            "It is another account's: set TESTIO_DB_PATH (or TESTIO_DATABASE_SCHEMA) to a place of its own.",
        )
    return ok(f"valid; the account has {len(evidence.products)} products")
