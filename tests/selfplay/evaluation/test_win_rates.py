"""Counting games: hand-made outcomes, paired schedules, tournaments."""

from pathlib import Path

import pytest

from sparring.agents.names import resolve
from sparring.agents.players.scripted import scripted
from sparring.agents.players.simple import FunctionAgent, SilentAgent
from sparring.agents.rollout import play_all
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.words.lists import split_words, word_list
from sparring.envs.world.facts import word_groups
from sparring.selfplay.data.collect import collect
from sparring.selfplay.data.word_sets import WordSets, round_tasks, word_sets
from sparring.selfplay.evaluation.round_metrics import describe, reward_spread
from sparring.selfplay.evaluation.statistics import wilson
from sparring.selfplay.evaluation.tournament import tournament
from sparring.selfplay.evaluation.win_rates import cell, schedule, win_rates

GAME = AdversarialTaboo(max_turns=3)
WORDS = ("lemon", "piano", "horse")
GUESSES_LEMON = FunctionAgent(lambda observation, rng: "I know the word! It is a lemon.", "guesser")
TALKS = FunctionAgent(lambda observation, rng: "Hm.", "talker")


def test_equal_words_and_seeds_give_equal_tasks_whoever_plays():
    one = list(schedule({"attacker": TALKS, "defender": TALKS}, GAME, WORDS, 7, seed=3))
    other = schedule({"attacker": SilentAgent(), "defender": scripted()}, GAME, WORDS, 7, seed=3)
    assert [(m.task, m.seed) for m in one] == [(m.task, m.seed) for m in other]
    assert len({m.seed for m in one}) == 7
    assert [m.task.secret for m in one[:4]] == ["lemon", "piano", "horse", "lemon"]


def test_a_cell_by_hand():
    episodes = play_all(schedule({"attacker": TALKS, "defender": GUESSES_LEMON}, GAME, WORDS, 6, seed=0))
    found = cell(episodes, "talker", "defender", "all")
    assert (found.games, found.wins, found.losses, found.ties, found.void) == (6, 2, 4, 0, 0)
    assert (found.low, found.high) == wilson(2, 6)
    assert found.reasons == {"declared_right": 2, "declared_wrong": 4}
    assert found.mean_turns == 1
    assert found.truth is None


def test_strength_has_a_cell_per_opponent_role_and_group():
    cells = win_rates(GUESSES_LEMON, {"talker": TALKS}, GAME, {"a": ("lemon",), "b": ("piano",)}, 4, seed=0)
    rates = {(c.role, c.words): c.win_rate for c in cells}
    assert rates == {
        ("attacker", "a"): 0,
        ("attacker", "b"): 0,
        ("attacker", "all"): 0,
        ("defender", "a"): 1,
        ("defender", "b"): 0,
        ("defender", "all"): 0.5,
    }


def test_names_with_slashes_count_their_games():
    """What is counted is kept in tags, never read out of ids that hold names."""
    names = ("runs/x@3", "a/attacker", "/")
    cells = win_rates(GUESSES_LEMON, dict.fromkeys(names, TALKS), GAME, {"my/words": ("lemon",), "b": ("piano",)}, 2, seed=0)
    assert [(c.games, c.wins) for c in cells if c.opponent == names[0] and c.role == "defender"] == [(2, 2), (2, 0), (4, 2)]
    assert {c.opponent for c in cells if c.games} == set(names)
    assert {c.words for c in cells} == {"my/words", "b", "all"}


def test_a_tournament_plays_every_ordered_pair_on_the_same_words():
    found = tournament({"guesser": GUESSES_LEMON, "talker": TALKS, "silent": SilentAgent()}, GAME, WORDS, 3, seed=0)
    assert len(found["pairs"]) == 12
    of = {(e["player"], e["role"], e["opponent"]): e for e in found["pairs"]}
    assert of["guesser", "defender", "talker"]["wins"] == 1
    assert of["talker", "attacker", "guesser"]["wins"] == 2
    totals = {(e["player"], e["role"]): e["games"] for e in found["players"]}
    assert set(totals.values()) == {6}
    with pytest.raises(ValueError, match="at least two"):
        tournament({"talker": TALKS}, GAME, WORDS, 3, seed=0)


def test_a_round_in_numbers():
    episodes = play_all(schedule({"attacker": TALKS, "defender": TALKS}, GAME, WORDS, 2, seed=0))
    found = describe(episodes)
    assert (found["games"], found["ties"], found["mean_turns"]) == (2, 2, 6)
    assert (found["distinct_utterances"], found["distinct_share"]) == (1, 1 / 12)
    assert found["repeated"] == pytest.approx(8 / 12)
    assert found["truth"] is None


def test_unparsed_sentences_stand_beside_the_true_ones():
    says = FunctionAgent(lambda observation, rng: "It is often yellow. It feels handle. It is often blue.")
    (episode,) = play_all(schedule({"attacker": says, "defender": SilentAgent()}, GAME, ("lemon",), 1, seed=0))
    truth = word_sets("everyday", 0.5, with_sft=True).truth
    found = describe([episode], truth)
    assert (found["truth"], found["unparsed"]) == (1 / 2, 1 / 3)
    seen = cell([episode], "silent", "attacker", "all", truth)
    assert (seen.truth, seen.unparsed) == (1 / 2, 1 / 3)
    seen = cell([episode], "talker", "defender", "all", truth)
    assert (seen.truth, seen.unparsed) == (None, None)
    assert describe([episode])["unparsed"] is None


