"""What questions import: the store and the domain, and nothing of the sync and the API."""

import subprocess
import sys

_LOADED = """
import importlib, sys
importlib.import_module("testio_mcp.operations.lists.products")
modules = (module for name, module in sys.modules.items() if name.partition(".")[0] == "testio_mcp")
print(*(module.__name__ for module in modules if not hasattr(module, "__path__")))
"""
_MODULES = 25


def test_one_list_loads_few_modules() -> None:
    """Packages are not counted: they hold a docstring, or the names of their modules."""
    loaded = subprocess.run(
        [sys.executable, "-c", _LOADED], capture_output=True, check=True, text=True
    ).stdout.split()

    assert "testio_mcp.operations.lists.products" in loaded
    assert [name for name in loaded if name.startswith(("testio_mcp.sync", "testio_mcp.api"))] == []
    assert len(loaded) <= _MODULES, sorted(loaded)
