"""The control of a run: the model of round 0 after as many trained tokens of experts' games as self-play had."""

from typing import Any

from sparring.agents.core import derive_seed
from sparring.agents.models.language_model import LanguageModel

from ..learner.learner import Learner
from ..objectives.sft_loss import SFTLoss
from ..storage.sealed import write_sealed
from .demonstrations import expert_round, mix_rows, tokens_of
from .evaluations import Measuring
from .partial_updates import Pauses

NAME = "control"


def measured_control(measuring: Measuring, pauses: Pauses, last: int) -> dict[str, Any] | None:
    """What was measured of the control of the rounds up to the last one; None where the run has none."""
    session, folder, ranks = measuring.session, measuring.folder, measuring.ranks
    config = session.config
    if not (config.evaluation.control and last and session.words.everyday):
        return None
    path = folder.measurement(NAME)
    if not ranks.from_main(lambda: measuring.known(NAME) and measuring.read(NAME)["rounds"] == last):
        found = {**measuring.of(_control(measuring, pauses, last), last, NAME), "rounds": last}
        ranks.from_main(lambda: write_sealed(path, found))
    ranks.from_main(lambda: pauses.forget(NAME))
    return ranks.from_main(lambda: measuring.read(NAME))


def _control(measuring: Measuring, pauses: Pauses, last: int) -> LanguageModel:
    """The control itself. What it has learnt is saved when a signal stops it, and at the end, until it has been measured."""
    session, folder, config = measuring.session, measuring.folder, measuring.config
    model = session.load_first(folder.path)
    learner = Learner(model.model, SFTLoss(), replay_loss=SFTLoss("replay_loss"), config=config.learner, mix=config.sft_mix)
    model.adapter = learner.adapter
    tokens = [tokens_of(folder.path, number) for number in range(1, last + 1)]
    about = {"seed": config.seed, "tokens": tokens}
    stopped = pauses.taken_up(NAME, about, learner)
    at = stopped.get("number", 0)
    title = "control: expert games, as many tokens"
    with pauses.interrupts.held(), measuring.progress.phase(title, last, "rounds") as advance:
        for number in range(1, last + 1):
            if number >= at:
                seed = derive_seed(config.seed, NAME, number)
                rows = expert_round(session, seed, tokens[number - 1])
                learner.update(
                    rows,
                    seed=seed,
                    replay=mix_rows(session, len(rows), derive_seed(seed, "replay")),
                    watch=lambda *_, now=number: pauses.after_step(NAME, learner, {**about, "number": now}),
                    done=stopped["done"] if number == at else None,
                )
            advance(1)
        if at <= last:
            pauses.save(NAME, learner, {**about, "number": last + 1})
    learner.publish()
    model.set_version(NAME)
    return model
