"""Text as the words that a search compares: the same for what is stored and for what is asked, on both databases.

Case, accents and the forms of a character fold. Scripts that are written without spaces give a word per character,
so that any part of a text is a sequence of words.
"""

import re
import unicodedata
from bisect import bisect_right

WIDTH = 64
"""Characters of a word that count; longer ones are no words of a language."""

# Letters that people leave the stroke or ligature out of, and that have no decomposition in Unicode.
_PLAIN = {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "ŧ": "t", "æ": "ae", "œ": "oe", "þ": "th"}
# Latin, Greek, Cyrillic, Hebrew and Arabic marks; those of other scripts tell words apart.
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
# First and last characters of Thai, Lao, Tibetan, Burmese, Khmer, kana, bopomofo, hangul and Chinese blocks.
_UNSPACED = (
    (0x0E00, 0x0FFF),
    (0x1000, 0x109F),
    (0x1100, 0x11FF),
    (0x1780, 0x17FF),
    (0x2E80, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA960, 0xA97F),
    (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF),
    (0x1B000, 0x1B16F),
    (0x20000, 0x3FFFF),
)
_FIRST = [first for first, _ in _UNSPACED]
_ASCII = "".join(chr(code).lower() if chr(code).isalnum() else " " for code in range(128))
_KEPT = 20_000


class _Parts(dict[int, str]):
    """What each character becomes: itself, a word of its own, nothing, or a space between words."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)
        if kind == "Cf":  # soft hyphens, joiners and marks of direction stand inside words
            part = ""
        elif kind[0] not in "LNM":
            part = " "
        else:
            part = f" {character} " if is_unspaced(character) else character
        if len(self) < _KEPT:
            self[code] = part
        return part


class _Hidden(dict[int, str]):
    """Each character as it is, but none for those that nobody sees."""

    def __missing__(self, code: int) -> str:
        part = "" if unicodedata.category(chr(code)) == "Cf" else chr(code)
        if len(self) < _KEPT:
            self[code] = part
        return part


_HIDDEN = _Hidden()
_PLAIN_LETTERS = {ord(letter): plain for letter, plain in _PLAIN.items()}
_PARTS = _Parts({ord(letter): plain for letter, plain in _PLAIN.items()})


def is_unspaced(word: str) -> bool:
    """Whether a word is one character of a script that is written without spaces."""
    place = bisect_right(_FIRST, ord(word[0])) - 1
    return len(word) == 1 and place >= 0 and ord(word) <= _UNSPACED[place][1]


def words_of(text: str) -> list[str]:
    """The words of a text in their order, folded."""
    found = (text.translate(_ASCII) if text.isascii() else _without_accents(text).translate(_PARTS)).split()
    return [word[:WIDTH] for word in found]


def fold(text: str) -> str:
    """A text as filters compare it: without case, accents and what nobody sees; white space is one blank.

    Signs stay, unlike in `words_of`: a filter takes any part of a text.

    >>> fold("  Épargne\u00a0ÜBER 50 %")
    'epargne uber 50 %'
    """
    if not text.isascii():
        text = _without_accents(text).translate(_HIDDEN).translate(_PLAIN_LETTERS)
    return " ".join(text.lower().split())


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed))
