"""Charts say all their values, leave gaps where there are none, and are well-formed whatever is in them."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testio_mcp.reports.axes import apart, fitted, scale_for, width_of
from testio_mcp.reports.charts import draw
from testio_mcp.reports.model import Chart, Report, Series, Unit
from testio_mcp.reports.writers import write
from tests.reports.sample import HOSTILE, MONTHS, bars, lines, sample, stacks

SVG = "{http://www.w3.org/2000/svg}"


def _parsed(chart: Chart) -> ElementTree.Element:
    svg = str(draw(chart, "c").svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return ElementTree.fromstring(svg)


def _texts(root: ElementTree.Element, kind: str) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text") if (text.get("class") or "").startswith(kind)]


def _every_chart() -> list[Chart]:
    """Those of the sample, as writers get them."""
    report = Report.model_validate_json(write(sample(), "json"))
    return [chart for section in report.sections for chart in section.charts]


@pytest.mark.parametrize("chart", _every_chart(), ids=lambda chart: chart.title[:12])
def test_chart_is_named_described_and_inside_its_frame(chart: Chart) -> None:
    root = _parsed(chart)
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == chart.title
    described = root.findtext(f"{SVG}desc") or ""
    for series in chart.series:
        assert series.name in described
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    for rect in root.iter(f"{SVG}rect"):
        x, y, wide, high = (float(rect.get(name) or "nan") for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + high <= height


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 3), (0, 7), (0, 0), (3, 412), (-5, 20), (0, 10**9)])
def test_axes_of_counts_have_few_whole_ticks_around_all_values(low: int, high: int) -> None:
    scale = scale_for([low, high], "count")
    assert scale.ticks[0] <= min(low, 0)
    assert scale.ticks[-1] >= high
    assert 0 in scale.ticks
    assert 2 <= len(scale.ticks) <= 8
    assert all(float(value).is_integer() for value in scale.ticks)
    assert len(set(scale.labels)) == len(scale.labels)


@given(
    values=st.lists(st.floats(-1e9, 1e9, allow_nan=False), max_size=8),
    unit=st.sampled_from(["count", "number", "share"]),
)
def test_axes_hold_every_value(values: list[float], unit: Unit) -> None:
    scale = scale_for(values, unit)
    assert len(scale.ticks) <= 9
    assert scale.ticks == sorted(set(scale.ticks))
    slack = max((scale.ticks[-1] - scale.ticks[0]) * 1e-6, 1e-4)
    assert all(scale.ticks[0] - slack <= value <= scale.ticks[-1] + slack for value in values)


def test_shares_go_to_a_hundred_percent_at_most() -> None:
    assert scale_for([0.92, 1.0], "share").labels == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert scale_for([0.004], "share").labels[-1] == "0.4%"


def test_missing_value_breaks_a_line() -> None:
    root = _parsed(lines())
    paths = [path.get("d") or "" for path in root.iter(f"{SVG}path") if (path.get("class") or "").startswith("line")]
    assert [path.count("L") + 1 for path in paths] == [4, 3, 9, 5, 3]
    assert "2026-08 no value" in (root.findtext(f"{SVG}desc") or "")
    dashes = {path.get("stroke-dasharray") for path in root.iter(f"{SVG}path") if path.get("stroke-dasharray")}
    assert len(dashes) == 2, "lines differ in more than their colour"


def test_values_are_written_at_bars_and_in_stacks() -> None:
    months = _parsed(bars("Bugs", MONTHS[:9], [*range(9)]))
    assert _texts(months, "value") == [str(value) for value in range(9)]
    stacked = _parsed(stacks())
    assert _texts(stacked, "value") == ["31", "29", "28", "24", "22", "34", "38", "30", "24"]
    assert "14" in _texts(stacked, "inside")
    fills = {rect.get("fill") for rect in stacked.iter(f"{SVG}rect")}
    assert {"url(#hatch-1)", "url(#hatch-2)", "url(#hatch-3)"} <= fills, "parts differ in more than their colour"
    titles = [title.text for title in stacked.iter(f"{SVG}title")]
    assert "high, 2026-04: 9" in titles


def test_last_values_of_lines_do_not_cover_each_other() -> None:
    series = [Series(name=str(at), values=[0.5, 0.5]) for at in range(4)]
    root = _parsed(Chart(title="x", kind="lines", unit="share", labels=["a", "b"], series=series))
    ends = [text for text in root.iter(f"{SVG}text") if text.get("class") == "value"]
    heights = sorted(float(text.get("y") or 0) for text in ends)
    assert all(below - above >= 14 for above, below in pairwise(heights))


def test_labels_are_left_out_before_they_touch() -> None:
    root = _parsed(bars("Bugs a month", MONTHS, [*range(24)]))
    shown = [label for label in _texts(root, "axis") if label in MONTHS]
    assert shown[-1] == MONTHS[-1]
    assert 8 <= len(shown) < 24


def test_more_series_than_colours_and_all_kinds_can_be_drawn() -> None:
    for kind in ("bars", "stacked", "lines"):
        series = [Series(name=f"s{at}", values=[at, None, -at]) for at in range(11)]
        for labels in (["a", "b", "c"], ["a long label of a row", "b", "c"]):
            root = _parsed(
                Chart.model_validate(
                    {"title": "x", "kind": kind, "unit": "number", "labels": labels, "series": series}
                )
            )
            classes = " ".join(node.get("class") or "" for node in root.iter())
            assert set(re.findall(r"\bs(\d+)\b", classes)) <= set("01234567")


@given(places=st.lists(st.floats(0, 300), max_size=6))
def test_places_keep_apart(places: list[float]) -> None:
    moved = sorted(apart(places, 14))
    assert all(after - before >= 14 - 1e-6 for before, after in pairwise(moved))


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_long_labels_are_cut_with_a_mark(text: str) -> None:
    short = fitted(text, 100)
    assert width_of(short) <= 100
    assert "\n" not in short
    assert short == " ".join(text.split()) or short.endswith("…")
