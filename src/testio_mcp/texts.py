"""Text by strangers, made such that people see all of it and no program acts on it."""

import re

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
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def visible(text: str) -> str:
    r"""A text without characters that nobody sees or that turn it around; every line break is a line feed.

    >>> visible("a\u200bb\u202ec\r\nd")
    'abc\nd'
    """
    return _PICTURE_OR_HIDDEN.sub(lambda found: found[1] or "", _BREAK.sub("\n", text))


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may take a text for a formula, also where signs are written in full width."""
    return text.startswith(_FORMULA)
