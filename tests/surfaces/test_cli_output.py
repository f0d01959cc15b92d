"""What the command line prints: formats, columns, tables of every width, completion, links."""

import asyncio
import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len
from rich.console import Console

from testio_mcp.operations.registry import operations
from testio_mcp.surfaces.cli.columns import known_columns
from testio_mcp.surfaces.cli.exports import comma_separated, markdown, tab_separated
from testio_mcp.surfaces.cli.terminal import show_record
from testio_mcp.texts import is_formula
from tests.reports.sample import FORMULAS
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import PROGRAM, whole
from tests.surfaces.test_cli import on_terminal

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
WIDE: dict[str, list[dict[str, object]]] = {
    "items": [
        {
            "id": 9_007_199_254_740_000 + number,
            "title": "一つの長いタイトル and a long title in words that wrap",
            "product_id": 7,
            "product": "A product with a long name",
            "status": "auto_accepted",
            "level": "critical",
            "is_known": False,
            "reported_at": "2026-11-22T10:11:12.345678Z",
            "reporter": "Somebody Withalongname",
            **{f"more_{letter}": f"{letter} value" for letter in "abcdef"},
        }
        for number in range(3)
    ]
}


def drawn(answer: Mapping[str, object], width: int, *columns: str) -> tuple[str, list[str]]:
    """A page as a terminal of that width shows it, and the columns that had no room."""
    out = io.StringIO()
    left_out = show_record(Console(file=out, width=width), answer, columns=columns)
    return out.getvalue(), left_out


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160, 300])
def test_no_id_and_no_heading_is_cut_at_any_width(width: int) -> None:
    seen, left_out = drawn(WIDE, width)
    assert max(map(cell_len, seen.splitlines())) <= width
    assert all(str(item["id"]) in seen for item in WIDE["items"])
    assert len(set(re.findall(r"\btitle\b", seen))) == 1
    shown = [name for name in WIDE["items"][0] if name not in left_out and name != "product_id"]
    for name in shown:
        for word in name.removesuffix("_at").split("_"):
            assert word in seen
    assert ("status" in shown) == (width >= 60)
    assert (left_out == []) == (width >= 300)


def test_what_matters_least_goes_first() -> None:
    kept = {width: set(WIDE["items"][0]) - set(drawn(WIDE, width)[1]) for width in (40, 80, 120, 160)}
    assert kept[40] < kept[80] < kept[120] < kept[160]
    assert {"id", "title", "status", "level"} <= kept[80]


def test_chosen_columns_are_all_there() -> None:
    chosen = list(WIDE["items"][0])
    seen, left_out = drawn(WIDE, 40, *chosen)
    assert left_out == []
    assert "9007199254740000" in seen
    assert "f value" in seen
    row = next(line for line in seen.splitlines() if "9007199254740000" in line)
    assert row.index("auto_accepted") < row.index("critical") < row.index("2026-11-22 10:11")


HARMLESS = ("a=1", "1-1", "", "  text", "\u200btext", "#tag", "(−5)", "'=1", "a, -1", "x: @y")


