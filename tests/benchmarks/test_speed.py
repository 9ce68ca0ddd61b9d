"""The speed benchmark, in very small: both loops play whole games by the same rules."""

from pathlib import Path

from tiny import tiny_model, tiny_tokenizer

from sparring.agents.player_card import PlayerCard
from sparring.benchmarks.speed import SpeedConfig, measure
from sparring.envs.views import TABOO_BRIEF


def test_both_loops_are_measured_on_whole_games(tmp_path: Path):
    tokenizer = tiny_tokenizer("chatml", pad_token="<|endoftext|>")
    tiny_model(vocab=len(tokenizer), length=512).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    PlayerCard(TABOO_BRIEF, 6, True).save(tmp_path)
    found = measure(SpeedConfig(model=str(tmp_path), games=4, runs=1, batches=(2, 4)))
    assert set(found["ratios"]) == {"spag_loop"}
    assert found["batch"]["spag_loop"] in (2, 4)
    for runs in found["runs"].values():
        assert len(runs) == 1
        assert runs[0]["games"] == 4
        assert runs[0]["utterances"] >= 4
        assert 0 < runs[0]["tokens"] <= 6 * runs[0]["utterances"]
