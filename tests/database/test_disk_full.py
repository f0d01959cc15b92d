"""A disk that is full: one clear error, nothing half stored, reads go on, and all is well once there is room."""

import asyncio
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from testio_mcp.database.examine import find_damage, reading
from testio_mcp.database.migrate import HEAD
from testio_sandbox import World, serve_sandbox
from tests.surfaces.programs import PROGRAM, Finished, whole

pytestmark = pytest.mark.slow


@dataclass
class Disk:
    """A place in which a store cannot grow; `free` ends that."""

    path: Path
    limit: int | None = None
    ballast: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def fill(self) -> None:
        """Leave next to no room."""
        if self.ballast is None:
            self.limit = max(file.stat().st_size for file in self.path.parent.iterdir())
            return
        with self.ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 65536)
        os.truncate(self.ballast, max(0, self.ballast.stat().st_size - 131_072))

    def free(self) -> None:
        """Make room again."""
        self.limit = None
        if self.ballast is not None:
            self.ballast.unlink()

    def run(self, *arguments: str) -> Finished:
        """Run the program where the disk is what it is."""
        done = subprocess.run(
            [*PROGRAM, *arguments],
            env=whole({"TESTIO_DB_PATH": str(self.path), **self.environment}),
            cwd=self.path.parent,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            preexec_fn=self._confine,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    def _confine(self) -> None:
        if self.limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))


@pytest.fixture(params=["small disk", "limited files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A file system of six MiB, or where nobody may mount one, a limit on the size of files."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    if request.param == "limited files":
        yield Disk(place / "store.db")
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield Disk(place / "store.db", ballast=place / "ballast")
    finally:
        subprocess.run(["umount", str(place)], check=True)


async def test_a_sync_on_a_full_disk(disk: Disk, sqlite_file: Path, canary: str) -> None:
    shutil.copy(sqlite_file, disk.path)
    async with serve_sandbox(World(seed=1, products=1, tests_per_product=12, bugs_per_test=4), token=canary) as api:
        disk.environment = {"TESTIO_CUSTOMER_API_BASE_URL": api.url, "TESTIO_CUSTOMER_API_TOKEN": canary}
        first = await asyncio.to_thread(disk.run, "sync", "--only", "features")
        assert first.code == 0, first.err
        disk.fill()
        failed = await asyncio.to_thread(disk.run, "sync")
        assert (failed.code, failed.out) == (1, "")
        errors = [line for line in failed.err.splitlines() if "disk" in line]
        assert len(errors) == 1
        assert str(disk.path) in errors[0]
        with reading(disk.path) as conn:
            assert find_damage(conn, HEAD) == []
            ended = conn.exec_driver_sql("SELECT status FROM sync_run WHERE id > 1").all()
            assert ended in ([], [("failed",)], [("running",)])
        listed = await asyncio.to_thread(disk.run, "products", "list", "--json")
        assert (listed.code, len(json.loads(listed.out)["items"])) == (0, 1), listed.err
        backup = await asyncio.to_thread(disk.run, "db", "backup")
        assert (backup.code, backup.err.count("\n")) == (1, 1)
        assert not list((disk.path.parent / "backups").glob("*"))
        disk.free()
        healed = await asyncio.to_thread(disk.run, "sync")
        assert healed.code == 0, healed.err
    with reading(disk.path) as conn:
        assert find_damage(conn, HEAD) == []
        assert conn.exec_driver_sql("SELECT count(*) FROM test").scalar() == 12
    for done in (failed, backup, healed):
        assert canary not in done.out + done.err
