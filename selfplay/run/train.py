"""How a run begins and how it is resumed, with all that has to hold before it does. What it then goes
through: `loop.py`."""

import datetime
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparring.agents.names import checkpoint_model, model_card, pinned
from sparring.agents.players.player_card import PlayerCard, load_card

from ..config.config import TrainConfig
from ..config.yaml_io import load, to_yaml
from ..runtime.distributed import Ranks, join
from ..runtime.progress import Progress, Quiet
from ..storage import checkpoint
from ..storage.folder import RunFolder, require_space, write_text
from ..storage.locks import LOCK, locked, require_text
from ..storage.sealed import write_sealed
from ..storage.summary import Evaluation, Summary
from .dry_run import bytes_needed
from .loop import Loop
from .method import method_of
from .origins import began, day_of, require_inputs, require_settings, resumed
from .repairs import of_checkpoint, repair
from .session import Session, prepare


def train(
    config: TrainConfig,
    *,
    evaluations: Sequence[Evaluation] = (),
    progress: Progress | None = None,
    initial_evaluation: Mapping[str, Any] | None = None,
    preset: str | None = None,
) -> Summary:
    """Starts a run and carries it to its end.

    evaluations: measured before the first round and after the last. initial_evaluation: what another run with
    the same first model, seed and evaluations measured of it before training, so that it need not be measured
    again. preset: that the configuration came from, for the record. Raises ValueError for what the
    configuration has wrong, before anything is written, and Stopped when it is interrupted.
    """
    ranks = join(config.device)
    config = ranks.from_main(lambda: _pinned(config))
    method = method_of(config)
    stem = Path(config.model).name.partition("@")[0]
    with ExitStack() as held:
        # The folder is taken before anything is loaded, so that no other run takes it meanwhile.
        out = ranks.from_main(lambda: held.enter_context(RunFolder.claimed(config.out, stem)))
        config = replace(config, out=out)
        day = ranks.from_main(datetime.date.today)
        session = prepare(config, day=day)
        _require_replayable(session, ranks)

        def begin() -> None:
            require_space(out, bytes_needed(session))
            folder = RunFolder.create(out, to_yaml(session.config), began(session.config, ranks.size, day, preset))
            if initial_evaluation is not None:
                write_sealed(folder.evaluation_file(0), initial_evaluation)

        ranks.from_main(begin)
        return Loop(session, method, RunFolder(out), evaluations, progress or Quiet(), ranks).run(None)


def resume(path: Path, *, rounds: int | None = None, evaluations: Sequence[Evaluation] = (), progress: Progress | None = None) -> Summary:
    """Continues a run after its last round whose checkpoint is whole; a run that had ended is measured and
    summarised again where that is missing. rounds: how many the run is to have from now on, None: as many as
    it was to have.

    Raises ValueError for a folder that is no run, or that another process writes, for settings and files
    that are not those that the run began with, and where its first model is damaged."""
    folder = RunFolder.open(path)
    require_text(path)
    settings = load(folder.config, TrainConfig)
    config = replace(settings, out=path, rounds=settings.rounds if rounds is None else rounds)
    method = method_of(config)
    ranks = join(config.device)
    progress = progress or Quiet()
    say = (progress if ranks.main else Quiet()).say

    def last_whole() -> int | None:
        done, damages = checkpoint.newest(path)
        for damage in damages:
            say(damage)
        return done

    def clear() -> None:
        folder.sweep()
        repair(folder, done, say)
        resumed(folder, config, done, kept, ranks.size, say)
        if config.rounds != settings.rounds:
            write_text(folder.config, to_yaml(config))
        folder.forget_after(-1 if done is None else done, keep_games=True)
        checkpoint.prune(path, config.keep_checkpoints)

    with ExitStack() as held:
        ranks.from_main(lambda: held.enter_context(locked(path, path / LOCK)))
        done = ranks.from_main(last_whole)
        if done is not None and config.rounds < done:
            raise ValueError(f"{path} has {done} rounds already, so rounds must be at least {done}, got {config.rounds}")
        first_card(path, config)
        kept = of_checkpoint(folder, done)
        require_settings(folder, config, kept)
        require_inputs(folder, config, kept)
        # Of a LoRA run the weights stay those of round 0; its adapter is read when the learner has been made.
        weights = None if done is None else checkpoint_model(path, 0 if config.learner.lora_rank else done)
        session = prepare(config, weights=weights, day=day_of(folder, kept))
        _require_replayable(session, ranks)
        require_space(path, bytes_needed(session, done or 0))
        # Nothing is forgotten before all that could be missing is there.
        ranks.from_main(clear)
        return Loop(session, method, folder, evaluations, progress, ranks).run(done)


def _pinned(config: TrainConfig) -> TrainConfig:
    """The same with names that mean the same when the run is resumed."""
    return replace(config, model=pinned(config.model), opponent=config.opponent and pinned(config.opponent))


def first_card(run: Path, config: TrainConfig) -> PlayerCard:
    """The card of the model that a run began with: of its first checkpoint, else of the model that it was
    told. Raises ValueError where neither is there."""
    first = checkpoint_model(run, 0)
    if first.is_dir():
        return load_card(first)
    try:
        return model_card(config.model)
    except ValueError as error:
        raise ValueError(f"{run} has no checkpoint yet and needs the model that it is to begin with: {error}") from error


def _require_replayable(session: Session, ranks: Ranks) -> None:
    """Raises ValueError for a game that several processes cannot share."""
    if ranks.size > 1 and not session.game.replayable:
        raise ValueError(
            f"{session.config.game} cannot be played again from its utterances, which processes exchange: run it as one process"
        )
