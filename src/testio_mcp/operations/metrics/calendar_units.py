"""Units of the calendar and the periods of whole days made of them: days, ISO weeks, months, quarters, years."""

from calendar import monthrange
from datetime import date, timedelta
from typing import Literal, NamedTuple

Unit = Literal["day", "week", "month", "quarter", "year"]
MONTHS_OF: dict[Unit, int] = {"month": 1, "quarter": 3, "year": 12}
"""The months of each unit that is made of months."""
_SHORT_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Period(NamedTuple):
    """A first and a last day; both belong to it. None: that end is open.

    `unit` is the unit of the calendar in which it was asked for ('this quarter', '2026-10'); None for days that were
    counted or named one by one ('last 30 days', '2026-10-05 to 2026-10-20'). `whole_last` is the last day of the
    whole period where these are only its days to date.
    """

    first: date | None
    last: date | None
    unit: Unit | None = None
    whole_last: date | None = None

    @property
    def days(self) -> int | None:
        """How many days it has; None where an end is open."""
        return (self.last - self.first).days + 1 if self.first and self.last else None

    @property
    def is_to_date(self) -> bool:
        """Whether days of the whole period are still to come."""
        return bool(self.last and self.whole_last and self.last < self.whole_last)

    def cut_after(self, day: date) -> "Period":
        """Its days up to and with this one; itself where it begins after it or has an open end."""
        if self.last is None or self.last <= day or (self.first and self.first > day):
            return self
        return self._replace(last=day, whole_last=self.whole_last or self.last)

    def in_words(self) -> str:
        """The days as people read them: `1 Oct to 30 Nov 2026, to date (61 days)`."""
        if not (self.first and self.last):
            return str(self)
        first, last = (f"{day.day} {_SHORT_MONTHS[day.month - 1]}" for day in (self.first, self.last))
        if self.first.year != self.last.year:
            first += f" {self.first.year}"
        said = f"{last} {self.last.year}" if self.first == self.last else f"{first} to {last} {self.last.year}"
        return f"{said}{', to date' * self.is_to_date} ({self.days} day{'s' * (self.days != 1)})"

    def __str__(self) -> str:
        """The days in words that `period_of` reads back as the same days."""
        if self.first and self.last:
            return f"{self.first} to {self.last}"
        if self.first:
            return f"since {self.first}"
        return f"until {self.last}" if self.last else "all time"


def month_after(month: date, count: int) -> date:
    """The first day of the month so many months later."""
    year, index = divmod(12 * month.year + month.month - 1 + count, 12)
    return date(year, index + 1, 1)


def unit_ends(day: date, unit: Unit) -> tuple[date, date]:
    """The first and the last day of the day, ISO week, month, quarter or year around a day."""
    if unit == "day":
        return day, day
    if unit == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=6)
    count = MONTHS_OF[unit]
    first = date(day.year, (day.month - 1) // count * count + 1, 1)
    last_month = first.month + count - 1
    return first, date(day.year, last_month, monthrange(day.year, last_month)[1])


def unit_around(day: date, unit: Unit) -> Period:
    """The unit around a day; a single day is no unit of the calendar."""
    return Period(*unit_ends(day, unit), None if unit == "day" else unit)


def format_unit(first: date, unit: Unit) -> str:
    """The name of the unit that begins with a day: `2026-10-05`, `2026-W41`, `2026-10`, `2026-Q3` or `2026`."""
    if unit == "week":
        year, week, _ = first.isocalendar()
        return f"{year:04}-W{week:02}"
    if unit == "quarter":
        return f"{first.year:04}-Q{first.month // 3 + 1}"
    return first.isoformat()[: {"day": 10, "month": 7, "year": 4}[unit]]
