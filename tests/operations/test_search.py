"""Full text search: what is typed finds what was written, on both databases alike."""

import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testio_mcp.database.search import KINDS
from testio_mcp.database.search_query import read_query
from testio_mcp.database.words import words_of
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.arguments import is_storable
from testio_mcp.operations.work.search import snippet
from tests.operations.conftest import ask
from tests.sync.conftest import Account

WORDS = (
    "",
    "login",
    "Crème",
    "日本語設定",
    "a*",
    '"',
    "title:",
    "AND",
    "NOT",
    "(",
    ")",
    "-",
    "^",
    "ß",
    "\u0301",
    "§7",
)
TYPED = st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=6).map(" ".join)
"""Words and signs that mean something to a database, between any other text."""


class Reported:
    """An account with bugs of these titles, copied; their ids by title."""

    def __init__(self, account: Account, titles: tuple[str, ...]) -> None:
        self.account = account
        self.test_id = account.world.test_ids(account.world.product_ids[0])[-2]
        self.ids = {title: self.report(title=title) for title in titles}

    def report(self, **fields: Any) -> int:
        return int(self.account.world.add_bug(self.test_id, **fields)["id"])

    async def find(self, query: str, **arguments: Any) -> set[int]:
        page = await ask(self.account, "search", query=query, limit=50, **arguments)
        return {hit.id for hit in page.items}


async def reported(account: Account, *titles: str) -> Reported:
    found = Reported(account, titles)
    await account.sync()
    return found


async def test_words_find_their_longer_forms_in_any_case_with_and_without_accents(account: Account) -> None:
    found = await reported(account, "Wörterbuch zerfällt", "Worterbuch offline", "ŁÓDŹ station", "weiße Straße")
    umlaut, plain, lodz, street = found.ids.values()

    assert await found.find("worterb") == await found.find("WÖRTERB") == {umlaut, plain}
    assert await found.find("zerfall") == await found.find("worterbuch zerfä") == {umlaut}
    assert await found.find("lodz") == await found.find("łódź") == {lodz}
    assert await found.find("STRASSE") == await found.find("straße") == {street}
    assert await found.find("erfällt") == set(), "a word is found by its beginning"
    assert await found.find("worterbuch nowhere9") == set(), "every word has to occur"


async def test_a_text_without_spaces_is_found_by_any_part(account: Account) -> None:
    found = await reported(account, "日本語設定が開かない", "語日本", "ตั้งค่าภาษาไทย", "설정화면 오류")
    settings, other, thai, korean = found.ids.values()

    assert await found.find("設定") == await found.find("語設") == await found.find("日本語設定") == {settings}
    assert await found.find("日本") == {settings, other}
    assert await found.find("本日") == set(), "the order counts"
    assert await found.find("ภาษา") == {thai}
    assert await found.find("화면") == await found.find(unicodedata.normalize("NFD", "화면")) == {korean}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_is_found_by_its_title(account: Account, kind: str) -> None:
    await account.sync()
    column = "name" if kind == "product" else "title"
    rows = await account.rows(kind)

    for row in rows[:8]:
        page = await ask(account, "search", query=row[column], kinds=[kind], limit=50)
        hit = next(hit for hit in page.items if hit.id == row["id"])
        assert (hit.kind, hit.title) == (kind, row[column])
        assert hit.product_id == row.get("product_id", row["id"])
        assert hit.product == (await account.rows("product", id=hit.product_id))[0]["name"]


async def test_comments_steps_and_ids_of_trackers_are_found(account: Account) -> None:
    found = Reported(account, ())
    comment = {"id": 1, "body": "Reproduziert auf Staging", "author": {"name": "Ada"}, "created_at": None}
    bug = found.report(comments=[comment], steps="open the frobnicator", external_idx="JIRA-4711")
    await account.sync()

    for query in ("reproduziert", "frobnic", "jira-4711", "4711 staging"):
        assert await found.find(query) == {bug}
    assert await found.find("comments:staging", raw=True, kinds=["bug"]) == {bug}


async def test_filters(account: Account) -> None:
    found = Reported(account, ())
    second = account.world.product_ids[1]
    here = found.report(title="xylophone", reported_at="2026-03-01T23:30:00Z")
    there = int(account.world.add_bug(account.world.test_ids(second)[-2], title="xylophone")["id"])
    account.world.update_test(found.test_id, title="xylophone test")
    await account.sync()

    assert await found.find("xylophone") == {here, there, found.test_id}
    assert await found.find("xylophone", kinds="test,feature") == {found.test_id}
    assert await found.find("xylophone", product_id=second) == {there}
    assert await found.find("xylophone", date_from="2026-03-01", date_to="2026-03-01") == {here}
    assert await found.find("xylophone", date_to="2026-02-28") == set()
    assert await found.find("xylophone", date_from="2026-03-02", kinds=["bug"], product_id=second) == {there}
    hit = next(h for h in (await ask(account, "search", query="xylophone")).items if h.id == here)
    assert hit.at == datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    with pytest.raises(NotFound, match="Product 999"):
        await found.find("xylophone", product_id=999)


async def test_a_changed_record_is_found_by_its_new_text_only(account: Account) -> None:
    found = await reported(account, "zeppelin lands")
    (bug,) = found.ids.values()

    account.world.update_bug(bug, title="submarine dives")
    await account.sync(full=True)
    assert (await found.find("zeppelin"), await found.find("submarine")) == (set(), {bug})

    account.world.delete_bug(bug)
    await account.sync(full=True)
    assert await found.find("submarine") == set()


