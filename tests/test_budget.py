"""A file has at most 700 lines, and some things have no place in the repository; `make sizes` reports the rest."""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES_PER_FILE = 700
# What only looks like SQL made of strings: constants, and a table name that comes from the file itself, quoted.
SQL_OF_CONSTANTS = {
    ("src/testio_mcp/database/backup.py", "SELECT count(*) FROM "),
    ("src/testio_mcp/database/engine.py", "PRAGMA busy_timeout="),
    ("src/testio_mcp/database/cache.py", "PRAGMA busy_timeout="),
}
_SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|VACUUM|ATTACH|SET)\s", re.IGNORECASE)
# Written in pieces: this file is searched too.
_ADDRESSES = ("pypi" + ".org", "files." + "pythonhosted", "index" + "-url", "find" + "-links", "registry." + "npmjs")
_MACHINE = ("/ro" + "ot/", "/wo" + "rk/", "/op" + "t/", "/Us" + "ers/", "/ho" + "me/")
_UNWANTED = re.compile("|".join([*map(re.escape, _ADDRESSES), *(rf"(?<![\w.]){path}" for path in _MACHINE)]))


def _files() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


FILES = _files()
PYTHON = [path for path in FILES if path.suffix == ".py"]
# Alembic writes revisions.
WRITTEN = [path for path in PYTHON if "versions" not in path.parts]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def test_there_is_something_to_measure() -> None:
    assert {"src/testio_mcp/errors.py", "tests/test_budget.py"} <= set(map(_name, WRITTEN))


def test_files_are_short() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in WRITTEN}
    assert {name: length for name, length in lengths.items() if length > LINES_PER_FILE} == {}


def _catches_everything(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id == "Exception") for kind in caught)


def test_unknown_errors_are_caught_once_per_surface() -> None:
    handlers = Counter(
        _name(path)
        for path in WRITTEN
        if _name(path).startswith("src/")
        for node in _nodes(path)
        if _catches_everything(node)
    )
    surfaces = {name: count for name, count in handlers.items() if name.startswith("src/testio_mcp/surfaces/")}
    assert handlers.keys() - surfaces.keys() == set()
    assert {name: count for name, count in surfaces.items() if count > 1} == {}


def _text_put_together(node: ast.AST) -> str | None:
    """The beginning of an f-string, or of the text in `text % x` and `text.format(x)`."""
    match node:
        case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]):
            return start
        case ast.BinOp(op=ast.Mod() | ast.Add(), left=ast.Constant(value=str(start))):
            return start
        case ast.Call(func=ast.Attribute(attr="format", value=ast.Constant(value=str(start)))):
            return start
    return None


def test_sql_is_never_put_together_from_strings() -> None:
    found = {
        (_name(path), text)
        for path in WRITTEN
        if _name(path).startswith("src/")
        for node in _nodes(path)
        if (text := _text_put_together(node)) and _SQL.match(text)
    }
    assert found == SQL_OF_CONSTANTS


@pytest.mark.parametrize("sample", ['f"SELECT {x}"', '"DELETE FROM %s" % x', '"update {}".format(x)', '"DROP " + x'])
def test_the_search_for_sql_finds(sample: str) -> None:
    texts = [_text_put_together(node) for node in ast.walk(ast.parse(sample))]
    assert any(text and _SQL.match(text) for text in texts)


def test_no_download_addresses_and_no_paths_of_a_machine() -> None:
    found = [
        f"{_name(path)}:{number}: {line.strip()[:80]}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1)
        if _UNWANTED.search(line)
    ]
    assert found == []
