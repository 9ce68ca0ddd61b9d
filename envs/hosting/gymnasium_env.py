"""Games of two roles, by default Adversarial Taboo, as a Gymnasium environment of free text."""

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium

from ..core import VOID, Game, Outcome, State, Task, find_game
from ..games.taboo import AdversarialTaboo, make_taboo
from ..views import inset
from ..words.lists import require_listed, word_list
from .chat_view import LONGEST_VIEW, ChatView
from .opponents import (
    Opponent,
    OpponentFailedError,
    Player,
    Reply,
    TurnCoroutine,
    make_player,
    renderer_of,
    require_playable,
    resolve_opponent,
    speak,
)
from .spaces import UnicodeText

NOT_PLAYING = "the game has ended or not begun: call reset() first"

Info = dict[str, Any]


def outcome_info(outcome: Outcome) -> Info:
    """The value of `info["outcome"]`: "winner", "reason", and "evidence" where an utterance decided the game
    (left out otherwise, as Gymnasium's vector environments cannot mix None with dictionaries)."""
    info: Info = {"winner": outcome.winner, "reason": outcome.reason}
    return {**info, "evidence": dict(vars(outcome.evidence))} if outcome.evidence else info


def info_of(state: State, view: ChatView) -> Info:
    """The info of one step: "role", "to_act" (None after the end), "messages", and after the end "outcome",
    "rewards" by role and "secret". messages: the role's chat; the list belongs to the caller, its messages
    are shared."""
    info: Info = {"role": view.role, "to_act": state.to_act, "messages": view.messages.copy()}
    if (outcome := state.outcome) is not None:
        info["outcome"] = outcome_info(outcome)
        info["rewards"] = {role: float(value) for role, value in outcome.utilities.items()}
        info["secret"] = state.task.secret
    return info


def hosted_game(name: str, rule: str | None, max_turns: int | None) -> Game:
    """A game of two roles by its name. rule, max_turns: None keeps the game's own setting. Raises ValueError
    with what is wrong."""
    make = find_game(name).make
    game = make()
    if rule is not None and not isinstance(game, AdversarialTaboo):
        raise ValueError(f"rule {rule!r} is of Adversarial Taboo's judge; {name} has none to choose")
    if len(game.roles) != 2:
        raise ValueError(f"{name} has the roles {', '.join(game.roles)}; the environment is for games of two")
    settings = {"rule": rule, "max_turns": max_turns}
    return make(**{key: value for key, value in settings.items() if value is not None})


def asked_for(options: dict[str, Any] | None, words: Sequence[str]) -> str | None:
    """The secret word in reset options, if there is one. Raises ValueError for other options and for unlisted
    words."""
    if not options:
        return None
    if unknown := set(options) - {"word"}:
        raise ValueError(f"unknown reset options {', '.join(map(repr, sorted(unknown)))}; the one there is is 'word', the secret word")
    word: str = options["word"]
    require_listed(word, words)
    return word


