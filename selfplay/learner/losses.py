"""Losses per token, sample or pair, as pure functions of tensors. Who aggregates them, and over what, is the learner's business.

Shapes: A actions (trained tokens) of all samples together, R samples, P pairs, U units of a loss (tokens or samples), V entries of the
vocabulary.
"""

import torch
from torch import Tensor
from torch.nn.functional import hardshrink, logsigmoid

MOST_WEIGHT = 2.0
"""The largest importance weight of a token; larger ones are cut."""

TINY = 1e-30
"""Below this a gradient of a logit counts as none. Those of tokens that a model all but rules out are denormal numbers, a third of all in
a vocabulary of 49,152, with which processors multiply matrices 30 to 60 times as slowly."""


def token_logprobs(logits: Tensor, targets: Tensor, temperature: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-probabilities of targets [A] under logits [A, V], in float32, and the whole log-distribution [A, V].

    temperature [A]: the logits are divided by it first, as the sampler did. On a CPU gradients of logits below TINY are 0.
    """
    if logits.requires_grad and logits.device.type == "cpu":
        logits.register_hook(lambda gradient: hardshrink(gradient, TINY))
    scaled = logits.float()
    if temperature is not None:
        scaled = scaled / temperature[:, None]
    whole = scaled.log_softmax(dim=-1)
    return whole.gather(1, targets[:, None])[:, 0], whole


def clipped_policy_loss(logprobs: Tensor, sampler: Tensor, advantages: Tensor, *, low: float, high: float) -> Tensor:
    """-min(r A, clip(r, 1 - low, 1 + high) A) with r = pi / pi_sampler, per token (PPO, arXiv 1707.06347, eq. 7; apart
    bounds as in DAPO, arXiv 2503.14476). All arguments [U]; the sampler carries no gradient.
    """
    ratio = (logprobs - sampler).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def sampler_weights(old: Tensor, sampler: Tensor, *, cap: float = MOST_WEIGHT) -> Tensor:
    """min(pi_old / pi_sampler, cap): truncated importance weights of tokens that were sampled by other numerics than the learner's (Yao et
    al., "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training", 2025). Both [U], without gradients."""
    return (old - sampler).exp().clamp(max=cap)


def exact_kl(whole: Tensor, reference: Tensor) -> Tensor:
    """KL(pi || reference) = sum_v pi(v) (log pi(v) - log reference(v)) per token; log-distributions [A, V]. What pi rules out adds
    nothing."""
    ratio = (whole - reference).masked_fill(whole == -torch.inf, 0.0)  # 0 times infinity is no number
    return (whole.exp() * ratio).sum(dim=-1)


def kl_in_reward(advantages: Tensor, logprobs: Tensor, reference: Tensor, *, kl: float, detach: bool = True) -> Tensor:
    """A - kl (log pi - log reference): a k1 penalty as part of the reward. All arguments [U].

    Detached, the gradient of -r A is in expectation that of kl KL(pi || reference). SPAG (arXiv 2404.10642, code) does not detach it, and
    k1 itself has an expected gradient of zero: at r = 1 its update is that of the reward A - kl, the same kl off every reward.
    """
    difference = logprobs - reference
    return advantages - kl * (difference.detach() if detach else difference)


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """exp(d) - 1 - d with d = log reference - log pi: the k3 estimate of KL(pi || reference) on sampled tokens
    (Schulman, "Approximating KL divergence", 2020). Both [A].
    """
    difference = reference - logprobs
    return difference.exp() - 1 - difference


def sampled_kl(logprobs: Tensor, sampler: Tensor, reference: Tensor, *, cap: float = MOST_WEIGHT) -> Tensor:
    """ratio * k3 against a reference, for tokens drawn by the sampler: unlike k3 alone, its gradient estimates that of the KL.

    The importance ratio is detached nowhere and capped at `cap` (truncated importance weights). All arguments [A].
    """
    ratio = (logprobs - sampler).exp().clamp(max=cap)
    return ratio * k3(logprobs, reference)


def sft_with_kl_loss(logprobs: Tensor, reference: Tensor, *, kl: float) -> Tensor:
    """-l + kl exp(l) (l - l_ref) per sample, with l the mean log-probability of a sample's actions (SPAG's imitation, arXiv 2404.10642,
    code; it takes exp(l), a geometric mean per token, for the probability of the whole utterance). All arguments [R].
    """
    return -logprobs + kl * logprobs.exp() * (logprobs - reference)


def dpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """-log sigmoid(beta (c - r)) per pair (DPO, arXiv 2305.18290, eq. 7; SPIN, arXiv 2401.01335, eq. 4.7, with beta its lambda).

    chosen, rejected [P]: log pi - log pi_reference, summed over each sample's actions. What others say is no action and drops out.
    """
    return -logsigmoid(beta * (chosen - rejected))


def ipo_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """((c - r) - 1 / (2 beta))^2 per pair, with arguments as in `dpo_loss` (IPO, arXiv 2310.12036, eq. 17, beta its tau). Sums over actions
    as the paper has them, not means."""
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def sample_sums(values: Tensor, sample_index: Tensor, n: int) -> Tensor:
    """Sums over each of n samples [n]; values [A], sample_index [A] the sample of each."""
    return torch.zeros(n, dtype=values.dtype, device=values.device).index_add(0, sample_index, values)


def sample_means(values: Tensor, sample_index: Tensor, n: int) -> Tensor:
    """Means over each of n samples [n], every one of which has an action; values [A], sample_index [A] the sample of each."""
    return sample_sums(values, sample_index, n) / torch.bincount(sample_index, minlength=n)


def entropy(whole: Tensor) -> Tensor:
    """-sum_v pi(v) log pi(v) per token, in nats; whole [A, V]. What pi rules out adds nothing."""
    found: Tensor = torch.special.entr(whole.exp()).sum(dim=-1)
    return found
