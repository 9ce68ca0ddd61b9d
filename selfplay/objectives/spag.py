"""SPAG's offline objective (Cheng et al., arXiv 2404.10642, and its code): what it trains on, and its errors, each with its correction.

Only the winner's utterances are trained on. The k-th of n is rewarded by (1/0.8)^k / sum_j (1/0.8)^j, so that a game's rewards sum to 1,
and weighed by N / (2 N_role), so that both roles count alike. The loss of a unit u, with w the weight and r the reward, is

    -w min(A rho, A clip(rho, 0.8, 1.2)),    A = r - 0.2 (l - l_ref),    rho = exp(l - l_ref)

where l is the log-probability that the model gives u now and l_ref the one given by the model that played. As published u is an utterance
and l the mean over its tokens; corrected, u is a token. The loss itself is `PolicyLoss`.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from sparring.agents.core import derive_seed
from sparring.agents.models.chat_format import ChatFormat
from sparring.agents.rollout import Played
from sparring.envs.core import replay
from sparring.envs.views import Renderer

from ..learner.batch import Example, Row, row_from_segment
from ..learner.portions import Portion, StepData
from .advantages import role_weights, spag_turn_rewards
from .credit import Credit, Experience, Retell, State, trainable
from .returns import Returns

CONTEXT = 2048
"""Tokens that SPAG keeps of a row, the last ones."""
MICRO_BATCH = 2
"""Rows in one of SPAG's micro-batches."""


@dataclass(frozen=True)
class Corrections:
    """Which of SPAG's errors are corrected. False: as in its code, error and all."""

    token_ratio: bool = False
    """Ratio, clip and KL per token. Published: per utterance, exp of the mean difference of log-probabilities, no importance ratio."""
    sampler_reference: bool = False
    """The ratio is to the sampler's own log-probabilities at its temperature. Published: to those of the same weights at temperature 1."""
    detached_kl: bool = False
    """No gradient flows through the advantage. Published: it does, and takes the weight of the KL off every reward."""
    global_norm: bool = False
    """Losses are divided by the counts of the whole optimiser step. Published: by those of each micro-batch of two rows, so that the mix of
    policy and replay is a matter of chance."""
    prompts_as_played: bool = False
    """Utterances are scored in the context in which they were said. Published: after a paraphrased prompt, drawn anew for each, with the
    end token in its place, and cut on the left to 2048 tokens."""
    capped_weights: bool = False
    """A role weighs four times at most. Published: as much as it takes, however seldom it wins."""

    @property
    def by_utterance(self) -> bool:
        """Whether every utterance is a row of its own, its history repeated."""
        return not (self.token_ratio and self.prompts_as_played)

    @property
    def as_sampled(self) -> bool:
        """Whether the sampler's log-probabilities are those of the rows as they stand."""
        return self.sampler_reference and self.prompts_as_played


PUBLISHED = Corrections()
"""SPAG to the letter."""
CORRECTED = Corrections(True, True, True, True, True, True)
NAMES = tuple(field.name.replace("_", "-") for field in fields(Corrections))


def corrections_named(names: Sequence[str]) -> Corrections:
    """The published objective with these errors corrected, named as `token-ratio`. Raises ValueError for an unknown name."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"unknown correction of SPAG {unknown[0]!r}; known: {', '.join(NAMES)}")
    return Corrections(**{name.replace("-", "_"): True for name in names})


def winners_credit(corrections: Corrections) -> Credit:
    """Rows of the sides that won. Where prompts are not as played, the experience has to hold `retell`."""

    def credit(experience: Experience, returns: Returns, state: State) -> tuple[list[Example], State]:
        won = [(p, role) for p, role in experience.sides(returns) if returns[p.match.id][role] > 0]
        weights = role_weights([role for _, role in won], **({} if corrections.capped_weights else {"cap": math.inf}))
        rows: list[Example] = []
        for p, role in won:
            side = _utterances(p, role, corrections, experience.retell) if corrections.by_utterance else _whole(p, role)
            rows += [_as_scored(replace(row, weight=weights[role]), corrections) for row in side]
        return rows, state

    return credit


def published_split(step: StepData, process: int, processes: int) -> list[Portion]:
    """SPAG's micro-batches of rows and replay mixed by chance, each normalised by itself, then averaged."""
    mixed = [(e, False) for e in step.examples] + [(e, True) for e in step.replay]
    random.Random(step.number).shuffle(mixed)
    parts = [mixed[i : i + MICRO_BATCH] for i in range(0, len(mixed), MICRO_BATCH)]
    portions = []
    for part in parts[process::processes]:
        for replayed, loss, weight in ((False, step.loss, 1.0), (True, step.replay_loss, step.replay_weight)):
            examples = [e for e, is_replay in part if is_replay == replayed]
            if examples:
                portions.append(Portion(examples, loss, step.norm(loss, examples) * len(parts), weight))
    return portions


def retelling(wordings: Sequence[Renderer], chat: ChatFormat, context: int = CONTEXT) -> Retell:
    """Puts utterances into paraphrased prompts: one of the wordings, drawn for each by the game's seed, then what was said before, then the
    utterance; truncated on the left to `context` tokens.

    SPAG writes rules and history into one instruction; here they stay the messages of a chat.
    """

    def retell(played: Played, role: str, turn: int) -> tuple[list[int], list[bool]]:
        said = played.state.utterances
        before = replay(played.match.game, played.match.task, said[:turn]).observe(role)
        wording = random.Random(derive_seed(played.match.seed, "retell", turn)).choice(wordings)
        prompt = chat.open(wording.render(before))
        reply = chat.reply(said[turn].text.strip())
        return (prompt + reply)[-context:], ([False] * len(prompt) + [True] * len(reply))[-context:]

    return retell


def _as_scored(row: Row, corrections: Corrections) -> Row:
    """A row at the temperature at which its reference is scored; the sampler's log-probabilities are dropped where they are not those of
    the row as it stands, so that the behaviour policy scores it anew."""
    if corrections.as_sampled:
        return row
    return replace(row, sampler_logprobs=None, temperature=row.temperature if corrections.sampler_reference else 1.0)


def _rewards(played: Played, role: str) -> dict[int, np.float32]:
    """By number of the utterance."""
    turns = [span.turn for segment in trainable(played, role) for span in segment.turns]
    return dict(zip(turns, spag_turn_rewards(len(turns)), strict=True))


def _whole(played: Played, role: str) -> Iterator[Row]:
    rewards = _rewards(played, role)
    for segment in trainable(played, role):
        values = np.zeros(len(segment.ids), np.float32)
        for span in segment.turns:
            values[span.start : span.end] = rewards[span.turn]
        yield row_from_segment(segment, values, role=role)


def _utterances(played: Played, role: str, corrections: Corrections, retell: Retell | None) -> Iterator[Row]:
    rewards = _rewards(played, role)
    for segment in trainable(played, role):
        for span in segment.turns:
            if corrections.prompts_as_played:
                action: NDArray[np.bool_] = np.zeros(span.end, np.bool_)
                action[span.start :] = True
                cut = replace(segment, ids=segment.ids[: span.end], action=action, logprobs=segment.logprobs[: span.end])
            else:
                assert retell is not None, "prompts that are not as played need another wording"
                ids, said = map(np.asarray, retell(played, role, span.turn))
                said[0] = False
                cut = replace(segment, ids=ids, action=said, logprobs=np.zeros(len(ids), np.float32))
            yield row_from_segment(cut, float(rewards[span.turn]), role=role)
