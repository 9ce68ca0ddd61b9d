"""Bars: what they say about rates."""

import io

from rich.console import Console

from sparring.selfplay.progress import Shown


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
