"""Text by strangers on its way to a model: what hides, reaches out or acts is taken out or made harmless.

`clean` is idempotent. It makes prompt injection harder and does not end it: readable words stay as they are, and
whoever reads them has to take them as data.
"""

import html
import re
from collections.abc import Mapping
from typing import Any

FIELD_CHARACTERS = 4_000
"""Characters of one text that a reply shows; what is cut off is counted in a mark."""

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
_IMAGE = re.compile(r"!+\[")

_INERT = "b|blockquote|br|code|em|h[1-6]|hr|i|li|ol|p|pre|strong|u|ul"
_ACTIVE = "script|img|image|iframe|object|embed|style|link|meta|svg|base|form|video|audio"
# A tag that only shapes text may stay when it has no attributes; the rest is shown, not obeyed.
_TAG = re.compile(rf"<(?!/?(?:{_INERT})\s*/?>)(?=[/!?]*[a-z!?]|[\s/]+(?:{_ACTIVE})\b)", re.IGNORECASE)

_GAP = r"(?:\s|&(?:tab|newline|nbsp|#0*(?:9|10|13|32)|#x0*(?:9|a|d|20));?)*"
_COLON = r"(?:\\?:|&(?:colon|#0*58|#x0*3a);?)"


def _spelled(word: str) -> str:
    """A pattern of a word, also when its letters are written as entities or stand apart."""
    letters = (
        rf"(?:{letter}|&#0*(?:{ord(letter)}|{ord(letter.upper())});?|&#x0*(?:{ord(letter):x}|{ord(letter.upper()):x});?)"
        for letter in word
    )
    return _GAP.join(letters)


_ACTS = re.compile(rf"({_spelled('script')}{_GAP}){_COLON}", re.IGNORECASE)
_EMBEDS = re.compile(
    rf"({_spelled('data')}{_GAP}){_COLON}(?={_GAP}(?:[a-z]+(?:/|&sol;|&#0*47;?|&#x0*2f;?)|[;,]))", re.IGNORECASE
)
_TARGET = re.compile(r"(\]\(\s*(?:<|&lt;)?|^[ >]*\[[^\]\n]+\]:\s*(?:<|&lt;)?)([^\s)<>]+)", re.MULTILINE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_SPACE = re.compile(r"[\s\\]+")
_PLAIN = re.compile(r"[\w .,;/()'\"@#%+=?*~|-]*|[0-9]{4}-[0-9][0-9]-[0-9][0-9]T[0-9:.+]+Z?", re.ASCII)


def clean(text: str) -> str:
    """A text without hidden characters, images and active markup, whose links lead to the web or nowhere.

    >>> clean("Pay!![x](http://a/) <img src=x> [y](JavaScript:z)")
    'Pay[x](http://a/) &lt;img src=x> [y](JavaScript[:]z)'
    """
    if _PLAIN.fullmatch(text):
        return text
    before = None
    while text != before:
        before, text = text, _pass(text)
    return text


def _pass(text: str) -> str:
    text = _BREAK.sub("\n", text)
    text = _PICTURE_OR_HIDDEN.sub(lambda found: found[1] or "", text)
    text = _IMAGE.sub("[", text)
    text = _TAG.sub("&lt;", text)
    text = _ACTS.sub(r"\1[:]", text)
    text = _EMBEDS.sub(r"\1[:]", text)
    return _TARGET.sub(_web_only, text)


def _web_only(link: re.Match[str]) -> str:
    """A link whose target is on the web or has no scheme; every other scheme is broken so that it can be read."""
    target = _SPACE.sub("", html.unescape(link[2]))
    scheme = _SCHEME.match(target)
    if scheme is None or scheme[1].lower() in ("http", "https"):
        return link[0]
    return f"{link[1]}{scheme[1]}[:]{target[scheme.end() :]}"


def shown(text: str, most: int = FIELD_CHARACTERS) -> str:
    """A clean text of at most `most` characters and a mark that says how much more there is."""
    if len(text) <= most:
        return clean(text)
    begin = clean(clean(text[: 2 * most])[:most])
    return f"{begin}… ({len(text) - most} more characters; REST and the command line show them)"


def cleaned(value: Any, most: int = FIELD_CHARACTERS) -> Any:
    """A JSON value all of whose texts, names of fields included, are clean and not too long."""
    if isinstance(value, str):
        return shown(value, most)
    if isinstance(value, Mapping):
        return {clean(name): cleaned(item, most) for name, item in value.items()}
    return [cleaned(item, most) for item in value] if isinstance(value, list) else value
