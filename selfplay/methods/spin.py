"""SPIN (arXiv 2401.01335): an expert's utterance is preferred to the model's own answer in its place, against the model that answered."""

from ..config.config import TrainConfig
from ..learner.losses import dpo_loss
from ..objectives.credit import given_examples
from ..objectives.preference_loss import PreferenceLoss
from ..objectives.returns import outcome_returns
from ..run.collectors import answers_beside_experts
from ..run.method import Method
from ..run.recipe import beta_of, needs_experts, options_of


def method(config: TrainConfig) -> Method:
    options = options_of(config, "beta")
    needs_experts(config)
    return Method(
        name="spin",
        collect=answers_beside_experts,
        reward=outcome_returns,
        credit=given_examples,
        loss=PreferenceLoss(dpo_loss, beta_of(options)),
        reference="behaviour",
    )
