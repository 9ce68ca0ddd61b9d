"""Runs that are killed come out as if they had not been."""

import json
from pathlib import Path

import pytest
from forked import start
from tiny import save_tiny

from sparring.benchmarks.reliability import kill9


def killed(folder: Path, model: str, chosen: list[tuple[str, str, float]] | int) -> dict:
    process = start(folder / "said", _study, folder, model, chosen)
    process.join()
    assert process.exitcode == 0, (folder / "said").read_text()
    found: dict = json.loads((folder / "found").read_text())
    return found


def _study(folder: Path, model: str, chosen: list[tuple[str, str, float]] | int) -> None:
    (folder / "found").write_text(json.dumps(kill9.study(folder, model, chosen)))


def test_killed_in_generation_in_an_update_and_while_saving(tmp_path: Path):
    chosen = [("lora", "generation", 0.6), ("per-round", "update", 0.5), ("per-round", "save", 0.7)]
    found = killed(tmp_path, save_tiny(tmp_path / "model"), chosen)
    assert found["equal"] == 3, found


@pytest.mark.full
def test_killed_at_twenty_points_of_all_phases(tmp_path: Path):
    found = killed(tmp_path, "mini@imitation", 20)
    assert found["equal"] == 20, found
    assert {point["phase"] for point in found["points"]} == {*kill9.PHASES, "between"}
    assert {point["variant"] for point in found["points"]} == set(kill9.VARIANTS)
    assert any(point["killed_again"] for point in found["points"])


def test_points_cover_phases_and_variants_and_are_drawn_by_the_seed():
    events = {"plain": {"update": 3, "save": 50}, "measured": {"update": 6, "save": 40, "control": 5}}
    assert kill9.points(events, 4, 0) == kill9.points(events, 4, 0) != kill9.points(events, 4, 1)
    drawn = kill9.points(events, 60, 0)
    assert [at.phase for _, at, _ in drawn] == ["control", "save", "update"] * 20
    assert {(variant, at.phase) for variant, at, _ in drawn} == {(variant, phase) for variant, of in events.items() for phase in of}
    assert all(at.event < events[variant][at.phase] for variant, at, _ in drawn)
    assert [again is None for *_, again in drawn] == [True, False] * 30
