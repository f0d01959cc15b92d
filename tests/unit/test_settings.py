"""Settings come from the environment and from files; what is wrong is named, what is secret is not."""

import os
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.health import health_of, rule_in_words
from testio_mcp.rules import HEALTH, READINESS, Limits, written
from testio_mcp.settings import API_URL, Settings, load_settings
from tests.conftest import SettingsFor


def test_defaults_need_no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.customer_api_token is None
    assert settings.customer_api_base_url == API_URL
    assert settings.db_path.name == "store.db"
    assert settings.db_path.is_absolute()
    assert not settings.db_path.is_relative_to(tmp_path), "the store does not depend on the working directory"


def test_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, canary: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"TESTIO_CUSTOMER_API_TOKEN={canary}\nTESTIO_LOG_LEVEL=INFO\nOTHER=1\n")
    (tmp_path / ".env").chmod(0o600)
    monkeypatch.setenv("TESTIO_ENV_FILE", ".env")
    monkeypatch.setenv("TESTIO_LOG_LEVEL", "ERROR")
    settings = load_settings()
    assert settings.customer_api_token is not None
    assert settings.customer_api_token.get_secret_value() == canary
    assert settings.log_level == "ERROR"
    assert load_settings(log_level="DEBUG").log_level == "DEBUG"


