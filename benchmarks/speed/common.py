"""What all loops of benchmarks/speed/generation.py have in common: the setting, the games, and what a run is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.agents.core import Sampling, derive_seed
from sparring.agents.models.language_model import LanguageModel
from sparring.envs.core import Game, State, Task
from sparring.envs.views import Prompts


@dataclass(frozen=True)
class Setting:
    """What all loops get."""

    model: LanguageModel
    prompts: Prompts
    sampling: Sampling
    game: Game
    words: Sequence[str]
    seed: int
    share: tuple[int, int] = (0, 1)
    """Which games these loops play: those whose number leaves the first when divided by the second."""

    file: Path | None = None
    """Where the model lies, if it is a GGUF file."""

    def numbers(self, games: int) -> range:
        """The numbers of those among so many games."""
        return range(games)[self.share[0] :: self.share[1]]


@dataclass(frozen=True)
class Run:
    """One run of one loop. tokens: useful ones. utterances: played. work: what our loop had to compute, see `Work`; None of others."""

    seconds: float
    tokens: int
    utterances: int
    games: int
    work: "Work | None" = None


@dataclass(frozen=True)
class Work:
    """steps: forward passes. rows: decoded rows, over all steps. prefilled: tokens of prompts computed. drawn: tokens drawn, each from one
    row of logits. attended: cached positions that drawn tokens attended to, over all of them.
    """

    steps: int
    rows: int
    prefilled: int
    drawn: int
    attended: int


def opening(setting: Setting, number: int) -> State:
    word = setting.words[number % len(setting.words)]
    return setting.game.start(Task(f"{number}", word, word, derive_seed(setting.seed, word, number)))


def said(setting: Setting, state: State, reply: Sequence[int]) -> State:
    """The state after a reply in ids."""
    chat = setting.model.format
    return state.apply(chat.split_thinking(chat.decode(reply))[1], truncated=not (reply and reply[-1] in chat.end_ids))


def cut(setting: Setting, ids: Sequence[int]) -> list[int]:
    """A reply up to its first end token, included."""
    end = next((place for place, token in enumerate(ids) if token in setting.model.format.end_ids), None)
    return list(ids) if end is None else list(ids[: end + 1])


def history(setting: Setting, state: State) -> list[int]:
    """The ids of the whole view of the role that is to act, rendered anew."""
    assert state.to_act is not None
    chat = setting.model.format
    messages = setting.prompts.render(state.observe(state.to_act))
    last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
    if last < 0:
        return chat.open(messages)
    ids, _ = chat.conversation(messages[: last + 1])
    return ids + chat.extend(messages[last + 1 :], ended=True)
