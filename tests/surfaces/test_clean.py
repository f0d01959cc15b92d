"""Text by strangers: nothing hidden, no image, no active markup, no link but to the web."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testio_mcp.surfaces.mcp.clean import FIELD_CHARACTERS, clean, cleaned, shorten
from tests.surfaces.payloads import PAYLOADS, faults_of

_PIECES = (
    "!", "[", "]", "(", ")", "<", ">", "/", "\\", ":", "&", ";", "#", "x", "j", "java", "script", "SCRIPT", "img",
    "svg", "data", "text/html", "onerror=", "http://a.example", "javascript", "&#106;", "&colon;", "&Tab;", "&lt;",
    "\u200b", "\u200d", "\u202e", "\ufe0f", "\U000e0041", "\ud800", "\x00", "\x1b", "\r", "\n", "\t", " ", "😀", "👩",
    "❤", "\U0001f3fb", "é", "\u2028", "7", "\u20e3",
)  # fmt: skip
hostile = st.one_of(st.text(), st.lists(st.sampled_from(_PIECES), max_size=30).map("".join))


@given(hostile)
def test_clean_is_clean_for_good(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert faults_of(once) == []


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "Zs"), exclude_characters="<>!:[]&\\\u00ad")))
def test_words_stay_as_they_are(text: str) -> None:
    without = re.sub("[\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]", "", text)
    assert clean(text) == without


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\x00b\x1b[31mc\u202ed\u200be\ufefff", "ab[31mcdef"),
        ("one\r\ntwo\rthree\u2028four\tfive", "one\ntwo\nthree\nfour\tfive"),
        ("hidden \U000e0048\U000e0069 tags", "hidden  tags"),
        ("👩\u200d💻 ❤\ufe0f 1\ufe0f\u20e3 👍\U0001f3fd 🇩🇪", "👩\u200d💻 ❤\ufe0f 1\ufe0f\u20e3 👍\U0001f3fd 🇩🇪"),
        ("a\u200db \ufe0fc 😀\u200b\u200d😀", "ab c 😀😀"),
        ("![x](http://e/?q=1)", "[x](http://e/?q=1)"),
        ("!!!![x](http://e)", "[x](http://e)"),
        ("!\u200b![x](http://e)", "[x](http://e)"),
        ("<b>bold</b> <br/> 1 < 2 <3 a<-b", "<b>bold</b> <br/> 1 < 2 <3 a<-b"),
        ("<b onclick=x>", "&lt;b onclick=x>"),
        ("<ScRiPt>x</sCrIpT>", "&lt;ScRiPt>x&lt;/sCrIpT>"),
        ("<scr<script>ipt>", "&lt;scr&lt;script>ipt>"),
        ("< img src=x>", "&lt; img src=x>"),
        ("<!--x--><?xml?>", "&lt;!--x-->&lt;?xml?>"),
        ("<scr\x00ipt>", "&lt;script>"),
        ("[a](JaVaScRiPt:x)", "[a](JaVaScRiPt[:]x)"),
        ("[a](java\nscript:x)", "[a](java\nscript[:]x)"),
        ("[a](&#106;avascript&colon;x)", "[a](&#106;avascript[:]x)"),
        ("[a](j&Tab;avascript:x)", "[a](j&Tab;avascript[:]x)"),
        ("[a](javascript\\:x)", "[a](javascript[:]x)"),
        ("[a](vbscript:x)", "[a](vbscript[:]x)"),
        ("[a](data:text/html;base64,AAAA)", "[a](data[:]text/html;base64,AAAA)"),
        ("[a]( <file:///etc/passwd>)", "[a]( &lt;file[:]///etc/passwd>)"),
        ("[a](ftp://e/x)", "[a](ftp[:]//e/x)"),
        ("[a]: ftp://e/x", "[a]: ftp[:]//e/x"),
        ("[a](&#102;tp://e/x)", "[a](ftp[:]//e/x)"),
        ("Test data: user 7, Time: 10:30", "Test data: user 7, Time: 10:30"),
        ("[a](https://e.example/x?y=1#z) [b](/here) [c](#d)", "[a](https://e.example/x?y=1#z) [b](/here) [c](#d)"),
        ("2026-10-01T10:00:00Z", "2026-10-01T10:00:00Z"),
    ],
)
def test_examples(text: str, wanted: str) -> None:
    assert clean(text) == wanted


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_become_harmless(payload: str) -> None:
    assert faults_of(clean(payload)) == []


def test_the_search_for_faults_finds() -> None:
    assert [payload for payload in PAYLOADS if not faults_of(payload)] == []


def test_every_format_character_goes() -> None:
    hidden = [
        chr(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Co") and chr(code) not in "\n\t"
    ]
    kept = [f"{ord(character):04x}" for character in hidden if clean(f"a{character}b") not in ("ab", "a\nb")]
    assert [code for code in kept if not 0xE000 <= int(code, 16) <= 0xF8FF] == []


def test_long_texts_say_how_much_is_missing() -> None:
    text = shorten("x" * 10_000)
    assert text.startswith("x" * FIELD_CHARACTERS + "… (6000 more characters;")
    assert clean(text) == text
    assert shorten("x" * FIELD_CHARACTERS) == "x" * FIELD_CHARACTERS


def test_cutting_leaves_nothing_hidden() -> None:
    family = "👩\u200d👩\u200d👧"
    for most in range(1, 12):
        assert faults_of(shorten(family * 4, most)) == []


def test_names_of_fields_are_cleaned_too() -> None:
    value = {"a\u200b": [{"![": "<script>"}, 7, None, True]}
    assert cleaned(value) == {"a": [{"[": "&lt;script>"}, 7, None, True]}
