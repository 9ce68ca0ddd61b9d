"""Training on games that a vLLM server played: the weights go to it after each update, and come back in its log-probabilities."""

from pathlib import Path

import pytest
from learners import learner_of
from stub_server import stub_server
from tiny_vllm import TinyVLLM, save

from sparring.agents.core import Sampling
from sparring.agents.models.loading import load_language_model
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.rollout import Match, play_all
from sparring.agents.servers.vllm import VLLMServer
from sparring.agents.servers.vllm_weights import store_head
from sparring.envs.core import Task
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.selfplay.config.config import LearnerConfig
from sparring.selfplay.learner.batch import sample_from_segment


def test_two_rounds(tmp_path: Path):
    place = save(tmp_path / "0")
    own = load_language_model(place, device="cpu", dtype="float32")
    learner = learner_of(own.model, config=LearnerConfig(kl=0.0, lr=1e-2))
    game = AdversarialTaboo(max_turns=2, max_characters=10_000)
    tasks = [Task(f"{i}", "lemon", "lemon", i) for i in range(3)]
    with stub_server(TinyVLLM(str(place))) as stub:
        server = VLLMServer(place, stub.url)
        agent = ModelAgent(server, TABOO_BRIEF, Sampling(0.8, max_new_tokens=6))
        for version in ("1", "2"):
            episodes = play_all(Match(task.id, game, task, dict.fromkeys(game.roles, agent), task.seed) for task in tasks)
            segments = [(role, segment) for p in episodes for role in game.roles for segment in p.segments[role]]
            samples = [sample_from_segment(segment, (-1.0) ** i, role=role) for i, (role, segment) in enumerate(segments)]
            if version == "2":
                first = learner_of(load_language_model(place, device="cpu", dtype="float32").model, config=LearnerConfig(kl=0.0))
                assert first.update(samples, seed=0)["mismatch_kl"] > 1e-4, "these are not the replies of the first weights"
            assert learner.update(samples, seed=0)["mismatch_kl"] == pytest.approx(0.0, abs=1e-6)
            folder = tmp_path / version
            own.model.save_pretrained(folder)
            store_head(folder)
            server.load_weights(folder, version)
