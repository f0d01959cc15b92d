"""What a run found, and the page that tells it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from benchmarks.measure import Series

NOTE = "<!-- Written by `make bench`: run it in place of changing this page. -->"


@dataclass(frozen=True)
class Target:
    """A figure to reach, and what was reached."""

    what: str
    goal: str
    found: str
    reached: bool


@dataclass
class Section:
    """One part of the page: what was measured and how, tables, and the targets it decides."""

    title: str
    about: str
    tables: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ms(seconds: float) -> str:
    """Seconds as milliseconds with three figures or so."""
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(found: tuple[float, float, float]) -> str:
    """A ratio with the least and the most of any round."""
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


def spread(series: Series) -> str:
    """p50, p95 and p99 in milliseconds."""
    return " / ".join(ms(series.at(share)) for share in (0.5, 0.95, 0.99))


def medians(series: Series) -> str:
    """The least and the most of the rounds' medians in milliseconds."""
    return f"{ms(min(series.medians))} to {ms(max(series.medians))}"


def page(about: list[tuple[str, str]], sections: Sequence[Section], seconds: float, *, quick: bool) -> str:
    """The whole page as Markdown; `about` describes the machine."""
    moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    targets = [target for section in sections for target in section.targets]
    parts = ["# Performance", NOTE, f"Measured {moment} by `make bench` in {seconds / 60:.0f} minutes."]
    if quick:
        parts.append("**This was a smoke run on small stores: its figures mean nothing.**")
    rows = ([t.what, t.goal, t.found, "yes" if t.reached else "**no**"] for t in targets)
    parts += ["## Targets", table(("what", "target", "found", "reached"), rows)]
    parts += ["## Machine", table(("", ""), about), "## Method", METHOD]
    for section in sections:
        parts += [f"## {section.title}", section.about, *section.tables]
    parts += ["## Not measured", NOT_MEASURED]
    return "\n\n".join(parts) + "\n"


METHOD = """\
- What is compared runs in the same process run, call by call in an order that is shuffled for every turn, in several
  rounds. Ratios are of the medians over all rounds; the figures in brackets are the least and the most of any single
  round. Times depend on the machine and on what else runs on it: read the ratios first.
- p50, p95 and p99 are over all calls of all rounds. Clients run on the same two cores as the servers they ask.
- *bare sqlite3* runs the statements that the operation sends, as they reach SQLite, in the caller's own thread on an
  open connection with a cache of the same size, and fetches every row as a dictionary. The operation also validates
  its arguments, asks whether the copy is fresh (it is), goes to a reader thread and back, holds a snapshot over its
  statements, and builds its Pydantic result.
- A call of which three take more than half a second is made once per round.
- The stores are simulated accounts of 20 products with three bugs per test on average, copied by the product's own
  parsers and writer in a first run and one a day later for six days. Executions and metrics are those of the newest
  100 tests of each product. The largest store is the middle one with its ended tests, and all that hangs on them,
  repeated under other ids and dates. No statistics (`ANALYZE`) are in the stores.
- Caches of the operating system and of SQLite are warm unless a table says otherwise."""

NOT_MEASURED = """\
Other operating systems and disks, more than two cores, a network between client and server, TLS, and PostgreSQL's
speed (its answers are tested)."""
