"""Text by strangers, made such that people see all of it and no program acts on it."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from unicodedata import category

_EMOJI = "[\u00a9\u00ae\u203c-\u203f\u2049\u2122-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
_VARIED = f"{_EMOJI}\ufe0f?[\U0001f3fb-\U0001f3ff]?"
# Joiners and selectors stay where they make one picture of several; anywhere else nobody sees them.
_PICTURE = f"{_VARIED}(?:\u200d{_VARIED})*|[#*0-9]\ufe0f?\u20e3"
# Controls, format characters (zero width, bidirectional, tags), fillers, selectors, and what is no character.
_HIDDEN = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)
_PICTURE_OR_HIDDEN = re.compile(f"({_PICTURE})|{_HIDDEN}")
_BREAK = re.compile("\r\n?|[\u2028\u2029\x0b\x0c\x85]")
_LIKE = 0.6
"""From which likeness on one name is taken for another one that was mistyped."""
# What spreadsheets take for the sign of a formula, also in full width and in the small forms of East Asian text.
_FORMULA_SIGNS = frozenset("=+-@＝＋－＠﹦﹢﹣﹫")
# What a program may drop or trim before it looks for that sign: blanks, controls, what nobody sees, marks in place
# of those, and the quotes around a field.
_TRIMMED = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs", "Mn", "Me"})
_BLANK = frozenset('\u115f\u1160\u2800\u3164\uffa0\ufffd\ufffc"“”„«»')
_AFTER_SEPARATOR = re.compile(r"(;\s*)(?=[=+@＝＋＠-])")
# What means something inside a line of Markdown, also to renderers that link addresses and people by themselves.
_MARKUP = re.compile(r"([\\`*{}\[\]<>#|~!$@&]|(?<![^\W_])_|_(?![^\W_]))")
_SCHEME = re.compile(r"(?<![a-z0-9])([a-z][a-z0-9+.-]*):(?=\S)", re.IGNORECASE)
_HOST = re.compile(r"(?<=[\w-])\.(?=[^\W\d_]{2})|(?<=\bwww)\.", re.IGNORECASE)
_LINE_BEGINNING = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=:])")


def visible(text: str) -> str:
    r"""A text without characters that nobody sees or that turn it around; every line break is a line feed.

    >>> visible("a\u200bb\u202ec\r\nd")
    'abc\nd'
    """
    return _PICTURE_OR_HIDDEN.sub(lambda found: found[1] or "", _BREAK.sub("\n", text))


def quote_line(text: str, most: int = 160) -> str:
    r"""The first line of a text that is worth it, short, without anything that nobody sees; quotes become single.

    >>> quote_line('\n No "access" here.\u200b \nmore')
    "No 'access' here."
    """
    line = next((line for line in map(str.strip, visible(text).splitlines()) if line), "")
    line = " ".join(line.replace('"', "'").split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def is_formula(text: str) -> bool:
    r"""Whether a spreadsheet may take a text for a formula.

    The sign of a formula counts in full width as well, and after all that a program may trim before it: blanks of
    any width, controls, characters that nobody sees and quotes. So does a text that begins with a control character.

    >>> [is_formula(text) for text in ("=1", " \u200b@a", "\ufeff-1", "a=1")]
    [True, True, True, False]
    """
    if text[:1] in ("\t", "\r", "\n"):
        return True
    first = next((letter for letter in text if letter not in _BLANK and category(letter) not in _TRIMMED), "")
    return first in _FORMULA_SIGNS


def disarm_formula(text: str) -> str:
    """A text that no spreadsheet takes for a formula: with an apostrophe before one, also after a semicolon.

    A spreadsheet whose fields are separated by semicolons, as in much of Europe, begins a cell there. The one way of
    all files that spreadsheets read as text: lists as CSV and with tabs, and the CSV of reports.
    """
    text = _AFTER_SEPARATOR.sub(r"\1'", text)
    return f"'{text}" if is_formula(text) else text


def escape_markdown(text: str) -> str:
    r"""A text on one line of Markdown in which nothing but text is left: no markup, link, image, person or formula.

    Addresses that renderers would link by themselves stay readable and lead nowhere.

    >>> escape_markdown("see https://a.example *now*")
    'see https\\://a\\.example \\*now\\*'
    """
    line = _MARKUP.sub(r"\\\1", " ".join(text.split()))
    line = _HOST.sub(r"\\.", _SCHEME.sub(r"\1\\:", line))
    return _LINE_BEGINNING.sub(lambda begin: f"{begin[1]}\\{begin[2]}" if begin[1] else f"\\{begin[3]}", line)


def squeezed(name: str) -> str:
    """A name without case, spaces, dashes and underscores: what is left when people write it their own way.

    >>> squeezed(" Bug-Count ") == squeezed("bug_count")
    True
    """
    return re.sub(r"[\s_-]+", "", name).casefold()


def nearest_first(name: str, known: Iterable[str]) -> list[str]:
    """All known names, those that look most like `name` before the others.

    >>> nearest_first("bug_cont", ["test_count", "severity", "bug_count"])
    ['bug_count', 'test_count', 'severity']
    """
    matcher = SequenceMatcher(b=squeezed(name))

    def likeness(word: str) -> float:
        matcher.set_seq1(squeezed(word))
        return matcher.ratio()

    return sorted(known, key=likeness, reverse=True)


def similar(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is most probably meant to be; None when none is like it."""
    first = next(iter(nearest_first(name, known)), None)
    is_like = first is not None and SequenceMatcher(None, squeezed(first), squeezed(name)).ratio() >= _LIKE
    return first if is_like else None
