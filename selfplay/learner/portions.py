"""How one optimiser step is split into portions that go through the model together, and what each portion's loss is divided by.

The sum over portions of weight * (sum of losses) / norm is the loss of the step. `whole_step` divides by counts of the whole step, so the
gradient depends on neither the portions nor the number of processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .batch import Example, Sample, micro_batches, samples_of
from .loss import Loss


class Portion(NamedTuple):
    """Examples that go through the model together. norm: what the sum of their losses is divided by; weight: of the quotient."""

    examples: Sequence[Example]
    loss: Loss
    norm: float
    weight: float


@dataclass(frozen=True)
class StepData:
    """What one optimiser step learns from.

    examples: of the method's loss. sft_mix: samples of another loss beside them, in all with `sft_mix_weight`. number: optimiser steps
    taken before. norm: the divisor of a set of examples under a loss. token_budget: tokens in one portion; packed, shared: see `collate`.
    """

    examples: Sequence[Example]
    loss: Loss
    sft_mix: Sequence[Sample]
    sft_mix_loss: Loss
    sft_mix_weight: float
    number: int
    norm: Callable[[Loss, Sequence[Example]], float]
    token_budget: int
    packed: bool
    shared: bool


Split = Callable[[StepData, int, int], list[Portion]]
"""From a step's data, a process's number and the number of processes to what that process computes."""


def whole_step(step: StepData, process: int, processes: int) -> list[Portion]:
    """Portions of at most `token_budget` tokens, normalised over the whole step; a process takes examples of all lengths alike."""
    groups: list[tuple[Sequence[Any], Loss, float]] = [
        (step.examples, step.loss, 1.0),
        (step.sft_mix, step.sft_mix_loss, step.sft_mix_weight),
    ]
    return [
        Portion(part, loss, step.norm(loss, examples), weight)
        for examples, loss, weight in groups
        for part in micro_batches(_share(examples, process, processes), step.token_budget, packed=step.packed, shared=step.shared)
    ]


def length(example: Example) -> int:
    """Tokens of its longest sample."""
    return max(len(sample.ids) for sample in samples_of([example]))


def _share(examples: Sequence[Any], process: int, processes: int) -> list[Any]:
    return sorted(examples, key=length)[process::processes]
