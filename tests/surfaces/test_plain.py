"""Answers as text, and answers cut to fit."""

import io
import json
import unicodedata
from typing import Any

import pytest
from rich.console import Console

from testio_mcp.operations.links import option_names
from testio_mcp.surfaces.cli.terminal import show_record
from testio_mcp.surfaces.mcp.budget import REPLY_BYTES, fitting, shortened, size
from testio_mcp.surfaces.mcp.plain import table, text, tsv


def test_a_table_has_a_column_for_what_has_a_value() -> None:
    columns, rows = table(
        [{"id": 1, "a": None, "b": {"x": 0, "y": None}}, {"id": 2, "a": "", "b": {"x": 3}, "c": []}]
    )
    assert columns == ["id", "b.x"]
    assert rows == [[1, 0], [2, 3]]


def test_a_constant_column_goes_into_a_line_above() -> None:
    records = [{"id": n, "title": "Same", "product": "Shop", "known": False, "capped": None} for n in (1, 2)]
    assert text({"items": records}) == "in all rows: product Shop, known false\nid\ttitle\n1\tSame\n2\tSame"
    assert text({"items": records}, {"product", "capped"}).splitlines()[:2] == [
        "in all rows: known false",
        "id\ttitle\tproduct\tcapped",
    ]
    assert text({"items": records[:1]}) == "id\ttitle\tproduct\tknown\n1\tSame\tShop\tfalse"
    assert text({"items": [{"a": 1}, {"a": 1}]}) == "a\n1\n1"


@pytest.mark.parametrize(
    ("period", "said"),
    [
        ({"words": "all time", "first": None, "last": None}, "all time"),
        (
            {"words": "this quarter", "first": "2026-10-01", "last": "2026-11-30", "days": 61, "is_to_date": True},
            "this quarter (2026-10-01 to 2026-11-30, to date)",
        ),
        (
            {"words": "2026-10-01 to 2026-10-31", "first": "2026-10-01", "last": "2026-10-31"},
            "2026-10-01 to 2026-10-31",
        ),
        ({"words": "since 2026-10-01", "first": "2026-10-01", "last": None}, "since 2026-10-01"),
    ],
)
def test_a_period_is_said_once(period: dict[str, Any], said: str) -> None:
    assert text({"period": period}) == f"period: {said}"


def test_a_cell_never_breaks_its_table() -> None:
    nasty = "a\tb\r\nc\u2028d\x85e\vf"
    assert tsv(["t"], [[nasty], [True], [None], [["x", nasty]], [1.5]]).splitlines() == [
        "t",
        "a b c d e f",
        "true",
        "",
        "x, a b c d e f",
        "1.5",
    ]


def test_text_does_not_steer_a_terminal() -> None:
    nasty = "\x1b]0;title\x07 \x9b31m\x7f\0 \r\nsecond line"
    shown = io.StringIO()
    show_record(Console(file=shown, width=80, force_terminal=False), {"text": nasty, "items_": [{"title": nasty}]})
    show_record(Console(file=shown, width=80, force_terminal=False), {"items": [{"title": nasty}]})
    for said in (shown.getvalue(), text({"text": nasty, "parts": [{"x": nasty}]})):
        assert "second line" in said
        assert not [char for char in said if char != "\n" and char != "\t" and unicodedata.category(char) == "Cc"]


def test_details_come_before_their_tables_and_pages_before_what_is_said_of_them() -> None:
    detail = {"id": 1, "goal": "one\ntwo", "empty": [], "bugs": {"total": 2, "open": 0}, "parts": [{"id": 7}]}
    assert text(detail) == "id: 1\ngoal: one\n  two\nbugs: total 2, open 0\n\nparts:\nid\n7"
    assert text({"next_cursor": "x", "items": [{"id": 1}]}) == "id\n1\n\nnext_cursor: x"
    assert text({"sum": {"open": {"low": 1}, "due": 2}}) == "sum: open (low 1), due 2"
    assert text({"items": [], "as_of": "now"}) == "No records match.\n\nas_of: now"


@pytest.mark.parametrize(
    "answer",
    [
        {"id": 1, "items": [{"id": n, "title": "x" * 300} for n in range(500)]},
        {"id": 1, "text": "ü" * 10_000_000, "rest": [1, 2, 3]},
        {"id": 1, "items": [{"id": 1, "title": "\n" * 200_000}]},
        {"id": 1, "bugs": {"a": "x" * 40_000, "b": ["y" * 40_000] * 3}, "c": "z" * 40_000},
    ],
)
def test_a_reply_fits_and_says_what_was_cut(answer: dict[str, Any]) -> None:
    short = shortened(answer)
    assert size(short) <= REPLY_BYTES
    assert "Cut to fit" in short["notice"]
    assert short["id"] == 1
    json.dumps(short)


def test_what_fits_is_left_alone() -> None:
    answer = {"items": [{"id": 1}]}
    assert shortened(answer) is answer
    assert fitting([]) == 0
    assert fitting([{"a": "x" * 100_000}]) == 1


@pytest.mark.parametrize(
    ("name", "is_list", "found"),
    [
        ("product_id", False, ["--product", "--product-id"]),
        ("product_ids", True, ["--product", "--product-ids", "--products"]),
        ("user_story_ids", True, ["--user-story", "--user-story-ids", "--user-stories"]),
        ("statuses", True, ["--status", "--statuses"]),
        ("testing_types", True, ["--testing-type", "--testing-types"]),
        ("severities", True, ["--severity", "--severities"]),
        ("limit", False, ["--limit"]),
        ("status", False, ["--status"]),
    ],
)
def test_options_have_the_names_that_people_guess(name: str, is_list: bool, found: list[str]) -> None:
    assert option_names(name, is_list=is_list) == found