@pytest.mark.parametrize("write", [comma_separated, tab_separated], ids=["csv", "tsv"])
def test_formulas_of_strangers_stay_text(write: Callable[[Mapping[str, object]], str]) -> None:
    nasty = [*FORMULAS, "a;=1", "a; @b", "a;\xa0+1"]
    answer = {"items": [{"id": -5, "rate": -0.5, "text": text, "known": True} for text in (*nasty, *HARMLESS)]}
    if write is comma_separated:
        rows = list(csv.DictReader(io.StringIO(write(answer))))
    else:
        rows = list(csv.DictReader(io.StringIO(write(answer)), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) == len(answer["items"])
    live = [ascii(row["text"]) for row in rows[: len(nasty)] if row["text"][:1] != "'" and ";" not in row["text"]]
    assert live == []
    assert [row["text"] for row in rows[len(nasty) - 3 : len(nasty)]] == ["a;'=1", "a; '@b", "a;\xa0'+1"]
    assert [row["text"] for row in rows[len(nasty) :]] == list(HARMLESS)
    assert {(row["id"], row["rate"], row["known"]) for row in rows} == {("-5", "-0.5", "true")}
    assert write({"items": [{"=a": 1}]}).startswith("'=a")


def test_a_record_as_text_holds_no_formula_either() -> None:
    detail = {
        "id": 1,
        "goal": "one\n=1+1\n \u200b@x",
        "parts": [{"name": "\xa0=1"}, {"name": "-2"}],
        "-3": [{"a": 1}],
    }
    lines = tab_separated(detail).splitlines()
    assert "  '=1+1" in lines
    assert [line for line in lines if is_formula(line.strip()) and not line.startswith("-3:")] == []
    assert "'\xa0=1" in lines


def test_markdown_is_a_table_whatever_the_text() -> None:
    nasty = "a|b\n![x](https://evil.example/?q) <img src=x> `c` *d* \\| end"
    lines = markdown({"items": [{"id": 1, "text": nasty}, {"id": 2, "text": None}]}).splitlines()
    assert lines[:2] == ["| id | text |", "| --- | --- |"]
    assert lines[2] == (r"| 1 | a\|b \!\[x\](https\://evil\.example/?q) \<img src=x\> \`c\` \*d\* \\\| end |")
    assert lines[3] == "| 2 |  |"
    detail = markdown({"id": 1, "counts": {"open": 2}, "nothing": None, "parts": [{"name": "x|y"}]})
    assert "| counts.open | 2 |" in detail
    assert "## parts\n\n| name |\n| --- |\n| x\\|y |" in detail
    assert "nothing" not in detail


LINKS = (
    "https://evil.example/?q", "see http://evil.example.", "HTTPS://EVIL.example", "www.evil.example", "ftp://a.b/c",
    "mailto:a@evil.example", "javascript:alert(1)", "//evil.example/x", "evil.example/x", "x_https://evil.example",
    "[a](https://evil.example)", "<https://evil.example>", "![i](//evil.example/i.png)", "[r]: https://evil.example",
    "@everyone", "#123", "# head", "- [ ] item", "+ item", "1. one", "=== x", "~~gone~~", "_a_ __b__", "&lt;b&gt;",
    "$a$", "a | b", "`c`", "https\u200b://evil.example", "`https://evil.example",
)  # fmt: skip


@pytest.mark.parametrize("text", LINKS)
@pytest.mark.parametrize("shape", ["page", "detail", "heading"])
def test_markdown_has_no_live_link_and_shows_what_was_written(text: str, shape: str) -> None:
    answer: dict[str, Mapping[str, object]] = {
        "page": {"items": [{"id": 1, "text": text}]},
        "detail": {"id": 1, "text": text, "parts": [{"name": text}]},
        "heading": {"items": [{"id": 1, f"Counts {text}": 2}]},
    }
    written = markdown(answer[shape])
    html = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(written)
    assert not re.search(r"<(a|img|code|em|strong|s|b|h1|li|del)\b", html)
    assert escape(" ".join(text.split()), quote=False).replace('"', "&quot;") in html
    bare = re.search(r"(?i)[a-z][a-z0-9+.-]*:(?=[^\s|])|www\.|[\w-]\.[a-z]{2}", written.replace("|", " | "))
    assert bare is None, bare


def test_chosen_columns_keep_their_order_and_stay_when_empty() -> None:
    answer = {"items": [{"b": {"x": 1, "y": 2}, "none": None, "id": 1}]}
    assert tab_separated(answer, ["b", "none", "id"]) == "b.x\tb.y\tnone\tid\n1\t2\t\t1"
    assert comma_separated(answer, ["none", "id"]) == "none,id\n,1\n"


@pytest.mark.parametrize("form", ["", "--csv", "--md"])
async def test_columns_are_chosen_and_ordered(synced: Copy, cli: Cli, form: str) -> None:
    question = ("tests", "list", "--limit", "2", "--columns", "bugs.total, title,id")
    ended = await cli(synced.environment, *question, *filter(None, [form]))
    items = json.loads((await cli(synced.environment, *question, "--json")).out)["items"]
    head, *rows = [line for line in ended.out.splitlines() if "---" not in line]
    split = {"": "\t", "--csv": ",", "--md": " | "}[form]
    assert head.strip("| ").split(split) == ["bugs.total", "title", "id"]
    assert [row.strip("| ").split(split)[-1] for row in rows] == [str(item["id"]) for item in items]
    assert set(items[0]) == {"id", "title", "bugs"}


@pytest.mark.parametrize("columns", ["id,frob", "bugs.frob", "id.x", ",", "fields"])
async def test_a_column_that_is_not_there_is_a_usage_error(synced: Copy, cli: Cli, columns: str) -> None:
    ended = await cli(synced.environment, "tests", "list", "--columns", columns)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("columns: ")
    assert "id, title, product_id" in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("name", [op.name for op in operations().values() if op.item is not None])
def test_every_list_has_columns_to_choose(name: str) -> None:
    item = operations()[name].item
    assert item is not None
    assert set(item.model_fields) <= set(known_columns(item))


async def test_two_formats_are_a_usage_error(synced: Copy, cli: Cli) -> None:
    ended = await cli(synced.environment, "tests", "list", "--json", "--md")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "--json and --md exclude each other. Give one of them.\n"


async def test_yes_no_and_either_are_three_things(synced: Copy, cli: Cli) -> None:
    known, unknown, both = [
        json.loads((await cli(synced.environment, "bugs", "list", "--limit", "1", *flag, "--json")).out)["total"]
        for flag in (["--known"], ["--no-known"], [])
    ]
    assert known + unknown == both
    assert known > 0
    assert unknown > 0


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("name", ["bugs list", "tests list", "people list", "triage"])
async def test_wide_lists_fit_a_terminal(synced: Copy, tmp_path: Path, width: int, name: str) -> None:
    seen = await on_terminal(synced.environment, *name.split(), "--limit", "5", cwd=tmp_path, width=width)
    lines = _COLOUR.sub("", seen).replace("\r", "").splitlines()
    assert max(map(cell_len, lines)) <= width
    ids = re.findall(r"^ *(\d{4,})  ", "\n".join(lines), re.MULTILINE)
    assert len(set(ids)) == 5


OFFERED = {
    "testio-mcp pro": ["problems", "products"],
    "testio-mcp tests list --status ru": ["running"],
    "testio-mcp tests list --status running,lo": ["running,locked"],
    "testio-mcp tests list --sort ": ["newest", "oldest"],
    "testio-mcp tests list --columns id,bugs.to": ["id,bugs.total"],
    "testio-mcp open b": ["bug"],
    "testio-mcp bugs list --no-kn": ["--no-known"],
}
# What bash does at a tab, with the completion that the program installs.
TABS = r"""
source <(testio-mcp --show-completion bash)
[[ $(complete -p testio-mcp) =~ -F\ ([^ ]+) ]] && complete=${BASH_REMATCH[1]}
while IFS= read -r line; do
    IFS=' ' read -ra COMP_WORDS <<< "$line"
    [[ $line == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    "$complete" testio-mcp
    (IFS=' '; echo "${COMPREPLY[*]}")
done
"""


@pytest.mark.slow
async def test_bash_completes_commands_options_and_words(synced: Copy, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "testio-mcp"
    program.write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n')
    program.chmod(0o755)
    environment = whole({**synced.environment, "SHELL": "/bin/bash"})
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", TABS),
        env={**environment, "PATH": f"{program.parent}:{environment['PATH']}", "HOME": str(tmp_path)},
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate("".join(f"{line}\n" for line in OFFERED).encode())
    assert [sorted(line.split()) for line in out.decode().splitlines()] == list(OFFERED.values())
    assert err == b""


async def test_links_lead_to_the_web_app(synced: Copy, cli: Cli) -> None:
    environment = {**synced.environment, "TESTIO_WEB_URL": "https://acme.test.io/"}
    bugs = await cli(synced.environment, "bugs", "list", "--limit", "1", "--json")
    bug = json.loads(bugs.out)["items"][0]
    product = f"https://acme.test.io/products/{bug['product_id']}"
    expected = {
        ("product", bug["product_id"]): product,
        ("test", bug["test_id"]): f"{product}/test_cycles/{bug['test_id']}",
        ("bug", bug["id"]): f"{product}/test_cycles/{bug['test_id']}/bugs/{bug['id']}",
    }
    for (kind, key), link in expected.items():
        ended = await cli(environment, "open", kind, str(key))
        assert (ended.code, ended.out) == (0, f"{link}\n")


@pytest.mark.parametrize(
    ("settings", "arguments", "code", "said"),
    [
        ({}, ("bug", "1"), 2, "TESTIO_WEB_URL is not set."),
        ({"TESTIO_WEB_URL": "acme"}, ("bug", "1"), 2, "TESTIO_WEB_URL: must be an address such as https://"),
        ({"TESTIO_WEB_URL": "https://a.example"}, ("bug", "99"), 1, "Bug 99 is not in the store."),
        ({"TESTIO_WEB_URL": "https://a.example"}, ("bug", "x"), 2, "Invalid value for 'ID'"),
        ({"TESTIO_WEB_URL": "https://a.example"}, ("pigeon", "1"), 2, "pigeon"),
    ],
)
async def test_a_link_that_cannot_be_is_explained(
    synced: Copy, cli: Cli, settings: dict[str, str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = await cli({**synced.environment, **settings}, "open", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 1])
async def test_a_browser_opens_the_link(synced: Copy, tmp_path: Path, cli: Cli, code: int) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!{sys.executable}\nimport sys\nopen("opened", "w").write(sys.argv[1])\nsys.exit({code})\n')
    browser.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "open", "product", str(synced.product_id), "--browser"),
        env=whole({**synced.environment, "TESTIO_WEB_URL": "https://acme.test.io", "BROWSER": f"{browser} %s"}),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (tmp_path / "opened").read_text() == out.decode().strip()
    assert process.returncode == code, err
