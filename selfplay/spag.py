"""SPAG's offline objective (Cheng et al., arXiv 2404.10642, and its code): what it trains on, and its errors, each with its correction.

Only the winner's utterances are trained on. The k-th of n is rewarded by (1/0.8)^k / sum_j (1/0.8)^j, so that a game's rewards sum to 1,
and weighed by N / (2 N_role), so that both roles count alike. The loss of a unit u, with w the weight and r the reward, is

    -w min(A rho, A clip(rho, 0.8, 1.2)),    A = r - 0.2 (l - l_ref),    rho = exp(l - l_ref)

where l is the log-probability that the model gives u now and l_ref the one given by the model that played. As published u is an utterance
and l the mean over its tokens; corrected, u is a token. Knows rows; the loss itself is the learner's, from `objectives`.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sparring.agents.chat import ChatFormat
from sparring.agents.core import Segment, derive_seed
from sparring.agents.rollout import Played
from sparring.envs.core import replay
from sparring.envs.views import Renderer

from .advantages import role_weights, spag_turn_rewards
from .batch import Row, row_from_segment
from .config import Corrections
from .rewards import Returns

CONTEXT = 2048
"""Tokens that SPAG keeps of a row, the last ones."""
MICRO_BATCH = 2
"""Rows in one of SPAG's micro-batches."""


Retell = Callable[[Played, str, int], tuple[list[int], list[bool]]]
"""An utterance (of a game, by a role, by its number) in another prompt: ids [n] and action [n]."""


def spag_rows(seats: Sequence[tuple[Played, str]], returns: Returns, corrections: Corrections, retell: Retell | None) -> list[Row]:
    """The rows of the seats (games and roles) that won. retell: needed where prompts are not as played. Where `to_score`, the rows'
    log-probabilities are not yet the reference's."""
    won = [(p, role) for p, role in seats if returns[p.match.id][role] > 0]
    weights = role_weights([role for _, role in won], **({} if corrections.capped_weights else {"cap": math.inf}))
    rows = []
    for p, role in won:
        made: Iterator[Row] = _utterances(p, role, corrections, retell) if corrections.by_utterance else _whole(p, role)
        rows += [replace(row, weight=weights[role]) for row in made]
    return rows if corrections.sampler_reference else [replace(row, temperature=1.0) for row in rows]


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
                assert retell is not None
                ids, said = map(np.asarray, retell(played, role, span.turn))
                said[0] = False
                cut = replace(segment, ids=ids, action=said, logprobs=np.zeros(len(ids), np.float32))
            yield row_from_segment(cut, float(rewards[span.turn]), role=role)


def retelling(wordings: Sequence[Renderer], chat: ChatFormat, context: int = CONTEXT) -> Retell:
    """Tells utterances anew: one of the wordings, drawn for each by the game's seed, then what was said before, then the utterance; of all
    that the last `context` tokens.

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


def trainable(played: Played, role: str) -> list[Segment]:
    """The segments of a role that hold something to train on."""
    return [segment for segment in played.segments[role] if segment.action.any()]
