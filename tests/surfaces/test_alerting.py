"""Alerts and digests on their way: to stderr, to a file, and to a real receiver over HTTP."""

import asyncio
import hashlib
import hmac
import json
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testio_sandbox import Fault, Sandbox, World, serve_sandbox
from tests.support.certificates import make_certificate
from tests.support.scripted import Scripted, respond, scripted
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import Finished, command, http_server

_RULES = """
[[rule]]
name = "many"
kind = "threshold"
metric = "bug_count"
at_least = 1
period = "all time"

[[rule]]
name = "critical"
kind = "new_bug"
severity = "critical"
levels = ["critical"]
"""
_SECRET = "hmac-secret-of-the-webhook"


@dataclass
class Install:
    """An account, a store that is a copy of it, and the rules for its alerts."""

    world: World
    sandbox: Sandbox
    folder: Path
    environment: dict[str, str]
    cli: Cli

    async def run(self, *arguments: str, **more: str) -> Finished:
        """Run the command line, in a process of its own where it is to be killed."""
        environment = {**self.environment, **more}
        if "TESTIO_FAULT" in environment:
            return await command(environment, *arguments, cwd=self.folder)
        return await self.cli(environment, *arguments)

    def report_bug(self, title: str = "Nothing happens") -> int:
        """Report a critical bug in a test that can still change."""
        tests = map(self.world.test, self.world.test_ids(self.world.product_ids[0]))
        test_id = next(test["id"] for test in tests if test["status"] in ("running", "locked"))
        bug = self.world.add_bug(test_id, severity="critical", status="forwarded", title=title)
        return int(bug["id"])


@pytest.fixture
async def install(tmp_path: Path, canary: str, cli: Cli) -> AsyncIterator[Install]:
    """An account of two products, which was never synced."""
    world = World(seed=2, products=2, tests_per_product=14, bugs_per_test=2)
    (tmp_path / "rules.toml").write_text(_RULES)
    async with serve_sandbox(world, token=canary) as sandbox:
        yield Install(
            world,
            sandbox,
            tmp_path,
            {
                "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
                "TESTIO_CUSTOMER_API_TOKEN": canary,
                "TESTIO_DB_PATH": str(tmp_path / "store.db"),
                "TESTIO_EXPORT_DIR": str(tmp_path / "exports"),
                "TESTIO_ALERT_RULES": str(tmp_path / "rules.toml"),
            },
            cli,
        )


def _hook(receiver: Scripted, **more: str) -> dict[str, str]:
    return {"TESTIO_ALERT_WEBHOOK": f"http://127.0.0.1:{receiver.port}/hook/path-secret", **more}


def _posted(receiver: Scripted) -> list[dict[str, Any]]:
    return [json.loads(seen.body) for seen in receiver.seen]


def _keys(message: dict[str, Any]) -> list[str]:
    return sorted(alert["idempotency_key"] for alert in message["alerts"])


async def test_a_sync_tells_each_alert_once(install: Install) -> None:
    title = "Pay\u202e![x](http://evil/) <img src=x>\nAlert (critical, forged): gone"
    first = await install.run("sync")
    assert (first.code, first.err.count("Alert (warning, many): Bugs of ")) == (0, 2)
    bug_id = install.report_bug(title)
    second = await install.run("sync")
    assert second.err.count("Alert (") == 2, "the one, and the one that its title forges within its line"
    line = next(line for line in second.err.splitlines() if line.startswith("Alert ("))
    assert f"New critical bug {bug_id} of " in line
    assert "\u202e" not in line
    assert "![" not in line
    assert "<img" not in line
    assert "Alert (" not in (await install.run("sync")).err
    assert "Alert (" not in (await install.run("sync", "--dry-run")).err


async def test_a_webhook_gets_signed_alerts_with_keys(install: Install, canary: str) -> None:
    async with scripted(respond(204)) as receiver:
        hook = _hook(receiver, TESTIO_ALERT_WEBHOOK_SECRET=_SECRET)
        ended = await install.run("sync", **hook)
        assert ended.code == 0
        await install.run("sync", **hook)
    (seen,) = receiver.seen
    assert (seen.method, seen.target) == ("POST", "/hook/path-secret")
    expected = hmac.new(_SECRET.encode(), seen.body, hashlib.sha256).hexdigest()
    assert seen.headers["x-testio-signature"] == f"sha256={expected}"
    assert seen.headers["content-type"] == "application/json"
    (message,) = _posted(receiver)
    assert (message["schema_version"], message["kind"]) == ("1.0", "alerts")
    assert {alert["product_id"] for alert in message["alerts"]} == set(install.world.product_ids)
    assert len({*_keys(message)}) == 2
    for secret in (canary, _SECRET, "path-secret"):
        assert secret not in ended.err + ended.out + seen.body.decode()


