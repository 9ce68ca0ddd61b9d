"""Evaluates the models of a run: win rates against the frozen initial model and scripted players, and evaluations that were passed in.

Results are kept in evaluation/ in the run's folder, so that a resumed run evaluates nothing twice.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

from sparring.agents.core import Agent, derive_seed
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.names import checkpoint_model
from sparring.agents.players.scripted import scripted

from ..evaluation.gate import GAMES, WON, require_can_win, sentence
from ..evaluation.round_metrics import describe
from ..evaluation.win_rates import win_rates
from ..runtime.distributed import Ranks
from ..runtime.progress import Progress, counted
from ..storage.folder import RunFolder
from ..storage.sealed import read_sealed, write_sealed
from ..storage.summary import INITIAL, Evaluation, Result
from .rollouts import play_across
from .session import Session
from .start import NAME as START
from .start import start_games


class Evaluator:
    """Evaluates models of one run. The frozen model of round 0 is loaded when it is first needed."""

    def __init__(
        self,
        session: Session,
        folder: RunFolder,
        evaluations: Sequence[Evaluation],
        progress: Progress,
        ranks: Ranks | None = None,
    ) -> None:
        self.session = session
        self.config = session.config
        self.folder = folder
        self.evaluations = evaluations
        self.progress = progress
        self.ranks = ranks or Ranks()

    @cached_property
    def first(self) -> LanguageModel:
        """The frozen model of round 0: opponent, reference, and what is evaluated before training."""
        return self.session.first_model(self.folder.path)

    def evaluate(self, number: int, model: LanguageModel | None = None, *, between: bool = False) -> None:
        """Measures the model of a round, None for the first, and keeps the result; what was measured already is left as it is. between: of
        a round that is neither the first nor the last one, without evaluations."""
        if not self.ranks.from_main(lambda: self.known(number)):
            found = self.results_of(model, number, f"model of round {number}", between=between)
            self.ranks.from_main(lambda: write_sealed(self.folder.evaluation_file(number), found))

    def require_start(self) -> None:
        """Lets the model of the session, that of round 0, play against itself, or against its fixed opponent, before anything else is spent
        on it. Raises NoStart where it cannot win. Only where that is asked for, and of games that know a win by skill."""
        config, session = self.config, self.session
        least = config.alarms.limit("start")
        if least is None or not set(WON) <= set(session.game.reasons):
            return
        if not self.ranks.from_main(lambda: self.known(START)):
            record = describe(start_games(session, GAMES, self.ranks, self.progress), session.words.truth)
            self.ranks.from_main(lambda: write_sealed(self.folder.evaluation_file(START), record))
        record = self.ranks.from_main(lambda: self.read(START))
        self.progress.say(f"the start: {sentence(record)}")
        require_can_win(record, least, config.sft.steps, f"{self.folder.path}@0")

    def known(self, name: int | str) -> bool:
        """Whether a round or a control has been measured, and the result is what was written; where it is not, it is deleted, and said."""
        path = self.folder.evaluation_file(name)
        if not path.is_file():
            return False
        try:
            self.read(name)
        except ValueError as error:
            self.progress.say(f"{error}: it is measured anew")
            path.unlink()
            return False
        return True

    def read(self, name: int | str) -> dict[str, Any]:
        return read_sealed(self.folder.evaluation_file(name))

    def repair(self, done: int) -> None:
        """Measures the models of earlier rounds anew whose results are gone or damaged, as far as these models are still there."""
        of, run = self.config.evaluation, self.folder.path

        def missing(number: int) -> bool:
            wanted = self.folder.evaluation_file(number).exists() or (of.games > 0 and of.every > 0 and number % of.every == 0)
            if not wanted or self.known(number):
                return False
            if checkpoint_model(run, number).is_dir():
                return True
            self.progress.say(f"{self.folder.evaluation_file(number)} is gone, and so is the model of round {number}: it is left out")
            return False

        for number in range(1, done):
            if self.ranks.from_main(partial(missing, number)):
                self.evaluate(number, self.session.load_round(run, number), between=True)

    def results(self) -> dict[int, dict[str, Any]]:
        """All rounds that were measured."""
        return {n: self.read(n) for n in range(self.config.rounds + 1) if self.folder.evaluation_file(n).is_file()}

    def results_of(self, model: LanguageModel | None, number: int, title: str, *, between: bool = False) -> dict[str, Any]:
        """{"win_rates": entries, "evaluations": {name: result}} of a model, None for the first."""
        games = self.config.evaluation.games
        evaluations = () if between else self.evaluations
        if not games and not evaluations:
            return {"win_rates": [], "evaluations": {}}
        model = model or self.first
        entries = self._win_rates(model, number, games, title) if games else []
        results: dict[str, Result] = {}
        for evaluation in evaluations:
            self.progress.say(f"{evaluation.name} test of the {title}")
            results[evaluation.name] = self.ranks.from_main(partial(evaluation.measure, model))
        # What follows begins with empty caches, as it does where a resumed run finds this measured already.
        for used in (model, self.first) if games else (model,):
            used.forget_caches()
        return {"win_rates": entries, "evaluations": results}

    def _win_rates(self, model: LanguageModel, number: int, games: int, title: str) -> list[dict[str, Any]]:
        config, session = self.config, self.session
        opponents: dict[str, Agent] = {INITIAL: session.agent(self.first, INITIAL)}
        if config.evaluation.scripted and session.words.everyday and not session.words.outside:
            opponents["scripted"] = scripted()
        total = games * len(session.words.groups) * len(opponents) * len(session.game.roles)
        with self.progress.phase(f"win rates of the {title}", total) as advance:
            cells = win_rates(
                session.agent(model, title),
                opponents,
                session.game,
                session.words.groups,
                games,
                derive_seed(config.seed, "evaluation"),
                temperature=config.evaluation.temperature,
                concurrency=config.concurrency,
                truth=session.words.truth,
                progress=counted(advance, self.ranks.size),
                play=partial(play_across, self.ranks),
            )
        return [cell.record(number) for cell in cells]
