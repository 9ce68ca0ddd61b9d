"""The control of a run: the model of round 0 after as many trained tokens of experts' games as self-play had."""

from typing import Any

from sparring.agents.core import derive_seed
from sparring.agents.models.language_model import LanguageModel

from ..learner.learner import Learner
from ..objectives.sft_loss import SFTLoss
from ..storage.sealed import write_sealed
from .demonstrations import round_demonstrations, round_sft_mix, tokens_of
from .evaluations import Evaluator
from .partial_updates import PartialUpdates

NAME = "control"


def evaluate_control(evaluator: Evaluator, partial_updates: PartialUpdates, last: int) -> dict[str, Any] | None:
    """What was measured of the control of the rounds up to the last one; None where the run has none."""
    session, folder, ranks = evaluator.session, evaluator.folder, evaluator.ranks
    config = session.config
    if not (config.evaluation.control and last and session.words.everyday):
        return None
    path = folder.evaluation_file(NAME)
    if not ranks.from_main(lambda: evaluator.known(NAME) and evaluator.read(NAME)["rounds"] == last):
        found = {**evaluator.results_of(_control(evaluator, partial_updates, last), last, NAME), "rounds": last}
        ranks.from_main(lambda: write_sealed(path, found))
    ranks.from_main(lambda: partial_updates.delete(NAME))
    return ranks.from_main(lambda: evaluator.read(NAME))


def _control(evaluator: Evaluator, partial_updates: PartialUpdates, last: int) -> LanguageModel:
    """The control itself. What it has learnt is saved when a signal stops it, and at the end, until it has been measured."""
    session, folder, config = evaluator.session, evaluator.folder, evaluator.config
    model = session.load_first(folder.path)
    learner = Learner(
        model.model,
        SFTLoss(),
        sft_mix_loss=SFTLoss("sft_mix_loss"),
        config=config.learner,
        mix=config.sft_mix,
        products=model.products,
    )
    model.adapter = learner.adapter
    tokens = [tokens_of(folder.path, number) for number in range(1, last + 1)]
    about = {"seed": config.seed, "tokens": tokens}
    saved = partial_updates.load(NAME, about, learner)
    at = saved.get("number", 0)
    title = "control: expert games, as many tokens"
    with partial_updates.interrupts.held(), evaluator.progress.phase(title, last, "rounds") as advance:
        for number in range(1, last + 1):
            if number >= at:
                seed = derive_seed(config.seed, NAME, number)
                samples = round_demonstrations(session, seed, tokens[number - 1])
                learner.update(
                    samples,
                    seed=seed,
                    sft_mix=round_sft_mix(session, len(samples), derive_seed(seed, "replay")),
                    watch=lambda *_, now=number: partial_updates.after_step(NAME, learner, {**about, "number": now}),
                    partial=saved["metrics"] if number == at else None,
                )
            advance(1)
        if at <= last:
            partial_updates.save(NAME, learner, {**about, "number": last + 1})
    learner.sync_weights()
    model.set_version(NAME)
    return model
