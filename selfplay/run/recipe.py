"""What method files are written with: their options, checks, and the parts that a run's settings decide."""

import math
from collections.abc import Mapping

from sparring.envs.core import game_from_options
from sparring.envs.words.lists import of_everyday

from ..config.checks import near
from ..config.config import NAMED_SOURCES, TrainConfig
from ..objectives.credit import Credit, without_outcomes
from ..objectives.policy_loss import PolicyLoss
from .method import Reference

DROP_REASONS = "drop_reasons"
"""The option of methods that learn from games: reasons of outcomes, with commas, that are not trained on;
none: all are."""


def options_of(config: TrainConfig, *known: str) -> Mapping[str, str]:
    """The method's own options. Raises ValueError for one that it does not have."""
    for name in config.method_options:
        if name not in known:
            allowed = near(name, known) if known else "it has none"
            raise ValueError(f"method {config.method} has no option {name!r}; {allowed}")
    return config.method_options


def number(options: Mapping[str, str], name: str, *, default: float, low: float, high: float) -> float:
    """An option as a finite number in (low, high]. Raises ValueError for anything else."""
    text = options.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low < value <= high or math.isinf(value):
        most = "" if math.isinf(high) else f" and at most {high:g}"
        raise ValueError(f"method option {name} must be a number above {low:g}{most}, got {text!r:.60}")
    return value


def beta_of(options: Mapping[str, str]) -> float:
    """The option beta of methods that learn from pairs: larger stays closer to the reference (SPIN's lambda)."""
    return number(options, "beta", default=0.1, low=0, high=math.inf)


def needs_groups(config: TrainConfig) -> None:
    """Raises ValueError where no two games of a round are about the same word."""
    if config.group_size < 2:
        raise ValueError(f"method {config.method} compares games about the same word: group_size must be at least 2")


def needs_experts(config: TrainConfig) -> None:
    """Raises ValueError where there is no experts' talk to learn from."""
    experts = of_everyday(config.words) and config.game.startswith("AdversarialTaboo")
    if not experts and config.sft.data is None and config.sft_mix.source in NAMED_SOURCES:
        raise ValueError(
            f"method {config.method} learns from experts: set words everyday in Adversarial Taboo, or give conversations with sft.data FILE"
        )
    if config.role != "both":
        raise ValueError(f"method {config.method} plays no games against a fixed opponent: leave role out")


def dropping(config: TrainConfig, credit: Credit, default: tuple[str, ...] = ()) -> Credit:
    """Credit without the outcomes that the option `drop_reasons` names; default: what is left out where it
    is not given. Raises ValueError for a reason that the game does not have."""
    text = config.method_options.get(DROP_REASONS)
    reasons = default if text is None else tuple(name for name in text.split(",") if name not in ("", "none"))
    known = game_from_options(config.game, config.game_options).reasons
    for reason in () if text is None else reasons:
        if reason not in known:
            raise ValueError(f"method option {DROP_REASONS}: {config.game} has no outcome {reason!r}; {near(reason, known)}")
    return without_outcomes(credit, reasons) if reasons else credit


def policy_loss(config: TrainConfig) -> PolicyLoss:
    """The clipped policy loss as the learner's settings have it."""
    learner = config.learner
    return PolicyLoss(*learner.clip, learner.kl, learner.kl_form)


def policy_reference(config: TrainConfig) -> Reference:
    """Whose log-probabilities the KL penalty compares with."""
    return config.learner.reference if config.learner.kl > 0 else "none"
