"""SPAG with its errors corrected: the winners' turns, with rewards that grow towards the end of the game."""

from dataclasses import replace

from ..config.config import TrainConfig
from ..learner.portions import whole_step
from ..objectives.returns import outcome_returns
from ..objectives.spag import CORRECTED, Corrections, published_split, winners_credit
from ..run.collectors import games, games_to_paraphrase
from ..run.method import Method
from ..run.recipe import DROP_REASONS, dropping, options_of, policy_loss, policy_reference


def method(config: TrainConfig) -> Method:
    options_of(config, DROP_REASONS)
    return winners(config, CORRECTED, "spag-corrected")


def winners(config: TrainConfig, corrections: Corrections, name: str, *, per_round: bool = False) -> Method:
    """SPAG's objective with some of its errors corrected. Raises ValueError for settings that it cannot work with."""
    by_utterance = not (corrections.token_ratio and corrections.detached_kl)
    if by_utterance and config.learner.kl > 0 and config.learner.kl_form != "reward":
        raise ValueError(
            f"method {name} without the corrections token-ratio and detached-kl has its KL in the reward: set learner.kl_form reward"
        )
    if not corrections.original_prompts and not config.game.startswith("AdversarialTaboo"):
        raise ValueError(f"method {name} needs the correction original-prompts here: there are no paraphrases of {config.game}")
    loss = policy_loss(config)
    return Method(
        name=name,
        collect=games if corrections.original_prompts else games_to_paraphrase,
        reward=outcome_returns,
        credit=dropping(config, winners_credit(corrections), default=("foul",)),
        loss=replace(loss, unit="token" if corrections.token_ratio else "sample", detach_kl=corrections.detached_kl),
        reference=policy_reference(config) if corrections.as_sampled else "behaviour",
        split=whole_step if corrections.global_norm else published_split,
        per_round=per_round,
    )
