"""The study of collapse: demonstrations, the model's probabilities as a policy, curves and tables; no training."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import save_tiny

from sparring.agents.models.loading import load_language_model
from sparring.benchmarks.studies import collapse
from sparring.benchmarks.studies.collapse import (
    ARMS,
    CollapseConfig,
    curve_over_seeds,
    draw,
    measured,
    page,
    random_play,
    result,
    rise,
    settings_of,
)
from sparring.envs.core import make_game
from sparring.envs.games.prompts import KUHN_POKER
from sparring.selfplay.evaluation.exploitability import ILLEGAL, game_graph


def found(*curves: list[float]) -> list[dict]:
    return [{"curve": [{"round": 4 * i, "exploitability": {"mean": value}} for i, value in enumerate(curve)]} for curve in curves]


@pytest.mark.parametrize("game", ["KuhnPoker", "TicTacToe"])
def test_random_play_is_legal_whole_and_from_the_seed(game: str):
    lines = [json.loads(line) for line in random_play(game, 5, 1).splitlines()]
    assert all(line["messages"][0]["role"] == "system" and line["messages"][-1]["role"] == "assistant" for line in lines)
    assert random_play(game, 5, 1) == random_play(game, 5, 1) != random_play(game, 5, 2)
    assert len(lines) >= 5 * (2 if game == "KuhnPoker" else 5), "a demonstration for every turn"


def test_a_models_probabilities_are_those_of_its_replies(tmp_path: Path):
    model = load_language_model(save_tiny(tmp_path / "model", length=1024), device="cpu", dtype="float32")
    graph = game_graph(make_game("KuhnPoker"))
    table = collapse.model_table(model, graph, KUHN_POKER)
    assert len(table) == 12
    for chances in table.values():
        assert sum(chances.values()) == pytest.approx(1) and chances[ILLEGAL] > 0.9, "a random model hardly ever says check"
    node = next(node for node in graph.nodes.values() if node.observation)
    ids = [*model.format.open(KUHN_POKER.render(node.observation)), *model.format.reply("check")]
    logits = model.model(input_ids=torch.tensor([ids])).logits[0].detach().log_softmax(-1)
    answer = len(model.format.reply("check"))
    by_hand = sum(float(logits[len(ids) - answer - 1 + i, ids[len(ids) - answer + i]]) for i in range(answer))
    assert table[node.info]["check"] == pytest.approx(math.exp(by_hand), rel=1e-4)


def test_illegal_play_loses_all_to_a_best_response(tmp_path: Path):
    folder = Path(save_tiny(tmp_path / "model", length=1024))
    point = measured(folder, game_graph(make_game("KuhnPoker")), KUHN_POKER)
    assert point["illegal"] > 0.9 and point["exploitability"]["mean"] > 1.8


def test_arms_differ_by_their_league_alone(tmp_path: Path):
    config = CollapseConfig(out=tmp_path)
    start = settings_of(config, "start", 0)
    assert start.rounds == 0 and start.sft.steps == 300 and start.sft.data is not None and start.sft.data.is_file()
    mirror, *leagues = (settings_of(config, arm, 0) for arm in ARMS)
    assert mirror.league == {} and mirror.model == str(tmp_path / "KuhnPoker-start-0@0")
    for league in leagues:
        assert replace(league, league={}, out=mirror.out) == mirror


def test_curves_and_rises_by_hand():
    two = found([1.0, 0.4, 0.6], [0.8, 0.5, 0.5])
    curve = curve_over_seeds(two)
    assert [point["round"] for point in curve] == [0, 4, 8]
    assert [point["mean"] for point in curve] == pytest.approx([0.9, 0.45, 0.55])
    assert rise(two) == pytest.approx([0.2, 0.0])
    text = page({"mirror": two}, 0.458)
    assert "| mirror | 0.900 ± 1.271 | 0.450 ± 0.635 | 0.550 ± 0.635 | 0.100 ± 1.271 |" in text and "Uniform play: 0.458." in text


def test_the_curves_are_drawn(tmp_path: Path):
    draw({"mirror": found([1.0, 0.4], [0.8, 0.5]), "pfsp": found([0.9, 0.3])}, 0.458, tmp_path / "a" / "curve.png")
    assert (tmp_path / "a" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_result_that_is_there_is_read_and_one_of_other_settings_refused(tmp_path: Path):
    config = CollapseConfig(out=tmp_path / "runs", results=tmp_path)
    settings = {**vars(config)}
    for name in ("seeds", "out", "results"):
        del settings[name]
    (tmp_path / "KuhnPoker-mirror-0.json").write_text(json.dumps({"settings": settings, "curve": []}))
    graph = game_graph(make_game("KuhnPoker"))
    assert result(config, "mirror", 0, graph)["curve"] == []
    with pytest.raises(ValueError, match="is of other settings"):
        result(replace(config, rounds=3), "mirror", 0, graph)