def test_the_spread_of_rewards_by_role_and_group():
    episodes = play_all(schedule({"attacker": TALKS, "defender": TALKS}, GAME, WORDS[:2], 4, seed=0))
    won = dict(zip((p.match.id for p in sorted(episodes, key=lambda p: p.match.task.secret)), (1.0, -1.0, 1.0, 1.0), strict=True))
    found = reward_spread(episodes, {id: {"attacker": value, "defender": -value} for id, value in won.items()})
    assert found["attacker/reward"] == 0.5 == -found["defender/reward"]
    assert found["attacker/reward_std"] == pytest.approx(0.75**0.5)
    assert found["frac_reward_zero_std"] == 0.5, "the games about one of the two words all ended alike"
    assert reward_spread(episodes, {}) == {}


def test_tasks_of_a_round_come_in_groups_about_one_word():
    tasks = list(round_tasks(WORDS, 24, 4, seed=1, label="r"))
    assert len({t.id for t in tasks}) == 24
    assert len({t.seed for t in tasks}) == len({(t.seed, t.group) for t in tasks}) == 6, "games of a group begin alike"
    by_group: dict[str, set[str]] = {}
    for task in tasks:
        by_group.setdefault(task.group, set()).add(task.secret)
    assert len(by_group) == 6
    assert all(len(words) == 1 for words in by_group.values())
    assert sorted(word for words in by_group.values() for word in words) == sorted(WORDS * 2)


def test_word_groups_are_disjoint_and_only_everyday_words_have_truth():
    sets = word_sets("everyday", 0.5, with_sft=True)
    assert not set(sets.sft) & set(sets.rl) | set(sets.played) & set(sets.heldout)
    assert sets.counts == {"sft": 127, "rl": 127, "heldout": 85}
    assert sets.truth is not None
    assert word_sets("common", 0.2, with_sft=False).truth is None
    assert word_sets("everyday@train", 0.2, with_sft=False).everyday


def test_a_file_of_everyday_nouns_is_the_users_own_list(tmp_path: Path):
    """No experts play on it and nothing is known of hints."""
    (tmp_path / "words.txt").write_text("\n".join(word_list("everyday")))
    sets = word_sets(str(tmp_path / "words.txt"), 0.1, with_sft=False)
    assert not sets.everyday and sets.truth is None


def test_a_single_list_is_one_stage_and_split_as_before():
    sets = word_sets("band:501-1500", 0.2, with_sft=False)
    assert sets.stages == () and set(sets.groups) == {"rl", "heldout"}
    assert sets.in_round(1, 8) == sets.in_round(8, 8) == sets.played
    kept, held = split_words(word_list("band:501-1500"), 0.2)
    assert (set(sets.played), set(sets.heldout)) == (set(kept), set(held))


def test_a_list_that_names_its_split_is_not_split_again():
    assert word_sets("everyday@train", 0.5, with_sft=False).counts == {"sft": 0, "rl": 254, "heldout": 0}
    assert set(word_sets("common@train", 0.5, with_sft=True).sft) == set(word_list("common@train"))


def test_the_lists_of_a_curriculum_come_in_after_equal_shares_of_the_rounds():
    sets = WordSets((), ("a", "b", "c", "d"), (), (("a", "b"), ("c",), ("d",)))
    lengths = [len(sets.in_round(number, 8)) for number in range(1, 9)]
    assert lengths == [2, 2, 3, 3, 3, 4, 4, 4]
    assert sets.in_round(1, 1) == sets.in_round(2, 2) == sets.played, "the last round has all lists, however few there are"
    assert sets.in_round(1, 2) == ("a", "b", "c")
    assert sets.groups == {"list-1": ("a", "b"), "list-2": ("c",), "list-3": ("d",)}


def test_words_of_a_curriculum_are_in_one_list_and_on_one_side():
    sets = word_sets("everyday,band:1-2000,common@train", 0.2, with_sft=False)
    assert len(sets.stages) == 3 and len(set(sets.played)) == len(sets.played) == sum(map(len, sets.stages))
    assert not set(sets.played) & set(sets.heldout)
    groups = word_groups()
    assert set(sets.stages[0]) == {*groups.sft, *groups.rl}
    assert set(groups.heldout) <= set(sets.heldout)
    assert set(sets.played) | set(sets.heldout) == set(word_list("everyday,band:1-2000,common@train"))
    assert sets == word_sets("everyday,band:1-2000,common@train", 0.2, with_sft=False)


def test_a_list_of_a_curriculum_without_words_is_named(tmp_path: Path):
    (tmp_path / "one.txt").write_text("lemon\n")
    with pytest.raises(ValueError, match=r"one.txt: no words left to play about with heldout 0\.99999"):
        word_sets(f"{tmp_path / 'one.txt'},common", 0.99999, with_sft=False)
    with pytest.raises(ValueError, match="'common' holds no words that the lists before it lack"):
        word_sets("common,common", 0.1, with_sft=False)


@pytest.mark.parametrize("player", ["random", "scripted"])
def test_scripted_players_are_refused_words_they_do_not_know_before_a_game_begins(player: str, tmp_path: Path):
    game, words = AdversarialTaboo(), ("lemon", "zeppelin")
    players: dict = {"scripted": scripted(), "random": resolve("random")}
    table = (dict.fromkeys(game.roles, players["scripted"]), game.roles)
    began: list = []
    for run in (
        lambda: tournament(players, game, words, 1, 0, progress=began.append),
        lambda: win_rates(players[player], players, game, {"all": words}, 1, 0, progress=began.append),
        lambda: collect(tmp_path / "x.jsonl", "messages", [table], game, words, 1, 0, renderer=TABOO_BRIEF, progress=began.append),
    ):
        with pytest.raises(ValueError, match="not 'zeppelin'"):
            run()
    assert not began and not list(tmp_path.iterdir())
