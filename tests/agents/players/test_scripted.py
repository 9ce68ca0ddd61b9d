"""Scripted experts: legal, varied, imperfect in measure, and deaf to nonsense."""

import random
from collections import Counter

import pytest

from sparring.agents.players.scripted import (
    ATTACKERS,
    CLEAR,
    DEFENDERS,
    AttackerStyle,
    ScriptedAgent,
    attack,
    defend,
    listen,
    scripted,
)
from sparring.agents.rollout import Match, play_all
from sparring.envs.core import State, Task, Utterance
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.hosting.opponents import require_playable
from sparring.envs.world.english import Hint, parse, phrasings, truth
from sparring.envs.world.facts import Fact, everyday, word_groups

WORLD = everyday()


def games(n: int) -> list[State]:
    """n games of mixed styles on the words of SFT."""
    words = word_groups().sft
    finished = []
    for seed in range(n):
        rng = random.Random(seed)
        word = rng.choice(words)
        styles = ATTACKERS[rng.choice(sorted(ATTACKERS.keys() - CLEAR))], DEFENDERS[rng.choice(sorted(DEFENDERS.keys() - CLEAR))]
        state: State = AdversarialTaboo().start(Task(str(seed), word, word, seed))
        while state.to_act:
            if state.to_act == "attacker":
                text = attack(word, styles[0], state.utterances, WORLD, rng)
            else:
                left = 5 - sum(u.role == "defender" for u in state.utterances)
                text = defend(styles[1], state.utterances, left, WORLD, rng)
            state = state.apply(text)
        finished.append(state)
    return finished


@pytest.fixture(scope="module")
def episodes() -> list[State]:
    return games(1500)


def test_a_quarter_of_games_end_with_the_word_drawn_out(episodes: list[State]):
    reasons = Counter(state.outcome.reason for state in episodes if state.outcome)
    share = {reason: count / len(episodes) for reason, count in reasons.items()}
    assert share["uttered"] >= 0.25, share
    assert share["declared_right"] >= 0.25, share
    assert share["declared_wrong"] >= 0.05, share
    assert share.get("turn_limit", 0) <= 0.08, share
    assert 0 < share["foul"] <= 0.03, share


def test_hints_are_mostly_true(episodes: list[State]):
    claims = true = 0
    for state in episodes:
        counts = truth([u.text for u in state.utterances if u.role == "attacker"], state.task.secret)
        claims, true = claims + counts.claims, true + counts.true
    assert 0.9 < true / claims < 1


def test_everything_said_is_of_the_small_english(episodes: list[State]):
    texts = [u.text for state in episodes for u in state.utterances]
    assert truth(texts, WORLD.nouns[0]).unparsed == 0


def test_nonsense_is_not_heard():
    assert listen([Utterance("attacker", "<|system|> It is zorp. \ud800")]).positive == frozenset()


def test_a_careful_listener_finds_the_word():
    word = WORLD.nouns[10]
    utterances = [Utterance("attacker", phrasings(Hint(fact))[0]) for fact in sorted(WORLD.facts[word])]
    assert listen(utterances).candidates(WORLD) == (word,)


def test_unknown_style_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="hinter"):
        scripted("genius")


def test_words_and_roles_that_scripted_players_do_not_know_are_refused():
    game = AdversarialTaboo()
    agent = scripted()
    require_playable(game, dict.fromkeys(game.roles, agent), ("lemon", "piano"))
    many = ("abbey", "lemon", "zeppelin", "radio wave", "café", "R2")
    for role in game.roles:
        with pytest.raises(ValueError, match=r"not 'abbey', 'zeppelin', 'radio wave' and 2 more: take words from the list everyday"):
            agent.require(role, many)
    with pytest.raises(ValueError, match="know the roles attacker and defender, not 'asker'"):
        agent.require("asker", ("lemon",))
    with pytest.raises(ValueError, match="not 'zeppelin': take words"):
        play_all([Match("m", game, Task("m", "zeppelin", "zeppelin", 0), dict.fromkeys(game.roles, agent), 0)])


def test_clear_experts_win_by_knowing_words():
    """Nearly every game ends by a right guess or an uttered word, never by a foul; the same rules for mixed styles: a quarter each."""
    clear = ScriptedAgent(*CLEAR)
    words = word_groups().sft
    matches = [
        Match(f"{i}", AdversarialTaboo(), Task(f"{i}", word, word, i), {"attacker": clear, "defender": clear}, i)
        for i, word in enumerate(words)
    ]
    episodes = play_all(matches)
    reasons = Counter(episode.outcome.reason for episode in episodes)
    assert reasons["declared_right"] >= 0.35 * len(words) and reasons["uttered"] >= 0.35 * len(words), reasons
    assert reasons["declared_wrong"] <= 0.08 * len(words) and not reasons["foul"], reasons
    said = [truth([u.text for u in e.state.utterances if u.role == "attacker"], e.match.task.secret) for e in episodes]
    assert all(one.claims == one.true for one in said), "they do not lie"


def test_clear_experts_play_only_where_they_are_asked_for():
    seats = [scripted().player(AdversarialTaboo(), role, "", seed) for role in ("attacker", "defender") for seed in range(200)]
    styles = [seat.style for seat in seats]
    assert not {ATTACKERS["pointed"], DEFENDERS["patient"]} & set(styles)
    assert len(set(styles)) == len(ATTACKERS) + len(DEFENDERS) - 2


def test_the_first_pointed_hint_says_what_kind_of_thing_it_is():
    """And the next one of the three facts that the fewest fruits share."""
    style = AttackerStyle(ask=0.0, react=0.0, generous=0.0, lie=0.0, stumble=0.0, pointed=1.0)
    for seed in range(20):
        first = attack("lemon", style, (), WORLD, random.Random(seed))
        assert parse(first) == (Hint(Fact("category", "fruit")),)
        heard = (Utterance("attacker", first), Utterance("defender", "Go on."))
        (second,) = parse(attack("lemon", style, heard, WORLD, random.Random(seed)))
        assert isinstance(second, Hint)
        left = {fact: len(WORLD.nouns_with(Fact("category", "fruit"), fact)) for fact in WORLD.facts["lemon"] if fact.kind != "category"}
        assert left[second.fact] <= sorted(left.values())[2]
