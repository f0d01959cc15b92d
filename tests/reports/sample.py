"""A report that holds everything a report can hold, and texts that try to be more than text."""

from datetime import UTC, date, datetime, timedelta

from testio_mcp.reports.links import link
from testio_mcp.reports.model import (
    Cell,
    Chart,
    Column,
    Definition,
    Figure,
    Finding,
    Health,
    Report,
    Section,
    Series,
    Span,
    Table,
)

HOSTILE = (
    "<script>alert('x')</script>",
    "<img src=http://example.invalid/x.png onerror=alert(1)>",
    "[click](javascript:alert(1)) ![track](http://example.invalid/t.png)",
    "]]> </style></script><!-- --> &lt;b&gt; <b>bold</b>",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "+1-1 | pipe ` tick * star _ under # hash",
    '＝HYPERLINK("http://example.invalid")',
    "\u202egnp.exe\u202c turned \u2066round\u2069",
    "zero\u200bwidth\ufeff\u00ad and a bell\x07 and nul\x00",
    "עברית و العربية mixed with English",
    "日本語のテスト：ボタンが押せない",
    "emoji 👩‍🚀 👍🏽 🇩🇪 1️⃣",
    "W" * 120,
    "https://example.invalid/" + "very-long-path/" * 20,
    "first line\nsecond line\r\nthird line",
    "{{ 7 * 7 }} {% raw %} ${7*7} %s {0}",
    "_x0041_ & \"quotes\" 'single'",
)
# What spreadsheets, editors and converters trim or never show before the sign of a formula.
LEADS = (
    *("", " ", "   ", "\t", "\n", "\r\n", "\v", "\f", "\x85", "\x00", "\x1b", "\x1f", "\x7f", "\x9f"),
    *("\xa0", "\u2000", "\u2007", "\u200a", "\u202f", "\u205f", "\u3000", "\u1680", "\u2028", "\u2029", "\u2800"),
    *("\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2060", "\u2064", "\ufeff", "\ufffe", "\xad", "\u180e"),
    *("\u034f", "\u3164", "\ufe0f", "\u061c", "\u202e", "\u2066", "\U000e0041", "\ue000", "\u0301", "\ufffd"),
    *('"', '""', ' \u200b\xa0\t"'),
)  # fmt: skip
SIGNS = ("=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "＝1", "＋1", "－1", "＠A1", "﹦1")
FORMULAS = tuple(lead + sign for lead in LEADS for sign in SIGNS)
MONTHS = [f"{2025 + at // 12}-{at % 12 + 1:02}" for at in range(24)]
HEALTHS: tuple[Health | None, ...] = ("good", "warning", "critical", None)


def sample() -> Report:
    """The same report at every call."""
    return Report(
        kind="quality",
        title="Quality of Aurora Banking, third quarter",
        subtitle="How the product fared in crowdtesting, and what needs a decision",
        period=Span(words="2026-Q3", first=date(2026, 7, 1), last=date(2026, 9, 30), time_zone="Europe/Berlin"),
        previous=Span(words="2026-Q2", first=date(2026, 4, 1), last=date(2026, 6, 30), time_zone="Europe/Berlin"),
        scope="bugs of tests that ran, which is all but cancelled, initialized, waiting",
        filters={"product": "Aurora Banking", "kind": "functional"},
        generated_at=datetime(2026, 10, 5, 6, 30, tzinfo=UTC),
        as_of=datetime(2026, 10, 5, 6, 28, 12, tzinfo=UTC),
        sections=[_summary(), _trends(), _records(), _edges()],
        definitions=[
            Definition(name="Rejection rate", text="Rejected bugs of all bugs; of no bugs there is no rate."),
            Definition(
                name="Acceptance by the clock", text="Bugs that nobody decided within 10 days of the test's end."
            ),
            Definition(name="Severity score", text="Critical bugs count 5, high ones 3, low ones 1, all others 0."),
            Definition(name=HOSTILE[0], text=HOSTILE[4]),
        ],
    )


def _summary() -> Section:
    return Section(
        id="summary",
        title="Summary",
        text="56 tests ran and found 412 bugs.\nTwo numbers need attention.",
        findings=[
            Finding(
                health="critical",
                text="41.2% of the accepted bugs were accepted by the clock, up from 28.5%: nobody decided in time.",
                link=link("list_bugs", statuses=["auto_accepted"], end_from="2026-07-01", end_to="2026-09-30"),
            ),
            Finding(
                health="warning",
                text="The rejection rate rose to 22.8%.",
                link=link("list_bugs", statuses=["rejected"]),
            ),
            Finding(health="good", text="92.1% of the executions passed."),
            Finding(text="The most bugs were found in “Transfers”, 96 of 412."),
        ],
        figures=[*_counts(), *_rates()],
    )


def _counts() -> list[Figure]:
    return [
        Figure(
            name="bug_count",
            label="Bugs",
            unit="count",
            value=412,
            previous=381,
            definition="Distinct bugs.",
            link=link("list_bugs", end_from="2026-07-01", end_to="2026-09-30"),
        ),
        Figure(
            name="bugs_per_test",
            label="Bugs per test",
            unit="number",
            value=7.3571,
            previous=0,
            definition="Bugs over tests.",
        ),
        Figure(
            name="bug_severity_score",
            label="Severity score",
            unit="number",
            value=0,
            previous=0,
            definition="5, 3 and 1 for critical, high and low.",
        ),
    ]


def _rates() -> list[Figure]:
    def rate(name: str, label: str, value: float | None, previous: float, definition: str) -> Figure:
        return Figure(name=name, label=label, unit="share", value=value, previous=previous, definition=definition)

    rejection = rate("rejection_rate", "Rejection rate", 0.228, 0.19, "Rejected bugs of all bugs.")
    rejection.health, rejection.threshold = "warning", "Warning from 20%, critical from 35%."
    rejection.link = link("list_bugs", statuses=["rejected"], end_from="2026-07-01", end_to="2026-09-30")
    clock = rate("auto_acceptance_rate", "Accepted by the clock", 0.412, 0.285, "By the clock of all accepted bugs.")
    clock.health, clock.threshold = "critical", "Warning from 20%, critical from 40%."
    passed = rate("pass_rate", "Pass rate", 0.921, 0.921, "Passed of all executions that came to an end.")
    passed.health = "good"
    return [rejection, clock, passed, rate("story_coverage", "Story coverage", None, 0.5, "Stories with executions.")]


def bars(title: str, labels: list[str], values: list[float | int | None], name: str = "Bugs") -> Chart:
    """A chart of one series of counts."""
    return Chart(title=title, kind="bars", unit="count", labels=labels, series=[Series(name=name, values=values)])


def stacks() -> Chart:
    """Counts in four parts, one of them missing once."""
    parts: dict[str, list[float | int | None]] = {
        "critical": [3, 2, 5, 0, 1, 2, 4, 3, 2],
        "high": [9, 8, 11, 7, None, 10, 14, 9, 8],
        "low": [14, 12, 9, 15, 13, 16, 11, 14, 13],
        "other": [5, 7, 3, 2, 8, 6, 9, 4, 1],
    }
    series = [Series(name=name, values=values) for name, values in parts.items()]
    return Chart(title="Severity by month", kind="stacked", unit="count", labels=MONTHS[-9:], series=series)


def lines() -> Chart:
    """Shares with gaps."""
    values: dict[str, list[float | int | None]] = {
        "Accepted by a person": [0.52, 0.55, 0.5, 0.47, None, None, 0.41, 0.43, 0.4],
        "Accepted by the clock": [0.2, 0.22, 0.24, 0.3, 0.28, 0.33, 0.36, 0.38, 0.41],
        "Rejected": [0.18, 0.17, 0.19, 0.2, 0.21, None, 0.24, 0.22, 0.23],
    }
    series = [Series(name=name, values=line) for name, line in values.items()]
    return Chart(title="Rates by month", kind="lines", unit="share", labels=MONTHS[-9:], series=series)


def _trends() -> Section:
    features = [
        "Transfers",
        "Standing orders and payments that recur",
        "Login with a passkey",
        "日本語の設定画面",
        "Cards",
    ]
    products = ["Aurora Banking for businesses", "Aurora Banking", "Aurora Pay"]
    decisions = [
        Series(name="accepted", values=[0.45, 0.5, 0.2]),
        Series(name="auto-accepted", values=[0.35, 0.2, 0.7]),
        Series(name="rejected", values=[0.2, 0.3, 0.1]),
    ]
    return Section(
        id="trends",
        title="Trends",
        charts=[
            bars("Bugs a month", MONTHS, [12 + (at * 7) % 19 + at for at in range(24)]),
            stacks(),
            lines(),
            bars("Bugs by feature", features, [96, 74, 52, 31, 0]),
            Chart(title="Decisions by product", kind="stacked", unit="share", labels=products, series=decisions),
        ],
    )


COLUMNS = [
    Column(key="id", label="Bug", kind="text"),
    Column(key="title", label="Title"),
    Column(key="severity", label="Severity"),
    Column(key="devices", label="Devices", kind="count"),
    Column(key="score", label="Score", kind="number"),
    Column(key="share", label="Reproduced", kind="share"),
    Column(key="end", label="Test ended", kind="day"),
    Column(key="reported", label="Reported", kind="moment"),
    Column(key="known", label="Known"),
]


def _records() -> Section:
    begin = datetime(2026, 7, 1, 22, 15, tzinfo=UTC)
    rows: list[list[Cell]] = [
        [
            str(2_400_000 + at),
            HOSTILE[at % len(HOSTILE)] if at % 3 == 0 else f"The amount is lost after going back, variant {at}",
            ("critical", "high", "low", None)[at % 4],
            at * 37 % 1500,
            at * 0.75,
            None if at % 5 == 0 else at / 60,
            f"2026-0{7 + at % 3}-{at % 27 + 1:02}",
            (begin + timedelta(hours=31 * at)).isoformat().replace("+00:00", "Z"),
            (True, False, None)[at % 3],
        ]
        for at in range(60)
    ]
    table = Table(
        title="Open bugs",
        columns=COLUMNS,
        rows=rows,
        note="340 more bugs are left out: list_bugs shows all.",
        link=link("list_bugs", statuses=["open"]),
    )
    text = "The ones that the clock accepts next come first."
    return Section(id="records", title="Bugs that wait for a decision", text=text, tables=[table])


def _edges() -> Section:
    label, code, image, markup = HOSTILE[13], HOSTILE[0], HOSTILE[2], HOSTILE[3]
    odd = Figure(name="odd", label=label, unit="count", value=10**9, previous=-5, definition=code)
    odd.link, odd.threshold = link("list_bugs", text=image), markup
    return Section(
        id="edges",
        title="<b>Hostile</b> & odd: [*/\\?:] text",
        text="".join(f"{text}\n" for text in HOSTILE[:6]),
        findings=[
            Finding(health=HEALTHS[at % 4], text=text, link=link("list_bugs", text=text))
            for at, text in enumerate(HOSTILE)
        ],
        figures=[
            odd,
            Figure(name="tiny", label="Tiny share", unit="share", value=0.0001, definition=HOSTILE[10]),
        ],
        charts=[
            bars("One point", ["2026-09"], [3]).model_copy(update={"kind": "lines"}),
            bars("Nothing at all", ["a", "b"], [None, None]),
            bars("Zero everywhere", ["a", "b", "c"], [0, 0, 0]),
            bars(HOSTILE[0], [*HOSTILE], [*range(len(HOSTILE))], HOSTILE[1]),
            Chart(title="Empty", kind="stacked", unit="count", labels=[], series=[]),
        ],
        tables=_odd_tables(),
    )


def _odd_tables() -> list[Table]:
    hostile = [Column(key="a", label=HOSTILE[4]), Column(key="b", label=HOSTILE[6], kind="count")]
    odd = [
        Column(key="a", label="Day", kind="day"),
        Column(key="b", label="Moment", kind="moment"),
        Column(key="c", label="Count", kind="count"),
    ]
    cells: list[list[Cell]] = [
        ["not a day", "not a moment", None],
        ["2026-02-30", "2026-09-01T10:00:00", 2**53],
        [None, None, 0],
    ]
    return [
        Table(
            title=HOSTILE[0],
            columns=hostile,
            rows=[[text, at] for at, text in enumerate(HOSTILE)],
            note=HOSTILE[2],
            link=link("list_bugs", text=HOSTILE[5]),
        ),
        Table(title="No records", columns=[Column(key="a", label="A"), Column(key="b", label="A")], rows=[]),
        Table(title="Odd cells", columns=odd, rows=cells),
    ]
