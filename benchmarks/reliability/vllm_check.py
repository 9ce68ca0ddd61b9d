"""Whether a vLLM server and a plain forward pass over the same weights agree, asked of a server that runs.

    VLLM_SERVER_DEV_MODE=1 vllm serve ./my-model --dtype float32 --logprobs-mode processed_logprobs
    python -m sparring.benchmarks.reliability.vllm_check --model ./my-model --url http://127.0.0.1:8000 --other runs/x@latest

- greedy: the same games at temperature 0 by the server and by our own loop: how many utterances are alike.
- logprobs: games at several settings of sampling; every log-probability that came back beside that of a plain pass over the same ids.
- repeated: the same games with the same seeds once more.
- update: the server is given the weights of another folder, and then its own again; beside passes of the old and the new model.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.agents.core import Model, Sampling, Segment
from sparring.agents.engine.sampling import filter_logits
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import model_card, model_location
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.rollout import Episode, play_all
from sparring.agents.servers.vllm import VLLMServer
from sparring.agents.servers.vllm_weights import store_head
from sparring.envs.core import VOID, make_game
from sparring.envs.games import registered as _games  # noqa: F401  registers the games
from sparring.envs.words.lists import word_list
from sparring.selfplay.evaluation.win_rates import schedule
from sparring.selfplay.learner.losses import token_logprobs
from sparring.selfplay.storage.provenance import provenance

from ..command import command, say

SETTINGS = {
    "plain": Sampling(),
    "cool": Sampling(0.6),
    "hot": Sampling(1.4),
    "top_k": Sampling(top_k=20),
    "top_p": Sampling(top_p=0.9),
    "min_p": Sampling(min_p=0.05),
    "together": Sampling(0.8, top_k=40, top_p=0.95),
}


@dataclass(frozen=True)
class VLLMCheckConfig:
    """What is checked."""

    model: str = "mini@imitation"
    """The model that is served: a folder, or another name of a model whose weights are here."""
    url: str = "http://127.0.0.1:8000"
    """The server's address."""
    other: str | None = None
    """Another model of the same shape: the server is given its weights, by a temporary folder that it has to see. None: no updates."""
    games: int = 32
    """Games of each setting."""
    seed: int = 0
    """Decides words and what is said."""
    device: str = "auto"
    """Where the passes to compare with are computed: auto (a GPU if there is one), cpu, cuda, ..."""
    dtype: str | None = None
    """Their precision; None means bfloat16 on a GPU and float32 on a CPU. The server should have the same."""
    json: bool = False
    """Print one JSON object."""
    result: Path | None = None
    """Also write the JSON here."""

    def __post_init__(self) -> None:
        if self.games < 1:
            raise ValueError(f"games must be at least 1, got {self.games}")


@dataclass(frozen=True)
class Table:
    """What games are played by: words, prompts, lengths and seeds that are the same for the server and for our loop."""

    config: VLLMCheckConfig

    def play(self, model: Model, ways: Mapping[str, Sampling]) -> dict[str, list[Episode]]:
        """The same games by every way of sampling, all at once. Raises ConnectionError where games came to nothing."""
        card = model_card(self.config.model)
        game = make_game("AdversarialTaboo")
        matches = []
        for name, sampling in ways.items():
            told = replace(sampling, max_new_tokens=card.max_new_tokens)
            player = ModelAgent(model, card.prompts, told, trainable=sampling.temperature > 0)
            own = schedule(dict.fromkeys(game.roles, player), game, word_list("everyday"), self.config.games, self.config.seed)
            matches += [replace(match, id=f"{name}/{match.id}", tags={"way": name}) for match in own]
        episodes = play_all(matches)
        void = sum(p.outcome.reason == VOID for p in episodes)
        if void:
            raise ConnectionError(f"{void} of {len(episodes)} games came to nothing: the server failed")
        return {name: [p for p in episodes if p.match.tags["way"] == name] for name in ways}


def alike(some: Sequence[Episode], others: Sequence[Episode]) -> dict[str, int]:
    """Games, and utterances up to the first that differs in its game, that are the same in both."""
    texts = [[[u.text for u in p.state.utterances] for p in episodes] for episodes in (some, others)]
    pairs = list(zip(*texts, strict=True))
    return {
        "games": len(pairs),
        "games_alike": sum(a == b for a, b in pairs),
        "utterances": sum(len(a) for a, _ in pairs),
        "utterances_alike": sum(_agreed(a, b) for a, b in pairs),
    }


def _agreed(some: list[str], others: list[str]) -> int:
    """How long two lists are the same from their beginning on."""
    same = [a == b for a, b in zip(some, others, strict=False)]
    return same.index(False) if False in same else len(same)


def segments(episodes: Sequence[Episode]) -> list[Segment]:
    return [segment for p in episodes for of_role in p.segments.values() for segment in of_role]


