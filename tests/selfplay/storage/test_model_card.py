"""The card beside an exported model."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.models.language_model import LanguageModel
from sparring.agents.names import checkpoint_model
from sparring.agents.players.player_card import PlayerCard
from sparring.selfplay.config.config import LearnerConfig, SFTMixConfig, TrainConfig
from sparring.selfplay.config.yaml_io import to_yaml
from sparring.selfplay.storage.folder import to_json
from sparring.selfplay.storage.model_card import code, escaped, write_card


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    tokenizer = tiny_tokenizer("chatml")
    return LanguageModel(tiny_model(vocab=len(tokenizer)), tokenizer)


def run(folder: Path, config: TrainConfig, rounds: int = 2, **cell) -> Path:
    checkpoint_model(folder, rounds).mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(config))
    if cell:
        measured = {"round": rounds, "role": "defender", "words": "all", "low": 0.1, "high": 0.4, "games": 50, **cell}
        (folder / "summary.json").write_text(to_json({"win_rates": [measured]}))
    return folder


def front(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_card_tells_origin_settings_and_strength(model: LanguageModel, tmp_path: Path):
    first = run(tmp_path / "first", TrainConfig(rounds=2, method="rae"))
    config = TrainConfig(model=f"{first}@2", rounds=3, seed=4, words=str(tmp_path / "my-words.txt"), learner=LearnerConfig(lr=1e-5))
    second = run(tmp_path / "second", config, 3, opponent="scripted", win_rate=0.25)
    card = write_card(f"{second}@latest", model, PlayerCard(everyday=True), "mine")
    assert front(card)["license"] == "apache-2.0", "through two runs from the embedded model"
    assert "- base: `mini@imitation` (sparring's embedded model; `sparring.selfplay.mini.make` makes it)\n- 2 rounds" in card
    assert "3 rounds of 512 games of `AdversarialTaboo` (method `group`); seed 4" in card
    assert "| `learner.lr` | `1e-05` |" in card and "| `words` | `my-words.txt` |" in card
    assert "| scripted | defender | all | 0.250 | 0.100 to 0.400 | 50 |" in card
    assert str(tmp_path) not in card


def test_the_license_of_another_base_is_unknown(model: LanguageModel, tmp_path: Path):
    made = run(tmp_path / "run", TrainConfig(model="hf:some/model", words="common", sft_mix=SFTMixConfig(source="none")))
    card = write_card(f"{made}@2", model, PlayerCard(), "x")
    assert (front(card)["license"], front(card)["base_model"]) == ("unknown", "some/model")
    assert "License of the base: unknown" in card and "Not measured." in card
    card = write_card(str(tmp_path / "folder"), model, PlayerCard(), "x")
    assert front(card)["license"] == "unknown" and "not exported from a run" in card and "- base: `folder`" in card


def test_hostile_names_stay_text(model: LanguageModel, tmp_path: Path):
    name = "x`](http://evil)\n---\n<script>|{spec}"
    made = run(tmp_path / "run", replace(TrainConfig(), model=f"hf:{name}", rounds=2), opponent="a|b<img>\n# c", win_rate=0.5)
    card = write_card(f"{made}@2", model, PlayerCard(), name)
    head = front(card)
    assert head["base_model"] == name and head["license"] == "unknown"
    assert card.splitlines().count("---") == 2
    body = card.split("---\n", 2)[2]
    title = next(line for line in body.splitlines() if line.startswith("# "))
    assert title == "# x\\`\\]\\(http://evil\\) \\-\\-\\- \\<script\\>\\|\\{spec\\}"
    assert "\n# c" not in body and "\n<script>" not in body
    assert 'from_pretrained("x`](http://evil)\\n---\\n<script>|{spec}")' in body


def test_escapes():
    assert escaped("a*b_c") == "a\\*b\\_c"
    assert code("plain") == "`plain`"
    assert code("a`b") == "``a`b``"
    assert code("`a") == "`` `a ``"
    assert "|" not in code("a|b")
