"""The page of faults names tests, and they exist."""

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "architecture" / "faults.md"
# A file, and its tests separated by commas.
_NAMED = re.compile(r"([\w/]+\.py)::(\w+(?:, test_\w+)*)")


@cache
def _tests_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    found = _NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(found) > 80
    named = [(file, name) for file, names in found for name in names.split(", ")]
    assert [f"{file}::{name}" for file, name in named if name not in _tests_in(file)] == []


def test_every_fault_has_a_row_of_its_own_that_names_a_test() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \d+ \|", line)]
    assert len({row.split("|")[1] for row in rows}) == len(rows) > 40
    assert [row for row in rows if not _NAMED.search(row)] == []
