"""Games of two roles, by default Adversarial Taboo, for PettingZoo (extra `pettingzoo`). No other module
imports PettingZoo.

    from sparring.envs.hosting.pettingzoo_env import aec_env, parallel_env
"""

from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from pettingzoo import AECEnv, ParallelEnv

from ..core import Task
from ..views import inset
from ..words.lists import require_listed, word_list
from .chat_view import LONGEST_VIEW, ChatView
from .gymnasium_env import NOT_PLAYING, hosted_game, info_of
from .opponents import renderer_of, require_playable
from .spaces import UnicodeText


class _Text(str):
    """A str with a dtype, as PettingZoo's checkers require of every observation."""

    __slots__ = ()
    dtype = np.dtype(str)


class TabooAEC(AECEnv[str, str, str]):  # type: ignore[misc]  # PettingZoo has no types
    """The two roles in turn. Observations and actions are text; infos are those of the Gymnasium environment,
    see `info_of`."""

    def __init__(
        self,
        *,
        game: str = "AdversarialTaboo",
        rule: str | None = None,
        max_turns: int | None = None,
        words: str = "everyday",
        prompts: str = "card",
        render_mode: str | None = None,
    ) -> None:
        super().__init__()
        if render_mode not in (None, "ansi", "human"):
            raise ValueError(f"unknown render_mode {render_mode!r}; known: ansi, human")
        self.metadata = {"render_modes": ["ansi", "human"], "name": "adversarial_taboo_v0", "is_parallelizable": True}
        self.render_mode = render_mode
        self.game = hosted_game(game, rule, max_turns)
        self.roles = self.game.roles
        self.words = word_list(words) if self.game.secret_roles else ("",)
        require_playable(self.game, {}, self.words)
        self.renderer = renderer_of(prompts, self.roles)
        self.possible_agents = list(self.roles)
        self.agents: list[str] = []
        self._spaces = {role: UnicodeText(LONGEST_VIEW) for role in self.roles}
        self._actions = {role: UnicodeText(LONGEST_VIEW) for role in self.roles}
        self._rng: np.random.Generator | None = None
        self._state: Any = None
        self._views: dict[str, ChatView] = {}
        self.agent_selection = self.roles[0]

    def observation_space(self, agent: str) -> UnicodeText:
        return self._spaces[agent]

    def action_space(self, agent: str) -> UnicodeText:
        return self._actions[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """options: {"word": ...} sets the secret word, one of the environment's words; otherwise it is drawn.
        Other options are ignored, as PettingZoo's checkers require."""
        if seed is not None or self._rng is None:
            self._rng, _ = seeding.np_random(seed)
        drawn = self.words[int(self._rng.integers(len(self.words)))]
        word = (options or {}).get("word", drawn)
        require_listed(word, self.words)
        game_seed = int(self._rng.integers(1 << 62))
        self._state = self.game.start(Task(f"env-{game_seed}", word, word, game_seed))
        self.agents = list(self.roles)
        self.agent_selection = self.roles[0]
        self.rewards = dict.fromkeys(self.roles, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.roles, 0.0)
        self.terminations = dict.fromkeys(self.roles, False)
        self.truncations = dict.fromkeys(self.roles, False)
        self.infos: dict[str, dict[str, Any]] = {}
        self._views = {role: ChatView.opened(self.renderer, self._state.observe(role)) for role in self.roles}
        self._tell()

    def observe(self, agent: str) -> str:
        if self._state is None:
            raise ResetNeeded(NOT_PLAYING)
        if agent not in self._views:
            raise ValueError(f"unknown agent {agent!r}; the agents are {', '.join(self.roles)}")
        return _Text(self._views[agent].text)

    def step(self, action: str | None) -> None:
        if not self.agents:
            raise ResetNeeded(NOT_PLAYING)
        actor = self.agent_selection
        if self.terminations[actor] or self.truncations[actor]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[actor] = 0.0
        self._state = self._state.apply(action)
        outcome = self._state.outcome
        self.rewards = {role: float(outcome.utilities[role]) if outcome else 0.0 for role in self.roles}
        if outcome:
            self.terminations = dict.fromkeys(self.roles, True)
        self.agent_selection = self._state.to_act or next(role for role in self.roles if role != actor)
        self._accumulate_rewards()
        self._tell()
        if self.render_mode == "human":
            self.render()

    def _tell(self) -> None:
        for role, view in self._views.items():
            view.hear(self._state.observe(role).utterances)
            self.infos[role] = info_of(self._state, view)

    def render(self) -> str | None:
        """The utterances so far ("ansi"), or the last utterance, printed ("human")."""
        lines = [f"{u.role}: {inset(u.text)}" for u in self._state.utterances] if self._state is not None else []
        if self.render_mode == "human":
            print(lines[-1] if lines else "")
            return None
        return "\n".join(lines) if self.render_mode == "ansi" else None

    def close(self) -> None:
        self._state = None
        self.agents = []


class TabooParallel(ParallelEnv[str, str, str]):  # type: ignore[misc]
    """The same game with one action per player at every step; the action of the player who is not to act is
    ignored."""

    def __init__(self, **settings: Any) -> None:
        self.inner = TabooAEC(**settings)
        self.metadata = self.inner.metadata
        self.render_mode = self.inner.render_mode
        self.possible_agents = self.inner.possible_agents
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> UnicodeText:
        return self.inner.observation_space(agent)

    def action_space(self, agent: str) -> UnicodeText:
        return self.inner.action_space(agent)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, str], dict[str, Any]]:
        self.inner.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._seen(), dict(self.inner.infos)

    def step(
        self, actions: dict[str, str]
    ) -> tuple[dict[str, str], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        actor = self.inner.agent_selection
        if not self.agents:
            raise ResetNeeded(NOT_PLAYING)
        if actor not in actions:
            raise ValueError(f"it is the turn of {actor!r}, but there are actions of {', '.join(map(repr, actions)) or 'nobody'} alone")
        self.inner.step(actions[actor])
        seen = self._seen()
        rewards, ended = dict(self.inner.rewards), dict(self.inner.terminations)
        if all(ended.values()):
            self.agents = []
        return seen, rewards, ended, dict(self.inner.truncations), dict(self.inner.infos)

    def _seen(self) -> dict[str, str]:
        return {role: self.inner.observe(role) for role in self.possible_agents}

    def render(self) -> str | None:
        return self.inner.render()

    def close(self) -> None:
        self.inner.close()
        self.agents = []


def aec_env(**settings: Any) -> TabooAEC:
    """Adversarial Taboo, one player at a time. settings: game, rule, max_turns, words, prompts, render_mode
    as in TabooEnv."""
    return TabooAEC(**settings)


def parallel_env(**settings: Any) -> TabooParallel:
    """Adversarial Taboo, one action per player at every step."""
    return TabooParallel(**settings)
