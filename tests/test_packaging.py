"""The metadata, the pinned versions and the commands agree with each other."""

import os
import re
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.installed import closure

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
REQUIREMENTS = [
    Requirement(line)
    for line in (
        *PROJECT["project"]["dependencies"],
        *(line for extra in EXTRAS.values() for line in extra),
        *PROJECT["dependency-groups"]["dev"],
    )
]
TARGETS = ("demo", "test", "check", "format", "lint", "types", "imports", "budget", "fix", "docs", "bench", "clean")


def _pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in pins}


def test_constraints_are_names_and_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line
    assert "testio-mcp" not in _pinned()


def test_everything_that_is_needed_is_pinned_and_installed_so() -> None:
    needed = closure(REQUIREMENTS)
    assert needed - _pinned().keys() == set()
    assert {name: distribution(name).version for name in needed} == {name: _pinned()[name] for name in needed}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_bounds_hold_what_is_tested_and_stop_before_the_next_break(requirement: Requirement) -> None:
    assert _pinned()[canonicalize_name(requirement.name)] in requirement.specifier
    assert {spec.operator for spec in requirement.specifier} >= {">=", "<"}


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_its_targets(target: str) -> None:
    environment = {**os.environ, "MAKEFLAGS": ""}
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_hooks_and_ci_use_the_same_commands() -> None:
    hooks = re.findall(r"entry: make (\w+)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert set(hooks) == {"format", "lint", "types", "imports"}
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"^make (\w+)$", script.read_text(encoding="utf-8"), re.MULTILINE) == [
        "check",
        "test",
        "judges",
    ]
