"""The page in a real browser: light and dark, on a phone, and printed.

`make test-slow` sees to a browser as far as it can (`make browser`); without one these tests are skipped.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from testio_mcp.reports.writers import write
from tests.reports.sample import HOSTILE, sample

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
MEASURED = {
    "body": 7, "h1": 7, ".subtitle": 4.5, ".facts dt": 4.5, "nav a": 4.5, ".badge.good": 4.5, ".badge.warning": 4.5,
    ".badge.critical": 4.5, ".figure .label": 4.5, ".figure .value": 7, ".figure .change": 4.5, "summary": 4.5,
    ".query code": 4.5, ".legend li": 4.5, ".chart .axis": 4.5, ".chart .value": 4.5, "th": 4.5, "td": 7,
    "td.none": 4.5, ".note": 4.5, ".definitions dd": 7, "footer": 4.5,
}  # fmt: skip
"""Texts, and the least contrast that is asked of them: 4.5 as WCAG 2 AA does, 7 of what is read most.

Of shapes that mean something it asks 3.
"""
COLOURS_OF = """
selector => {
  const element = document.querySelector(selector);
  const style = getComputedStyle(element);
  let back = element;
  while (back && getComputedStyle(back).backgroundColor === "rgba(0, 0, 0, 0)") back = back.parentElement;
  return [element instanceof SVGElement ? style.fill : style.color, getComputedStyle(back).backgroundColor];
}
"""


def _executable() -> str | None:
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in BROWSERS if (path := shutil.which(name))), None)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_executable() is None, reason="There is no Chromium on this machine: see 'make browser'."),
]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The sample as a page."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(write(sample(), "html"))
    yield path


class Opened:
    """A page in a browser, with everything that it said or asked for."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.file = file
        self.said: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self) -> None:
        """Load the page."""
        self.page.goto(self.file.as_uri())

    def evaluate(self, script: str, argument: object = None) -> Any:
        """The value of a script in the page."""
        return self.page.evaluate(script, argument)

    def is_quiet(self) -> bool:
        """Whether the page said nothing and asked for nothing but itself."""
        return (self.said, self.requests) == ([], [self.file.as_uri()])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_executable(), args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def opening(browser: Browser, file: Path, **context: Any) -> Iterator[Opened]:
    """The page in a window of its own."""
    with closing(browser.new_context(**context)) as window:
        opened = Opened(window.new_page(), file)
        opened.open()
        yield opened


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue, *alpha = map(float, re.findall(r"[\d.]+", colour))
    assert alpha in ([], [1.0]), colour
    return red, green, blue


