"""The making of the embedded model, in very small, and what is shipped."""

import hashlib
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from sparring.agents.core import Sampling
from sparring.agents.models.chat_format import ChatFormat
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import model_card, model_location, resolve
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.world.english import truth
from sparring.envs.world.facts import everyday
from sparring.selfplay.evaluation.win_rates import win_rates
from sparring.selfplay.mini.corpus import conversations
from sparring.selfplay.mini.make import MiniConfig, build_model, build_tokenizer, main, texts, word_vectors

WORLD = everyday()


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(islice(conversations(0), 300), 1792, 256)


def test_every_noun_is_one_token(tokenizer):
    assert all(len(tokenizer.encode(f" {noun}", add_special_tokens=False)) == 1 for noun in WORLD.nouns)


def test_any_text_comes_back(tokenizer):
    for text in ("naïve 🍋 <|end|>", "a\nb\tc", "\u202e"):
        assert tokenizer.decode(ChatFormat(tokenizer).reply(text)[:-1]) == text


def test_word_vectors_know_what_occurs_together(tokenizer):
    from sparring.envs.views import Message

    chat = ChatFormat(tokenizer)
    texts = []
    for _ in range(20):
        for noun, value in (("lemon", "yellow"), ("banana", "yellow"), ("piano", "loud"), ("drum", "loud")):
            texts.append((Message("user", f"Describe {noun}."), Message("assistant", f"It is {value}.")))
    vectors = word_vectors(texts, chat, len(tokenizer), 16, seed=0)
    assert vectors.shape == (len(tokenizer), 16)

    def like(one: str, other: str) -> float:
        a, b = (vectors[tokenizer.encode(f" {word}", add_special_tokens=False)[0]] for word in (one, other))
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    assert like("lemon", "banana") > 0.9
    assert like("lemon", "piano") < 0.5
    assert like("lemon", "yellow") > like("lemon", "loud") + 0.5


def test_the_same_seed_makes_the_same_model(tmp_path: Path):
    made = []
    for name in ("one", "other"):
        config = MiniConfig(tmp_path / name, hidden=32, layers=1, feed_forward=32, descriptions=16, conversations=16, context=512)
        main(config)
        made.append((tmp_path / name / "model.safetensors").read_bytes())
    assert made[0] == made[1]
    assert json.loads((tmp_path / "one" / "made.json").read_text())["config"]["hidden"] == 32
    assert load_language_model(tmp_path / "one", device="cpu").model.config.hidden_size == 32


def test_what_the_base_reads_stays_what_it_was():
    """Descriptions, riddles and conversations; only the last are mixed into self-play."""
    told = texts(MiniConfig(descriptions=40, conversations=160))
    found = hashlib.sha256("".join(f"{message.role}: {message.content}\n" for text in told for message in text).encode())
    assert found.hexdigest() == "febe75c3d29a8df7f13441ff6af740c276a6c040b82232150aac26233f095864"


def test_embeddings_begin_as_word_vectors():
    vectors = np.random.default_rng(0).normal(size=(1792, 32)).astype(np.float32)
    model = build_model(MiniConfig(hidden=32, layers=1), vectors, end=1, pad=0)
    embeddings = model.get_input_embeddings().weight.detach()
    assert torch.nn.functional.cosine_similarity(embeddings, torch.from_numpy(vectors)).mean() > 0.8


@pytest.mark.parametrize("name", ["mini", "mini@imitation"])
def test_the_shipped_models_are_small_and_plain(name: str):
    place = Path(model_location(name))
    assert sum(p.stat().st_size for p in Path(model_location("mini")).rglob("*") if p.is_file()) < 8_000_000
    card = model_card(name)
    assert card.everyday
    assert card.max_new_tokens == 48
    model = load_language_model(place, device="cpu")
    parameters = sum(p.numel() for p in model.model.parameters())
    assert 1_000_000 <= parameters <= 3_000_000
    assert type(model.model).__name__ == "LlamaForCausalLM"


def test_the_shipped_model_plays_the_game_in_its_language():
    player = resolve("mini@imitation", sampling=Sampling(max_new_tokens=48), device="cpu")
    game, words = AdversarialTaboo(), {"all": WORLD.nouns}
    cells = {cell.role: cell for cell in win_rates(player, {"itself": player}, game, words, 32, seed=0, truth=truth)}
    attacker = cells["attacker"]
    assert attacker.truth > 0.85 and attacker.unparsed < 0.05
    assert sum(attacker.reasons.get(reason, 0) for reason in ("silent", "overlong", "foul")) <= 3
    assert {"uttered", "declared_right", "declared_wrong"} <= attacker.reasons.keys()
    assert attacker.wins + cells["defender"].losses > 36, "of 64: about three of four, as the study has it"
