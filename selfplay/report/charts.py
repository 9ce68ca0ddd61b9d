"""Charts as inline SVG whose colours are the page's: light, dark or printed. Pure functions of numbers; knows
no runs.

matplotlib's drawings hold fixed colours and a copy of every glyph; these are a tenth as large and follow the
page.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 8, 30
COLOURS = 8
"""Classes of colours, c0 to c7; further lines take them again. The first two are those of a game's two roles
wherever roles are shown."""
_ALONE, _PARTS = 3, 2
"""The colour of a line that is alone, and the first of a column's parts, which are no roles."""


class Point(NamedTuple):
    """A value with its 95 % interval, where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


def line_chart(title: str, lines: Mapping[str, Sequence[Point]], *, unit: str = "", share: bool = False, about: str = "") -> Markup | None:
    """Lines over rounds with bands for their intervals; None where there are no points. share: values from 0
    to 1, shown as percent. unit: of the values. about: a sentence below the title."""
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return None
    points = [point for line in lines.values() for point in line]
    ends = [value for p in points for value in (p.y, p.low, p.high) if value is not None]
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0) if share else _ticks(min(0.0, *ends), max(ends))
    plot = _Plot(min(p.x for p in points), max(p.x for p in points), ticks[0], ticks[-1])
    parts = [plot.frame(ticks, _whole_ticks(plot.x0, plot.x1), share=share)]
    first = _ALONE if len(lines) == 1 else 0
    for number, line in enumerate(lines.values(), first):
        banded = [p for p in line if p.low is not None and p.high is not None]
        if len(banded) > 1:
            there = " ".join(f"{plot.x(p.x)},{plot.y(p.high or 0)}" for p in banded)
            back = " ".join(f"{plot.x(p.x)},{plot.y(p.low or 0)}" for p in reversed(banded))
            parts.append(_tag("polygon", cls=f"band c{number % COLOURS}", points=f"{there} {back}"))
    for number, (name, line) in enumerate(lines.items(), first):
        colour = f"c{number % COLOURS}"
        path = " ".join(f"{plot.x(p.x)},{plot.y(p.y)}" for p in line)
        parts.append(_tag("polyline", cls=f"line {colour}", points=path))
        for p in line:
            if len(line) == 1 and p.low is not None and p.high is not None:
                parts.append(_tag("path", cls=f"line {colour}", d=f"M{plot.x(p.x)},{plot.y(p.low)}V{plot.y(p.high)}"))
            told = f"{name}, round {p.x:g}: {_number(p.y, share)}{_interval(p, share)}"
            parts.append(_tag("circle", told, cls=f"dot {colour}", cx=plot.x(p.x), cy=plot.y(p.y), r=3))
    return _figure(title, list(lines), parts, unit, about)


def stacked_chart(title: str, columns: Mapping[int, Mapping[str, float]], *, about: str = "") -> Markup | None:
    """A column per round that is filled by shares; None where there are none."""
    names = list(dict.fromkeys(name for shares in columns.values() for name in shares))
    if not names:
        return None
    plot = _Plot(min(columns) - 0.5, max(columns) + 0.5, 0.0, 1.0)
    parts = [plot.frame((0.0, 0.25, 0.5, 0.75, 1.0), _whole_ticks(min(columns), max(columns)), share=True)]
    width = max(1.0, min(28.0, 0.7 * (plot.x(1) - plot.x(0))))
    for number, shares in columns.items():
        top = 0.0
        for name, share in shares.items():
            y, height = plot.y(top + share), plot.y(top) - plot.y(top + share)
            told, colour = f"round {number}: {name} {share:.1%}", (names.index(name) + _PARTS) % COLOURS
            corner = {"x": f"{plot.x(number) - width / 2:.1f}", "y": f"{y:.1f}"}
            size = {"width": f"{width:.1f}", "height": f"{max(0.0, height):.1f}"}
            parts.append(_tag("rect", told, cls=f"fill c{colour}", **corner, **size))
            top += share
    return _figure(title, names, parts, "share of games", about, _PARTS)


def interval(value: float | None, low: float | None, high: float | None, start: float = 0.0, end: float = 1.0) -> Markup:
    """A value and its interval on a line from start to end, for a table's cell; an end of the interval that
    is None is open."""
    if value is None and low is None and high is None:
        return Markup("")
    width, span = 120, (end - start) or 1.0

    def x(number: float) -> str:
        return f"{4 + (width - 8) * min(1.0, max(0.0, (number - start) / span)):.1f}"

    half = x((start + end) / 2)
    left, right = x(start if low is None else low), x(end if high is None else high)
    track = _tag("path", cls="track", d=f"M4,7H{width - 4}M{half},3V11")
    line = _tag("path", cls="line c1", d=f"M{left},7H{right}")
    dot = _tag("circle", cls="dot c1", cx=x(value), cy=7, r=3.5) if value is not None else ""
    return Markup(f'<svg class="interval" viewBox="0 0 {width} 14" aria-hidden="true">{track}{line}{dot}</svg>')


class _Plot:
    """The area within the axes."""

    def __init__(self, x0: float, x1: float, y0: float, y1: float) -> None:
        self.x0, self.x1, self.y0, self.y1 = x0, x1 if x1 > x0 else x0 + 1, y0, y1 if y1 > y0 else y0 + 1

    def x(self, value: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (value - self.x0) / (self.x1 - self.x0), 1)

    def y(self, value: float) -> float:
        share = min(1.0, max(0.0, (value - self.y0) / (self.y1 - self.y0)))
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share, 1)

    def frame(self, ticks: Sequence[float], rounds: Sequence[int], *, share: bool) -> str:
        parts = []
        for tick in ticks:
            y = self.y(tick)
            parts.append(_tag("path", cls="grid", d=f"M{_LEFT},{y}H{WIDTH - _RIGHT}"))
            parts.append(_tick(_LEFT - 6, round(y + 4, 1), "end", _number(tick, share)))
        for number in rounds:
            parts.append(_tick(self.x(number), HEIGHT - _BOTTOM + 15, "middle", str(number)))
        parts.append(_tick(WIDTH - _RIGHT, HEIGHT - 2, "end", "round"))
        return "".join(parts)


def _tag(name: str, told: str = "", *, cls: str, **attributes: object) -> str:
    """An SVG element of numbers and classes. told: what is shown when one points at it."""
    given = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return f'<{name} class="{cls}" {given}>{f"<title>{escape(told)}</title>" if told else ""}</{name}>'


def _tick(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text class="tick" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


def _figure(title: str, names: Sequence[str], parts: Sequence[str], unit: str, about: str, first: int = 0) -> Markup:
    keys = Markup("").join(
        Markup('<span class="key"><i class="c{}"></i>{}</span>').format(number % COLOURS, name) for number, name in enumerate(names, first)
    )
    below = Markup('<p class="about">{}</p>').format(about) if about else ""
    head = Markup('<figcaption><strong>{}</strong>{}<span class="keys">{}</span></figcaption>').format(
        title,
        Markup(' <span class="unit">{}</span>').format(unit) if unit else "",
        keys if len(names) > 1 else "",
    )
    drawn = Markup("".join(parts))  # numbers, and names that are escaped above
    return Markup('<figure class="chart">{}{}<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg></figure>').format(
        head, below, WIDTH, HEIGHT, title, drawn
    )


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Three to six round numbers that enclose a range."""
    if high <= low:
        high = low + 1.0
    step: float = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(number * step for number in range(first, last + 1))


def _whole_ticks(low: float, high: float) -> tuple[int, ...]:
    """Up to eight whole numbers in a range."""
    first, last = math.ceil(low), math.floor(high)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**4, 10**5, 10**6) if (last - first) / step <= 8)
    return tuple(range(-(-first // step) * step, last + 1, step))


def _number(value: float, share: bool) -> str:
    return f"{100 * value:.0f}%" if share else f"{value:.3g}"


def _interval(point: Point, share: bool) -> str:
    return "" if point.low is None or point.high is None else f" ({_number(point.low, share)} to {_number(point.high, share)})"
