"""The loop: supervised fine-tuning, then round by round play, learn, evaluate, save.

Every number is drawn from the configuration's seed and a place in the run, so a run that was stopped and resumed equals one that was not. A
round counts as done when its checkpoint is. Its games are on the disk, with their token streams, before anything is learnt from them. An
update that a signal stopped goes on from its step; what else an interrupted round left behind is dropped and done again.
"""

import gc
import math
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch

from sparring.agents.core import derive_seed
from sparring.agents.models.loading import load_language_model
from sparring.agents.models.memory import out_of_memory
from sparring.agents.names import checkpoint_folder, checkpoint_model

from ..config.league import league_options
from ..evaluation.alarms import UnhealthyRunError, check_health
from ..evaluation.round_metrics import describe, reward_spread, round_line, scalars
from ..learner import lora
from ..learner.batch import Example, digest
from ..learner.learner import Learner
from ..learner.scoring import language_model_scorer, with_behaviour, with_reference
from ..objectives.sft_loss import SFTLoss
from ..report.report import write_report
from ..runtime.distributed import Ranks
from ..runtime.heap import trim_heap
from ..runtime.interrupts import Interrupts, Stopped, resume_command
from ..runtime.progress import Progress, Quiet
from ..storage import checkpoint
from ..storage.folder import RunFolder, read_lines
from ..storage.summary import Evaluation, Summary, summarise
from ..storage.trackers import Log, as_text, tracked
from .control import evaluate_control
from .demonstrations import round_sft_mix
from .dry_run import steps_at_most
from .evaluations import Evaluator
from .league import League
from .method import Method, Round
from .partial_updates import PartialUpdates
from .repairs import history
from .session import Session, seed_everything
from .sft import run_sft

ROLLBACKS = 3
"""How often a run goes back to a healthy round before it ends."""


