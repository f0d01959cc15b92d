"""What `make docs` writes is what the repository holds."""

import pytest

from testio_mcp.operations.registry import operations
from testio_mcp.settings import Settings
from tools.docs import KNOWLEDGE, REFERENCE, knowledge, reference


def test_reference_is_up_to_date() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference(), "run 'make docs'"
    assert KNOWLEDGE.read_text(encoding="utf-8") == knowledge(), "run 'make docs'"


@pytest.mark.parametrize("name", operations())
def test_every_operation_is_in_the_reference(name: str) -> None:
    section = reference().partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    op = operations()[name]
    for said in (
        f"`testio-mcp {op.command}`",
        f"`{op.method} /api{op.path}`",
        op.summary,
        *op.arguments.model_fields,
    ):
        assert said in section


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_reference(name: str) -> None:
    assert f"`TESTIO_{name.upper()}`" in reference()


def test_reference_does_not_depend_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reference()
    monkeypatch.setenv("HOME", "/elsewhere")
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere")
    assert reference() == before
    assert "elsewhere" not in before
