"""Charts as SVG inside a page.

Colours are classes of the page's style sheet (`s0` to `s7`), so that they follow its light and dark schemes. Nothing
is told by colour alone: series differ in pattern, or in dash and marker, values are written at the marks as far as
there is room, each mark has a title, and the description holds all values.
"""

from collections.abc import Iterator
from typing import NamedTuple

from markupsafe import Markup

from testio_mcp.reports.axes import SIZE, Scale, apart, every, fitted, scale_for, width_of
from testio_mcp.reports.model import Chart, Series
from testio_mcp.reports.words import number

COLOURS = 8
_NARROW, _WIDE, _HEIGHT = 480, 960, 260
_TOP, _RIGHT, _BOTTOM = 24, 10, 30
_ROW = 26
_SHORT_LABEL = 10
"""Letters of a label that fits below a bar; charts with longer ones have their bars lie."""
_MOST_UPRIGHT = 36
_DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 4", "12 4", "1 4", "8 2 2 2 2 2")
_MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.5-3.5h7v7h-7z",
    "M0-4.5L4.5 3.5h-9z",
    "M0-5L5 0L0 5L-5 0z",
    "M0 4.5L4.5-3.5h-9z",
    "M-4.5-1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
    "M-5-2h10v4h-10z",
    "M-2-5h4v10h-4z",
)

_HATCHES = (
    (6, "M0 6L6 0M-1 1L1-1M5 7L7 5"),
    (5, "M2.5 1.5v2M1.5 2.5h2"),
    (6, "M0 3h6"),
    (6, "M0 0L6 6M-1 5L1 7M5-1L7 1"),
    (6, "M3 0v6"),
    (7, "M0 0L7 7M0 7L7 0"),
    (7, "M0 3.5h7M3.5 0v7"),
)
PATTERNS = Markup(
    '<svg class="patterns" width="0" height="0" aria-hidden="true" focusable="false"><defs>{}</defs></svg>'
).format(
    Markup("").join(
        Markup(
            '<pattern id="hatch-{0}" width="{1}" height="{1}" patternUnits="userSpaceOnUse"><path d="{2}"/></pattern>'
        ).format(place, size, path)
        for place, (size, path) in enumerate(_HATCHES, 1)
    )
)
"""What the parts of stacked bars are filled with; a page with charts holds it once."""


class Drawing(NamedTuple):
    """A chart ready for a page; `legend` is empty where there is one series."""

    svg: Markup
    legend: list[tuple[str, Markup]]
    is_wide: bool


class Box(NamedTuple):
    """The room between the axes, and where values are in it. Lying bars have their values along the width."""

    left: float
    top: float
    width: float
    height: float
    scale: Scale

    def y(self, value: float) -> float:
        """The height of a value."""
        return self.top + self.height * (1 - self.scale.part(value))

    def x(self, value: float) -> float:
        """The place of a value of a lying bar."""
        return self.left + self.width * self.scale.part(value)

    def band(self, labels: int) -> float:
        """The width that one label has."""
        return self.width / labels


def draw(chart: Chart, name: str) -> Drawing:
    """A chart as SVG; `name` is the beginning of the ids in it, and different for every chart of a page."""
    lies = chart.kind != "lines" and _lies(chart)
    is_wide = len(chart.series) > 1 if lies else len(chart.labels) > 12
    width = _WIDE if is_wide else _NARROW
    scale = scale_for(_values(chart), chart.unit)
    if not any(value is not None for series in chart.series for value in series.values):
        height, body = 60.0, _text(width / 2, 36, "No values", "middle")
    elif lies:
        height, body = _lying(chart, scale, width)
    else:
        height, body = float(_HEIGHT), _upright(chart, scale, width)
    svg = Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{name}-t {name}-d">'
        '<title id="{name}-t">{title}</title><desc id="{name}-d">{told}</desc>{body}</svg>'
    ).format(w=width, h=round(height), name=name, title=chart.title, told=_describe_values(chart), body=body)
    keys = [(series.name, _key(chart, at)) for at, series in enumerate(chart.series)]
    return Drawing(svg, keys if len(keys) > 1 else [], is_wide)


def _lies(chart: Chart) -> bool:
    longest = max((len(label) for label in chart.labels), default=0)
    return len(chart.labels) > _MOST_UPRIGHT or longest > _SHORT_LABEL


def _values(chart: Chart) -> list[float]:
    """What the axis has to reach: the values, or the heights of the stacks."""
    if chart.kind == "stacked":
        return [_total(chart, at) for at in range(len(chart.labels))]
    return [value for series in chart.series for value in series.values if value is not None]


def _total(chart: Chart, at: int) -> float:
    return sum(max(series.values[at] or 0, 0) for series in chart.series)


def _has_total(chart: Chart, at: int) -> bool:
    """Whether the sum of a stack says anything: not of shares, and not of nothing."""
    return chart.unit != "share" and any(series.values[at] is not None for series in chart.series)


