"""Run as a program: commit transactions through the product's engine, and say after each that it is stored.

    python -m tests.database.losing_power STORE FULL|NORMAL|OFF

A trace of its system calls shows in which order bytes reached the files and what was flushed: `Image` replays it,
and makes of any moment the files that a loss of power would leave.
"""

import os
import random
import re
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy import text

from testio_mcp.database import engine as engines

TRANSACTIONS = 25
ROWS = 3
_SECTOR = 512


def commit(path: Path, level: str) -> None:
    """Commit one transaction after the other: rows, and how many there are."""
    pragmas = [f"PRAGMA synchronous={level}" if "synchronous" in line else line for line in engines._PRAGMAS]
    engines._PRAGMAS = (*pragmas, "PRAGMA wal_autocheckpoint=12")  # type: ignore[assignment]
    engine = engines.create_sqlite_writer(path)
    for number in range(1, TRANSACTIONS + 1):
        with engine.begin() as connection:
            for row in range(ROWS):
                values = {"id": number * ROWS + row, "body": "x" * random.Random(number).randint(10, 3000)}
                connection.execute(text("INSERT INTO record (id, body) VALUES (:id, :body)"), values)
            connection.execute(text("UPDATE progress SET transactions = :n"), {"n": number})
        os.write(1, f"stored {number}\n".encode())
    # Ends as a loss of power would: nothing is closed.
    os._exit(0)


def prepare(path: Path) -> None:
    """An empty store in the mode that the product uses."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE record (id INTEGER PRIMARY KEY, body TEXT)")
    connection.execute("CREATE INDEX by_body ON record (body)")
    connection.execute("CREATE TABLE progress (transactions INTEGER)")
    connection.execute("INSERT INTO progress VALUES (0)")
    connection.commit()
    connection.close()


@dataclass(frozen=True)
class Step:
    """A system call that matters: bytes at a place, a new length, a flush, or word that a transaction is stored."""

    kind: Literal["write", "truncate", "sync", "stored"]
    file: str = ""
    at: int = 0
    data: bytes = b""


@dataclass
class Image:
    """The files of a store: what a disk surely holds, and what it may or may not hold."""

    sure: dict[str, bytearray]
    pending: list[Step] = field(default_factory=list)
    stored: int = 0

    def apply(self, step: Step) -> None:
        """Let a step happen."""
        if step.kind == "stored":
            self.stored = step.at
        elif step.kind == "sync":
            for waiting in [waiting for waiting in self.pending if waiting.file == step.file]:
                _put(self.sure, waiting)
            self.pending = [waiting for waiting in self.pending if waiting.file != step.file]
        else:
            self.pending.append(step)

    def after_power_loss(self, dice: random.Random, chance: float) -> dict[str, bytearray]:
        """What is left when each sector that was not flushed arrived with this chance."""
        left = {name: bytearray(content) for name, content in self.sure.items()}
        for step in self.pending:
            if step.kind == "truncate":
                if dice.random() < chance:
                    _put(left, step)
                continue
            for start in range(0, len(step.data), _SECTOR):
                if dice.random() < chance:
                    piece = step.data[start : start + _SECTOR]
                    _put(left, Step("write", step.file, step.at + start, piece))
        return left


def _put(files: dict[str, bytearray], step: Step) -> None:
    content = files.setdefault(step.file, bytearray())
    if step.kind == "truncate":
        del content[step.at :]
        return
    content.extend(b"\0" * (step.at - len(content)))
    content[step.at : step.at + len(step.data)] = step.data


_CALL = re.compile(r"^(?P<pid>\d+)\s+(?P<name>\w+)\((?P<fd>\d+)<(?P<path>[^>]*)>(?P<rest>.*)$")
_RESUMED = re.compile(r"^(?P<pid>\d+)\s+<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
_BYTES = re.compile(r'^, "(?P<data>(?:\\x[0-9a-f]{2})*)"(?:, (?P<size>\d+))?(?:, (?P<at>\d+))?')


def steps(trace: str, store: Path) -> Iterator[Step]:
    """What a trace of strace (-f -y -xx) tells about a store, in the order in which the calls ended."""
    waiting: dict[str, re.Match[str]] = {}
    for line in trace.splitlines():
        if call := _CALL.match(line):
            if call["rest"].endswith("<unfinished ...>"):
                waiting[call["pid"]] = call
                continue
        elif end := _RESUMED.match(line):
            call = waiting.pop(end["pid"], None)
        if call and (step := _step(call, store)):
            yield step


def _step(call: re.Match[str], store: Path) -> Step | None:
    name, path = call["name"], re.sub(r"\\x([0-9a-f]{2})", lambda code: chr(int(code[1], 16)), call["path"])
    file = path.removeprefix(str(store))
    if name == "write" and call["fd"] == "1":
        return Step("stored", at=int(_data(call).split()[1]))
    if not path.startswith(str(store)) or file not in ("", "-wal"):
        return None
    if name == "pwrite64":
        found = _BYTES.match(call["rest"])
        assert found is not None, call["rest"][-80:]
        return Step("write", file, int(found["at"]), _data(call))
    if name == "ftruncate":
        return Step("truncate", file, int(re.findall(r"\d+", call["rest"])[0]))
    return Step("sync", file) if name in ("fsync", "fdatasync") else None


def _data(call: re.Match[str]) -> bytes:
    found = _BYTES.match(call["rest"])
    assert found is not None, call["rest"][-80:]
    return bytes.fromhex(found["data"].replace("\\x", ""))


if __name__ == "__main__":
    commit(Path(sys.argv[1]), sys.argv[2])