async def test_the_title_counts_most_and_pages_hold_every_hit_once(account: Account) -> None:
    found = Reported(account, ())
    blank: dict[str, Any] = {"actual_result": None, "expected_result": None, "location": None, "comments": []}
    steps = ("then the quagga " + "and more " * n for n in range(7))
    in_steps = [found.report(title=f"bug {n}", steps=text, **blank) for n, text in enumerate(steps)]
    in_title = found.report(title="quagga")
    longer = found.report(title="quaggas")
    await account.sync()

    whole = await ask(account, "search", query="quagga", limit=50)
    assert [hit.id for hit in whole.items] == [in_title, longer, *in_steps]
    assert [hit.score for hit in whole.items] == sorted((hit.score for hit in whole.items), reverse=True)
    assert (whole.total, whole.total_is_capped, whole.scored) == (9, False, 9)
    pages: list[Any] = []
    cursor = None
    while not pages or cursor:
        page = await ask(account, "search", query="quagga", limit=2, cursor=cursor)
        pages.append(page)
        cursor = page.next_cursor
    assert [hit for page in pages for hit in page.items] == whole.items
    with pytest.raises(BadInput, match="cursor"):
        await ask(account, "search", query="quagga", cursor="WyJhIiwiYiIsImMiXQ")


async def test_raw_syntax(account: Account) -> None:
    found = await reported(account, "alpha beta gamma", "beta alpha", "alphabet", "alpha delta")
    abc, ba, bet, delta = found.ids.values()

    expected = {
        "alpha": {abc, ba, delta},
        "alpha*": {abc, ba, bet, delta},
        '"alpha beta"': {abc},
        '"alpha b"*': {abc},
        "alpha NOT beta": {delta},
        'alpha NOT "alpha beta"': {ba, delta},
        "gamma OR delta": {abc, delta},
        "alpha AND (gamma OR delta)": {abc, delta},
        "alpha (gamma OR delta) NOT delta": {abc},
        "title:gamma": {abc},
        'title:"beta alpha"': {ba},
        "body:gamma": set(),
        "ÁLPHA": {abc, ba, delta},
    }
    assert {query: await found.find(query, raw=True, kinds=["bug"]) for query in expected} == expected


@pytest.mark.parametrize("query", ["", "  ", "!?", "…", "\u0301", "§"])
async def test_a_query_without_a_word(account: Account, query: str) -> None:
    for raw in (False, True):
        with pytest.raises(BadInput, match="query"):
            await ask(account, "search", query=query, raw=raw)


@pytest.mark.parametrize(
    "query",
    ["a AND", "OR a", "NOT a", "(a", "a)", "()", '"a', 'a "', "a AND OR b", "title:", "(" * 99 + "a" + ")" * 99],
)
async def test_raw_syntax_that_is_wrong_says_what_is_right(account: Account, query: str) -> None:
    with pytest.raises(BadInput, match=r"^query: .* NOT, ") as caught:
        await ask(account, "search", query=query, raw=True)
    assert "\n" not in str(caught.value)


WHOLE_WORDS = ("Łogin", "Knopf", "größer", "naïve", "café", "№7", "ﬁx", "Ǆ")
TITLE = "Łogin-Knopf: 日本語設定 (größer) naïve café №7 ﬁx Ǆ"


@pytest.fixture
async def titled(account: Account) -> Reported:
    """An account with one bug of which nothing but the title is known."""
    return await reported(account, TITLE)


@given(TYPED, st.booleans())
async def test_any_text_is_a_query(titled: Reported, text: str, raw: bool) -> None:
    try:
        await titled.find(text, raw=raw)
    except BadInput as error:
        assert "\n" not in str(error)
        assert raw or not words_of(text) or not is_storable(text)


async def test_any_beginning_of_a_word_and_any_part_of_a_run_finds_the_record(titled: Reported) -> None:
    (bug,) = titled.ids.values()
    run = "日本語設定"
    parts = {word[:end] for word in WHOLE_WORDS for end in range(1, len(word) + 1)}
    parts |= {run[start:end] for start in range(len(run)) for end in range(start + 1, len(run) + 1)}

    for part in sorted(parts):
        for typed in {part, part.upper(), part.lower(), unicodedata.normalize("NFD", part)}:
            assert bug in await titled.find(typed, kinds=["bug"]), typed


async def test_list_bugs_by_text_keeps_the_order_of_the_list(account: Account) -> None:
    found = Reported(account, ())
    first, second, third = (found.report(title="marzipan", steps="x" if n else "marzipan") for n in range(3))
    account.world.update_bug(second, status="rejected")
    await account.sync()

    async def ids(**arguments: Any) -> list[int]:
        page = await ask(account, "list_bugs", **arguments)
        assert page.total == len(page.items)
        return [item.id for item in page.items]

    assert await ids(text="marzi") == [third, second, first]
    assert await ids(text="marzipan", sort="oldest") == [first, second, third]
    assert await ids(text="marzipan", statuses=["rejected"]) == [second]
    assert await ids(text="nothing9like it") == []
    with pytest.raises(BadInput, match="text"):
        await ids(text="?!")


def test_snippets() -> None:
    terms = read_query("größe", raw=False).terms
    text = "one two\r\n" + "three " * 60 + "die Grosse ist falsch " + "four " * 60
    shown = snippet(["nothing here", text], read_query("grosse", raw=False).terms)
    assert shown is not None
    assert "die Grosse ist falsch" in shown
    assert len(shown) <= 162
    assert shown.startswith("…") and shown.endswith("…") and "\n" not in shown
    assert snippet(["kurz"], terms) == "kurz"
    assert snippet([], terms) is None
    long = "あ" * 500 + "設定" + "い" * 500
    assert "設定" in (snippet([long], read_query("設定", raw=False).terms) or "")