async def test_a_webhook_that_fails_fails_no_sync_and_loses_no_alert(install: Install) -> None:
    secret = "the-receiver-says-this"
    async with scripted(respond(500, secret.encode()), respond(500), respond(503), respond(200)) as receiver:
        hook = _hook(receiver)
        failed = await install.run("sync", **hook)
        assert failed.code == 0
        assert "The alerts were not delivered. The webhook answered 503." in failed.err
        assert secret not in failed.err
        assert "path-secret" not in failed.err
        delivered = await install.run("sync", **hook)
        assert "not delivered" not in delivered.err
        assert "Alert (" not in (await install.run("sync", **hook)).err
    messages = _posted(receiver)
    assert len(messages) == 4
    assert len({tuple(_keys(message)) for message in messages}) == 1


async def test_no_redirect_is_followed_and_no_refusal_repeated(install: Install) -> None:
    async with scripted(respond(200)) as elsewhere:
        moved = respond(307, location=f"http://127.0.0.1:{elsewhere.port}/")
        async with scripted(moved, respond(403)) as receiver:
            assert "The webhook answered 307." in (await install.run("sync", **_hook(receiver))).err
            assert "The webhook answered 403." in (await install.run("sync", **_hook(receiver))).err
            assert len(receiver.seen) == 2
        assert elsewhere.seen == []


async def test_a_webhook_is_believed_by_its_certificate_alone(install: Install, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with scripted(respond(200), tls=certificate.server) as receiver:
        hook = {"TESTIO_ALERT_WEBHOOK": f"https://127.0.0.1:{receiver.port}/hook"}
        refused = await install.run("sync", **hook)
        assert "The webhook cannot be reached." in refused.err
        assert receiver.seen == []
        await install.run("sync", **hook, TESTIO_CA_FILE=str(certificate.path))
        assert len(receiver.seen) == 1


@pytest.mark.slow
async def test_proxies_of_the_environment_see_no_alert_and_logs_no_address(install: Install) -> None:
    async with scripted(respond(200)) as proxy, scripted(respond(200)) as receiver:
        elsewhere = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), f"http://127.0.0.1:{proxy.port}")
        hook = {"TESTIO_ALERT_WEBHOOK": f"HTTP://LOCALHOST:{receiver.port}/hook/path-secret"}
        given = {**install.environment, **hook, **elsewhere, "TESTIO_LOG_LEVEL": "DEBUG"}
        ended = await command(given, "sync", cwd=install.folder)
        assert (len(proxy.seen), len(receiver.seen)) == (0, 1)
    assert "HTTP Request: POST http://localhost" in ended.err
    assert "path-secret" not in ended.err


async def test_a_receiver_that_is_gone(install: Install) -> None:
    async with scripted(respond(200)) as receiver:
        hook = _hook(receiver)
    ended = await install.run("sync", **hook)
    assert (ended.code, "The webhook cannot be reached." in ended.err) == (0, True)


@pytest.mark.slow
async def test_killed_before_it_remembers_it_tells_again_under_the_same_key(install: Install) -> None:
    async with scripted(respond(200)) as receiver:
        hook = _hook(receiver)
        killed = await install.run("sync", **hook, TESTIO_FAULT="alerts-posted:1:kill")
        assert killed.code == -signal.SIGKILL
        assert (await install.run("sync", **hook)).code == 0
        bug_id = install.report_bug()
        killed = await install.run("sync", **hook, TESTIO_FAULT="alerts-posted:1:kill")
        assert killed.code == -signal.SIGKILL
        for _ in range(2):
            assert (await install.run("sync", **hook)).code == 0
    first, again, new, new_again = _posted(receiver)
    assert _keys(first) == _keys(again)
    assert _keys(new) == _keys(new_again)
    assert [alert["bug_id"] for alert in new["alerts"]] == [bug_id]


async def test_a_broken_file_of_rules_fails_no_sync(install: Install) -> None:
    (install.folder / "rules.toml").write_text('[[rule]]\nname = "r"\nkind = "new_bug"\nlevel = "critical"\n')
    ended = await install.run("sync")
    assert ended.code == 0
    assert "TESTIO_ALERT_RULES: rule 'r': level: there is no such key." in ended.err
    digest = await install.run("digest")
    assert (digest.code, digest.err.count("\n")) == (2, 1)
    assert "TESTIO_ALERT_RULES: rule 'r': level: there is no such key." in digest.err