def _describe_values(chart: Chart) -> str:
    """All values in words."""
    return "; ".join(
        f"{series.name}: "
        + ", ".join(
            f"{label} {'no value' if value is None else number(value, chart.unit)}"
            for label, value in zip(chart.labels, series.values, strict=True)
        )
        for series in chart.series
    )


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, anchor, kind, text
    )


def _title(chart: Chart, series: Series, at: int) -> Markup:
    of = "" if len(chart.series) == 1 else f"{series.name}, "
    return Markup("<title>{}</title>").format(f"{of}{chart.labels[at]}: {number(series.values[at], chart.unit)}")


def _rect(box: tuple[float, float, float, float], colour: int, title: Markup, *, is_part: bool = False) -> Markup:
    shape = Markup('x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"').format(*box)
    pattern = Markup('<rect {} fill="url(#hatch-{})"/>').format(shape, colour % COLOURS) if is_part and colour else ""
    return Markup('<g>{}<rect {} class="s{}"/>{}</g>').format(title, shape, colour % COLOURS, pattern)


def _upright(chart: Chart, scale: Scale, width: float) -> Markup:
    """Bars, stacks or lines above their labels."""
    left = max(map(width_of, scale.labels)) + 8
    right = _RIGHT + (_end_room(chart) if chart.kind == "lines" else 0)
    box = Box(left, _TOP, width - left - right, _HEIGHT - _TOP - _BOTTOM, scale)
    draws = {"bars": _bars, "stacked": _stacks, "lines": _lines}[chart.kind]
    return Markup("").join([*_grid(box), *_labels(chart, box), *draws(chart, box)])


def _grid(box: Box) -> Iterator[Markup]:
    for value, label in zip(box.scale.ticks, box.scale.labels, strict=True):
        y = box.y(value)
        kind = "zero" if value == 0 else "grid"
        yield Markup('<path class="{}" d="M{:.1f} {:.1f}h{:.1f}"/>').format(kind, box.left, y, box.width)
        yield _text(box.left - 6, y + 4, label, "end", "axis")


def _labels(chart: Chart, box: Box) -> Iterator[Markup]:
    """The labels below, as many as fit; the last one always."""
    band, last = box.band(len(chart.labels)), len(chart.labels) - 1
    step = every(chart.labels, band)
    for at, label in enumerate(chart.labels):
        if (last - at) % step == 0:
            x = box.left + band * (at + 0.5)
            half = width_of(label) / 2
            x = min(max(x, half), box.left + box.width + _RIGHT - half)
            yield _text(x, box.top + box.height + 20, label, "middle", "axis")


def _bars(chart: Chart, box: Box) -> Iterator[Markup]:
    """Bars beside each other for each label."""
    band, count = box.band(len(chart.labels)), len(chart.series)
    thick = min(band * 0.72 / count, 46)
    for place, series in enumerate(chart.series):
        written = [number(value, chart.unit) for value in series.values]
        step = every(written, band / count + SIZE)
        for at, value in enumerate(series.values):
            if value is None:
                continue
            x = box.left + band * (at + 0.5) + thick * (place - count / 2)
            top, bottom = sorted((box.y(value), box.y(0)))
            yield _rect((x, top, max(thick - 1, 1), bottom - top), place, _title(chart, series, at))
            if step == 1:
                yield _text(x + thick / 2, top - 6, written[at], "middle", "value")


def _stacks(chart: Chart, box: Box) -> Iterator[Markup]:
    """One bar for each label, made of parts."""
    band = box.band(len(chart.labels))
    thick = min(band * 0.72, 54)
    for at in range(len(chart.labels)):
        x, reached = box.left + band * (at + 0.5) - thick / 2, 0.0
        for place, series in enumerate(chart.series):
            value = series.values[at]
            if value is None or value <= 0:
                continue
            top, bottom = box.y(reached + value), box.y(reached)
            reached += value
            yield _rect((x, top, thick, max(bottom - top - 1, 0.6)), place, _title(chart, series, at), is_part=True)
            text = number(value, chart.unit)
            if bottom - top >= SIZE + 4 and width_of(text) <= thick:
                yield _text(x + thick / 2, (top + bottom) / 2 + 4, text, "middle", f"inside s{place % COLOURS}")
        total = number(reached, chart.unit)
        if _has_total(chart, at) and width_of(total) <= band:
            yield _text(x + thick / 2, box.y(reached) - 6, total, "middle", "value")


def _last(series: Series) -> int | None:
    """The place of the last value."""
    return next((at for at in reversed(range(len(series.values))) if series.values[at] is not None), None)


def _end_room(chart: Chart) -> float:
    """The room that the last values need at the end of their lines."""
    ends = [(series, _last(series)) for series in chart.series]
    return max(
        (width_of(number(series.values[at], chart.unit)) + 4 for series, at in ends if at is not None), default=0
    )


