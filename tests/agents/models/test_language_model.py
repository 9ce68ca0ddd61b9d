"""Token streams as they are written while a model plays, and what cannot be loaded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TEMPLATES, needs_compiler, save_tiny, tiny_model, tiny_tokenizer

from sparring.agents.core import Sampling
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.loading import load_language_model
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.players.simple import FunctionAgent
from sparring.agents.rollout import Match, play_all, play_in_order
from sparring.envs.core import VOID, Task
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.hosting.gymnasium_env import TabooEnv
from sparring.envs.hosting.gymnasium_vector_env import TabooVectorEnv

KINDS = [("llama", kind) for kind in sorted(TEMPLATES)] + [("gpt2", None), ("qwen3", "qwen"), ("mistral", "mistral")]


def language_model(kind: str = "llama", template: str | None = "chatml") -> LanguageModel:
    tokenizer = tiny_tokenizer(template)
    return LanguageModel(tiny_model(kind, vocab=len(tokenizer)), tokenizer)


def play(model: LanguageModel, n: int = 4, **sampling):
    game = AdversarialTaboo(max_turns=2, max_characters=10_000)
    agent = ModelAgent(model, TABOO_BRIEF, Sampling(**{"max_new_tokens": 6, **sampling}))
    tasks = [Task(f"{i}", "lemon", "lemon", i) for i in range(n)]
    return play_all(Match(task.id, game, task, dict.fromkeys(game.roles, agent), task.seed) for task in tasks)


@pytest.mark.parametrize(("kind", "template"), KINDS)
def test_segments_hold_what_was_sampled(kind: str, template: str | None):
    model = language_model(kind, template)
    for p in play(model, temperature=0.8):
        spoken = {role: [u.text for u in p.state.utterances if u.role == role] for role in p.match.game.roles}
        for role, segments in p.segments.items():
            for segment in segments:
                assert segment.temperature == 0.8
                covered = np.zeros(len(segment.ids), np.bool_)
                texts = []
                for span in segment.turns:
                    covered[span.start : span.end] = True
                    texts.append(model.format.split_thinking(model.format.decode(segment.ids[span.start : span.end].tolist()))[1])
                assert (covered == segment.loss_mask).all()
                assert texts == spoken[role]
                with torch.no_grad():
                    logits = model.model(input_ids=torch.tensor(segment.ids)[None]).logits[0].float() / 0.8
                whole = logits.log_softmax(-1)
                for at in np.flatnonzero(segment.loss_mask):
                    assert float(whole[at - 1, segment.ids[at]]) == pytest.approx(segment.logprobs[at], abs=1e-4)


def test_what_a_model_says_does_not_depend_on_how_many_games_are_played_at_once():
    game = AdversarialTaboo(max_turns=3, max_characters=10_000)

    def talks(concurrency: int) -> list[list[str]]:
        agent = ModelAgent(language_model(), TABOO_BRIEF, Sampling(max_new_tokens=40, stop=("o", "e", " ")))
        matches = [Match(f"{i}", game, Task(f"{i}", "lemon", "lemon", i), dict.fromkeys(game.roles, agent), i) for i in range(16)]
        return [[u.text for u in p.state.utterances] for p in play_all(matches, concurrency=concurrency)]

    one = talks(1)
    assert one == talks(16) == talks(5)
    assert max(map(len, one)) > 2 and len({text for talk in one for text in talk}) > 16


def test_a_random_models_babble_is_data():
    outcomes = {p.outcome.reason for p in play(language_model(), n=8)}
    assert outcomes <= {"overlong", "silent", "turn_limit", "declared_wrong", "foul", "uttered"}


@pytest.mark.parametrize("template", ["chatml", "llama2"])
def test_a_stop_string_ends_a_reply_at_the_token_that_completes_it(template: str):
    model = language_model(template=template)

    def replies(**sampling) -> dict[str, list[int]]:
        """Ids of each first utterance by game."""
        episodes = play(model, n=12, max_new_tokens=24, **sampling)
        return {p.match.id: p.segments["attacker"][0].ids[slice(*_first(p))].tolist() for p in episodes}

    def _first(p) -> tuple[int, int]:
        return p.segments["attacker"][0].turns[0].start, p.segments["attacker"][0].turns[0].end

    free = replies()
    text = model.format.decode(free["0"])
    stops = (text[9:12], text[5:7])
    stopped = replies(stop=stops)
    ended = 0
    for name, ids in free.items():
        ends = [n for n in range(1, len(ids) + 1) if any(stop in model.format.decode(ids[:n]) for stop in stops)]
        assert stopped[name] == ids[: ends[0] if ends else None]
        ended += bool(ends)
    assert 0 < ended < len(free)


def test_a_prompt_that_does_not_fit_says_so():
    tokenizer = tiny_tokenizer("chatml")
    model = LanguageModel(tiny_model(vocab=len(tokenizer), length=8), tokenizer, name="small")
    with pytest.raises(ValueError, match=r"small: the first prompt takes .* the context holds 8"):
        play(model)


LONG, SHORT = "It is red. " * 100, "It is red."


def small(length: int = 200) -> ModelAgent:
    tokenizer = tiny_tokenizer("chatml")
    return ModelAgent(
        LanguageModel(tiny_model(vocab=len(tokenizer), length=length), tokenizer, name="small"), TABOO_BRIEF, Sampling(max_new_tokens=4)
    )


def test_a_first_prompt_without_room_voids_its_game_alone(caplog: pytest.LogCaptureFixture):
    game, defender = AdversarialTaboo(max_turns=1, max_characters=10_000), small()
    agents = [{"attacker": FunctionAgent(lambda seen, rng, text=text: text), "defender": defender} for text in (LONG, SHORT, LONG)]
    games = play_all(Match(f"{i}", game, Task(f"{i}", "lemon", "lemon", i), agents[i], i) for i in range(3))
    assert [p.outcome.reason == VOID for p in games] == [True, False, True]
    assert [p.segments["defender"] == () for p in games] == [True, False, True]
    (message,) = caplog.messages
    assert "small: the first prompt takes" in message and message.endswith("such games are void")


def test_an_environment_ends_where_its_opponent_has_no_room():
    env = TabooEnv("attacker", small())
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(LONG)
    assert (reward, terminated, truncated, info["outcome"]) == (0.0, False, True, {"winner": None, "reason": VOID})
    env.reset(seed=0)
    assert env.step(SHORT)[3] is False
    several = TabooVectorEnv(2, role="attacker", opponent=small())
    several.reset(seed=0)
    assert several.step([LONG, SHORT])[3].tolist() == [True, False]


def test_half_a_character_is_played_with():
    for text in ("half \ud800", "\udce9?"):
        env = TabooEnv("attacker", small())
        env.reset(seed=0)
        assert env.step(text)[3] is False


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "there is no model folder"),
        ((), "no config.json"),
        (("config.json",), "no tokenizer"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, files: tuple[str, ...] | None, message: str):
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
        for file in files:
            (folder / file).write_text("{}")
    with pytest.raises(ValueError, match=message):
        load_language_model(folder)


def test_weights_that_are_cut_off_are_named(tmp_path: Path):
    folder = save_tiny(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read, the file is cut off or damaged"):
        load_language_model(folder, device="cpu")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_that_are_no_numbers_are_named(temperature: float):
    model = language_model()
    next(model.model.parameters()).data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"model: its probabilities are no numbers \(NaN\)"):
        play(model, temperature=temperature)


def test_a_saved_model_plays_the_same_games(tmp_path: Path):
    model = language_model()
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    again = load_language_model(tmp_path, device="cpu")
    assert [p.state.utterances for p in play(again)] == [p.state.utterances for p in play(model)]


def test_weights_lie_where_arithmetic_is_that_of_new_ones(tmp_path: Path):
    """A file's header shifts what is mapped from it; sums over shifted weights may differ in their last bit."""
    tokenizer = tiny_tokenizer()
    tiny_model(vocab=len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load_language_model(tmp_path, device="cpu").model
    assert all(parameter.data_ptr() % 64 == 0 for parameter in model.parameters())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("width", [pytest.param(32, id="buckets"), pytest.param(64, id="blocks", marks=needs_compiler)])
def test_hundreds_of_games_leave_nothing_behind(width: int):
    """Streams, books and rows are empty after every game; caches grow no further than what is in play needs."""
    tokenizer = tiny_tokenizer("chatml")
    model = LanguageModel(tiny_model(vocab=len(tokenizer), length=512, hidden_size=width), tokenizer, max_rows=16, max_streams=32)
    agent = ModelAgent(model, TABOO_BRIEF, Sampling(max_new_tokens=3))
    game = AdversarialTaboo(max_turns=2)
    loop, sizes = model.loop, []

    def matches():
        for i in range(300):
            if i % 100 == 99:
                sizes.append(
                    (
                        len(loop._sequences),
                        len(model.streams._records),
                        loop._sequences.pool.data.numel(),
                        sum(bucket.data.numel() for bucket in getattr(loop._batch, "buckets", ())),
                    )
                )
            yield Match(str(i), game, Task(str(i), "lemon", "lemon", i), dict.fromkeys(game.roles, agent), i)

    play_in_order(matches(), lambda episode: None, concurrency=16)
    assert all(streams <= 32 and books <= 32 for streams, books, _, _ in sizes) and len(sizes) == 3
    assert len({(pool, buckets) for _, _, pool, buckets in sizes}) == 1
    assert not loop._sequences and not model.streams._records and not loop._waiting and not loop._done and loop.active == 0
    loop.invalidate()
    assert len(loop._sequences.pool.free_blocks) == len(loop._sequences.pool.data) and len(loop._slots) == loop.max_rows
