"""Losses per token, as pure functions of tensors. Who aggregates them, and over what, is the learner's business."""

import torch
from torch import Tensor


def token_logprobs(logits: Tensor, targets: Tensor, temperature: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-probabilities of targets [A] under logits [A, V], in float32, and the whole log-distribution [A, V].

    temperature [A]: the logits are divided by it first, as the sampler did.
    """
    scaled = logits.float()
    if temperature is not None:
        scaled = scaled / temperature[:, None]
    whole = scaled.log_softmax(dim=-1)
    return whole.gather(1, targets[:, None])[:, 0], whole


def clipped_policy_loss(logprobs: Tensor, sampler: Tensor, advantages: Tensor, *, low: float, high: float) -> Tensor:
    """-min(r A, clip(r, 1 - low, 1 + high) A) with r = pi / pi_sampler, per token (PPO, arXiv 1707.06347, eq. 7; apart
    bounds as in DAPO, arXiv 2503.14476). All arguments [A]; sampler and advantages carry no gradient.
    """
    ratio = (logprobs - sampler).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def exact_kl(whole: Tensor, anchor: Tensor) -> Tensor:
    """KL(pi || anchor) = sum_v pi(v) (log pi(v) - log anchor(v)) per token; log-distributions [A, V]."""
    return (whole.exp() * (whole - anchor)).sum(dim=-1)


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """exp(d) - 1 - d with d = log reference - log pi: the k3 estimate of KL(pi || reference) on sampled tokens
    (Schulman, "Approximating KL divergence", 2020). Both [A].
    """
    difference = reference - logprobs
    return difference.exp() - 1 - difference


def sampled_kl(logprobs: Tensor, sampler: Tensor, anchor: Tensor, *, cap: float = 2.0) -> Tensor:
    """ratio * k3 against an anchor, for tokens drawn by the sampler: unlike k3 alone, its gradient estimates that of the KL.

    The importance ratio is detached nowhere and capped at `cap` (truncated importance weights). All arguments [A].
    """
    ratio = (logprobs - sampler).exp().clamp(max=cap)
    return ratio * k3(logprobs, anchor)


def entropy(whole: Tensor) -> Tensor:
    """-sum_v pi(v) log pi(v) per token, in nats; whole [A, V]."""
    return -(whole.exp() * whole).sum(dim=-1)