class Loop:
    """One run in memory. state: of the method (running baselines). alarms: raised so far. rollbacks: made so far. first_round: the
    metrics of round 1, which later rounds are compared with; first_step: of its first step, which its later steps are. Only the main
    process writes."""

    def __init__(
        self,
        session: Session,
        method: Method,
        folder: RunFolder,
        evaluations: Sequence[Evaluation],
        progress: Progress,
        ranks: Ranks,
    ) -> None:
        self.session = session
        self.config = session.config
        self.folder = folder
        self.evaluations = evaluations
        self.progress = progress if ranks.main else Quiet()
        self.ranks = ranks
        self.model = session.model
        self.method = method
        self.state: Mapping[str, float] = {}
        options = league_options(self.config.league)
        self.league = None if options is None else League(session, folder.path, options)
        self.alarms: list[dict[str, Any]] = []
        self.rollbacks = 0
        self.first_round: Mapping[str, Any] | None = None
        self.first_step: Mapping[str, Any] = {}
        self.interrupts = Interrupts()
        self.partial_updates = PartialUpdates(folder, self.interrupts, ranks, self.progress)

    def run(self, done: int | None) -> Summary:
        """done: the last finished round, None for a new run."""
        seed_everything(self.config.seed)
        try:
            with self.interrupts.watched():
                return self._run(done)
        except KeyboardInterrupt as stop:
            raise Stopped(self.folder.path, self.interrupts.received or signal.SIGINT) from stop
        except Exception as error:
            if out_of_memory(error):
                error.add_note(f"what was saved before is whole; with more memory free, continue with: {resume_command(self.folder.path)}")
            if out_of_memory(error) or not isinstance(error, OSError):
                raise
            # What is read by `resume` is written aside, so that whatever was whole before still is.
            raise OSError(f"{error}; what was saved before is whole, continue with: {resume_command(self.folder.path)}") from error

    def _run(self, done: int | None) -> Summary:
        config = self.config
        before = checkpoint.saved_by(self.folder.path, done)
        if before not in (None, self.ranks.size):
            self.progress.say(
                f"until now {before} processes, from now on {self.ranks.size}: model and optimiser go on; games and steps "
                "stay those of the seed, as no generator has a state, but sums of floats may be rounded otherwise"
            )
        if done is None:
            if config.sft.steps:
                run_sft(self.session, self.partial_updates)
            self.model.set_version("0")
            with self.interrupts.held():
                self._save(0, {})
            done = 0
        self.model.set_version(str(done))
        evaluator = Evaluator(self.session, self.folder, self.evaluations, self.progress, self.ranks)
        if not done and config.rounds and not self.method.baseline:
            evaluator.require_start()
        evaluator.evaluate(0)
        evaluator.repair(done)
        if done:
            state = checkpoint.load(checkpoint_folder(self.folder.path, done))[1]
            self.alarms, self.rollbacks = state["alarms"], state["rollbacks"]
        self.rollbacks = checkpoint.partial_state(self.folder.path, done + 1).get("rollbacks", self.rollbacks)
        last = self._rounds(done, evaluator) if config.rounds else 0
        _free()
        evaluator.evaluate(last, self.model)
        control = None if self.method.baseline else evaluate_control(evaluator, self.partial_updates, last)

        def report() -> Summary:
            counts = self.session.words.counts
            summary = summarise(self.folder, config, counts, evaluator.results(), control, self.evaluations, self.alarms)
            write_report(self.folder.path)
            return summary

        return self.ranks.from_main(report)

    def _rounds(self, done: int, evaluator: Evaluator) -> int:
        """Plays and learns until all rounds are done, or an alarm ends the run. Returns the round that the model is of now."""
        while True:
            _free()
            learner = self._learner(done, evaluator)
            before = self.ranks.from_main(lambda: read_lines(self.folder.metrics))
            self.first_round = next((record for record in before if record["round"] == 1), None)
            try:
                with self._tracked(done) as log:
                    self._evaluate_between(done, evaluator)  # what an interruption left out
                    for number in range(done + 1, self.config.rounds + 1):
                        self._round(number, learner, log, evaluator)
                        done = number
                        self._evaluate_between(done, evaluator)
                return done
            except UnhealthyRunError as state:
                # What a round's games show is the state of the model that played them, which the round before has made.
                healthy = done if state.alarms[0].step is not None else done - 1
                done = self.ranks.from_main(partial(self._whole, max(healthy, 0)))
                self._go_back(done)
                self.partial_updates.stop_if_asked()
                if healthy < 0 or self.config.alarms.action == "stop" or self.rollbacks == ROLLBACKS:
                    self.progress.say(f"the run ends with the model of round {done}")
                    if done and self.ranks.main:
                        self.folder.evaluation_file(done).unlink(missing_ok=True)  # of a round in between, until now
                    return done
                self.rollbacks += 1
                self.progress.say(f"back to the model of round {done}, with half the learning rate")
                del learner  # before the next one is made: two at once may not fit

    def _tracked(self, done: int) -> AbstractContextManager[Log | None]:
        """Around rounds after `done`: what takes their metrics, on the main process."""
        if not self.ranks.main:
            return nullcontext()
        return tracked(self.config.tracker, self.folder, self.config, first=done + 1, say=self.progress.say)

    def _evaluate_between(self, number: int, evaluator: Evaluator) -> None:
        """Measures the model of a round that is neither the first nor the last, where that is asked for and has not been done."""
        of = self.config.evaluation
        if of.games and of.every and 0 < number < self.config.rounds and number % of.every == 0:
            evaluator.evaluate(number, self.model, between=True)

    def _whole(self, last: int) -> int:
        """The last round up to `last` that a run can go back to: those between may have been pruned, round 0 never is."""
        number, damages = checkpoint.newest(self.folder.path, last)
        for damage in damages:
            self.progress.say(damage)
        if number is None:
            raise ValueError("there is no whole checkpoint to go back to")
        return number

    def _go_back(self, number: int) -> None:
        """Makes the model that of an earlier round, and forgets what came after it."""
        if not self.config.learner.lora_rank:
            dtype = next(self.model.model.parameters()).dtype
            healthy = load_language_model(checkpoint_model(self.folder.path, number), name="healthy", device="cpu", dtype=dtype)
            self.model.model.load_state_dict(healthy.model.state_dict())
        elif number:
            lora.restore(self.model.model, checkpoint_model(self.folder.path, number))
        else:
            lora.begin(self.model.model, self.config.learner.lora_rank)
        self.model.set_version(str(number))
        self.ranks.from_main(lambda: self.folder.forget_after(number))

    def _learner(self, done: int, evaluator: Evaluator) -> Learner:
        method = self.method
        # A second model is loaded where the loss has a KL to it; pairs get its log-probabilities before the update.
        reference = evaluator.first.model if method.frozen_model and method.loss.kl > 0 else None
        learner = Learner(
            self.model.model,
            method.loss,
            sft_mix_loss=SFTLoss("sft_mix_loss"),
            reference=reference,
            config=self.config.learner,
            split=method.split,
            mix=self.config.sft_mix,
            total_steps=self.config.rounds * steps_at_most(self.session, method),
            per_round=method.per_round,
            products=self.model.products,
        )
        self.model.adapter = learner.adapter
        self.state = {}
        if self.league is not None:
            self.league.restore({})
        if done:
            if learner.adapter:
                lora.restore(self.model.model, checkpoint_model(self.folder.path, done))
            trainer, state = checkpoint.load(checkpoint_folder(self.folder.path, done))
            if trainer:
                learner.load_state_dict(trainer)
            else:
                rounded = not learner.adapter and next(self.model.model.parameters()).dtype != torch.float32
                weights = ", and the float32 weights that were trained are made from the model's rounded ones" if rounded else ""
                self.progress.say(f"the optimiser of round {done} was not kept: its averages and its schedule begin anew{weights}")
            self.state = state["baselines"]
            if self.league is not None:
                self.league.restore(state["league"])
        if self.rollbacks:
            learner.set_learning_rate(self.config.learner.lr / 2**self.rollbacks)
        return learner

    def _watch_step(self, number: int, about: Mapping[str, Any], learner: Learner, step: int, metrics: Mapping[str, float]) -> None:
        """about: which update it is."""
        if number == step == 1 and math.isfinite(metrics["grad_norm"]):
            self.first_step = metrics
        self._check_health(metrics, number, step)
        state = {**about, "first_step": self.first_step, "alarms": self.alarms, "rollbacks": self.rollbacks}
        self.partial_updates.after_step(number, learner, state)

    def _check_health(self, record: Mapping[str, Any], number: int, step: int | None = None) -> None:
        """Looks at the metrics of a round or a step. Raises UnhealthyRunError where they raise alarms and the run is not to go on."""
        found = check_health(record, self.first_round or self.first_step, self.config.alarms, step)
        known = {(alarm["round"], alarm["name"]) for alarm in self.alarms} if self.config.alarms.action == "warn" else set()
        for alarm in found:
            if (number, alarm.name) in known:
                continue
            self.alarms.append({"round": number, **alarm.record})
            self.progress.say(f"alarm in round {number}: {alarm.text}{alarm.advice}")
        if found and self.config.alarms.action != "warn":
            raise UnhealthyRunError(found)

    def _save(self, number: int, trainer: Mapping[str, Any]) -> None:
        """Writes a checkpoint, and deletes what its round needed until then."""
        state = {"baselines": dict(self.state), "alarms": self.alarms, "rollbacks": self.rollbacks, "processes": self.ranks.size}
        state["league"] = {} if self.league is None else self.league.state

        def write() -> None:
            checkpoint.save(self.folder.path, number, self.model, self.session.card, trainer, state, history(self.folder, number))
            checkpoint.prune(self.folder.path, self.config.keep_checkpoints)
            self.folder.streams(number).unlink(missing_ok=True)
            self.partial_updates.delete(number)

        self.ranks.from_main(write)

    def _round(self, number: int, learner: Learner, log: Log | None, evaluator: Evaluator) -> None:
        config, again = self.config, (self.rollbacks,) if self.rollbacks else ()
        seed = derive_seed(config.seed, "round", number, *again)
        began = time.perf_counter()
        record: dict[str, Any] = {"round": number}
        experience = self.method.collect(Round(self.session, number, seed, self.folder, self.ranks, self.progress, self.league))
        episodes = experience.episodes
        returns = self.method.reward(episodes, seed)
        examples, self.state = self.method.credit(experience, returns, self.state)
        if episodes:
            record |= describe(episodes, self.session.words.truth) | reward_spread(episodes, returns)
            self._check_health(record, number)
        record |= experience.metrics
        if self.league is not None:
            record |= self.league.update(episodes)
        if self.method.loss.unit == "pair":
            record["pairs"] = len(examples)
        self.model.forget_caches()  # whose memory the update needs, and which its weights would make useless
        trim_heap()
        samples = self._with_reference(learner.with_old_logprobs(examples), evaluator)
        between = time.perf_counter()
        sft_mix = round_sft_mix(self.session, len(samples), derive_seed(seed, "replay"))
        about = {"seed": seed, "samples": digest(samples)}
        with self.interrupts.held():
            saved = self.partial_updates.load(number, about, learner)
            if saved:
                self.first_step, self.alarms = saved["first_step"], saved["alarms"]
            with self.progress.phase(f"round {number}/{config.rounds}: learn", len(samples) * config.learner.epochs, "samples") as advance:
                watch = partial(self._watch_step, number, about, learner)
                record |= learner.update(samples, seed=seed, sft_mix=sft_mix, progress=advance, watch=watch, partial=saved.get("metrics"))
            learner.sync_weights()
            self.model.set_version(str(number))
            times = {
                "play_seconds": between - began,
                "learn_seconds": time.perf_counter() - between,
                "sampled_tokens": experience.sampled_tokens,
            }
            per_second = {"games_per_second": len(episodes), "tokens_per_second": experience.sampled_tokens}
            times |= {name: count / times["play_seconds"] for name, count in per_second.items()}
            if number == 1:
                self.first_round = record
            if log is not None:
                self._record(number, record, times)
                log(number, {**scalars(record), **times}, {"games": as_text(episodes)} if episodes else {})
            self._save(number, learner.state_dict())
        trim_heap()
        self.progress.say(round_line(number, config.rounds, record, time.perf_counter() - began))

    def _record(self, number: int, record: Mapping[str, Any], times: Mapping[str, float]) -> None:
        """Writes a round's metrics."""
        self.folder.append(self.folder.metrics, record)
        self.folder.append(self.folder.timings, {"round": number, **times})

    def _with_reference(self, examples: list[Example], evaluator: Evaluator) -> list[Example]:
        """Examples with their reference policy's log-probabilities, where the method needs them before the update. A KL to the initial
        model is the learner's: an exact one needs whole distributions."""
        method, budget = self.method, self.config.learner.token_budget
        if method.reference == "none" or (method.reference == "initial" and method.loss.kl > 0):
            return examples
        if method.reference == "behaviour":
            known = with_behaviour(examples)
            return known if known is not None else with_reference(language_model_scorer(self.model), examples, budget, ranks=self.ranks)
        return with_reference(language_model_scorer(evaluator.first), examples, budget, ranks=self.ranks)


def _free() -> None:
    """Frees learners that nobody needs any more; they refer to themselves, so that this is the collector's work."""
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where there is no GPU
