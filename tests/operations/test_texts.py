"""Any text and any id that the API sends: kept as far as a database can hold it, and answered as it is kept."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from testio_mcp.operations.registry import operations
from tests.sync.conftest import Account

_ONLY_TESTS: dict[str, Any] = {"only": frozenset({"tests"})}
_ANY_TEXT = st.text(st.characters(), min_size=1, max_size=60)


def _storable(text: str) -> str:
    """The text as UTF-8 and both databases can hold it."""
    return "".join("\ufffd" if char == "\0" or "\ud800" <= char <= "\udfff" else char for char in text)


@given(text=_ANY_TEXT)
@example(text="lone \ud800 and \udc00, pair \U0001f600")
@example(text="nul \0 in the middle")
@example(text="bidi \u202e, line \u2028, bell \x07, escape \x1b[31m, tag \U000e0041")
@settings(max_examples=20)
async def test_any_text_is_kept_and_answered(account: Account, text: str) -> None:
    test_id = account.world.test_ids(account.world.product_ids[0])[0]
    account.world.update_test(test_id, goal=f"x{text}x", goal_text=f"x{text}x")

    assert (await account.sync(**_ONLY_TESTS)).status == "completed"

    (row,) = await account.rows("test", id=test_id)
    assert row["goal"] == f"x{_storable(text)}x"
    answer = await operations()["get_test"].run(account.app, {"test_id": test_id})
    assert json.loads(answer.model_dump_json())["goal"] == f"x{_storable(text)}x"


@pytest.mark.parametrize("new_id", [2**31 - 1, 2**31, 2**32, 2**53 - 1])
async def test_ids_up_to_the_largest_exact_number_are_kept(account: Account, new_id: int) -> None:
    test_id = account.world.test_ids(account.world.product_ids[0])[0]
    account.break_with("retype", field="exploratory_tests.*.id", record_id=test_id, value=new_id)

    assert (await account.sync(**_ONLY_TESTS)).status == "completed"

    assert [row["id"] for row in await account.rows("test", id=new_id)] == [new_id]
    answer = await operations()["get_test"].run(account.app, {"test_id": str(new_id)})
    assert json.loads(answer.model_dump_json())["id"] == new_id


@pytest.mark.parametrize("new_id", [2**53, 2**63 - 1, 2**63, 2**70, 10**400, -1, True, 1.5, "x", [1]])
async def test_ids_that_no_number_holds_are_set_aside(account: Account, new_id: Any) -> None:
    product_id = account.world.product_ids[0]
    test_id = account.world.test_ids(product_id)[0]
    account.break_with("retype", field="exploratory_tests.*.id", record_id=test_id, value=new_id)

    summary = await account.sync(**_ONLY_TESTS)

    assert (summary.status, summary.problems) == ("incomplete", 1)
    stored = {row["id"] for row in await account.rows("test", product_id=product_id)}
    assert stored == set(account.world.test_ids(product_id)) - {test_id}
