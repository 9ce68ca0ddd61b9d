"""GRPO by TRL on whole games: the model plays the defender against scripted attackers (extra `trl`).

python docs/examples/trl_grpo.py

Games are played by sparring's scheduler with the trainer's own model, all games of a step in one batch. TRL gets their token streams as
they were sampled, with a mask that leaves the opponent's words out of the loss, and the outcome as reward. A prompt of the data set is a
secret word; TRL repeats it `num_generations` times, and compares the games about it.
"""

import sys
import tempfile
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from sparring.agents.core import Sampling, derive_seed
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.names import model_card, model_location
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.players.scripted import scripted
from sparring.agents.rollout import Match, play_all
from sparring.envs.core import Task, make_game
from sparring.envs.games import registered as _games  # noqa: F401  registers the games
from sparring.envs.words.lists import word_list

MODEL = "mini@imitation"  # or a folder, or hf:ID: any causal chat model
CARD = model_card(MODEL)
GAME = make_game("AdversarialTaboo")


def rollout(prompts: list[str], trainer: GRPOTrainer) -> dict[str, list[Any]]:
    """A game for every prompt, as TRL's `rollout_func` returns it."""
    step = trainer.state.global_step
    policy = trainer.accelerator.unwrap_model(trainer.model).eval()
    model = LanguageModel(policy, trainer.processing_class, weight_version=str(step))
    defender = ModelAgent(model, CARD.prompts, Sampling(temperature=trainer.temperature, max_new_tokens=CARD.max_new_tokens))
    agents = {"attacker": scripted(), "defender": defender}
    matches = []
    for number, word in enumerate(prompts):
        seed = derive_seed(trainer.args.seed, step, number)
        matches.append(Match(f"{number}", GAME, Task(f"{number}", word, word, seed), agents, seed))
    episodes = play_all(matches)
    policy.train()
    out: dict[str, list[Any]] = {name: [] for name in ("prompt_ids", "completion_ids", "logprobs", "env_mask", "reward")}
    for game in episodes:
        (stream,) = game.segments["defender"]
        first = stream.turns[0].start
        out["prompt_ids"].append(stream.ids[:first].tolist())
        out["completion_ids"].append(stream.ids[first:].tolist())
        out["logprobs"].append(stream.logprobs[first:].tolist())
        out["env_mask"].append(stream.loss_mask[first:].astype(int).tolist())
        out["reward"].append(game.outcome.utilities["defender"])
    return out


def outcome(completions: list[Any], reward: list[float], **others: Any) -> list[float]:
    """What the games came to: `rollout` has said it."""
    return reward


def main(steps: int = 2, words: int = 2, games: int = 8) -> list[dict[str, float]]:
    """What TRL logs of each step. words: in one step. games: about each of them."""
    place = model_location(MODEL)
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=words * games,
            num_generations=games,
            temperature=1.0,
            learning_rate=1e-4,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            bf16=False,
            use_cpu=True,  # leave this out where there is a GPU
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(place, dtype="float32"),
            processing_class=AutoTokenizer.from_pretrained(place),
            reward_funcs=outcome,
            train_dataset=Dataset.from_dict({"prompt": list(word_list("everyday@train"))}),
            args=config,
            rollout_func=rollout,
        )
        trainer.train()
        return [line for line in trainer.state.log_history if "reward" in line]


if __name__ == "__main__":
    for line in main(*map(int, sys.argv[1:])):
        print(f"step {line['step']}: reward {line['reward']:+.2f}, completion tokens {line['completions/mean_length']:.0f}")