def _luminance(colour: str) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in _parts(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _parts(colour: str) -> list[float]:
    return [part / 255 for part in _rgb(colour)]


def _contrast(one: str, other: str) -> float:
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_measured_as_its_definition_says() -> None:
    assert _contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert _contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_quiet_and_readable_in_both_schemes(
    browser: Browser, page_file: Path, scheme: Literal["light", "dark"]
) -> None:
    with opening(browser, page_file, color_scheme=scheme) as opened:
        found = {selector: opened.evaluate(COLOURS_OF, selector) for selector in MEASURED}
        contrasts = {selector: _contrast(*colours) for selector, colours in found.items()}
        assert {name: value for name, value in contrasts.items() if value < MEASURED[name]} == {}
        paper = opened.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert (_luminance(paper) < 0.1) == (scheme == "dark")
        series = opened.evaluate(
            "() => [...Array(8).keys()].map(at => { const probe = document.createElementNS("
            "'http://www.w3.org/2000/svg', 'rect'); probe.setAttribute('class', 's' + at);"
            "document.querySelector('svg.chart').append(probe); return getComputedStyle(probe).fill; })"
        )
        assert len(set(series)) == 8
        assert [colour for colour in series if _contrast(colour, paper) < 3] == []
        inside = opened.evaluate("() => getComputedStyle(document.querySelector('.chart .inside')).fill")
        assert [colour for colour in series if _contrast(colour, inside) < 4.5] == []
        assert opened.is_quiet(), (opened.said, opened.requests)


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_page_never_scrolls_sideways_and_tables_do_in_their_own_box(
    browser: Browser, page_file: Path, width: int
) -> None:
    """How wide a text is depends on the machine's fonts: only the widest and the narrowest table surely differ."""
    with opening(browser, page_file, viewport={"width": width, "height": 844}) as opened:
        opened.evaluate("() => document.querySelectorAll('details').forEach(it => it.open = true)")
        assert opened.evaluate("() => document.documentElement.scrollWidth") <= width
        outside = opened.evaluate(
            "() => [...document.querySelectorAll('body *')].filter(it => !it.closest('.box, .patterns, .unseen')"
            " && it.getBoundingClientRect().right > innerWidth + 1).map(it => it.outerHTML.slice(0, 80))"
        )
        assert outside == []
        boxes = opened.evaluate(
            "() => [...document.querySelectorAll('.table .box')].map(it => [it.scrollWidth, it.clientWidth])"
        )
        widest, narrowest = max(boxes), min(boxes)
        if width < 400:
            assert widest[0] > widest[1], "the widest table does not fit a phone and scrolls"
        if width > 1000:
            assert narrowest[0] <= narrowest[1], "a table of two columns fits a desktop and does not scroll"
        assert opened.page.locator(".table .box[tabindex='0'][role='region']").count() == len(boxes)
        assert opened.is_quiet(), (opened.said, opened.requests)


def test_texts_by_strangers_are_texts(browser: Browser, page_file: Path) -> None:
    with opening(browser, page_file) as opened:
        active = "() => document.querySelectorAll('script, img, iframe, object, link, base, b').length"
        assert opened.evaluate(active) == 0
        links = opened.evaluate("() => [...document.querySelectorAll('a')].map(it => it.getAttribute('href'))")
        assert [link for link in links if not link.startswith("#")] == []
        names = "() => [...document.querySelectorAll('*')].flatMap(it => it.getAttributeNames())"
        assert [name for name in opened.evaluate(names) if name.startswith("on")] == []
        cells = opened.page.locator("#edges tbody td").all_inner_texts()
        assert HOSTILE[0] in cells
        assert HOSTILE[3] in cells
        assert opened.is_quiet(), (opened.said, opened.requests)


def test_policy_stops_what_a_mistake_would_let_in(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    inserted = "<script>document.title = 'changed'</script><img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>"
    (tmp_path / "bad.html").write_text(text.replace("<main>", f"<main>{inserted}"), encoding="utf-8")
    with opening(browser, tmp_path / "bad.html") as opened:
        assert opened.page.title() == "Quality of Aurora Banking, third quarter – 1 Jul – 30 Sep 2026"
        assert len([said for said in opened.said if "Content Security Policy" in said]) == 2


def test_print_shows_everything_on_white_pages(browser: Browser, page_file: Path) -> None:
    with opening(browser, page_file, color_scheme="dark", viewport={"width": 700, "height": 900}) as opened:
        content = opened.page.pdf(format="A4", print_background=True)
        assert content.startswith(b"%PDF-")
        assert 5 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 20
        opened.page.emulate_media(media="print")
        paper = opened.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert _luminance(paper) == pytest.approx(1)
        definition = opened.page.locator(".figure details p").first
        assert definition.is_visible(), "definitions are printed though nobody opened them"
        assert not opened.page.locator("nav").is_visible()
        assert opened.evaluate("() => document.documentElement.scrollWidth") <= 700
        wide = opened.evaluate(
            "() => [...document.querySelectorAll('table, .chart')].map(it => it.getBoundingClientRect().right)"
        )
        assert max(wide) <= 701, "nothing is cut off at the edge of the paper"
        assert opened.is_quiet(), (opened.said, opened.requests)


def test_keyboard_opens_definitions_and_follows_contents(browser: Browser, page_file: Path) -> None:
    with opening(browser, page_file) as opened:
        details = opened.page.locator(".figure details").first
        details.locator("summary").focus()
        opened.page.keyboard.press("Enter")
        assert details.get_attribute("open") is not None
        opened.page.locator("nav a").nth(2).click()
        assert opened.evaluate("() => location.hash") == "#records"
        ids = opened.evaluate("() => [...document.querySelectorAll('[id]')].map(it => it.id)")
        assert len(set(ids)) == len(ids)
        named = (
            "() => [...document.querySelectorAll('[aria-labelledby]')].map(it => it.getAttribute('aria-labelledby'))"
        )
        assert set(" ".join(opened.evaluate(named)).split()) <= set(ids)
