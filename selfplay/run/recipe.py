"""What method files are written with: their options, checks, and the parts that a run's settings decide."""

from collections.abc import Mapping

from sparring.envs.words.lists import of_everyday

from ..config.config import REPLAYS, TrainConfig
from ..objectives.credit import Credit, without_outcomes
from ..objectives.policy_loss import PolicyLoss
from .method import Reference


def options_of(config: TrainConfig, *known: str) -> Mapping[str, str]:
    """The method's own options. Raises ValueError for one that it does not have."""
    unknown = [name for name in config.method_options if name not in known]
    if unknown:
        allowed = f"it has {', '.join(known)}" if known else "it has none"
        raise ValueError(f"method {config.method} has no option {unknown[0]!r}; {allowed}")
    return config.method_options


def number(options: Mapping[str, str], name: str, *, default: float, low: float, high: float) -> float:
    """An option as a number in (low, high]. Raises ValueError for anything else."""
    text = options.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low < value <= high:
        raise ValueError(f"method option {name} must be a number above {low:g} and at most {high:g}, got {text!r}")
    return value


def needs_groups(config: TrainConfig) -> None:
    """Raises ValueError where no two games of a round are about the same word."""
    if config.group_size < 2:
        raise ValueError(f"method {config.method} compares games about the same word: group_size must be at least 2")


def needs_experts(config: TrainConfig) -> None:
    """Raises ValueError where there is no experts' talk to learn from."""
    experts = of_everyday(config.words) and config.game.startswith("AdversarialTaboo")
    if not experts and config.sft.data is None and config.replay in REPLAYS:
        raise ValueError(
            f"method {config.method} learns from experts: set words everyday in Adversarial Taboo, or give conversations with sft.data FILE"
        )
    if config.role != "both":
        raise ValueError(f"method {config.method} plays no games against a fixed opponent: leave role out")


def dropping(config: TrainConfig, credit: Credit, default: tuple[str, ...] = ()) -> Credit:
    """Credit without the outcomes that are not trained on; default: what `drop_reasons` leaves out where it is not set."""
    reasons = default if config.drop_reasons is None else config.drop_reasons
    return without_outcomes(credit, reasons) if reasons else credit


def policy_loss(config: TrainConfig) -> PolicyLoss:
    """The clipped policy loss as the learner's settings have it."""
    learner = config.learner
    return PolicyLoss(learner.clip_low, learner.clip_high, learner.kl, learner.kl_form)


def policy_reference(config: TrainConfig) -> Reference:
    """Whose log-probabilities the KL penalty compares with."""
    return config.learner.reference if config.learner.kl > 0 else "none"
