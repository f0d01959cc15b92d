"""How large the code is and what of it is hard to read: `make sizes` reports, nobody is held to it."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_SRC = Path(__file__).parents[1] / "src"
LONG_FILE, LONG_FUNCTION, SHORT_HELPER = 700, 60, 6
BARE_WORDS = """
    about adopt asked done door found given got held kept known letters look made moment move patience patient place
    reach renew room said seen sent shown taken thing tidy told way within
"""
"""Names that say little by themselves (`vocabulary.md` of the design names better ones)."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _lines(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _uses(tree: ast.AST) -> Counter[str]:
    """How often each name is read, as a name or as an attribute."""
    names = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    attributes = (node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return Counter([*names, *attributes])


def _short_helpers(tree: ast.AST) -> Iterator[str]:
    """Private functions of fewer than six lines that one place uses; decorated ones are called by others."""
    uses = _uses(tree)
    for node in _functions(tree):
        is_private = node.name.startswith("_") and not node.name.startswith("__")
        if is_private and not node.decorator_list and _lines(node) < SHORT_HELPER and uses[node.name] == 1:
            yield node.name


def _repeated_types(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Classes and type aliases that several modules define under one name."""
    places: dict[str, list[str]] = {}
    for name, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(name)
    return {name: where for name, where in places.items() if len(where) > 1}


def main() -> None:
    """Print lines by package, short helpers, bare names, repeated type names, long files and long functions."""
    texts = {
        path.relative_to(_SRC).as_posix(): path.read_text(encoding="utf-8") for path in sorted(_SRC.rglob("*.py"))
    }
    trees = {name: ast.parse(text) for name, text in texts.items()}
    lengths = {name: len(text.splitlines()) for name, text in texts.items()}
    packages: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for name, length in lengths.items():
        parts = name.split("/")
        package = "/".join(
            parts[: max(1, min(len(parts) - 1, 3 if "operations" in parts or "surfaces" in parts else 2))]
        )
        packages[package] += length
        modules[package] += 1
    for package, length in sorted(packages.items()):
        print(f"{length:7,} lines {modules[package]:4} modules  {package}")
    print(f"{sum(lengths.values()):7,} lines {len(lengths):4} modules  in all")
    helpers = {name: list(_short_helpers(tree)) for name, tree in trees.items()}
    print(f"\nPrivate functions under {SHORT_HELPER} lines with one caller: {sum(map(len, helpers.values()))}")
    for name, names in helpers.items():
        if names:
            print(f"  {name}: {', '.join(names)}")
    bare = [
        f"{name}: {f.name}"
        for name, tree in trees.items()
        for f in _functions(tree)
        if f.name.lstrip("_") in BARE_WORDS.split()
    ]
    print(f"\nFunctions named by a bare word: {len(bare)}", *bare, sep="\n  ")
    repeated = _repeated_types(trees)
    print(f"\nType names with several meanings: {len(repeated)}")
    for name, where in repeated.items():
        print(f"  {name}: {', '.join(where)}")
    long_files = [name for name, length in lengths.items() if length > LONG_FILE]
    print(f"\nFiles over {LONG_FILE} lines: {len(long_files)}", *long_files, sep="\n  ")
    long = [
        f"{name}: {f.name} ({_lines(f)})"
        for name, tree in trees.items()
        for f in _functions(tree)
        if _lines(f) > LONG_FUNCTION
    ]
    print(f"\nFunctions over {LONG_FUNCTION} lines: {len(long)}", *long, sep="\n  ")


if __name__ == "__main__":
    main()
