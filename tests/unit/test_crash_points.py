"""Fault points act at the moment they are asked for, and never otherwise."""

import os
import signal
import subprocess
import sys

import pytest

from testio_mcp import crash_points

_PROGRAM = """
from testio_mcp.crash_points import crash_point
for number in range(3):
    crash_point("other")
    crash_point("page")
    print(number, flush=True)
"""


def _start(fault: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "TESTIO_FAULT": fault}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", _PROGRAM], env=environment, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def test_kill_at_the_nth_time() -> None:
    out, _ = (child := _start("page:2:kill")).communicate()
    assert (child.returncode, out) == (-signal.SIGKILL, "0\n")


def test_hold_until_a_line_comes() -> None:
    with _start("page:3:hold") as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "reached page\n"
        assert child.poll() is None
        out, _ = child.communicate("go on\n")
    assert (child.returncode, out) == (0, "0\n1\n2\n")


def test_nothing_happens_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESTIO_FAULT", raising=False)
    assert not crash_points.is_active()
    crash_points.crash_point("page")
    monkeypatch.setenv("TESTIO_FAULT", "elsewhere:1:kill")
    crash_points.crash_point("page")
