"""A loss of power at any moment: what was said to be stored is there, and what is there is whole.

strace records which bytes were written and flushed in which order; of many moments, the files are made that a disk
may hold then: everything flushed, and any of the sectors that were not.
"""

import random
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.database.losing_power import ROWS, TRANSACTIONS, Image, Step, prepare, steps
from tests.surfaces.programs import whole

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[2]
_TRACED = "trace=pwrite64,write,fsync,fdatasync,ftruncate"


@dataclass
class Losses:
    """What many losses of power did."""

    images: int = 0
    lost: int = 0
    broken: int = 0


def _recorded(directory: Path, level: str) -> tuple[dict[str, bytearray], list[Step]]:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    store, trace = directory / "store.db", directory / "trace"
    prepare(store)
    before = {"": bytearray(store.read_bytes())}
    program = [sys.executable, "-m", "tests.database.losing_power", str(store), level]
    options = ["-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000", "-o", str(trace), "-e", _TRACED]
    done = subprocess.run([strace, *options, *program], env=whole({}), cwd=_ROOT, capture_output=True, check=False)
    if b"PTRACE" in done.stderr:
        pytest.skip("this system does not let strace trace")
    assert done.returncode == 0, done.stderr.decode()
    return before, list(steps(trace.read_text(), store))


def _after(image: Image, dice: random.Random, chance: float, directory: Path) -> tuple[int, bool]:
    """How many transactions a store holds after a loss of power, and whether it is whole."""
    for name, content in image.after_power_loss(dice, chance).items():
        (directory / f"image.db{name}").write_bytes(content)
    connection = sqlite3.connect(directory / "image.db")
    try:
        (count,) = connection.execute("SELECT transactions FROM progress").fetchone()
        ids = [row[0] for row in connection.execute("SELECT id FROM record ORDER BY id")]
        is_sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    except sqlite3.DatabaseError:
        return 0, False
    finally:
        connection.close()
        for file in directory.glob("image.db*"):
            file.unlink()
    return count, is_sound and ids == list(range(ROWS, ROWS * (count + 1)))


def _lose_power(directory: Path, level: str) -> Losses:
    sure, recorded = _recorded(directory, level)
    assert [step.at for step in recorded if step.kind == "stored"] == list(range(1, TRANSACTIONS + 1))
    dice, image, losses = random.Random(4), Image(sure), Losses()
    for step in recorded:
        image.apply(step)
        for chance in (0.0, dice.random(), 1.0) if dice.random() < 0.15 else ():
            count, is_whole = _after(image, dice, chance, directory)
            losses.images += 1
            losses.lost += count < image.stored
            losses.broken += not is_whole
    return losses


def test_what_was_stored_survives_a_loss_of_power(tmp_path: Path) -> None:
    losses = _lose_power(tmp_path, "FULL")
    assert losses.images > 100
    assert (losses.lost, losses.broken) == (0, 0)


def test_less_flushing_loses_the_newest_transactions_and_breaks_nothing(tmp_path: Path) -> None:
    losses = _lose_power(tmp_path, "NORMAL")
    assert losses.lost > 0
    assert losses.broken == 0


def test_without_flushing_the_replay_finds_broken_stores(tmp_path: Path) -> None:
    """The control: a replay that finds nothing here would prove nothing above."""
    assert _lose_power(tmp_path, "OFF").broken > 0