def _runs(series: Series) -> Iterator[list[int]]:
    """The places of values that follow each other; a null ends a run."""
    run: list[int] = []
    for at, value in enumerate(series.values):
        if value is not None:
            run.append(at)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _lines(chart: Chart, box: Box) -> Iterator[Markup]:
    """A line for each series, broken where a value is missing, with its last value at its end."""
    band = box.band(len(chart.labels))
    for place, series in enumerate(chart.series):
        points = {
            at: (box.left + band * (at + 0.5), box.y(value))
            for at, value in enumerate(series.values)
            if value is not None
        }
        for run in _runs(series):
            line = "L".join(f"{points[at][0]:.1f} {points[at][1]:.1f}" for at in run)
            yield Markup('<path class="line s{}" stroke-dasharray="{}" d="M{}"/>').format(
                place % COLOURS, _DASHES[place % COLOURS], line
            )
        for at, (x, y) in points.items():
            mark = Markup('<path class="mark s{}" transform="translate({:.1f} {:.1f})" d="{}"/>')
            yield Markup("<g>{}{}</g>").format(
                _title(chart, series, at), mark.format(place % COLOURS, x, y, _MARKERS[place % COLOURS])
            )
    yield from _ends(chart, box)


def _ends(chart: Chart, box: Box) -> Iterator[Markup]:
    """The last value of each line beside its end; they keep apart from each other."""
    ends = [(series, at) for series in chart.series if (at := _last(series)) is not None]
    places = apart([box.y(series.values[at] or 0) for series, at in ends], SIZE + 2)
    for (series, at), y in zip(ends, places, strict=True):
        x = box.left + box.band(len(chart.labels)) * (at + 0.5) + 9
        yield _text(x, y + 4, number(series.values[at], chart.unit), "start", "value")


def _lying(chart: Chart, scale: Scale, width: float) -> tuple[float, Markup]:
    """Bars or stacks to the right of their labels, which may be long."""
    left = min(max(map(width_of, chart.labels)) + 12, width * 0.45)
    room = max(width_of(number(value, chart.unit)) for value in _values(chart) or [0]) + 14
    count = 1 if chart.kind == "stacked" else len(chart.series)
    row = _ROW if count == 1 else 18 * count + 8
    box = Box(left, 4, width - left - room, row * len(chart.labels), scale)
    parts = [*_upright_grid(box)]
    for at, label in enumerate(chart.labels):
        middle = box.top + row * (at + 0.5)
        parts.append(_text(left - 8, middle + 4, fitted(label, left - 12), "end", "name"))
        parts += _lying_row(chart, box, at, middle)
    return box.top + box.height + _BOTTOM, Markup("").join(parts)


def _upright_grid(box: Box) -> Iterator[Markup]:
    for value, label in zip(box.scale.ticks, box.scale.labels, strict=True):
        kind = "zero" if value == 0 else "grid"
        yield Markup('<path class="{}" d="M{:.1f} {:.1f}v{:.1f}"/>').format(kind, box.x(value), box.top, box.height)
        yield _text(box.x(value), box.top + box.height + 18, label, "middle", "axis")


def _lying_row(chart: Chart, box: Box, at: int, middle: float) -> Iterator[Markup]:
    """The bars of one label."""
    if chart.kind == "stacked":
        yield from _lying_parts(chart, box, at, middle)
        return
    thick, count = 18, len(chart.series)
    for place, series in enumerate(chart.series):
        value, y = series.values[at], middle + thick * (place - count / 2)
        if value is None:
            continue
        start, end = sorted((box.x(value), box.x(0)))
        yield _rect((start, y, end - start, thick - 2), place, _title(chart, series, at))
        yield _text(end + 6, y + thick / 2 + 3, number(value, chart.unit), "start", "value")


def _lying_parts(chart: Chart, box: Box, at: int, middle: float) -> Iterator[Markup]:
    reached = 0.0
    for place, series in enumerate(chart.series):
        value = series.values[at]
        if value is None or value <= 0:
            continue
        start, end = box.x(reached), box.x(reached + value)
        reached += value
        rect = (start, middle - 9, max(end - start - 1, 0.6), 18)
        yield _rect(rect, place, _title(chart, series, at), is_part=True)
        text = number(value, chart.unit)
        if end - start >= width_of(text) + 6:
            yield _text((start + end) / 2, middle + 4, text, "middle", f"inside s{place % COLOURS}")
    if _has_total(chart, at):
        yield _text(box.x(reached) + 6, middle + 4, number(reached, chart.unit), "start", "value")


def _key(chart: Chart, at: int) -> Markup:
    """What a series looks like, for the legend."""
    colour = at % COLOURS
    if chart.kind == "lines":
        inner = Markup(
            '<path class="line s{0}" stroke-dasharray="{1}" d="M1 7h26"/>'
            '<path class="mark s{0}" transform="translate(14 7)" d="{2}"/>'
        ).format(colour, _DASHES[colour], _MARKERS[colour])
    else:
        inner = _rect((7, 0, 14, 14), colour, Markup(""), is_part=chart.kind == "stacked")
    return Markup('<svg class="key" viewBox="0 0 28 14" aria-hidden="true" focusable="false">{}</svg>').format(inner)
