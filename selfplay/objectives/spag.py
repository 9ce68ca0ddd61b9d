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
from sparring.agents.rollout import Episode
from sparring.envs.core import replay
from sparring.envs.views import Renderer

from ..learner.batch import Example, Sample, sample_from_segment
from ..learner.portions import Portion, StepData
from .advantages import role_weights, spag_turn_rewards
from .credit import Credit, Experience, Paraphrase, State, trainable
from .returns import Returns

CONTEXT = 2048
"""Tokens that SPAG keeps of a sample, the last ones."""
MICRO_BATCH = 2
"""Samples in one of SPAG's micro-batches."""


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
    """Losses are divided by the counts of the whole optimiser step. Published: by those of each micro-batch of two samples, so that the
    share of the SFT mix is a matter of chance."""
    original_prompts: bool = False
    """Utterances are scored in the context in which they were said. Published: after a paraphrased prompt, drawn anew for each, with the
    end token in its place, and cut on the left to 2048 tokens."""
    capped_weights: bool = False
    """A role weighs four times at most. Published: as much as it takes, however seldom it wins."""

    @property
    def by_utterance(self) -> bool:
        """Whether every utterance is a sample of its own, its history repeated."""
        return not (self.token_ratio and self.original_prompts)

    @property
    def as_sampled(self) -> bool:
        """Whether the sampler's log-probabilities are those of the samples as they stand."""
        return self.sampler_reference and self.original_prompts


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
    """Samples of the sides that won. Without the correction original_prompts the experience must hold `paraphrase`."""

    def credit(experience: Experience, returns: Returns, state: State) -> tuple[list[Example], State]:
        won = [(p, role) for p, role in experience.sides(returns) if returns[p.match.id][role] > 0]
        weights = role_weights([role for _, role in won], **({} if corrections.capped_weights else {"cap": math.inf}))
        samples: list[Example] = []
        for p, role in won:
            side = _utterances(p, role, corrections, experience.paraphrase) if corrections.by_utterance else _whole(p, role)
            samples += [_as_scored(replace(sample, weight=weights[role]), corrections) for sample in side]
        return samples, state

    return credit


def published_split(step: StepData, process: int, processes: int) -> list[Portion]:
    """SPAG's micro-batches, in which samples and the SFT mix are mixed by chance, each normalised by itself, then averaged."""
    mixed = [(e, False) for e in step.examples] + [(e, True) for e in step.sft_mix]
    random.Random(step.number).shuffle(mixed)
    parts = [mixed[i : i + MICRO_BATCH] for i in range(0, len(mixed), MICRO_BATCH)]
    portions = []
    for part in parts[process::processes]:
        for mixed_in, loss, weight in ((False, step.loss, 1.0), (True, step.sft_mix_loss, step.sft_mix_weight)):
            examples = [e for e, of_mix in part if of_mix == mixed_in]
            if examples:
                portions.append(Portion(examples, loss, step.norm(loss, examples) * len(parts), weight))
    return portions


def paraphrasing(paraphrases: Sequence[Renderer], chat: ChatFormat, context: int = CONTEXT) -> Paraphrase:
    """Puts utterances into paraphrased prompts: one of the paraphrases, drawn for each by the game's seed, then what was said before, then
    the utterance; truncated on the left to `context` tokens.

    SPAG writes rules and history into one instruction; here they stay the messages of a chat.
    """

    def paraphrase(episode: Episode, role: str, turn: int) -> tuple[list[int], list[bool]]:
        said = episode.state.utterances
        before = replay(episode.match.game, episode.match.task, said[:turn]).observe(role)
        renderer = random.Random(derive_seed(episode.match.seed, "retell", turn)).choice(paraphrases)
        prompt = chat.open(renderer.render(before))
        reply = chat.reply(said[turn].text.strip())
        return (prompt + reply)[-context:], ([False] * len(prompt) + [True] * len(reply))[-context:]

    return paraphrase


def _as_scored(sample: Sample, corrections: Corrections) -> Sample:
    """A sample at the temperature at which its reference is scored; the sampler's log-probabilities are dropped where they are not those of
    the sample as it stands, so that the behaviour policy scores it anew."""
    if corrections.as_sampled:
        return sample
    return replace(sample, sampler_logprobs=None, temperature=sample.temperature if corrections.sampler_reference else 1.0)


def _rewards(episode: Episode, role: str) -> dict[int, np.float32]:
    """By number of the utterance."""
    turns = [span.turn for segment in trainable(episode, role) for span in segment.turns]
    return dict(zip(turns, spag_turn_rewards(len(turns)), strict=True))


def _whole(episode: Episode, role: str) -> Iterator[Sample]:
    rewards = _rewards(episode, role)
    for segment in trainable(episode, role):
        values = np.zeros(len(segment.ids), np.float32)
        for span in segment.turns:
            values[span.start : span.end] = rewards[span.turn]
        yield sample_from_segment(segment, values, role=role)


def _utterances(episode: Episode, role: str, corrections: Corrections, paraphrase: Paraphrase | None) -> Iterator[Sample]:
    rewards = _rewards(episode, role)
    for segment in trainable(episode, role):
        for span in segment.turns:
            if corrections.original_prompts:
                loss_mask: NDArray[np.bool_] = np.zeros(span.end, np.bool_)
                loss_mask[span.start :] = True
                cut = replace(segment, ids=segment.ids[: span.end], loss_mask=loss_mask, logprobs=segment.logprobs[: span.end])
            else:
                assert paraphrase is not None, "prompts other than the original ones need a paraphrase"
                ids, said = map(np.asarray, paraphrase(episode, role, span.turn))
                said[0] = False
                cut = replace(segment, ids=ids, loss_mask=said, logprobs=np.zeros(len(ids), np.float32))
            yield sample_from_segment(cut, float(rewards[span.turn]), role=role)
