"""The control of a run: the model of round 0 after as many trained tokens of experts' games as self-play had."""

from typing import Any

from sparring.agents.core import derive_seed

from .demonstrations import expert_round, replay_rows, tokens_of
from .learner import Learner
from .measuring import Measuring
from .run_folder import to_json, write_text


def measured_control(measuring: Measuring, last: int) -> dict[str, Any] | None:
    """What was measured of the control of the rounds up to the last one; None where the run has none."""
    session, folder, ranks = measuring.session, measuring.folder, measuring.ranks
    config = session.config
    if not (config.evaluation.control and last and config.arm == "selfplay" and session.words.everyday):
        return None
    path = folder.measurement("control")
    if not ranks.from_main(path.is_file):
        model = session.load_first(folder.path)
        learner = Learner(model.model, anchor=measuring.first.model, config=config.learner)
        model.adapter = learner.adapter
        with measuring.progress.phase("control: expert games, as many tokens", last, "rounds") as advance:
            for number in range(1, last + 1):
                seed = derive_seed(config.seed, "control", number)
                rows = expert_round(session, seed, tokens_of(folder.path, number))
                learner.update(rows, seed=seed, replay=replay_rows(session, config.replay_pool, derive_seed(seed, "replay")))
                advance(1)
        learner.publish()
        model.set_version("control")
        found = measuring.of(model, last, "control")
        ranks.from_main(lambda: write_text(path, to_json(found)))
    return ranks.from_main(lambda: measuring.read("control"))
