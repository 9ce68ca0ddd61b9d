"""TextArena's games by the Game protocol. Its own games, and small ones made up here that misbehave."""

import json
import pickle
import random
import re
import warnings
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np
import pytest

textarena = pytest.importorskip("textarena", reason="needs the extra textarena")

from textarena.envs.registration import ENV_REGISTRY  # noqa: E402

from sparring.envs.conformance import check_game  # noqa: E402
from sparring.envs.core import VOID, Outcome, State, Task, Utterance, find_game, make_game, replay  # noqa: E402
from sparring.envs.games import registered as _games  # noqa: E402, F401
from sparring.envs.games.prompts import PROMPTS  # noqa: E402
from sparring.envs.views import Message  # noqa: E402

NAMES = [
    "TicTacToe-v0",
    "TicTacToe-v0-train",
    "KuhnPoker-v0-short",
    "TruthAndDeception-v0",
    "IteratedRockPaperScissors-v0",
    "PigDice-v0-short",
]
TASK = Task("t", "", "", 7)
BOTH = ("player_0", "player_1")


def played(name: str, *texts: str, seed: int = 7, **config: int) -> State:
    return replay(make_game(f"textarena:{name}", **config), Task("t", "", "", seed), texts)


def shown(state: State, role: str) -> list[tuple[str, str]]:
    return [(u.role, u.text) for u in state.observe(role).utterances]


class Little(textarena.Env):
    """A game for two that ends when somebody says "end", and fails as it is told to. Its wrapper is the library's usual one."""

    def __init__(self, fault: str = "") -> None:
        if fault == "make":
            raise LookupError("Resource words not found.\n*****\n  nltk.download('words')")
        self.fault = fault

    def reset(self, num_players: int, seed: int | None = None) -> None:
        self.state = textarena.TwoPlayerState(num_players=num_players, seed=None if self.fault == "unseeded" else seed)
        self.state.reset(game_state={}, player_prompt_function=lambda player_id, game_state: f"You are {player_id}.")
        self.tell(f"{random.random()} {np.random.random()}")

    def tell(self, text: str) -> None:
        self.state.add_observation(message=text, observation_type=textarena.ObservationType.GAME_MESSAGE)

    def step(self, action: str) -> tuple[bool, Any]:
        print("printed by the library")
        if action == "end":
            self.state.set_winner(player_id=1, reason="ended")
            self.state.rewards = {0: 0.25, 1: 40.0}
        if action == "raise":
            raise RuntimeError("a bug")
        if action == "nothing":
            self.state.done = True
        self.tell(str(random.random() if self.fault != "clock" else next(CLOCK)))
        return self.state.step()


