"""What customers write when they reject a bug: the text of a reason, in one form or another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .catalog import REJECT_REASONS, Payload
from .dice import Dice

if TYPE_CHECKING:
    from .account import Account
    from .plan import BugFacts

UNRECOGNISED = "unrecognised"
_PREFIXES = ("Rejected - ", "Bug rejected: ", "REJECTED: ", "Rejected – ", "Abgelehnt: ", "Hi, sorry. ")
# By the reason's key: its comment shortened, edited, and in another language.
_VARIANTS = {
    "intended": (
        "The intended behaviour.",
        "This is our intended behaviour, as agreed.",
        "Das Verhalten ist so gewollt.",
    ),
    "not_reproducible": (
        "Could not reproduce",
        "We couldn't reproduce this issue on our devices.",
        "Das konnten wir nicht nachstellen.",
    ),
    "out_of_scope": (
        "Out of the scope of the test",
        "This bug is clearly out of the scope of this test!",
        "Das gehört nicht zum Test.",
    ),
    "duplicate": ("was reported before", "This bug has been reported before, see above.", "Das ist schon bekannt."),
    "not_a_bug": ("Not a bug", "This is really not a bug, see the manual.", "Das ist kein Fehler."),
    "other": ("This bug is rejected", "This bug is rejected (see above).", "Wir lehnen das ab."),
}
_LATE = ("Sorry, I did not see that.", "Thanks for looking into it.", "Schade.")


class Rejection(NamedTuple):
    """How a bug was rejected: the reason, the comment, what was written after it, and what the bug itself says.

    `is_translated` says that nothing of the reason's own words is left.
    """

    reason: Payload
    comment: str
    late: tuple[str, ...]
    api_reason: str | None
    is_translated: bool

    @property
    def recognised(self) -> str:
        """The name of the reason, as far as the bug as the API shows it tells."""
        return UNRECOGNISED if self.is_translated and self.api_reason is None else str(self.reason["name"])


def rejection(world: Account, bug: BugFacts) -> Rejection:
    """How this bug is rejected, if it is."""
    dice = Dice(world.seed, "rejection", bug.test.number, bug.number)
    reason = dice.pick(REJECT_REASONS)
    said = str(reason["default_comment"])
    more = dice.pick(world.pools.sentences["en"])
    is_long, form, word = dice.chance(50), dice.below(100), dice.below(3)
    prefix = dice.pick(_PREFIXES)
    late = tuple(dice.pick(_LATE) for _ in range(dice.below(3))) if dice.chance(25) else ()
    is_told = world.tells_reasons or dice.chance(8)
    plain = f"{said} {more}" if is_long else said
    if not world.quirks:
        return Rejection(reason, plain, (), None, False)
    api_reason = str(reason[dice.pick(("name", "key"))]) if is_told else None
    return Rejection(reason, _comment(reason, plain, form, word, prefix), late, api_reason, form >= _TRANSLATED)


_TRANSLATED = 94


def _comment(reason: Payload, plain: str, form: int, word: int, prefix: str) -> str:
    """The comment in one of the forms that are met: most often as it stands, now and then behind a prefix."""
    said = str(reason["default_comment"])
    shortened, edited, translated = _VARIANTS[reason["key"]]
    if form >= _TRANSLATED:
        return ("", "Abgelehnt - ", "Bug rejected: ")[word] + translated
    if form < 40:
        return plain
    if form < 60:
        return prefix + plain
    if form < 70:
        return (said.upper().replace(".", "!!"), f"<p>{said}</p>", f"  {said.lower()} ".replace(" ", "  \r\n"))[word]
    if form < 78:
        return f"{prefix}{reason['name']}"
    return prefix + (shortened if form < 86 else edited)
