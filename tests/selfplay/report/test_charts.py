"""Charts are numbers at places that can be worked out by hand, and names that are escaped."""

import re

import pytest

from sparring.selfplay.report.charts import HEIGHT, WIDTH, Point, _ticks, interval, line_chart, stacked_chart


def test_points_stand_where_their_numbers_are():
    chart = line_chart("x", {"a": [Point(0, 0.0), Point(2, 1.0)]}, share=True)
    assert chart is not None
    left, right, top, bottom = 40, WIDTH - 8, 8, HEIGHT - 30
    assert re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart) == [(f"{left}.0", f"{bottom}.0"), (f"{right}.0", f"{top}.0")]
    assert f'points="{left}.0,{bottom}.0 {right}.0,{top}.0"' in chart


def test_an_interval_is_a_band_around_its_line_and_is_told():
    chart = line_chart("x", {"a": [Point(1, 0.5, 0.4, 0.6), Point(2, 0.5, 0.25, 0.75)]}, share=True)
    assert chart is not None and chart.count('class="band c3"') == 1
    assert "a, round 1: 50% (40% to 60%)" in chart
    height = HEIGHT - 38
    tops = [f"{8 + height * (1 - y):.1f}" for y in (0.6, 0.75)]
    band = re.search(r'band c3" points="([^"]*)"', chart)
    assert band and [pair.split(",")[1] for pair in band[1].split()[:2]] == tops


def test_one_round_is_a_dot_with_a_line_for_its_interval():
    chart = line_chart("x", {"a": [Point(1, 0.5, 0.4, 0.6)]}, share=True)
    assert chart is not None and 'class="band' not in chart and re.search(r'd="M[\d.]+,[\d.]+V[\d.]+"', chart)


def test_names_are_escaped():
    for chart in (line_chart("<b>", {"<i>": [Point(0, 1)], "&": [Point(0, 2)]}), stacked_chart("<b>", {1: {"<i>": 0.5, "&": 0.5}})):
        assert chart is not None and "<b>" not in chart and "<i>" not in chart and "&lt;i&gt;" in chart and "&amp;" in chart


def test_nothing_measured_is_no_chart():
    assert line_chart("x", {}) is None and line_chart("x", {"a": []}) is None and stacked_chart("x", {1: {}}) is None


def test_a_column_is_filled_by_its_shares():
    chart = stacked_chart("x", {1: {"a": 0.25, "b": 0.75}, 2: {"a": 1.0, "b": 0.0}})
    assert chart is not None
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"><title>', chart)]
    whole = HEIGHT - 38
    assert heights == pytest.approx([whole / 4, whole * 3 / 4, whole, 0], abs=0.06)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (0, 0.0031, (0, 0.001, 0.002, 0.003, 0.004)),
        (-3, 8, (-5, 0, 5, 10)),
        (0, 0, (0, 0.2, 0.4, 0.6, 0.8, 1.0)),
    ],
)
def test_ticks_are_round_numbers_around_the_values(low: float, high: float, expected: tuple[float, ...]):
    assert _ticks(low, high) == pytest.approx(expected)


def test_the_cell_of_a_table_has_an_open_end_where_there_is_no_bound():
    assert 'd="M60.0,7H116.0"' in interval(None, 0.5, None) and "circle" not in interval(None, 0.5, None)
    assert 'd="M4.0,7H60.0"' in interval(0.25, None, 0.5) and 'cx="32.0"' in interval(0.25, None, 0.5)
    assert interval(None, None, None) == ""
