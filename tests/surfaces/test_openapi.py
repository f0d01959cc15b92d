"""The description of the REST routes is true: schemathesis asks accordingly, and otherwise, and finds no fault."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import aiosqlite
import pytest

from testio_mcp.operations.registry import operations
from tests.surfaces.conftest import Copy
from tests.surfaces.programs import http_server, whole

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# These ask the API of Test IO, which the tests of the sync do.
ELSEWHERE = {"sync_data", "retry_problems"}


async def _known_ids(path: Path) -> dict[str, int]:
    """The id of one record of each kind, under the name that arguments have for it."""
    tables = ("product", "test", "bug", "feature", "user_story", "person")
    async with aiosqlite.connect(path) as connection:
        found = {f"{name}_id": await connection.execute_fetchall(f"SELECT max(id) FROM {name}") for name in tables}
    return {name: row[0] for name, rows in found.items() for row in rows if row[0] is not None}


async def test_schemathesis_finds_no_fault(own_copy: Copy, tmp_path: Path) -> None:
    environment = own_copy.environment | {"TESTIO_HTTP_REQUESTS_PER_MINUTE": "0", "TESTIO_LOG_LEVEL": "ERROR"}
    environment["TESTIO_EXPORT_DIR"] = str(tmp_path / "exports")
    known = await _known_ids(own_copy.path)
    hooks = {
        "KNOWN_IDS": json.dumps(known),
        "SCHEMATHESIS_HOOKS": "tests.surfaces.openapi_hooks",
        "PYTHONPATH": str(ROOT),
    }
    with http_server(environment, tmp_path) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
            *("--checks", "all", "--phases", "coverage,fuzzing", "--max-examples", "3", "--seed", "1"),
            *("--exclude-operation-id-regex", "|".join(ELSEWHERE), "--workers", "1", "--no-color"),
            env=whole(hooks),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode()
    found = said.partition("= FAILURES =")[2] or said
    assert process.returncode == 0, found
    assert (asked := re.search(r"Tested: (\d+)", said)), said
    assert int(asked[1]) == len(operations()) - len(ELSEWHERE)