def differences(model: Any, found: Sequence[Segment], sampling: Sampling) -> dict[str, Any]:
    """Log-probabilities of the sampled tokens less those of a plain pass over their ids, at the sampling's settings.

    outside: tokens that our filters would have removed; max and mean are of the absolute differences at the rest, None where there is none.
    """
    parts = []
    for segment in found:
        places = torch.tensor(segment.loss_mask.nonzero()[0])
        ids = torch.tensor(segment.ids)
        with torch.no_grad():
            logits = model(input_ids=ids[None].to(model.device)).logits[0].float().cpu()
        own, _ = token_logprobs(_processed(logits[places - 1], sampling), ids[places])
        parts.append(segment.logprobs[segment.loss_mask] - own.numpy())
    change = np.concatenate(parts) if parts else np.zeros(0)
    inside = np.abs(change[np.isfinite(change)])
    return {
        "tokens": len(change),
        "outside": len(change) - len(inside),
        "max": float(inside.max()) if len(inside) else None,
        "mean": float(inside.mean(dtype=np.float64)) if len(inside) else None,
    }


def _processed(logits: Tensor, sampling: Sampling) -> Tensor:
    """logits [n, V] at the sampling's temperature and after its filters."""
    rows = torch.ones(len(logits))
    settings = (rows * sampling.top_k).long(), rows * sampling.top_p, rows * sampling.min_p
    return filter_logits(logits / sampling.temperature, *settings)[0]


def update(table: Table, server: VLLMServer, own: LanguageModel, before: Sequence[Episode]) -> dict[str, Any]:
    """Gives the server the other model's weights and then its own again. before: games with its own, at temperature 1."""
    config = table.config
    assert config.other is not None
    places = {"own": Path(model_location(config.model)), "other": Path(model_location(config.other))}
    other = load_language_model(places["other"], device=config.device, dtype=config.dtype)
    plain = {"plain": SETTINGS["plain"]}
    with TemporaryDirectory() as copies:
        for name, place in places.items():
            store_head(shutil.copytree(place, Path(copies, name)))
        server.load_weights(Path(copies, "other"), "other")
        try:
            after = segments(table.play(server, plain)["plain"])
        finally:
            server.load_weights(Path(copies, "own"), "own")
        back = table.play(server, plain)["plain"]
    return {
        "other": config.other,
        "versions": sorted({segment.weight_version for segment in after}),
        "beside_new": differences(other.model, after, plain["plain"]),
        "beside_old": differences(own.model, after, plain["plain"]),
        "back": differences(own.model, segments(back), plain["plain"]),
        "back_repeated": alike(before, back),
    }


def measure(config: VLLMCheckConfig) -> dict[str, Any]:
    """All figures. Raises ValueError and ConnectionError as VLLMServer does."""
    place = model_location(config.model)
    server = VLLMServer(place, config.url, name=f"vllm:{config.model}")
    version = server.client.request("GET", "/version")
    own = load_language_model(place, name=config.model, device=config.device, dtype=config.dtype)
    table = Table(config)
    cold = {"greedy": Sampling(0.0)}
    episodes = table.play(server, {**SETTINGS, **cold, "repeated": SETTINGS["plain"]})
    return {
        "schema": 1,
        "settings": {**vars(config), "result": None},
        "max_length": server.served.max_length,
        "greedy": alike(table.play(own, cold)["greedy"], episodes["greedy"]),
        "logprobs": {name: differences(own.model, segments(episodes[name]), sampling) for name, sampling in SETTINGS.items()},
        "repeated": alike(episodes["plain"], episodes["repeated"]),
        "update": update(table, server, own, episodes["plain"]) if config.other else None,
        "provenance": provenance(config.seed, vllm=version.get("version") if isinstance(version, dict) else None),
    }


def show(found: dict[str, Any]) -> None:
    print(f"vLLM {found['provenance']['vllm']}, {found['settings']['model']}")
    for name in ("greedy", "repeated"):
        print(f"{name}: {found[name]['games_alike']} of {found[name]['games']} games alike")
    for name, of in found["logprobs"].items():
        print(f"{name:10} {_line(of)}")
    if found["update"]:
        for name in ("beside_new", "beside_old", "back"):
            print(f"{name:10} {_line(found['update'][name])}")


def _line(of: dict[str, Any]) -> str:
    far = "" if of["max"] is None else f"; log-probabilities differ by {of['mean']:.1e}, at most {of['max']:.1e}"
    return f"{of['tokens']:6} tokens, {of['outside']} outside{far}"


def main(config: VLLMCheckConfig) -> None:
    say(measure(config), show, as_json=config.json, file=config.result)


if __name__ == "__main__":
    command("reliability.vllm_check", VLLMCheckConfig, main, __doc__)