def test_fixture_isolates(monkeypatch: pytest.MonkeyPatch, settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(log_level="INFO")
    assert settings.db_path == tmp_path / "store.db"
    assert settings.log_level == "INFO"
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("name", ["customer_api_token", "database_url", "http_token"])
def test_blank_secret_is_none(settings_for: SettingsFor, name: str) -> None:
    assert getattr(settings_for(**{name: "  "}), name) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUSTOMER_API_BASE_URL", "http://api.{}.example/"),
        ("CUSTOMER_API_BASE_URL", "https://user:{}@api.example/"),
        ("CUSTOMER_API_BASE_URL", "ftp://{}"),
        ("DATABASE_SCHEMA", "public; DROP {}"),
        ("MAX_REQUESTS_IN_FLIGHT", "{}"),
        ("MAX_RESPONSE_MB", "{}"),
        ("SKIP_MIGRATIONS", "{}"),
        ("LOG_LEVEL", "{}"),
        ("TIME_ZONE", "Europe/{}"),
        ("HEALTH", "{}=0.1/0.2"),
        ("HEALTH", "rejection_rate={}"),
        ("HEALTH", "rejection_rate=0.1/{}"),
    ],
)
def test_error_names_the_variable_and_not_the_value(
    monkeypatch: pytest.MonkeyPatch, settings_for: SettingsFor, canary: str, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TESTIO_{name}", value.format(canary))
    with pytest.raises(BadInput) as caught:
        settings_for()
    assert name.lower() in str(caught.value).lower()
    assert canary not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("host", ["127.0.0.1:8090", "localhost:1", "[::1]:2"])
def test_plain_http_on_loopback(settings_for: SettingsFor, host: str) -> None:
    assert settings_for(customer_api_base_url=f"http://{host}/").customer_api_base_url == f"http://{host}/"


def test_secrets_do_not_show(settings_for: SettingsFor, canary: str) -> None:
    settings = settings_for(http_token=canary, database_url=f"postgresql+asyncpg://u:{canary}@h/d")
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert canary not in shown


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    description = Settings.model_fields[name].description or ""
    assert description.endswith(".")


@pytest.mark.parametrize(
    ("said", "name"), [("Europe/Berlin", "Europe/Berlin"), (" Asia/Tokyo ", "Asia/Tokyo"), ("", "UTC")]
)
def test_days_are_those_of_the_time_zone(
    monkeypatch: pytest.MonkeyPatch, settings_for: SettingsFor, said: str, name: str
) -> None:
    assert settings_for().zone == ZoneInfo("UTC")
    monkeypatch.setenv("TESTIO_TIME_ZONE", said)
    assert settings_for().zone == ZoneInfo(name)


@pytest.mark.parametrize(
    "said",
    [
        "Berlin",
        "CEST+2",
        "Europe",
        "../etc/passwd",
        "/etc/localtime",
        "Europe/Berl\u00edn",
        "x" * 300,
        "\x00",
        "tzdata.zi",
    ],
)
def test_an_unknown_time_zone_is_refused(settings_for: SettingsFor, said: str) -> None:
    with pytest.raises(BadInput, match=r"^TESTIO_TIME_ZONE: must be an IANA time zone such as Europe/Berlin"):
        settings_for(time_zone=said)


def test_time_zones_need_no_files_of_the_machine(tmp_path: Path) -> None:
    """A process without the system's zone files takes those of the package."""
    code = "from testio_mcp.settings import load_settings as load; print(load(time_zone='Africa/Cairo').zone)"
    environment = {**os.environ, "PYTHONTZPATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "Africa/Cairo"


def test_health_is_read_from_text(settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_for().health == HEALTH
    monkeypatch.setenv("TESTIO_HEALTH", " rejection_rate = 0.1/0.3, review_rate=0.7/0.7;")
    changed = {"rejection_rate": (0.1, 0.3), "review_rate": (0.7, 0.7)}
    assert settings_for().health == {**HEALTH, **changed}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("reject=0.1/0.2", "did you mean rejection_rate"),
        ("rejection_rate", "has no limit"),
        ("rejection_rate=0.3", "two limits"),
        ("rejection_rate=0.3/-", "two limits"),
        ("rejection_rate=0.4/0.2", "the smaller one"),
        ("review_rate=0.6/0.8", "the larger one"),
        ("review_rate=80/60", "shares from 0 to 1"),
        ("review_rate=nan/0.1", "numbers from 0 up"),
        ("review_rate=0.8/0.6/0.4", "numbers from 0 up"),
        ("review_rate=0.8/0.6, review_rate=0.8/0.6", "twice"),
    ],
)
def test_health_that_cannot_be_is_refused(settings_for: SettingsFor, text: str, rule: str) -> None:
    with pytest.raises(BadInput, match=f"^TESTIO_HEALTH: .*{rule}"):
        settings_for(health=text)


@pytest.mark.parametrize(
    ("name", "value", "health"),
    [
        ("rejection_rate", 0.1999, "good"),
        ("rejection_rate", 0.2, "warning"),
        ("rejection_rate", 0.35, "critical"),
        ("auto_acceptance_rate", 0.4, "critical"),
        ("active_acceptance_rate", 0.3501, "good"),
        ("active_acceptance_rate", 0.35, "warning"),
        ("active_acceptance_rate", 0.0, "critical"),
        ("review_rate", 0.8, "warning"),
        ("review_rate", 0.6, "critical"),
        ("review_rate", None, None),
        ("pass_rate", 0.1, None),
    ],
)
def test_a_limit_belongs_to_what_it_begins(name: str, value: float | None, health: str | None) -> None:
    assert health_of(name, value) == health
    assert health_of(name, value, {}) is None


def test_limits_read_as_sentences() -> None:
    said = rule_in_words("review_rate")
    assert said == "Review rate: warning at 80 % or less, critical at 60 % or less."
    assert "at 25 % or more" in rule_in_words("rejection_rate", {"rejection_rate": Limits(0.25, 0.5)})
    assert rule_in_words("pass_rate") == ""


def test_rules_of_a_release_are_read_from_text(settings_for: SettingsFor) -> None:
    found = settings_for(readiness="max_open_high=1/5, max_open=1234567, min_review_rate=-").readiness
    changed = {"max_open_high": (1, 5), "max_open": (None, 1234567), "min_review_rate": (None, None)}
    assert found == {**READINESS, **changed}
    assert settings_for(readiness=written(found)).readiness == found


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("max_open_hihg=1", "did you mean max_open_high.*the rules are min_tests"),
        ("max_open_high=3/0", "the caution limit, the first, must be the smaller one"),
        ("min_pass_rate=0.7/0.9", "the larger one"),
        ("min_pass_rate=90", "shares from 0 to 1"),
    ],
)
def test_rules_of_a_release_that_cannot_be_are_refused(settings_for: SettingsFor, text: str, rule: str) -> None:
    with pytest.raises(BadInput, match=f"^TESTIO_READINESS: .*{rule}"):
        settings_for(readiness=text)
