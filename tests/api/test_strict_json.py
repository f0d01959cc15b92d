"""Bytes in, a value that every store takes or one typed error out."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testio_mcp.api.strict_json import NotJson, read_json

ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_lone_surrogates_and_nul_become_replacement_characters() -> None:
    body = rb'{"a\ud800": ["\udfff", "x\u0000y", "\uD83D\uDE00", "\\ud800"]}'
    assert read_json(body) == {"a\ufffd": ["\ufffd", "x\ufffdy", "\U0001f600", "\\ud800"]}


def test_bytes_that_are_not_utf8_become_replacement_characters() -> None:
    assert read_json(b'["\xff"]') == ["\ufffd"]


def test_control_characters_and_line_separators_stay() -> None:
    assert read_json(b'["a\\u0001\\u202e\xe2\x80\xa8\tb"]') == ["a\x01\u202e\u2028\tb"]


@given(ANY_TEXT)
def test_any_text_comes_out_storable(text: str) -> None:
    (found,) = read_json(json.dumps([text]).encode())
    assert "\x00" not in found.encode().decode()
    assert len(found) <= len(text)
    if text.isascii() and "\x00" not in text:
        assert found == text


@given(st.binary() | ANY_TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_survived(body: bytes) -> None:
    try:
        read_json(body)
    except NotJson as error:
        assert str(error)


@given(st.recursive(st.none() | st.booleans() | st.integers(), lambda inner: st.lists(inner)), st.data())
def test_a_value_cut_off_is_truncated_json(value: Any, data: st.DataObject) -> None:
    body = json.dumps({"products": value}).encode()
    assert read_json(body) == {"products": value}
    cut = body[: data.draw(st.integers(1, len(body) - 1))]
    with pytest.raises(NotJson) as caught:
        read_json(cut)
    assert caught.value.truncated == (not cut.endswith(b"]"))
