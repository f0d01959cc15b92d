"""Whatever happens to a record, reading it ends well, its neighbour is read, and no secret comes through."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testio_mcp.api.payloads import (
    parse_bug,
    parse_environment,
    parse_execution,
    parse_feature,
    parse_product,
    parse_reject_reason,
    parse_template,
    parse_test,
    parse_user_story,
)
from testio_mcp.api.records import parse_records
from testio_mcp.scrub import scrub_secrets, scrub_url
from tests.api.samples import (
    BUG,
    ENVIRONMENT,
    EXECUTION,
    FEATURE,
    PRODUCT,
    REASON,
    SECRET,
    STORY,
    TEMPLATE,
    TEST,
)

Parser = Callable[[dict[str, Any]], Any]
KINDS: dict[str, tuple[dict[str, Any], Parser]] = {
    "product": (PRODUCT, parse_product),
    "feature": (FEATURE, parse_feature),
    "story": (STORY, parse_user_story),
    "test": (TEST, parse_test),
    "bug": (BUG, parse_bug),
    "execution": (EXECUTION, parse_execution),
    "environment": (ENVIRONMENT, parse_environment),
    "template": (TEMPLATE, parse_template),
    "reason": (REASON, parse_reject_reason),
}
STRANGERS: tuple[Any, ...] = (
    None,
    True,
    0,
    -7,
    12.0,
    2**70,
    "",
    "12",
    "x",
    [],
    [None],
    ["x"],
    [[1]],
    {},
    {"name": 5},
    {"id": "x"},
)
Path = tuple[str | int, ...]


def _paths(value: Any, here: Path = ()) -> Iterator[Path]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield (*here, key)
        yield from _paths(item, (*here, key))


def _parent(record: Any, path: Path) -> Any:
    for key in path[:-1]:
        record = record[key]
    return record


def _mutants(sample: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in _paths(sample):
        for stranger in STRANGERS:
            mutant = deepcopy(sample)
            _parent(mutant, path)[path[-1]] = deepcopy(stranger)
            yield f"{path} = {stranger!r}", mutant
        mutant = deepcopy(sample)
        value = _parent(mutant, path).pop(path[-1])
        yield f"drop {path}", deepcopy(mutant)
        if isinstance(path[-1], str):
            _parent(mutant, path)[f"{path[-1]}_renamed"] = value
            yield f"rename {path}", mutant


def _check(what: str, records: list[Any], rejects: list[Any]) -> None:
    assert len(records) + len(rejects) == 2, what
    assert records, what
    for found in (*records, *rejects):
        shown = json.dumps(found.raw, ensure_ascii=False).encode() + repr(found).encode()
        assert SECRET.encode() not in shown, what


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_change_of_every_path_is_survived(kind: str) -> None:
    sample, parse = KINDS[kind]
    for what, mutant in _mutants(sample):
        _check(what, *parse_records([mutant, deepcopy(sample)], parse))


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_not_changed_by_reading_it(kind: str) -> None:
    sample, parse = KINDS[kind]
    before = deepcopy(sample)
    parse(sample)
    assert sample == before


_NAMES = st.sampled_from(
    sorted({str(key) for sample, _ in KINDS.values() for path in _paths(sample) for key in path})
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(), inner, max_size=6),
    max_leaves=20,
)


@pytest.mark.parametrize("kind", KINDS)
@given(record=_JSON)
def test_any_json_is_survived(kind: str, record: Any) -> None:
    sample, parse = KINDS[kind]
    records, rejects = parse_records([record, sample], parse)
    assert len(records) + len(rejects) == 2
    assert records


def test_secrets_go_wherever_they_are() -> None:
    clean = scrub_secrets({"a": [{"test_environments": [ENVIRONMENT]}], "b": {"Password": SECRET}, "id": 1})
    assert clean == {
        "a": [
            {
                "test_environments": [
                    {"id": 31, "title": "Staging", "url": "https://staging.shop.example/?access_token=&lang=de"}
                ]
            }
        ],
        "b": {},
        "id": 1,
    }


def test_a_record_without_secrets_is_not_copied() -> None:
    assert scrub_secrets(PRODUCT) is PRODUCT


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://shop.example/a?b=c", "https://shop.example/a?b=c"),
        ("https://user:word@shop.example/", "https://shop.example/"),
        ("https://user@shop.example/@me", "https://shop.example/@me"),
        ("https://us@er:w@rd@shop.example/", "https://shop.example/"),
        ("https://shop.example/?password=x&lang=de#api_key=y", "https://shop.example/?password=&lang=de#api_key="),
        ("", ""),
    ],
)
def test_addresses_lose_their_secrets(url: str, clean: str) -> None:
    assert scrub_url(url) == clean