CLOCK = iter(range(1000))


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Registers the little game with a fault; the registry is left as it was."""
    registry = dict(ENV_REGISTRY)

    def register(fault: str) -> str:
        textarena.register(id=f"Little-{fault}", entry_point=Little, fault=fault)
        return f"textarena:Little-{fault}"

    yield register
    ENV_REGISTRY.clear()
    ENV_REGISTRY.update(registry)


@pytest.mark.parametrize("name", NAMES)
def test_games_of_the_library_keep_the_protocol(name: str):
    check_game(find_game(f"textarena:{name}"))


def test_a_game_is_won_by_the_librarys_rules():
    state = played("TicTacToe-v0", "[0]", "[3]", "I take [1]", "4")
    assert state.outcome is None and state.to_act == "player_0"
    won = state.apply("[2]")
    assert won.outcome == Outcome({"player_0": 1.0, "player_1": -1.0}, "player_0", "won")
    assert won.to_act is None


def test_a_full_board_is_a_draw():
    state = played("TicTacToe-v0", *"402635178")
    assert state.outcome == Outcome({"player_0": 0.0, "player_1": 0.0}, None, "draw")


def test_a_refused_move_may_be_made_again_and_the_second_loses():
    once = played("TicTacToe-v0", "[4]", "[4]")
    assert (once.outcome, once.to_act) == (None, "player_1")
    assert "already occupied" in shown(once, "player_1")[-1][1]
    assert "already occupied" not in repr(shown(once, "player_0"))
    twice = once.apply("", truncated=False)
    assert twice.outcome is not None and twice.outcome.evidence is not None
    assert (twice.outcome.reason, twice.outcome.winner, twice.outcome.evidence.turn) == ("invalid_move", "player_0", 2)
    assert once.apply("[0]").to_act == "player_0"


@pytest.mark.parametrize(("text", "truncated"), [("[4]", True), ("[" + "9" * 5000 + "]", False)])
def test_truncated_and_overlong_speech_loses(text: str, truncated: bool):
    state = played("TicTacToe-v0", "[0]").apply(text, truncated=truncated)
    assert state.outcome is not None
    assert (state.outcome.reason, state.outcome.winner) == ("overlong", "player_0")


def test_a_game_that_does_not_end_is_a_draw_after_its_turns():
    state = played("KuhnPoker-v0-long", max_turns=3)
    for _ in range(5):
        state = state.apply("[check]")
    assert state.outcome is None
    assert state.apply("[check]").outcome == Outcome({"player_0": 0.0, "player_1": 0.0}, None, "turn_limit")


def test_players_are_shown_what_the_library_shows_them_and_not_twice():
    state = played("TicTacToe-v0")
    [(host, rules)] = shown(state, "player_0")
    assert host == "game" and rules.startswith("[GAME] You are Player 0 in Tic Tac Toe.") and "'[8]'" in rules
    assert shown(state, "player_1") == []
    state = state.apply("[4]").apply("[0]")
    first, mine, then = shown(state, "player_0")
    assert (first, mine) == (("game", rules), ("player_0", "[4]"))
    assert then[1].startswith("[Player 0] [4]") and "[Player 1] [0]" in then[1]
    assert "Tic Tac Toe" not in then[1]


def test_a_wrapper_that_tells_everything_anew_is_shown_whole():
    texts = [text for role, text in shown(played("TicTacToe-v0-train", "[4]", "[0]"), "player_0") if role == "game"]
    assert len(texts) == 2 and all("Tic Tac Toe" in text for text in texts)


def test_a_card_reaches_its_player_alone():
    """Over many deals: what a player sees depends on its own card and on nothing else, whatever the other one holds."""
    seen: dict[str, dict[str, set[str]]] = {role: {} for role in BOTH}
    deals = set()
    for seed in range(24):
        state = played("KuhnPoker-v0-short", "[check]", seed=seed)
        cards = {role: re.findall(r"[Yy]our card is:? '?(\w)", repr(shown(state, role)))[0] for role in BOTH}
        deals.add(tuple(cards.values()))
        for role in BOTH:
            seen[role].setdefault(cards[role], set()).add(repr(state.observe(role)))
    assert deals == set(permutations("JQK", 2))
    assert all(len(views) == 1 for by_card in seen.values() for views in by_card.values())


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("IteratedRockPaperScissors-v0", ("[rock]", "[paper]", "[scissors]")),
        ("IteratedMatchingPennies-v0", ("[heads]", "[tails]", "[heads]")),
        ("IteratedTwoThirdsAverage-v0", ("[10]", "[80]", "[20]")),
    ],
)
def test_a_simultaneous_move_is_hidden_until_the_other_has_moved(name: str, moves: tuple[str, str, str]):
    """What is said first changes not a byte of what the other is shown before its own move, and is revealed after it."""
    one, other, answer = moves
    states = [played(name, first) for first in (one, other)]
    assert [state.to_act for state in states] == ["player_1"] * 2
    assert repr(states[0].observe("player_1")) == repr(states[1].observe("player_1"))
    assert states[0].observe("player_0") != states[1].observe("player_0")
    revealed = [state.apply(answer).apply(one) for state in states]
    assert shown(revealed[0], "player_1") != shown(revealed[1], "player_1")


def test_views_are_chats_that_grow():
    state = played("TicTacToe-v0")
    for prompts in PROMPTS.values():
        system, rules = prompts.render(state.observe("player_0"))
        assert (system.role, rules.role) == ("system", "user")
        later = prompts.render(state.apply("[4]").apply("[0]").observe("player_0"))
        assert later[:3] == (system, rules, Message("assistant", "[4]")) and later[3].role == "user"


def test_states_branch_and_go_back():
    before = played("KuhnPoker-v0-short", "[bet]")
    one, other = before.apply("[call]"), before.apply("[fold]")
    assert one != other
    assert before.apply("[call]") == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert replay(make_game("textarena:KuhnPoker-v0-short"), TASK, one.utterances) == one
    assert shown(before, "player_0") == shown(played("KuhnPoker-v0-short", "[bet]"), "player_0")


def test_games_played_in_turn_do_not_mix():
    """Dice are thrown while they play, from numbers that the library keeps in one place."""
    alone = [played("PigDice-v0-short", *["[roll]"] * 6, seed=seed) for seed in (1, 2)]
    game = make_game("textarena:PigDice-v0-short")
    together = [game.start(Task("t", "", "", seed)) for seed in (1, 2)]
    for _ in range(6):
        together = [state.apply("[roll]") for state in together]
    assert together == alone
    assert shown(alone[0], "player_0") != shown(alone[1], "player_0")


def test_global_random_numbers_are_left_alone(little: Callable[[str], str]):
    name = little("")
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), np.random.random()
    random.seed(3)
    np.random.seed(3)
    state = make_game(name).start(TASK).apply("Hm.").apply("Hm.")
    assert (random.random(), np.random.random()) == expected
    assert state == make_game(name).start(TASK).apply("Hm.").apply("Hm.")


def test_a_game_that_seeds_nothing_is_the_same_for_a_seed(little: Callable[[str], str]):
    game = make_game(little("unseeded"))
    one, same, other = (game.start(Task("t", "", "", seed)).observe("player_0").utterances for seed in (1, 1, 2))
    assert one == same != other


def test_rewards_are_cut_and_the_higher_one_wins(little: Callable[[str], str], capsys: pytest.CaptureFixture[str]):
    state = make_game(little("")).start(TASK).apply("end")
    assert state.outcome == Outcome({"player_0": 0.25, "player_1": 1.0}, "player_1", "won")
    assert capsys.readouterr() == ("", "printed by the library\n")


@pytest.mark.parametrize("text", ["raise", "nothing"])
def test_a_game_in_which_the_library_fails_is_void_with_a_warning(little: Callable[[str], str], text: str):
    state = make_game(little("")).start(TASK)
    with pytest.warns(RuntimeWarning, match=f"textarena:Little- failed on '{text}', and the game is void: "):
        after = state.apply(text)
    assert (after.outcome, after.to_act) == (Outcome(dict.fromkeys(BOTH, 0.0), None, VOID), None)
    assert state.apply("Hm.").outcome is None


def test_a_game_that_comes_out_otherwise_cannot_be_gone_back_to(little: Callable[[str], str]):
    state = make_game(little("clock")).start(TASK)
    state = state.apply("Hm.").apply("Hm.")
    state.apply("Hm.")
    with pytest.raises(RuntimeError, match="textarena:Little-clock does not come out the same"):
        state.apply("Hm.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("textarena:TicTacToe", "has no game 'TicTacToe'; did you mean TicTacToe-v0"),
        ("textarena:", "has no game ''; an id is one of its registry, as in textarena:TicTacToe-v0"),
        ("textareno:TicTacToe-v0", "unknown game 'textareno:TicTacToe-v0'; known games: .*textarena:ID"),
        ("AdversarialTabu", "did you mean 'AdversarialTaboo'"),
    ],
)
def test_unknown_names_say_what_is_known(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        make_game(name)


def test_games_for_other_numbers_and_games_without_their_data_say_so(little: Callable[[str], str]):
    with pytest.raises(ValueError, match=r"Mastermind-v0 cannot be played by two players here: AssertionError: .*has to be 1, received 2"):
        played("Mastermind-v0")
    with pytest.raises(ValueError, match=r"LookupError: Resource words not found. nltk.download\('words'\)"):
        make_game(little("make")).start(TASK)


def test_wrong_settings_and_speakers_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        make_game("textarena:TicTacToe-v0", max_turns=0)
    with pytest.raises(ValueError, match="turn of 'player_0'"):
        replay(make_game("textarena:TicTacToe-v0"), TASK, [Utterance("player_1", "[0]")])


def test_nothing_is_warned_of_in_a_sound_game():
    """A warning would be raised here as an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert played("TruthAndDeception-v0", *["Hm."] * 5, "[Fact 1]").outcome is not None


def test_players_without_a_model_play_and_are_rated(capsys: pytest.CaptureFixture[str]):
    from sparring.selfplay.cli.main import main

    game = "textarena:TicTacToe-v0"
    assert main(["tournament", "random", "silent", "--game", game, "--games", "10", "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["players"]
    assert {(cell["player"], cell["games"], cell["wins"]) for cell in cells} == {("random", 10, 10), ("silent", 10, 0)}
    assert main(["play", "--player", "random", "--opponent", "random", "--game", game, "--games", "4", "--show", "1"]) == 0
    out = capsys.readouterr().out
    assert "secret word" not in out and "player_0: [" in out and "4 games: player_0 won" in out
    assert main(["play", "--player", "random", "--opponent", "random", "--game", game, "--games", "4", "--show", "4", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["games"]
    assert len({record["task"]["seed"] for record in records}) == 4
    assert {record["outcome"]["reason"] for record in records} <= {"won", "draw"}, "random players make moves that are offered"
