"""Checks of the store: whether it opens, is sound, and is up to date."""

import os
import shlex
from datetime import timedelta
from pathlib import Path

from testio_mcp.database.backup import list_backups
from testio_mcp.database.migrate import HEAD
from testio_mcp.database.restore import KEEP_ASIDE, list_aside
from testio_mcp.doctor.case import LONGEST_READING, Case, Contents, StoreFacts
from testio_mcp.doctor.findings import Verdict, fail, mebibytes, ok, skip, warn
from testio_mcp.errors import StoreCorrupt, StoreForeign, StoreTooNew

OLD = timedelta(hours=24)
_SYNC = "testio-mcp sync"
_REPAIR = "testio-mcp doctor --repair"


def check_store(case: Case) -> Verdict:
    """Whether the store can be opened, read and written."""
    facts, is_file = case.store, case.settings.database_url is None
    if facts.error is not None:
        return fail(facts.error.message, _REPAIR if _is_damaged(facts) else facts.error.next_step)
    if not facts.exists:
        return _missing(case.settings.db_path)
    if not facts.may_write:
        return fail(
            f"this user may not write to {facts.place}",
            "Let the owner of the database grant the user USAGE and CREATE on the schema, and all on its tables.",
        )
    if is_file and not all(
        os.access(path, os.W_OK) for path in (case.settings.db_path, case.settings.db_path.parent)
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


def check_integrity(case: Case) -> Verdict:
    """Every page of a SQLite file."""
    facts = case.store
    if facts.damage:
        more = f" (and {len(facts.damage) - 1} more)" if len(facts.damage) > 1 else ""
        return fail(f"{' '.join(facts.damage[0].split())[:100]}{more}", _REPAIR)
    if _is_damaged(facts):
        return fail("the file is damaged or not a store", _REPAIR)
    if facts.is_too_large:
        return skip(f"reading all of it takes over {LONGEST_READING:.0f} s; 'testio-mcp db check' does")
    if facts.damage is None:
        return skip(_why_unknown(facts))
    if case.settings.database_url is not None:
        return ok("every column is there; pages are the server's to check")
    return ok("every page is sound")


def check_schema(case: Case) -> Verdict:
    """Where the migrations stand."""
    facts = case.store
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


def check_derived(case: Case) -> Verdict:
    """Whether a sample of what is computed from stored data is what computing it again gives; with --deep, all."""
    facts = case.store
    if facts.outdated:
        found = f"not of this version: {', '.join(facts.outdated)}; the next start computes them again"
        return warn(found, "testio-mcp db rebuild")
    if facts.differences is None:
        return skip(_why_unknown(facts))
    if facts.differences:
        more = f" (and {len(facts.differences) - 1} more kinds)" if len(facts.differences) > 1 else ""
        return fail(f"{facts.differences[0][:200]}{more}", "testio-mcp db rebuild")
    return ok("what was counted again agrees")


def check_backups(case: Case) -> Verdict:
    """Copies to fall back on."""
    if case.settings.database_url is not None:
        return skip("backups of a server are its own business")
    backups, aside = list_backups(case.settings.db_path), list_aside(case.settings.db_path)
    if not (backups or aside or case.store.exists):
        return skip("there is nothing to copy yet")
    found = (
        f"{len(backups)}, the newest is {backups[0].name}" if backups else "none; 'testio-mcp db backup' makes one"
    )
    if aside:
        size = sum(file.stat().st_size for path in aside for file in path.iterdir())
        found += f"; {len(aside)} put aside by repairs ({mebibytes(size)})"
    if case.settings.db_path.with_name(f"{case.settings.db_path.name}.restoring").exists():
        return warn(f"{found}; a restore was cut off", "testio-mcp db restore")
    if len(aside) > KEEP_ASIDE:
        remove = shlex.join(["rm", "-r", *map(str, aside[KEEP_ASIDE:])])
        return warn(found, f"When you need nothing from the oldest any more: {remove}")
    return ok(found)


def check_sync(case: Case) -> Verdict:
    """How old the copy is, and how the newest run ended."""
    contents = case.store.contents
    if contents is None:
        return skip(_why_unknown(case.store))
    run = contents.last_run
    if run is None:
        return warn("never synced", _SYNC)
    age = _age(case, contents)
    if run.status in ("failed", "interrupted"):
        said = "failed" if run.status == "failed" else "was interrupted"
        return warn(f"the newest run {said}; {age}" + (f" ({run.error})" if run.error else ""), _SYNC)
    if run.status == "running":
        return ok(f"a run began at {run.started_at:%Y-%m-%d %H:%M} UTC; {age}")
    if contents.as_of is None or case.now - contents.as_of > OLD:
        return warn(age, _SYNC)
    return ok(age)


def _age(case: Case, contents: Contents) -> str:
    if contents.as_of is None:
        return "the copy is not complete yet"
    minutes = int((case.now - contents.as_of).total_seconds() // 60)
    if minutes < 0:
        return "the copy is from the future: look at the clock"
    hours, days = minutes // 60, minutes // 1440
    age = f"{minutes} min" if hours < 1 else f"{hours} h" if days < 2 else f"{days} days"
    return f"the copy is {age} old"


def check_problems(case: Case) -> Verdict:
    """Records that could not be copied."""
    contents = case.store.contents
    if contents is None:
        return skip(_why_unknown(case.store))
    if contents.problems:
        return warn(
            f"{contents.problems} records could not be copied; every sync tries again", "testio-mcp problems list"
        )
    return ok("every record was copied")


def check_drift(case: Case) -> Verdict:
    """Differences between what the API sends and what its reference says."""
    contents = case.store.contents
    if contents is None:
        return skip(_why_unknown(case.store))
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
