"""The examination: every check in order, whatever state the installation is in."""

from collections.abc import Callable
from functools import partial

from testio_mcp.doctor.checks import (
    check_api,
    check_backups,
    check_ca,
    check_clock,
    check_derived,
    check_disk,
    check_drift,
    check_file_system,
    check_integrity,
    check_modes,
    check_problems,
    check_proxy,
    check_python,
    check_schema,
    check_settings,
    check_sqlite,
    check_store,
    check_sync,
    check_token,
)
from testio_mcp.doctor.evidence import Diagnosis, Evidence, Finding, Verdict, collect_evidence, fail, skip
from testio_mcp.errors import TestioError
from testio_mcp.settings import Settings, load_settings
from testio_mcp.timeouts import run_with_timeout

Check = Callable[[Evidence], Verdict]
WITHOUT_SETTINGS: tuple[tuple[str, Callable[[], Verdict]], ...] = (("python", check_python), ("sqlite", check_sqlite))
CHECKS: tuple[tuple[str, Check], ...] = (
    ("configuration", check_settings),
    ("store", check_store),
    ("integrity", check_integrity),
    ("schema", check_schema),
    ("derived data", check_derived),
    ("backups", check_backups),
    ("file modes", check_modes),
    ("file system", check_file_system),
    ("disk space", check_disk),
    ("sync", check_sync),
    ("problems", check_problems),
    ("drift", check_drift),
    ("proxy", check_proxy),
    ("CA file", check_ca),
    ("API", check_api),
    ("clock", check_clock),
    ("token", check_token),
)
LONGEST_CHECK = 10.0
"""Seconds for what looks at files or at a keyring."""
_SHORTEST_SECRET = 6
"""Shorter secrets are no secrets, and hiding them would hide ordinary words."""


async def examine(*, deep: object = False, **overrides: object) -> Diagnosis:
    """Examine this installation; `overrides` win over the environment. Raises nothing that a person could mend."""
    verdicts = [(name, check()) for name, check in WITHOUT_SETTINGS]
    try:
        settings = await run_with_timeout(LONGEST_CHECK, partial(load_settings, **overrides))
    except (TestioError, OSError) as error:  # a time-out is one of the latter
        verdicts.append(("settings", _fail_by_error(error, "Make the file of settings readable for this user.")))
        verdicts += [(name, skip("needs the settings")) for name, _ in CHECKS]
        return _build_diagnosis(verdicts, ())
    evidence = await collect_evidence(settings, deep=bool(deep))
    return _build_diagnosis(
        verdicts + [(name, await _run_check(check, evidence)) for name, check in CHECKS], _secrets(settings)
    )


async def _run_check(check: Check, evidence: Evidence) -> Verdict:
    try:
        return await run_with_timeout(LONGEST_CHECK, partial(check, evidence))
    except (TestioError, OSError) as error:
        return _fail_by_error(error, "Let this user read it, or set TESTIO_DB_PATH to another place.")


def _fail_by_error(error: TestioError | OSError, otherwise: str) -> Verdict:
    if isinstance(error, TestioError):
        return fail(error.message, error.next_step)
    if isinstance(error, TimeoutError):
        return fail("there was no answer in time", "Look for a disk or a keyring that hangs.")
    return fail(f"{error.filename} cannot be looked at ({error.strerror})", otherwise)


def _secrets(settings: Settings) -> tuple[str, ...]:
    given = (settings.customer_api_token, settings.http_token, settings.database_url)
    values = [secret.get_secret_value().strip() for secret in given if secret is not None]
    return tuple(value for value in values if len(value) >= _SHORTEST_SECRET)


def _build_diagnosis(verdicts: list[tuple[str, Verdict]], secrets: tuple[str, ...]) -> Diagnosis:
    def hidden(text: str | None) -> str | None:
        for secret in secrets:
            text = text and text.replace(secret, "***")
        return text

    findings = [
        Finding(check=name, state=v.state, found=hidden(v.found) or "", fix=hidden(v.fix)) for name, v in verdicts
    ]
    states = {finding.state for finding in findings}
    return Diagnosis(status="fail" if "fail" in states else "warn" if "warn" in states else "ok", checks=findings)