class GameEnv(gymnasium.Env[str, str]):
    """One player's side of a game, or both sides in turn.

    Observation: the chat of the role to act, as text, one message per paragraph. Action: what the role says.
    Reward: at the end of the game the utility of the role that acted, else 0. terminated: the rules ended the
    game (the turn limit is a rule: a tie). truncated: the opponent's infrastructure failed, and the game is
    void. info: see `info_of`; the infos of a game share their messages.
    """

    metadata = {"render_modes": ["ansi", "human"]}  # noqa: RUF012  Gymnasium declares it so

    def __init__(
        self,
        role: str = "both",
        opponent: Opponent | None = None,
        *,
        game: str,
        rule: str | None = None,
        max_turns: int | None = None,
        words: str = "everyday",
        prompts: str = "card",
        render_mode: Literal["ansi", "human"] | None = None,
    ) -> None:
        """role: one of the game's roles, or "both" where one policy plays both in turn. opponent: a function
        of the messages, an agent, or an agent's name, for the other role; unused with role="both". game: a
        registered game. rule: how the judge of Adversarial Taboo matches words. max_turns: utterances per
        role; None: the game's own number. words: see `sparring.envs.words.lists.word_list`. prompts: see
        `renderer_of`. Raises ValueError with what is wrong."""
        self.game = hosted_game(game, rule, max_turns)
        self.roles = self.game.roles
        if role not in (*self.roles, "both"):
            raise ValueError(f"unknown role {role!r}; roles are {', '.join(self.roles)} and both")
        if role != "both" and opponent is None:
            raise ValueError(f"the {role} of {game} needs an opponent: a function of the messages, an agent or an agent's name")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"unknown render_mode {render_mode!r}; known: ansi, human")
        self.role = role
        self.render_mode = render_mode
        self.words = word_list(words) if self.game.secret_roles else ("",)
        self.opponent = None if role == "both" else resolve_opponent(opponent, self._other(role))
        opponents = {} if self.opponent is None else {self._other(role): self.opponent}
        require_playable(self.game, opponents, self.words)
        self.renderer = renderer_of(prompts, self.roles, self.opponent)
        self.observation_space = UnicodeText(LONGEST_VIEW)
        self.action_space = UnicodeText(LONGEST_VIEW)
        self._state: Any = None
        self._player: Player | None = None
        self._shown = 0
        self._over = self._failed = False
        self._actor = self.roles[0]
        self._views: dict[str, ChatView] = {}
        self._openings: dict[str, ChatView] = {}

    def _other(self, role: str) -> str:
        return next(one for one in self.roles if one != role)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        """options: {"word": ...} sets the secret word, one of the environment's words; otherwise it is drawn.

        An opponent that speaks first can end the game at once (by silence, or by saying the word): info then
        contains the outcome, and the next step, with any action, ends the episode with its reward.
        """
        self.begin(seed, options)
        if self._player is not None:
            opponents_speak([self])
        if self._failed:
            self.close()
            raise RuntimeError("the opponent failed before the game had begun")
        return self.seen()

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        self.act(action)
        if self._player is not None:
            opponents_speak([self])
        return self.result()

    def begin(self, seed: int | None, options: dict[str, Any] | None) -> None:
        """The part of `reset` before the opponent speaks."""
        super().reset(seed=seed)
        self.close()
        rng = self.np_random
        drawn = self.words[rng.integers(len(self.words))]
        word = asked_for(options, self.words) or drawn
        game_seed = int(rng.integers(1 << 62))
        self._state = self.game.start(Task(f"env-{game_seed}", word, word, game_seed))
        self._actor = self.roles[0] if self.role == "both" else self.role
        self._shown = 0
        self._views = {}
        self._over = self._failed = False
        if self.role != "both":
            self._player = make_player(self.opponent, self.game, self._other(self.role), game_seed, self.renderer)

    def act(self, action: str) -> None:
        """The part of `step` before the opponent speaks. An action for an opponent that has already failed is
        ignored."""
        if self._state is None or self._over:
            raise gymnasium.error.ResetNeeded(NOT_PLAYING)
        actor = self._state.to_act
        if actor is not None and not self._failed:
            if actor != self.role and self.role != "both":
                raise gymnasium.error.ResetNeeded(f"the {actor}, an opponent, has failed to speak: call reset()")
            self._actor = actor
            self._state = self._state.apply(action)

    def owed(self) -> TurnCoroutine | None:
        """The opponent's turn as a coroutine, where the opponent is to act."""
        if self._player is None or self._failed or self._state.to_act != self._other(self.role):
            return None
        return self._player.turn(self._state.observe(self._state.to_act))

    def hear(self, reply: Reply | OpponentFailedError) -> None:
        """Applies the opponent's reply."""
        if isinstance(reply, OpponentFailedError):
            self._failed = True
        else:
            self._state = self._state.apply(reply[0], truncated=reply[1])

    def result(self) -> tuple[str, float, bool, bool, Info]:
        """What `step` returns."""
        text, info = self.seen()
        outcome = self._state.outcome
        if outcome is None and not self._failed:
            return text, 0.0, False, False, info
        self._over = True
        if self._failed:
            rewards = dict.fromkeys(self.roles, 0.0)
            info |= {"outcome": {"winner": None, "reason": VOID}, "rewards": rewards, "secret": self._state.task.secret}
        reward = float(outcome.utilities[self._actor]) if outcome and not self._failed else 0.0
        return text, reward, outcome is not None and not self._failed, self._failed, info

    def seen(self) -> tuple[str, Info]:
        """What `reset` returns: the view of the role to act, or after the end of the role that acted last.
        Only new utterances are rendered."""
        if self.render_mode == "human":
            print(self._new_lines(), end="")
        state = self._state
        role = self.role if self.role != "both" else (state.to_act or self._actor)
        view = self._views.get(role)
        if view is None:
            view = self._views[role] = self._opened(role)
        view.hear(state.observe(role).utterances)
        return view.text, info_of(state, view)

    def _opened(self, role: str) -> ChatView:
        """A role's view at the beginning of a game. Roles that do not know the secret share one view for all
        games."""
        if role in self.game.secret_roles or not self.game.secret_roles:
            return ChatView.opened(self.renderer, self._state.observe(role))
        if role not in self._openings:
            self._openings[role] = ChatView.opened(self.renderer, self.game.start(self._state.task).observe(role))
        return self._openings[role].again()

    def _new_lines(self) -> str:
        new = self._state.utterances[self._shown :]
        self._shown += len(new)
        lines = [f"{u.role}: {inset(u.text)}\n" for u in new]
        if self._state.outcome:
            lines.append(f"-- {self._state.outcome.reason}, winner: {self._state.outcome.winner or 'nobody'}\n")
        return "".join(lines)

    def render(self) -> str | None:
        """The utterances so far ("ansi"); "human" prints them itself."""
        if self.render_mode != "ansi" or self._state is None:
            return None
        lines = [f"{u.role}: {inset(u.text)}" for u in self._state.utterances]
        return "\n".join(lines)

    def close(self) -> None:
        self._state = None
        if self._player is not None:
            self._player.close()
            self._player = None


class TabooEnv(GameEnv):
    """Adversarial Taboo and its variants; by default the defender's role against scripted attackers."""

    def __init__(
        self, role: str = "defender", opponent: Opponent | None = "scripted", *, game: str = "AdversarialTaboo", **settings: Any
    ) -> None:
        """game: a variant of Adversarial Taboo. settings: as in GameEnv. Raises ValueError as GameEnv does,
        and for other games."""
        make_taboo(game)
        super().__init__(role, opponent, game=game, **settings)


def opponents_speak(envs: Sequence[GameEnv]) -> None:
    """Plays the opponents' turns in several environments at once, so that requests to one model form one
    batch."""
    while owed := [(env, turn) for env in envs if (turn := env.owed()) is not None]:
        for (env, _), reply in zip(owed, speak([turn for _, turn in owed]), strict=True):
            env.hear(reply)
