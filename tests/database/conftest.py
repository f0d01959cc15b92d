"""Other processes at the store, and a newer schema to migrate to."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

LockedBy = Callable[[Path], AbstractContextManager[None]]

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def locked_by_another_process() -> LockedBy:
    """Hold the write lock of a file from another process while the context lasts."""

    @contextmanager
    def hold(path: Path) -> Iterator[None]:
        command = [sys.executable, "-c", _HOLD, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == b"locked\n"
            try:
                yield
            finally:
                child.stdin.close()

    return hold
