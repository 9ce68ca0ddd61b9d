"""Many games as one Gymnasium vector environment: opponents that are models speak in one batch."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from .gymnasium_env import GameEnv, Info, TabooEnv, opponents_speak

Texts = tuple[str, ...]


class GameVectorEnv(VectorEnv[Texts, Sequence[str], NDArray[Any]]):
    """num_envs games at once; settings as in GameEnv. Observations and actions: one text per game.

    An ended game is reset at the next step (AutoresetMode.NEXT_STEP): its action is ignored and its reward is
    0.
    """

    single: type[GameEnv] = GameEnv

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        first = self.single(**settings)
        # Before its first reset an environment holds nothing but settings. One opponent serves all: an agent
        # keeps nothing between games.
        self.envs = [first, *(copy(first) for _ in range(num_envs - 1))]
        self.num_envs = num_envs
        self.render_mode = first.render_mode
        self.metadata = {**GameEnv.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self._ended = np.zeros(num_envs, np.bool_)

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None) -> tuple[Texts, Info]:
        """seed: one number (game i uses seed + i) or one per game. options: {"word": ...} for all games."""
        seeds = list(seed) if isinstance(seed, Sequence) else [None if seed is None else seed + i for i in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"{self.num_envs} games need as many seeds, got {len(seeds)}")
        for env, game_seed in zip(self.envs, seeds, strict=True):
            env.begin(game_seed, options)
        self._opponents_speak()
        self._ended[:] = False
        texts, _, _, _, infos = self._results(np.ones(self.num_envs, np.bool_))
        return texts, infos

    def step(self, actions: Sequence[str]) -> tuple[Texts, NDArray[Any], NDArray[Any], NDArray[Any], Info]:
        """Raises TypeError and ValueError for wrong actions, before any game is stepped."""
        if isinstance(actions, str) or not all(isinstance(action, str) for action in actions):
            raise TypeError(f"actions are a sequence of one str for each game, got {actions!r}")
        if len(actions) != self.num_envs:
            raise ValueError(f"{self.num_envs} games need as many actions, got {len(actions)}")
        began = self._ended.copy()
        for env, action, again in zip(self.envs, actions, began, strict=True):
            if again:
                env.begin(None, None)
            else:
                env.act(action)
        self._opponents_speak()
        texts, rewards, terminated, truncated, infos = self._results(began)
        self._ended = terminated | truncated
        return texts, rewards, terminated, truncated, infos

    def _opponents_speak(self) -> None:
        if self.envs[0].opponent is not None:
            opponents_speak(self.envs)

    def _results(self, began: NDArray[np.bool_]) -> tuple[Texts, NDArray[Any], NDArray[Any], NDArray[Any], Info]:
        """The results of all games as arrays. A game that was just reset is not over yet, even if its
        opponent lost or failed at once."""
        rows = []
        for env, new in zip(self.envs, began.tolist(), strict=True):
            if new:
                text, info = env.seen()
                rows.append((text, 0.0, False, False, info))
            else:
                rows.append(env.result())
        texts, rewards, terminated, truncated, all_info = zip(*rows, strict=True)
        infos: Info = {}
        for key in ("role", "to_act", "messages"):
            infos[key] = np.fromiter([info.pop(key) for info in all_info], object, self.num_envs)
            infos[f"_{key}"] = np.ones(self.num_envs, np.bool_)
        for i, info in enumerate(all_info):
            if info:
                infos = self._add_info(infos, info, i)
        return texts, np.array(rewards), np.array(terminated), np.array(truncated), infos

    def render(self) -> Any:
        return tuple(env.render() for env in self.envs)

    def close_extras(self, **kwargs: Any) -> None:
        for env in self.envs:
            env.close()


class TabooVectorEnv(GameVectorEnv):
    """GameVectorEnv for Adversarial Taboo, with the defaults of TabooEnv."""

    single = TabooEnv
