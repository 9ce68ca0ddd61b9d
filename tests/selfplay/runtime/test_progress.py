"""Bars: what they say about rates."""

import io
import re

import pytest
from rich.console import Console

from sparring.selfplay.runtime.progress import Shown


def test_a_bar_names_rates_and_how_full_batches_are():
    screen = io.StringIO()
    shown = Shown(Console(file=screen, force_terminal=True, width=160, markup=False))
    with shown.phase("play", 10) as advance:
        advance(4, 100, 0.5)
    said = screen.getvalue()
    assert "play" in said and "4/10" in said and "games/s" in said and "tokens/s" in said and "batches 50% full" in said


def test_without_a_terminal_a_phase_is_a_line():
    screen = io.StringIO()
    with Shown(Console(file=screen, markup=False)).phase("play", 10) as advance:
        advance(1, 10, 0.5)
    assert screen.getvalue() == "play\n"


def test_without_a_terminal_a_long_phase_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 1000, 4))  # seconds
    monkeypatch.setattr("sparring.selfplay.runtime.progress.time.perf_counter", lambda: float(next(clock)))
    screen = io.StringIO()
    with Shown(Console(file=screen, markup=False)).phase("play", 10) as advance:
        for _ in range(6):
            advance(1, 40, 0.5)
    lines = screen.getvalue().splitlines()
    assert lines[0] == "play" and 1 < len(lines) < 6
    assert re.fullmatch(r"play: \d of 10 games, 0\.\d games/s, \d tokens/s, batches 50% full", lines[1])


def test_a_bar_steps_aside_for_what_is_printed():
    screen = io.StringIO()
    shown = Shown(Console(file=screen, force_terminal=True, width=100, markup=False))
    with shown.phase("play", 10) as advance:
        advance(4)
        with shown.aside():
            before = len(screen.getvalue())
            advance(1)
            assert len(screen.getvalue()) == before, "nothing is drawn meanwhile"
        advance(1)
    assert "6/10" in screen.getvalue()[before:]
    with shown.aside():  # without a bar
        pass
