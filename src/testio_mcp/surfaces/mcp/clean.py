"""Text by strangers on its way to a model: what hides, reaches out or acts is taken out or made harmless.

`clean` is idempotent. It makes prompt injection harder and does not end it: readable words stay as they are, and
whoever reads them has to take them as data.
"""

import html
import re
from collections.abc import Mapping
from typing import Any

from testio_mcp.texts import visible

FIELD_CHARACTERS = 4_000
"""Characters of one text that a reply shows; what is cut off is counted in a mark."""

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
    text = visible(text)
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


def shorten(text: str, most: int = FIELD_CHARACTERS) -> str:
    """A clean text of at most `most` characters and a mark that says how much more there is."""
    if len(text) <= most:
        return clean(text)
    begin = clean(clean(text[: 2 * most])[:most])
    return f"{begin}… ({len(text) - most} more characters; REST and the command line show them)"


def cleaned(value: Any, most: int = FIELD_CHARACTERS) -> Any:
    """A JSON value all of whose texts, names of fields included, are clean and not too long."""
    if isinstance(value, str):
        return shorten(value, most)
    if isinstance(value, Mapping):
        return {clean(name): cleaned(item, most) for name, item in value.items()}
    return [cleaned(item, most) for item in value] if isinstance(value, list) else value
