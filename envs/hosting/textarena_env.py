"""Adversarial Taboo for TextArena (extra `textarena`): importing this module registers it with that library.

    import textarena
    import sparring.envs.hosting.textarena_env

    env = textarena.make("AdversarialTaboo-v0", rule="family", words="common")
    env.reset(num_players=2, seed=0)

Player 0 is the attacker and speaks first. "AdversarialTaboo-v0" and "-train" show each player all that it may
know, "-raw" as a list of messages. Rules, judge and words are those of `sparring.envs`; a silent or over-long
utterance is an invalid move and loses.
"""

import random
from typing import Any

import textarena
from textarena.envs.registration import register_with_versions

from ..core import Task
from ..games.prompts import load_prompts
from ..games.taboo import ATTACKER, ROLES, make_taboo
from ..words.lists import word_list

MISUSED = ("silent", "overlong")
"""Outcome reasons that TextArena counts as invalid moves."""


class TextArenaTaboo(textarena.Env):  # type: ignore[misc]  # TextArena has no types
    """One game after another between two players. Rewards and reasons are those of the game's outcome."""

    def __init__(
        self, game: str = "AdversarialTaboo", rule: str = "lemma", max_turns: int = 5, words: str = "everyday", prompts: str = "full"
    ) -> None:
        """The settings of `sparring.envs.hosting.gymnasium_env.TabooEnv`. Raises ValueError with what is
        wrong."""
        self.game = make_taboo(game, rule=rule, max_turns=max_turns)
        self.words = word_list(words)
        self.prompts = load_prompts(prompts, self.game.roles)
        self.position: Any = None

    def reset(self, num_players: int, seed: int | None = None) -> None:
        """Draws a word from Python's global random numbers, which the seed initialises, as TextArena's own
        games do."""
        if num_players != len(ROLES):
            raise ValueError(f"Adversarial Taboo is a game for 2 players, got num_players={num_players}")
        self.state = textarena.TwoPlayerState(num_players=num_players, max_turns=self.game.horizon, seed=seed)
        word = random.choice(self.words)
        self.position = self.game.start(Task("textarena", word, word, 0))
        names = {player: role.capitalize() for player, role in enumerate(ROLES)}
        self.state.reset(game_state={"word": word}, player_prompt_function=self._prompt, role_mapping=names)

    def _prompt(self, player_id: int, game_state: dict[str, Any]) -> str:
        return self.prompts.render(self.position.observe(ROLES[player_id]))[0].content

    def step(self, action: str) -> tuple[bool, dict[str, Any]]:
        player = self.state.current_player_id
        self.position = self.position.apply(action)
        for other, role in enumerate(ROLES):
            if self.position.observe(role).utterances[-1:] == self.position.utterances[-1:]:
                self.state.add_observation(
                    from_id=player, to_id=other, message=action, observation_type=textarena.ObservationType.PLAYER_ACTION
                )
        outcome = self.position.outcome
        if outcome is not None:
            if outcome.winner is None:
                self.state.set_draw(reason=outcome.reason)
            else:
                self.state.set_winner(player_id=ROLES.index(outcome.winner), reason=outcome.reason)
            self.state.rewards = {number: outcome.utilities[role] for number, role in enumerate(ROLES)}
            self.state.game_info[player]["invalid_move"] = outcome.reason in MISUSED
        done, info = self.state.step()
        return bool(done), dict(info)

    def get_board_str(self) -> str:
        """The board that TextArena's renderer shows beside the chat."""
        turns = len(self.position.utterances)
        return f"Adversarial Taboo, {turns} of {self.game.horizon} utterances; the {ATTACKER}'s word: {self.state.game_state['word']}"


_WRAPPERS = [textarena.wrappers.LLMObservationWrapper]
register_with_versions(id="AdversarialTaboo-v0", entry_point=TextArenaTaboo, wrappers={"default": _WRAPPERS, "-train": _WRAPPERS})
