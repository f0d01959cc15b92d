"""The gate as a pipeline runs it: a process, its exit code, and what it prints."""

import json
import re
import shlex
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testio_mcp.surfaces.cli.release_gate import FAILED, UNDECIDED
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import command


async def _open_bugs(synced: Copy, cli: Cli, *options: str) -> int:
    """How many open bugs the lists tell."""
    product = ("--product", str(synced.product_id), "--status", "open", *options)
    found = json.loads((await cli(synced.environment, "bugs", "list", *product, "--json")).out)["total"]
    assert isinstance(found, int)
    return found


async def _metric(synced: Copy, cli: Cli, name: str, *options: str) -> float:
    about = (name, "--filter", f"product={synced.product_id}", *options, "--json")
    found = json.loads((await cli(synced.environment, "metrics", *about)).out)["totals"][name]
    assert isinstance(found, float)
    return found


async def test_the_exit_code_is_the_verdict(synced: Copy, tmp_path: Path, cli: Cli) -> None:
    number = await _open_bugs(synced, cli)
    assert number, "the account has open bugs"
    product = ("gate", "--product", str(synced.product_id))
    passed = await command(synced.environment, *product, "--max-open", str(number), cwd=tmp_path)
    assert (passed.code, passed.err) == (0, "")
    assert passed.out.splitlines()[-1] == "gate passed."
    assert re.search(rf"^ok +Open bugs +{number}  \(at most {number}\)$", passed.out, re.MULTILINE)
    failed = await cli(synced.environment, *product, "--max-open", str(number - 1))
    assert failed.code == FAILED
    assert failed.out.splitlines()[-1] == "gate failed. Not met: max_open."
    missing = await cli(synced.environment, "gate", "--product", "9", "--max-open", "9")
    assert missing.code == UNDECIDED
    assert "Product 9 is not in the store" in missing.out
    usage = await cli(synced.environment, "gate", "--max-open", "1")
    assert usage.code == 2
    assert "--product" in usage.err
    assert len({passed.code, failed.code, missing.code, usage.code, 1}) == 5


async def test_a_store_that_cannot_be_read_is_an_error(tmp_path: Path, cli: Cli) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"not a database" * 500)
    found = await cli({"TESTIO_DB_PATH": str(broken)}, "gate", "--product", "1")
    assert (found.code, found.out) == (1, "")
    assert found.err


async def test_an_empty_store_passes_nothing(tmp_path: Path, cli: Cli) -> None:
    found = await cli({"TESTIO_DB_PATH": str(tmp_path / "new.db")}, "gate", "--product", "1")
    assert found.code == UNDECIDED


@pytest.mark.parametrize("level", ["critical", "high"])
async def test_levels_agree_with_the_list_of_bugs(synced: Copy, cli: Cli, level: str) -> None:
    number = await _open_bugs(synced, cli, "--level", level)
    about = ("gate", "--product", str(synced.product_id), f"--max-open-{level}")
    assert (await cli(synced.environment, *about, str(number))).code == 0
    assert number, "there are open bugs of this level"
    assert (await cli(synced.environment, *about, str(number - 1))).code == FAILED


@pytest.mark.parametrize(
    ("option", "metric", "step"),
    [
        ("--min-pass-rate", "pass_rate", 0.0001),
        ("--min-review-rate", "review_rate", 0.0001),
        ("--min-story-coverage", "story_coverage", 0.0001),
        ("--max-rejection-rate", "rejection_rate", -0.0001),
    ],
)
async def test_rates_agree_with_the_metrics(synced: Copy, cli: Cli, option: str, metric: str, step: float) -> None:
    period = ("--period", "last 400 days")
    rate = await _metric(synced, cli, metric, *period)
    about = ("gate", "--product", str(synced.product_id), *period)
    assert (await cli(synced.environment, *about, option, f"{rate}")).code == 0
    if 0 <= rate + step <= 1:
        assert (await cli(synced.environment, *about, option, f"{rate + step:.4f}")).code == FAILED
    else:
        assert rate in (0, 1), "there is no limit beyond it"


async def test_nothing_to_measure_is_not_passed(synced: Copy, cli: Cli) -> None:
    about = ("gate", "--product", str(synced.product_id), "--period", "2001", "--min-pass-rate", "0")
    found = await cli(synced.environment, *about)
    assert found.code == UNDECIDED
    assert "no test that ran" in found.out


