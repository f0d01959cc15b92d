"""Named points at which a test can stop the program: `TESTIO_FAULT=point:n:action`.

The n-th time the program reaches `point`, it is killed (`kill`), or it says so on stderr and waits for a line on
stdin (`hold`). Without the variable, a point does nothing.
"""

import os
import signal
import sys
from collections import Counter

_VARIABLE = "TESTIO_FAULT"
_reached: Counter[str] = Counter()


def is_active() -> bool:
    """Say whether any point may act."""
    return _VARIABLE in os.environ


def crash_point(point: str) -> None:
    """Pass `point`, unless this is the moment that `TESTIO_FAULT` names."""
    if not is_active():
        return
    _reached[point] += 1
    name, count, action = os.environ[_VARIABLE].rsplit(":", 2)
    if name != point or _reached[point] != int(count):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stderr.write(f"reached {point}\n")
    sys.stderr.flush()
    sys.stdin.readline()
