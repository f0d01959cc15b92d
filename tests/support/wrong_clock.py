"""Programs whose clock is wrong, by libfaketime: the clock of the day alone, durations are as ever."""

import platform
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

_LIBRARY = "vendor/libfaketime/src/libfaketime.so.1"
_ASK = "import time; print(time.time())"


def wrong_clock(offset: str) -> dict[str, str]:
    """The environment of a program whose clock is off by `+1d`, `-2h`, `+0`. Skips where that does not work."""
    if reason := _hindrance():
        pytest.skip(reason)
    return _environment(offset)


def _environment(offset: str) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def _library() -> Path | None:
    spec = find_spec("libfaketime")
    path = Path(spec.origin).parent / _LIBRARY if spec and spec.origin else None
    return path if path and path.is_file() else None


@cache
def _hindrance() -> str | None:
    """Why no clock can be set wrong here; the package brings the library for common Linux machines only."""
    if _library() is None:
        return "libfaketime is not installed"
    times = [
        subprocess.run(
            [sys.executable, "-c", _ASK], env=_environment(offset), capture_output=True, text=True, check=False
        )
        for offset in ("+0", "+1d")
    ]
    if not all(done.returncode == 0 and not done.stderr for done in times):
        return f"libfaketime cannot be loaded on {platform.platform()}"
    now, tomorrow = (float(done.stdout) for done in times)
    return None if tomorrow - now > 80_000 else "libfaketime has no effect on this Python"