async def test_what_is_known_to_be_wrong_fails_although_something_is_unknown(own_copy: Copy, cli: Cli) -> None:
    with closing(sqlite3.connect(own_copy.path)) as store, store:
        product = own_copy.product_id
        query = "SELECT test_id FROM bug WHERE product_id = ? AND status = 'open' AND gone_at IS NULL"
        test = store.execute(query, (product,)).fetchone()[0]
        store.execute("UPDATE execution SET gone_at = synced_at WHERE test_id = ?", (test,))
    about = ("gate", "--product", str(product), "--test", str(test), "--min-pass-rate", "0")
    assert (await cli(own_copy.environment, *about, "--max-open", "0")).code == FAILED
    unknown = await cli(own_copy.environment, *about, "--max-open", "999")
    assert unknown.code == UNDECIDED
    assert "nothing to measure for min_pass_rate" in unknown.out


def _set_back(path: Path, hours: float) -> None:
    moment = (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    with closing(sqlite3.connect(path)) as store, store:
        [[old]] = store.execute("SELECT completed_at FROM checkpoint WHERE resource = 'bugs'").fetchall()
        assert len(old) == len(moment), "the moment is written as the store does"
        store.execute("UPDATE checkpoint SET completed_at = ?", (moment,))


async def test_an_old_copy_decides_nothing(own_copy: Copy, cli: Cli) -> None:
    number = str(await _open_bugs(own_copy, cli))
    about = ("gate", "--product", str(own_copy.product_id), "--max-open", number)
    _set_back(own_copy.path, 5)
    assert (await cli(own_copy.environment, *about, "--max-age", "6")).code == 0
    old = await cli(own_copy.environment, *about, "--max-age", "5")
    assert old.code == UNDECIDED
    assert "too old" in old.out
    failed_and_old = ("gate", "--product", str(own_copy.product_id), "--max-open", "0", "--max-age", "5")
    assert (await cli(own_copy.environment, *failed_and_old)).code == UNDECIDED
    _set_back(own_copy.path, -5)
    assert (await cli(own_copy.environment, *about, "--max-age", "6")).code == UNDECIDED, "a moment of the future"


async def test_a_copy_without_bugs_decides_nothing(own_copy: Copy, cli: Cli) -> None:
    with closing(sqlite3.connect(own_copy.path)) as store, store:
        store.execute("DELETE FROM checkpoint WHERE resource = 'bugs'")
    found = await cli(own_copy.environment, "gate", "--product", str(own_copy.product_id), "--max-open", "999")
    assert found.code == UNDECIDED
    assert "never copied completely" in found.out


async def test_without_limits_the_rules_of_readiness_count(synced: Copy, cli: Cli) -> None:
    product = str(synced.product_id)
    for rules in ("", "max_open_critical=9999, max_open_high=9999, min_pass_rate=0, min_review_rate=0"):
        environment = {**synced.environment, "TESTIO_READINESS": rules}
        told = json.loads((await cli(environment, "readiness", product, "--json")).out)
        gate = await cli(environment, "gate", "--product", product, "--json")
        found = json.loads(gate.out)
        assert gate.code == found["exit_code"] == (FAILED if told["verdict"] == "stop" else 0)
        assert [(rule["rule"], rule["outcome"]) for rule in found["rules"]] == [
            (rule["rule"], rule["outcome"]) for rule in told["rules"]
        ]
    wrong = await cli({**synced.environment, "TESTIO_READINESS": "max_opn=1"}, "gate", "--product", product)
    assert wrong.code == 2
    assert "TESTIO_READINESS" in wrong.err


async def test_the_commands_that_it_prints_work(synced: Copy, cli: Cli) -> None:
    rules = "max_open=0, max_open_high=0, min_pass_rate=1, min_review_rate=1, max_rejection_rate=0, max_age_hours=0"
    environment = {**synced.environment, "TESTIO_READINESS": rules}
    found = await cli(environment, "gate", "--product", str(synced.product_id), "--period", "last 400 days")
    commands = re.findall(r"^ {9}.*?(testio-mcp .*)$", found.out, re.MULTILINE)
    assert len(commands) >= 5
    for line in commands:
        shown = await cli(synced.environment, *shlex.split(line)[1:], "--json")
        assert shown.code == 0, line
        assert json.loads(shown.out)


async def test_help_tells_the_exit_codes(synced: Copy, cli: Cli) -> None:
    told = " ".join((await cli(synced.environment, "gate", "--help")).out.split())
    for code in ("0 passed", f"{FAILED} a rule is not met", f"{UNDECIDED} cannot decide", "1 is an error"):
        assert code in told