async def test_a_sync_that_fails_tells_that_the_copy_is_old(install: Install) -> None:
    (install.folder / "rules.toml").write_text('[[rule]]\nname = "old"\nkind = "sync_stale"\nhours = 24\n')
    install.sandbox.faults.add(Fault("error", "", status=401, times=1000))
    ended = await install.run("sync")
    assert ended.code == 1
    assert "Alert (warning, old): The copy has never been complete." in ended.err


@pytest.mark.slow
async def test_the_server_that_syncs_by_itself_tells(install: Install) -> None:
    arrived = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await respond(200)(reader, writer)

    async with scripted(take) as receiver:
        environment = {**install.environment, **_hook(receiver), "TESTIO_SYNC_EVERY_MINUTES": "60"}
        with http_server(environment, install.folder):
            async with asyncio.timeout(30):
                await arrived.wait()
    assert {alert["product_id"] for alert in _posted(receiver)[0]["alerts"]} == set(install.world.product_ids)


async def test_a_digest_to_a_file_and_to_a_webhook(synced: Copy, tmp_path: Path, cli: Cli) -> None:
    shutil.copy(synced.path, tmp_path / "store.db")
    environment = {"TESTIO_DB_PATH": str(tmp_path / "store.db"), "TESTIO_EXPORT_DIR": str(tmp_path / "exports")}
    shown = json.loads((await cli(environment, "digest", "--json")).out)
    assert shown["period"]["words"] == "last 7 days"
    assert shown["alerts"]

    written = await cli(environment, "digest", "-o", "week.md", "--period", "last 30 days")
    assert (written.code, written.out) == (0, "")
    file = tmp_path / "exports" / "week.md"
    assert str(file) in written.err
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert text.startswith("# Digest of last 30 days\n")
    assert f"| running count | {shown['running_count']} |" in text.replace("running_count", "running count")
    for name in ("../week.md", "week.html"):
        refused = await cli(environment, "digest", "-o", name)
        assert (refused.code, refused.err.count("\n")) == (2, 1)

    assert (await cli(environment, "digest", "--to", "webhook")).code == 2
    async with scripted(respond(200)) as receiver:
        posted = await cli({**environment, **_hook(receiver)}, "digest", "--to", "webhook")
    assert posted.code == 0
    (message,) = _posted(receiver)
    assert message["kind"] == "digest"
    assert message["digest"]["needs_decision"] == shown["needs_decision"]
    assert len(message["alerts"]) == len(shown["alerts"])


async def test_a_digest_that_cannot_be_posted_is_an_error(synced: Copy, tmp_path: Path, cli: Cli) -> None:
    shutil.copy(synced.path, tmp_path / "store.db")
    async with scripted(respond(400)) as receiver:
        environment = {"TESTIO_DB_PATH": str(tmp_path / "store.db"), **_hook(receiver)}
        ended = await cli(environment, "digest", "--to", "webhook")
    assert (ended.code, ended.err) == (
        1,
        "The webhook answered 400. Check TESTIO_ALERT_WEBHOOK and its receiver; the next run tries again.\n",
    )


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("text/plain", "\n Channel\u202e is  archived\nat line 4 of hook.rb", ': "Channel is archived"'),
        ("application/json", '{"ok": false}', ": \"{'ok': false}\""),
        ("text/plain", "got " + _SECRET, ': "got ***"'),
        ("text/plain", "y" * 900, f': "{"y" * 159}…"'),
        ("text/html", "<h1>Sign in</h1>", ""),
        ("text/plain", "", ""),
    ],
)
async def test_the_first_line_of_a_receivers_answer_is_repeated(
    synced: Copy, tmp_path: Path, cli: Cli, kind: str, body: str, said: str
) -> None:
    shutil.copy(synced.path, tmp_path / "store.db")
    async with scripted(respond(400, body.encode(), content_type=kind)) as receiver:
        environment = {
            "TESTIO_DB_PATH": str(tmp_path / "store.db"),
            **_hook(receiver),
            "TESTIO_ALERT_WEBHOOK_SECRET": _SECRET,
        }
        ended = await cli(environment, "digest", "--to", "webhook")
    assert ended.err.startswith(f"The webhook answered 400{said}. Check TESTIO_ALERT_WEBHOOK"), ended.err


@pytest.mark.parametrize(
    "address", ["http://example.org/hook-secret", "https://u:hook-secret@example.org/", "hook-secret"]
)
async def test_an_address_that_is_not_safe_is_refused(address: str, tmp_path: Path, cli: Cli) -> None:
    environment = {"TESTIO_DB_PATH": str(tmp_path / "store.db"), "TESTIO_ALERT_WEBHOOK": address}
    ended = await cli(environment, "digest")
    assert (ended.code, ended.err.startswith("TESTIO_ALERT_WEBHOOK: must be an address")) == (2, True)
    assert "hook-secret" not in ended.err
