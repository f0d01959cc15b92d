"""What each check makes of what it sees."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testio_mcp.api.probe import Probe
from testio_mcp.database.mounts import kind_of
from testio_mcp.doctor.checks import (
    check_clock,
    check_drift,
    check_problems,
    check_sync,
    judge_ca,
    judge_file_system,
    judge_proxy,
    judge_sqlite,
)
from testio_mcp.doctor.evidence import Contents, Evidence, LastRun, StoreFacts, Verdict
from testio_mcp.settings import Settings
from tests.conftest import SettingsFor

NOW = datetime(2026, 1, 2, tzinfo=UTC)
COPIED = Contents(as_of=NOW, last_run=LastRun("completed", NOW, None), problems=0, drift=())


@pytest.fixture
def evidence(settings_for: SettingsFor) -> Evidence:
    """A sound installation."""
    return Evidence(settings_for(), StoreFacts("here", contents=COPIED), Probe("api.example"), now=NOW)


def _with(evidence: Evidence, **changes: object) -> Evidence:
    return replace(evidence, store=StoreFacts("here", contents=replace(COPIED, **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ((3, 34, 1), "fail"),
        ((3, 40, 1), "warn"),
        ((3, 51, 2), "warn"),
        ((3, 50, 7), "ok"),
        ((3, 51, 3), "ok"),
        ((3, 53, 0), "ok"),
    ],
)
def test_sqlite_versions(version: tuple[int, ...], state: str) -> None:
    assert judge_sqlite(version).state == state


MOUNTS = """\
overlay / overlay rw 0 0
server:/export /mnt/my\\040files nfs4 rw 0 0
tmpfs /mnt/my\\040files/fast tmpfs rw 0 0
host /mnt/shared 9p rw 0 0
tmpfs /mnt/over ext4 rw 0 0
other /mnt/over cifs rw 0 0
me@host:/ /mnt/Größe fuse.sshfs rw 0 0
dir /mnt/guest virtiofs rw 0 0
"""


@pytest.mark.parametrize(
    ("place", "kind", "state"),
    [
        ("/data", "overlay", "ok"),
        ("/mnt/my files/deep", "nfs4", "fail"),
        ("/mnt/my files/fast", "tmpfs", "ok"),
        ("/mnt/my files2", "overlay", "ok"),
        ("/mnt/shared/x", "9p", "warn"),
        ("/mnt/over", "cifs", "fail"),
        ("/mnt/Größe/store.db", "fuse.sshfs", "fail"),
        ("/mnt/guest", "virtiofs", "warn"),
    ],
)
def test_file_systems(place: str, kind: str, state: str) -> None:
    assert kind_of(Path(place), MOUNTS) == kind
    assert judge_file_system(kind).state == state


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, "ok", "0 min"),
        ({"as_of": NOW - timedelta(hours=25)}, "warn", "25 h"),
        ({"as_of": NOW - timedelta(days=9)}, "warn", "9 days"),
        ({"as_of": NOW + timedelta(hours=1)}, "ok", "future"),
        ({"as_of": None}, "warn", "not complete"),
        ({"last_run": None, "as_of": None}, "warn", "never"),
        ({"last_run": LastRun("failed", NOW, "No token.")}, "warn", "No token."),
        ({"last_run": LastRun("failed", NOW, None)}, "warn", "the newest run failed; "),
        ({"last_run": LastRun("interrupted", NOW, None)}, "warn", "the newest run was interrupted; "),
        ({"last_run": LastRun("running", NOW, None)}, "ok", "2026-01-02 00:00"),
    ],
)
def test_age_of_the_copy(evidence: Evidence, changes: dict[str, object], state: str, said: str) -> None:
    verdict = check_sync(_with(evidence, **changes))
    assert verdict.state == state
    assert said in verdict.found


def test_problems_and_drift(evidence: Evidence) -> None:
    assert check_problems(evidence).state == check_drift(evidence).state == "ok"
    assert check_problems(_with(evidence, problems=3)).found.startswith("3 records")
    drift = tuple(("bugs", f"+field {number}\x1b[31m", 10 - number) for number in range(5))
    verdict = check_drift(_with(evidence, drift=drift))
    assert verdict.state == "warn"
    assert verdict.found.endswith("and 2 more")
    assert "\x1b" not in verdict.found


@pytest.mark.parametrize(
    ("skew", "state", "said"),
    [
        (None, "skip", "did not tell"),
        (0.4, "ok", "agrees"),
        (-30.0, "ok", "30 s behind"),
        (61.0, "warn", "61 s ahead"),
    ],
)
def test_clock(evidence: Evidence, skew: float | None, state: str, said: str) -> None:
    verdict = check_clock(replace(evidence, connection=Probe("api.example", skew=skew)))
    assert verdict.state == state
    assert said in verdict.found


def _proxy(settings: Settings, **environment: str) -> Verdict:
    return judge_proxy(settings, environment)


def test_proxy(settings_for: SettingsFor) -> None:
    assert _proxy(settings_for()).found == "none"
    ignored = _proxy(settings_for(), https_proxy="http://me:secret@proxy:1", NO_PROXY="x")
    assert (ignored.state, ignored.found) == ("warn", "https_proxy set, and ignored")
    used = _proxy(settings_for(proxy="http://me:secret@proxy:1"), HTTPS_PROXY="http://other")
    assert (used.state, used.found) == ("ok", "http://proxy:1 (TESTIO_PROXY)")
    local = _proxy(settings_for(proxy="http://proxy:1", customer_api_base_url="http://127.0.0.1:1/"))
    assert "not used" in local.found
    for wrong in ("proxy", "http://", "ftp://proxy", "http://proxy:99999", "http://[::1"):
        assert _proxy(settings_for(proxy=wrong)).state == "fail"


def test_ca_file(settings_for: SettingsFor, tmp_path: Path) -> None:
    assert judge_ca(settings_for(), {}).state == "ok"
    assert judge_ca(settings_for(), {"SSL_CERT_FILE": "x"}).found == "SSL_CERT_FILE set, and ignored"
    for wrong in (tmp_path / "missing.pem", tmp_path):
        assert judge_ca(settings_for(ca_file=wrong), {}).state == "fail"
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    assert judge_ca(settings_for(ca_file=text), {}).state == "fail"


def test_a_verdict_is_one_printable_line() -> None:
    verdict = Verdict(state="ok", found="a\nb\x1b[2J\u202ec\ud800")
    assert verdict.found.isprintable()
