"""A report as one page that needs nothing else: no network, no script, the charts in it.

A browser prints the same page as PDF.
"""

from functools import lru_cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from testio_mcp.reports import words
from testio_mcp.reports.charts import PATTERNS, draw
from testio_mcp.reports.links import Render
from testio_mcp.reports.model import Health, Report, Section

_LONG = 26
"""Letters of a text that may be broken into lines in a table."""


def page(report: Report, render: Render = str) -> str:
    """A report as HTML; `render` writes the links."""
    zone = words.zone_of(report)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            zone=zone,
            words=words,
            render=render,
            draw=draw,
            health_of=_health_of,
            is_long=lambda text: len(text) > _LONG,
            patterns=PATTERNS,
            css=Markup(_style()),  # noqa: S704 - a file of this package
            margins=Markup(_margins(report)),  # noqa: S704 - escaped for CSS
            facts=words.facts(report),
        )
    )


@lru_cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("testio_mcp.reports", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache
def _style() -> str:
    return files("testio_mcp.reports").joinpath("report.css").read_text(encoding="utf-8")


def _health_of(section: Section) -> Health | None:
    """What the contents say of a section: its worst figure or finding, unless that is good."""
    found = words.worst([figure.health for figure in section.figures] + [said.health for said in section.findings])
    return None if found == "good" else found


def _margins(report: Report) -> str:
    """The title and the period at the head of each printed page but the first, and its number at the foot."""
    title, period = _css_text(report.title), _css_text(words.days(report.period))
    return (
        f"@page {{ @top-left {{ content: {title} }} @top-right {{ content: {period} }}"
        ' @bottom-right { content: counter(page) " / " counter(pages) } }'
        " @page :first { @top-left { content: none } @top-right { content: none } }"
    )


def _css_text(text: str) -> str:
    """A string of a style sheet that can neither end nor leave it."""
    letters = (letter if letter.isascii() and letter.isalnum() else f"\\{ord(letter):x} " for letter in text[:100])
    return f'"{"".join(letters)}"'
